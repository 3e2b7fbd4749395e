package guest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"neutrino/internal/machine"
)

// Errors for errors.Is.
var (
	// ErrNoGuest: the tree is not that of a Linux system.
	ErrNoGuest = errors.New("there is no Linux system in it")
)

// Manager is what configures a guest's network.
type Manager string

// The managers.
const (
	Networkd       Manager = "systemd-networkd"
	NetworkManager Manager = "NetworkManager"
	Netplan        Manager = "netplan"
	Ifupdown       Manager = "ifupdown"
	Wicked         Manager = "wicked"
)

// Facts is what a tree has.
type Facts struct {
	OS        machine.OS
	Managers  []Manager
	Kernels   []Kernel
	Initramfs string // "initramfs-tools", "dracut", or ""
	// Interfaces is ifupdown's file, /etc/network/interfaces.
	Interfaces string
	CloudInit  bool
	Systemd    bool
}

// Kernel is one that is installed.
type Kernel struct {
	Release string
	Drivers []string // of [Drivers], those that it has as modules
	BuiltIn []string // and those that are part of it
}

// Drivers are those of VFs and of what stands in for them, each with what it needs.
var Drivers = []string{"virtio_net", "igbvf", "ixgbevf", "iavf", "mlx4_core", "mlx4_en", "mlx5_core"}

// tree reads below a root, and nothing else.
type tree struct{ root *os.Root }

func (t tree) text(name string) string {
	i, err := t.root.Stat(name)
	if err != nil || !i.Mode().IsRegular() {
		return ""
	}
	f, err := t.root.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 4<<20))
	if err != nil {
		return ""
	}
	return string(data)
}

// there reports whether there is something of that name; where a link leads does not matter.
func (t tree) there(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		_, err := t.root.Lstat(name)
		return err == nil
	})
}

func (t tree) names(dir string) []string {
	entries, err := fs.ReadDir(t.root.FS(), dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// enabled reports whether some target wants a unit.
func (t tree) enabled(unit string) bool {
	for _, dir := range []string{"etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"} {
		for _, d := range t.names(dir) {
			if strings.HasSuffix(d, ".wants") && t.there(path.Join(dir, d, unit)) {
				return true
			}
		}
	}
	return false
}

// Look reads a tree. ErrNoGuest: it is none of a Linux system.
func Look(root string) (Facts, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return Facts{}, fmt.Errorf("look at the guest in %s: %w", root, err)
	}
	defer r.Close()
	t := tree{r}
	release := t.text("etc/os-release")
	if release == "" {
		release = t.text("usr/lib/os-release")
	}
	f := Facts{OS: machine.ParseOSRelease(release), Systemd: t.there("usr/lib/systemd/systemd", "lib/systemd/systemd")}
	if release == "" || !t.there("etc") {
		return Facts{}, fmt.Errorf("look at the guest in %s: %w: no etc/os-release: is it the right partition, and mounted?", root, ErrNoGuest)
	}
	f.CloudInit = t.there("usr/bin/cloud-init", "usr/local/bin/cloud-init")
	f.Managers = managers(t)
	f.Interfaces = t.text("etc/network/interfaces")
	switch {
	case t.there("usr/sbin/update-initramfs", "sbin/update-initramfs"):
		f.Initramfs = "initramfs-tools"
	case t.there("usr/bin/dracut", "usr/sbin/dracut", "sbin/dracut"):
		f.Initramfs = "dracut"
	}
	for _, dir := range []string{"lib/modules", "usr/lib/modules"} {
		for _, release := range t.names(dir) {
			known := slices.ContainsFunc(f.Kernels, func(k Kernel) bool { return k.Release == release })
			if k := kernel(t, path.Join(dir, release), release); !known && len(k.Drivers)+len(k.BuiltIn) > 0 {
				f.Kernels = append(f.Kernels, k)
			}
		}
	}
	return f, nil
}

// managers finds who configures the network. Netplan is only a writer for one of the others, and is
// told in its stead.
func managers(t tree) []Manager {
	if t.there("usr/sbin/netplan", "usr/bin/netplan") && t.there("etc/netplan") {
		return []Manager{Netplan}
	}
	var out []Manager
	if t.there("usr/sbin/NetworkManager", "usr/bin/NetworkManager") {
		out = append(out, NetworkManager)
	}
	if t.there("usr/sbin/ifup", "sbin/ifup") && t.there("etc/network/interfaces") {
		out = append(out, Ifupdown)
	}
	if t.there("usr/sbin/wickedd") || t.enabled("wicked.service") {
		out = append(out, Wicked)
	}
	if t.enabled("systemd-networkd.service") {
		out = append(out, Networkd)
	}
	return out
}

// kernel reads which drivers a kernel has.
func kernel(t tree, dir, release string) Kernel {
	k := Kernel{Release: release}
	has := func(file string) map[string]bool {
		out := map[string]bool{}
		for line := range strings.Lines(t.text(path.Join(dir, file))) {
			name, _, _ := strings.Cut(line, ":")
			name = path.Base(strings.TrimSpace(name))
			if base, _, ok := strings.Cut(name, ".ko"); ok {
				out[strings.ReplaceAll(base, "-", "_")] = true
			}
		}
		return out
	}
	modules, builtin := has("modules.dep"), has("modules.builtin")
	for _, d := range Drivers {
		switch {
		case builtin[d]:
			k.BuiltIn = append(k.BuiltIn, d)
		case modules[d]:
			k.Drivers = append(k.Drivers, d)
		}
	}
	return k
}
