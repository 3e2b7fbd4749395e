package rig

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// ErrCannot: this machine lacks what the rig needs.
var ErrCannot = errors.New("the SR-IOV rig cannot run here")

const install = "apt-get install -t bookworm-backports --no-install-recommends qemu-system-x86 linux-image-amd64 " +
	"&& apt-get install busybox-static kmod xz-utils"

const busybox = "/bin/busybox"

// needed are the modules of the machine, and of what is tested in it.
var needed = []string{
	"igb", "igbvf", "vfio_pci", "vfio_iommu_type1", "kvm_amd", "macvtap", "8021q", "tun", "bridge", "9p", "9pnet_virtio", "overlay",
}

// kernel is a Debian kernel with its modules.
type kernel struct {
	release string
	image   string
	modules *modules
}

// Check says whether the rig can run here, and why not.
func Check(ctx context.Context) error {
	_, err := findKernel()
	if err == nil {
		err = checkPrograms(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w: %w; with bookworm-backports among apt's sources: %s", ErrCannot, err, install)
	}
	return nil
}

func checkPrograms(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("it needs root")
	}
	_, qemu := exec.LookPath("qemu-system-x86_64")
	_, xz := exec.LookPath("xz")
	if err := errors.Join(qemu, xz); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", "-device", "help").CombinedOutput()
	if err != nil {
		return fmt.Errorf("ask QEMU for its devices: %w", err)
	}
	for _, dev := range []string{`name "igb"`, `name "intel-iommu"`, `name "virtio-9p-pci"`} {
		if !bytes.Contains(out, []byte(dev)) {
			return fmt.Errorf("QEMU has no device with %s (igb needs QEMU 8.1)", dev)
		}
	}
	f, err := elf.Open(busybox)
	if err != nil {
		return errors.New("there is no busybox (package busybox-static)")
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("busybox is not the static one (package busybox-static)")
		}
	}
	return nil
}

// findKernel finds the newest kernel of /boot whose modules have what the rig needs.
func findKernel() (kernel, error) {
	images, err := filepath.Glob("/boot/vmlinuz-*")
	if err != nil || len(images) == 0 {
		return kernel{}, errors.New("there is no kernel in /boot")
	}
	slices.SortFunc(images, func(a, b string) int { return compareVersions(b, a) })
	var why error
	for _, image := range images {
		release := strings.TrimPrefix(image, "/boot/vmlinuz-")
		m, merr := readModules("/lib/modules/" + release)
		if merr != nil {
			why = merr
			continue
		}
		if missing := m.missing(needed...); len(missing) > 0 {
			why = fmt.Errorf("kernel %s has no module %s", release, strings.Join(missing, ", "))
			continue
		}
		return kernel{release, image, m}, nil
	}
	return kernel{}, why
}

// compareVersions orders names with numbers in them as people do.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		x, y := run(a), run(b)
		a, b = a[len(x):], b[len(y):]
		if x == y {
			continue
		}
		if digit(x[0]) && digit(y[0]) {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if len(x) != len(y) {
				return len(x) - len(y)
			}
		}
		return strings.Compare(x, y)
	}
	return len(a) - len(b)
}

// run is the run of digits, or of anything else, at the beginning of s.
func run(s string) string {
	i := 1
	for i < len(s) && digit(s[i]) == digit(s[0]) {
		i++
	}
	return s[:i]
}

func digit(c byte) bool { return c >= '0' && c <= '9' }
