package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"neutrino/test/rig"
)

// packages of the disk, beside what Debian's minimal system has.
const packages = "systemd-sysv,udev,dbus,ifupdown,kmod,iproute2,pciutils,ethtool,irqbalance,initramfs-tools,zstd,grub-pc," +
	"linux-image-amd64/bookworm-backports"

const mirror = "http://deb.debian.org/debian"

// sizeOfDisk is sparse: the tree takes a third of it.
const sizeOfDisk = 2 << 30

// partition begins where everybody's does, so that GRUB has room before it.
const partition = 1 << 20

// rootUUID is the root file system's.
const rootUUID = "5e1f0a52-7d7c-4c63-9a0e-6d0f6a3b9d11"

// files of the disk that the administrator wrote. The kernel's words are those that the
// emulation wants, and one that keeps Intel's IOMMU off, as some hosts have it.
var files = map[string]string{
	"etc/hostname":                      "compute1\n",
	"etc/fstab":                         "UUID=" + rootUUID + " / ext4 errors=remount-ro 0 1\n",
	"etc/network/interfaces":            "auto lo\niface lo inet loopback\n\n# The management network.\nauto mgmt0\niface mgmt0 inet static\n\taddress 10.0.2.15/24\n\tgateway 10.0.2.2\n\nauto enp1s0\niface enp1s0 inet manual\n",
	"etc/systemd/network/10-mgmt0.link": "[Match]\nDriver=virtio_net\n\n[Link]\nName=mgmt0\n",
	"etc/default/grub": `GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=Debian
GRUB_TERMINAL=serial
# Words of this host's administrator.
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="` + rig.HostArgs + ` intel_iommu=off"
`,
	"etc/systemd/system/hand.service": `[Unit]
Description=the test's hand
RequiresMountsFor=/vm
After=multi-user.target
[Service]
ExecStart=/vm/hand
[Install]
WantedBy=multi-user.target
`,
	"etc/systemd/system/vm.mount": `[Unit]
Description=what the test shares
[Mount]
What=share
Where=/vm
Type=9p
Options=trans=virtio,version=9p2000.L,msize=262144
`,
}

// timers are masked: what they do depends on the time of day, and changes files.
var timers = []string{"apt-daily", "apt-daily-upgrade", "dpkg-db-backup", "e2scrub_all", "fstrim", "logrotate", "systemd-tmpfiles-clean"}

// made is a fresh host's disk, and its kernel for booting it past the boot loader. They
// are not to be written to.
type made struct{ image, kernel, initrd string }

// disk returns the disk of the fresh host, made now or in an earlier run.
func disk(t *testing.T) made {
	t.Helper()
	name := filepath.Join(os.TempDir(), "neutrino-test-host-"+key())
	out := made{name + ".img", name + ".vmlinuz", name + ".initrd"}
	if _, err := os.Stat(out.image); err == nil {
		t.Logf("the disk is %s", out.image)
		return out
	}
	start := time.Now()
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	command(t, "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", `--aptopt=APT::Install-Recommends "false"`,
		"--include="+packages, "bookworm", tree, "deb "+mirror+" bookworm main", "deb "+mirror+" bookworm-backports main")
	for name, text := range files {
		put(t, filepath.Join(tree, name), text)
	}
	units := filepath.Join(tree, "etc/systemd/system")
	err := errors.Join(os.Mkdir(filepath.Join(tree, "vm"), 0o755),
		os.Symlink("/etc/systemd/system/hand.service", filepath.Join(units, "multi-user.target.wants/hand.service")))
	for _, timer := range timers {
		err = errors.Join(err, os.Symlink("/dev/null", filepath.Join(units, timer+".timer")))
	}
	if err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(dir, "disk")
	format(t, tree, raw)
	copyFile(t, one(t, tree, "boot/vmlinuz-*"), out.kernel, 0o600)
	copyFile(t, one(t, tree, "boot/initrd.img-*"), out.initrd, 0o600)
	bootLoader(t, out, raw)
	// Under its name there is a whole one or none.
	if err = errors.Join(copySparse(raw, out.image+".new"), os.Rename(out.image+".new", out.image)); err != nil {
		t.Fatal(err)
	}
	t.Logf("the disk was made in %s: %s", time.Since(start).Round(time.Second), out.image)
	return out
}

// key says what a disk is made of.
func key() string {
	sum := sha256.Sum256(fmt.Append(nil, packages, mirror, sizeOfDisk, partition, files, timers, installer, bootWords)) // fmt prints maps in order
	return hex.EncodeToString(sum[:8])
}

// format makes a disk with one partition that holds the tree.
func format(t *testing.T, tree, raw string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(raw, nil, 0o600), os.Truncate(raw, sizeOfDisk)); err != nil {
		t.Fatal(err)
	}
	table := exec.CommandContext(t.Context(), program(t, "sfdisk"), "--quiet", raw)
	table.Stdin = strings.NewReader("label: dos\nlabel-id: 0x6e657574\nstart=2048, type=83, bootable\n")
	if out, err := table.CombinedOutput(); err != nil {
		t.Fatalf("make the partition: %v: %s", err, out)
	}
	command(t, "mke2fs", "-q", "-t", "ext4", "-U", rootUUID, "-d", tree, "-E", fmt.Sprintf("offset=%d", partition),
		raw, fmt.Sprintf("%dk", (sizeOfDisk-partition)>>10))
}

// installer is run in the first boot.
const installer = "set -e; grub-install /dev/vda; update-grub; sync"

// one is the only file of the tree with such a name.
func one(t *testing.T, tree, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(tree, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s in the tree: %v, %v", pattern, found, err)
	}
	return found[0]
}

// bootWords boot the kernel with the disk as its root.
const bootWords = "root=/dev/vda1 ro " + rig.HostArgs

// bootLoader boots the disk's kernel, and lets Debian's tools install GRUB.
func bootLoader(t *testing.T, d made, raw string) {
	t.Helper()
	m := boot(t, rig.Host{Disk: raw, Kernel: d.kernel, Initrd: d.initrd, Append: bootWords})
	m.arrive(t)
	m.sh(t, installer)
	m.off(t)
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, mode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// copySparse copies an image and leaves out what is zero.
func copySparse(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	buf, zero, at := make([]byte, 64<<10), make([]byte, 64<<10), int64(0)
	for {
		n, rerr := io.ReadFull(in, buf)
		if string(buf[:n]) != string(zero[:n]) {
			if _, err = out.WriteAt(buf[:n], at); err != nil {
				return errors.Join(err, out.Close())
			}
		}
		at += int64(n)
		if errors.Is(rerr, io.EOF) || errors.Is(rerr, io.ErrUnexpectedEOF) {
			return errors.Join(out.Truncate(at), out.Close())
		}
		if rerr != nil {
			return errors.Join(rerr, out.Close())
		}
	}
}

func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		cannot(t, fmt.Errorf("%w: apt-get install mmdebstrap e2fsprogs fdisk", err))
	}
	return path
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	runtime.LockOSThread() // it ends with the thread that started it
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(t.Context(), program(t, name), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

func build(t *testing.T, to, pkg string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", to, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v: %s", pkg, err, out)
	}
}
