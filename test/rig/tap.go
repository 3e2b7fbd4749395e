package rig

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// openTap makes a port of a bridge of the calling thread's network namespace. The port
// is there as long as somebody has the file open: QEMU inherits it, so that it goes with
// QEMU however that ends (Documentation/networking/tuntap.rst).
func openTap(bridge string) (*os.File, error) {
	ip, err := exec.LookPath("ip")
	if err != nil {
		return nil, fmt.Errorf("%w: %w: apt-get install iproute2", ErrCannot, err)
	}
	const device = "/dev/net/tun"
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: open %s: %w; the kernel needs tun", ErrCannot, device, err)
	}
	f := os.NewFile(uintptr(fd), device)
	name, err := attach(fd)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a tap: %w", err), f.Close())
	}
	if out, err := exec.Command(ip, "link", "set", name, "master", bridge, "up").CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("make %s a port of bridge %s: %w: %s", name, bridge, err, out), f.Close())
	}
	return f, nil
}

// attach makes the interface of an open tun device, and returns the name the kernel
// chose. QEMU finds the header of virtio-net by itself (TUNGETIFF).
func attach(fd int) (string, error) {
	r, err := unix.NewIfreq("rig%d")
	if err != nil {
		return "", err
	}
	r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err = unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
		return "", err
	}
	return r.Name(), nil
}
