package pci

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Netdev is a network device of a function, in the caller's namespace.
type Netdev struct {
	Name    string
	MAC     string
	DevPort int      // port of the function (dev_port); mlx4 has two netdevs per function
	Uppers  []string // devices on top of it: macvtap, vlan, bond, ...
}

// Function is what sysfs says of one PCI function.
type Function struct {
	Slot      string
	Vendor    int // PCI ids
	Device    int
	Driver    string // "" = none
	NUMANode  int    // -1 = none
	PhysFn    string // PCI slot of the PF; "" = it is no VF
	Netdevs   []Netdev
	ResetFLR  bool // a reset is a function-level reset, as far as the kernel says
	HasReset  bool
	IOMMU     bool // it is in an IOMMU group
	LinkSpeed string
	LinkWidth int
}

// PF is a physical function with SR-IOV.
type PF struct {
	Function
	TotalVFs  int
	NumVFs    int
	Settable  bool // sriov_numvfs exists: the count can be changed without a reload of the driver
	Autoprobe bool // new VFs are given a driver at once
	VFs       []VFRef
}

// VFRef is one virtfnN link.
type VFRef struct {
	Index int
	Slot  string
}

// Function reads a function.
func (s *Sys) Function(slot string) (Function, error) {
	if err := s.need(slot); err != nil {
		return Function{}, err
	}
	f := Function{Slot: slot, NUMANode: -1}
	f.Vendor, _ = number(s.device(slot, "vendor"))
	f.Device, _ = number(s.device(slot, "device"))
	f.Driver = linkBase(s.device(slot, "driver"))
	if n, ok := number(s.device(slot, "numa_node")); ok {
		f.NUMANode = max(n, -1)
	}
	f.PhysFn = linkBase(s.device(slot, "physfn"))
	f.IOMMU = linkBase(s.device(slot, "iommu_group")) != ""
	_, err := os.Stat(s.device(slot, "reset"))
	f.HasReset = err == nil
	method, told := text(s.device(slot, "reset_method"))
	f.ResetFLR = f.HasReset && (!told || slices.Contains(strings.Fields(method), "flr"))
	f.LinkSpeed, _ = text(s.device(slot, "current_link_speed"))
	f.LinkWidth, _ = number(s.device(slot, "current_link_width"))
	f.Netdevs = s.netdevs(slot)
	return f, nil
}

func (s *Sys) netdevs(slot string) []Netdev {
	var out []Netdev
	for _, name := range names(s.device(slot, "net")) {
		at := s.device(slot, "net", name)
		d := Netdev{Name: name}
		d.MAC, _ = text(filepath.Join(at, "address"))
		d.DevPort, _ = number(filepath.Join(at, "dev_port"))
		for _, e := range names(at) {
			if upper, ok := strings.CutPrefix(e, "upper_"); ok {
				d.Uppers = append(d.Uppers, upper)
			}
		}
		out = append(out, d)
	}
	slices.SortStableFunc(out, func(a, b Netdev) int { return cmp.Compare(a.DevPort, b.DevPort) })
	return out
}

// PFs lists the physical functions of the machine that have SR-IOV, by PCI slot.
func (s *Sys) PFs() ([]PF, error) {
	var out []PF
	dir := s.path("sys/bus/pci/devices")
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("list PCI functions: %w", err)
	}
	for _, slot := range names(dir) {
		if CheckSlot(slot) != nil || !s.isPF(slot) {
			continue
		}
		p, err := s.PF(slot)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (s *Sys) isPF(slot string) bool {
	if _, ok := number(s.device(slot, "sriov_totalvfs")); ok {
		return true
	}
	return slices.ContainsFunc(names(s.device(slot)), func(n string) bool { return strings.HasPrefix(n, "virtfn") })
}

// PF reads a physical function by its PCI slot or by the name of one of its netdevs.
func (s *Sys) PF(name string) (PF, error) {
	slot, err := s.slotOf(name)
	if err != nil {
		return PF{}, err
	}
	f, err := s.Function(slot)
	if err != nil {
		return PF{}, err
	}
	if !s.isPF(slot) {
		return PF{}, fmt.Errorf("%s (%s): %w", name, slot, ErrNotPF)
	}
	p := PF{Function: f, Autoprobe: true}
	for _, n := range names(s.device(slot)) {
		digits, ok := strings.CutPrefix(n, "virtfn")
		if !ok {
			continue
		}
		i, aerr := strconv.Atoi(digits)
		vf := linkBase(s.device(slot, n))
		if aerr != nil || i < 0 || CheckSlot(vf) != nil {
			continue
		}
		p.VFs = append(p.VFs, VFRef{i, vf})
	}
	slices.SortFunc(p.VFs, func(a, b VFRef) int { return cmp.Compare(a.Index, b.Index) })
	var ok bool
	if p.NumVFs, ok = number(s.device(slot, "sriov_numvfs")); !ok {
		p.NumVFs = len(p.VFs)
	}
	if p.TotalVFs, ok = number(s.device(slot, "sriov_totalvfs")); !ok {
		p.TotalVFs = p.NumVFs
	}
	if n, has := number(s.device(slot, "sriov_drivers_autoprobe")); has {
		p.Autoprobe = n != 0
	}
	p.Settable = s.settable(slot, f.Driver)
	return p, nil
}

// settable reports whether the count can be changed by a write to sriov_numvfs. mlx4 has
// the file by virtue of the PCI core, and no sriov_configure behind it: its count is an
// option of the module (drivers/net/ethernet/mellanox/mlx4/main.c).
func (s *Sys) settable(slot, driver string) bool {
	if driver == "" || driver == "mlx4_core" {
		return false
	}
	_, err := os.Stat(s.device(slot, "sriov_numvfs"))
	return err == nil
}

// slotOf turns a netdev's name into a PCI slot.
func (s *Sys) slotOf(name string) (string, error) {
	if CheckSlot(name) == nil {
		return name, s.need(name)
	}
	if name == "" || strings.ContainsAny(name, "/\x00") || name == "." || name == ".." {
		return "", fmt.Errorf("%.40q: %w", name, ErrNoDevice)
	}
	slot := linkBase(s.path("sys/class/net", name, "device"))
	if CheckSlot(slot) != nil {
		if _, err := os.Stat(s.path("sys/class/net", name)); err == nil {
			return "", fmt.Errorf("%s is no PCI device: %w", name, ErrNotPF)
		}
		return "", fmt.Errorf("network device %s: %w", name, ErrNoDevice)
	}
	return slot, nil
}

// Drivers reports the driver that a function has; "" = none.
func (s *Sys) Driver(slot string) (string, error) {
	if err := s.need(slot); err != nil {
		return "", err
	}
	return linkBase(s.device(slot, "driver")), nil
}

// Netdev returns the netdev of a VF that belongs to the given port of its PF (dev_port);
// ok is false while there is none in this namespace.
func (s *Sys) Netdev(slot string, devPort int) (d Netdev, ok bool) {
	all := s.netdevs(slot)
	if len(all) == 1 {
		return all[0], true
	}
	for _, d = range all {
		if d.DevPort == devPort {
			return d, true
		}
	}
	return Netdev{}, false
}

// Group lists the other members of the function's IOMMU group; ErrNoDevice when it is in
// none. The number of a group is not kept: it changes over reboots.
func (s *Sys) Group(slot string) ([]Function, error) {
	if err := s.need(slot); err != nil {
		return nil, err
	}
	if linkBase(s.device(slot, "iommu_group")) == "" {
		return nil, fmt.Errorf("IOMMU group of %s: %w: switch the IOMMU on (intel_iommu=on, and VT-d or AMD-Vi in the BIOS)", slot, ErrNoDevice)
	}
	var out []Function
	for _, member := range names(s.device(slot, "iommu_group", "devices")) {
		if member == slot || CheckSlot(member) != nil {
			continue
		}
		f, err := s.Function(member)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// class of a PCI bridge, which may stay in a group that is handed to a guest.
const classBridge = 0x06

func (s *Sys) bridge(slot string) bool {
	c, ok := number(s.device(slot, "class"))
	return ok && c>>16 == classBridge
}
