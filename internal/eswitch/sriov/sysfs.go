package sriov

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"neutrino/internal/pci"
)

// sysfs is pci.Sys, and the little beyond it that only this package asks for.
type sysfs struct{ *pci.Sys }

// pfFiles is what sysfs says of a PF.
type pfFiles struct {
	pci.PF
	ifindex int
	devPort int
	virtfn  map[int]string // VF index -> PCI slot
	ofed    string         // the directory of NVIDIA's files for the VFs; "" = none
}

// vfFiles is what sysfs says of a VF.
type vfFiles struct {
	pci.Netdev // Name "" = none in this namespace
	driver     string
}

func (s sysfs) netdev(name string, more ...string) string {
	return filepath.Join(append([]string{cmp.Or(s.Root, "/"), "sys/class/net", name}, more...)...)
}

// ifindex of a netdev of this namespace; 0 = it is not there.
func (s sysfs) ifindex(name string) int {
	b, err := os.ReadFile(s.netdev(name, "ifindex"))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return n
}

// pf reads a PF by its netdev's name.
func (s sysfs) pf(name string) (pfFiles, error) {
	f := pfFiles{ifindex: s.ifindex(name), virtfn: map[int]string{}}
	if f.ifindex == 0 {
		return f, fmt.Errorf("network device %s: %w", name, pci.ErrNoDevice)
	}
	var err error
	if f.PF, err = s.PF(name); err != nil {
		return f, err
	}
	for _, v := range f.VFs {
		f.virtfn[v.Index] = v.Slot
	}
	for _, d := range f.Netdevs {
		if d.Name == name {
			f.devPort = d.DevPort
		}
	}
	if dir := s.netdev(name, "device", "sriov"); exists(dir) {
		f.ofed = dir
	}
	return f, nil
}

// vf reads a VF. devPort is the PF's: a function with several netdevs has one per port.
func (s sysfs) vf(slot string, devPort int) vfFiles {
	var f vfFiles
	f.driver, _ = s.Driver(slot)
	f.Netdev, _ = s.Netdev(slot, devPort)
	return f
}

// keeps reports whether the VF's driver keeps an address of its own.
func (f *vfFiles) keeps() bool {
	_, ok := vfDrivers[f.driver]
	return ok && f.Name != "" && f.MAC != ""
}

// physfn is the PCI slot of a VF's PF; "" if it is no VF.
func (s sysfs) physfn(slot string) string {
	return base(filepath.Join(cmp.Or(s.Root, "/"), "sys/bus/pci/devices", slot, "physfn"))
}

// home is the PCI slot of the PF whose VF has this netdev; "" for any other netdev.
func (s sysfs) home(netdev string) string { return base(s.netdev(netdev, "device", "physfn")) }

// base is the last element of what a link points at; "" without a link.
func base(path string) string {
	to, err := os.Readlink(path)
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// write writes a file of NVIDIA's. The driver works within the write, and one that hangs
// holds it: who waits leaves with the context.
func write(ctx context.Context, path, text string) error {
	done := make(chan error, 1)
	go func() { done <- os.WriteFile(path, []byte(text), 0) }() // ends with the kernel's call
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("write %q to %s: %w: %w", text, path, pci.ErrTimeout, ctx.Err())
	}
}
