package rig

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// archive writes a cpio archive as the kernel unpacks it (newc;
// Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	buf  bytes.Buffer
	ino  int
	dirs map[string]bool
}

const (
	modeDir  = 0o040755
	modeFile = 0o100755
	modeLink = 0o120777
	modeChar = 0o020600
)

func (a *archive) entry(name string, mode, major, minor int, content []byte) {
	a.ino++
	fmt.Fprintf(&a.buf, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.ino, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name)+1, 0)
	a.buf.WriteString(name)
	a.buf.WriteByte(0)
	a.pad()
	a.buf.Write(content)
	a.pad()
}

func (a *archive) pad() {
	for a.buf.Len()%4 != 0 {
		a.buf.WriteByte(0)
	}
}

// parents makes the directories above a name.
func (a *archive) parents(name string) {
	if a.dirs == nil {
		a.dirs = map[string]bool{}
	}
	dir := path.Dir(name)
	if dir == "." || a.dirs[dir] {
		return
	}
	a.parents(dir)
	a.dirs[dir] = true
	a.entry(dir, modeDir, 0, 0, nil)
}

func (a *archive) dir(name string) { a.parents(name + "/x") }

func (a *archive) file(name string, content []byte) {
	a.parents(name)
	a.entry(name, modeFile, 0, 0, content)
}

func (a *archive) link(name, to string) {
	a.parents(name)
	a.entry(name, modeLink, 0, 0, []byte(to))
}

// char makes a character device, for a console before devtmpfs is there.
func (a *archive) char(name string, major, minor int) {
	a.parents(name)
	a.entry(name, modeChar, major, minor, nil)
}

// write ends the archive and packs it into a file.
func (a *archive) write(file string) error {
	a.entry("TRAILER!!!", 0, 0, 0, nil)
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if _, err = z.Write(a.buf.Bytes()); err != nil {
		return err
	}
	if err = z.Close(); err != nil {
		return err
	}
	return os.WriteFile(file, packed.Bytes(), 0o600)
}

// load adds modules and returns the commands that load them.
func (a *archive) load(m *modules, names ...string) (string, error) {
	order, err := m.order(names...)
	if err != nil {
		return "", err
	}
	var script strings.Builder
	for _, p := range order {
		content, rerr := m.read(p)
		if rerr != nil {
			return "", rerr
		}
		name := moduleName(p) + ".ko"
		a.file("m/"+name, content)
		fmt.Fprintf(&script, "/bin/busybox insmod /m/%s\n", name)
	}
	return script.String(), nil
}

// writeInitramfs makes the one of the machine: it mounts this machine's root and the
// shared directory, and runs /vm/script there.
func writeInitramfs(k kernel, file string) error {
	a := &archive{}
	bb, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	a.file("bin/busybox", bb)
	a.char("dev/console", 5, 1)
	for _, d := range []string{"proc", "sys", "newroot", "ro", "rw"} {
		a.dir(d)
	}
	load, err := a.load(k.modules, "9p", "9pnet_virtio", "overlay")
	if err != nil {
		return err
	}
	a.file("init", []byte(strings.ReplaceAll(machineInit, "LOAD\n", load)))
	return a.write(file)
}

const machineInit = `#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
LOAD
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro root /ro
$b mount -t tmpfs tmpfs /rw; $b mkdir -p /rw/u /rw/w
$b mount -t overlay -o lowerdir=/ro,upperdir=/rw/u,workdir=/rw/w overlay /newroot
for d in proc sys dev; do $b mount --move /$d /newroot/$d; done
$b mount -t tmpfs tmpfs /newroot/run
$b mkdir -p /newroot/vm /newroot/dev/pts /newroot/dev/shm /newroot/run/netns
$b mount -t devpts devpts /newroot/dev/pts
$b mount -t tmpfs tmpfs /newroot/dev/shm
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 share /newroot/vm
exec $b switch_root /newroot /bin/bash /vm/boot
`

// machineBoot is what runs in the machine's root: it reports how the script ended in a
// file, for the console carries only what people read. The kernel keeps quiet from there
// on, panics apart: it writes into lines that are being written.
const machineBoot = `export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
exec </dev/null >/dev/ttyS0 2>&1
echo 1 > /proc/sys/kernel/printk
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
ip link set lo up
while :; do echo > /vm/alive; sleep 2; done &
bash /vm/script
echo $? > /vm/exit
sync
echo o > /proc/sysrq-trigger
sleep 60
`

// Guest describes a tiny guest for a VM inside the machine.
type Guest struct {
	// Modules to load before Script, e.g. igbvf or virtio_net; what they need comes along.
	Modules []string
	// Script is run by busybox's shell as the guest's first process. proc, sys and dev are
	// mounted. When it ends the guest stays up, idle.
	Script string
}

// WriteGuest writes the guest's initramfs to file, and returns the kernel to boot it
// with. It works on the machine as well as inside the rig.
func WriteGuest(g Guest, file string) (image string, err error) {
	k, err := findKernel()
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrCannot, err)
	}
	a := &archive{}
	bb, err := os.ReadFile(busybox)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrCannot, err)
	}
	a.file("bin/busybox", bb)
	a.link("bin/sh", "busybox")
	a.char("dev/console", 5, 1)
	for _, d := range []string{"proc", "sys", "tmp", "etc"} {
		a.dir(d)
	}
	load, err := a.load(k.modules, g.Modules...)
	if err != nil {
		return "", err
	}
	a.file("lease", []byte(guestLease))
	a.file("init", []byte("#!/bin/busybox sh\n"+
		"/bin/busybox mount -t proc proc /proc; /bin/busybox mount -t sysfs sys /sys; /bin/busybox mount -t devtmpfs dev /dev\n"+
		"/bin/busybox --install -s /bin; export PATH=/bin\n"+load+g.Script+"\nwhile true; do sleep 3600; done\n"))
	return k.image, a.write(filepath.Clean(file))
}

// guestLease is udhcpc's script (-s /lease): it takes the address and says so.
const guestLease = `#!/bin/sh
case $1 in
bound|renew)
	ifconfig $interface $ip netmask $subnet
	[ -n "$router" ] && route add default gw $router
	echo "guest: address $ip on $interface"
	;;
esac
`
