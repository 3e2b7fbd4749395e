package machine

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/pci"
)

// NIC is a network controller: a PF, a VF, or a function without SR-IOV.
type NIC struct {
	pci.Function
	PF         *pci.PF // of a function that has SR-IOV
	PCIe       PCIe
	BARs       BARs
	Override   string      // driver_override
	Group      string      // IOMMU group
	GroupType  string      // "DMA", "DMA-FQ", "identity"
	GroupWith  []string    // the other functions of it, but bridges
	Interfaces []Interface // its netdevs in this namespace, by dev_port
	IRQs       []int       // MSI and MSI-X vectors, ascending
	LocalCPUs  CPUList
}

// Name is how people know it.
func (n NIC) Name() string {
	if len(n.Interfaces) == 0 {
		return n.Slot
	}
	return n.Interfaces[0].Name
}

// VF reports whether it is a virtual function.
func (n NIC) VF() bool { return n.PhysFn != "" }

// Interface is a netdev as sysfs shows it.
type Interface struct {
	Name    string
	MAC     string
	DevPort int
	MTU     int
	Up      bool // administratively
	Carrier bool // false also while it is down
	Speed   int  // Mbit/s; 0 = not known
	Duplex  string
	Type    int // ARPHRD_*: 1 Ethernet, 32 InfiniBand
	RX, TX  int // queues
	Uppers  []string
}

// ifUp is IFF_UP.
const ifUp = 1

// Interface reads one netdev.
func (t Tree) Interface(name string) Interface {
	at := filepath.Join("sys/class/net", name)
	i := Interface{Name: name}
	i.MAC, _ = t.Text(at, "address")
	i.DevPort, _ = t.Number(at, "dev_port")
	i.MTU, _ = t.Number(at, "mtu")
	i.Type, _ = t.Number(at, "type")
	flags, _ := t.Number(at, "flags")
	i.Up = flags&ifUp != 0
	carrier, _ := t.Number(at, "carrier") // EINVAL while it is down
	i.Carrier = carrier == 1
	if v, ok := t.Number(at, "speed"); ok && v > 0 {
		i.Speed = v
	}
	i.Duplex, _ = t.Text(at, "duplex")
	i.RX, i.TX = len(t.numbered("rx-", at, "queues")), len(t.numbered("tx-", at, "queues"))
	for _, n := range t.Names(at) {
		if upper, ok := strings.CutPrefix(n, "upper_"); ok {
			i.Uppers = append(i.Uppers, upper)
		}
	}
	return i
}

// nics reads every network controller.
func (t Tree) nics(s *pci.Sys) []NIC {
	var out []NIC
	for _, slot := range t.Names("sys/bus/pci/devices") {
		class, _ := t.Number(device, slot, "class")
		if pci.CheckSlot(slot) != nil || class>>16 != 0x02 && class>>8 != 0x0c06 { // the latter: InfiniBand
			continue
		}
		f, err := s.Function(slot)
		if err != nil { // it went meanwhile
			continue
		}
		n := NIC{Function: f, PCIe: t.pcie(slot), BARs: t.bars(slot), LocalCPUs: t.List(device, slot, "local_cpulist")}
		if p, err := s.PF(slot); err == nil {
			n.PF = &p
		}
		if o, ok := t.Text(device, slot, "driver_override"); ok && o != "(null)" {
			n.Override = o
		}
		if n.Group = t.Link(device, slot, "iommu_group"); n.Group != "" {
			n.GroupType, _ = t.Text(device, slot, "iommu_group/type")
			for _, member := range t.Names(device, slot, "iommu_group/devices") {
				c, _ := t.Number(device, member, "class")
				if member != slot && c>>16 != classBridge {
					n.GroupWith = append(n.GroupWith, member)
				}
			}
		}
		for _, d := range f.Netdevs {
			n.Interfaces = append(n.Interfaces, t.Interface(d.Name))
		}
		for _, bus := range t.numbered("virtio", device, slot) { // its netdev is a step further down
			for _, name := range t.Names(device, slot, fmt.Sprintf("virtio%d", bus), "net") {
				n.Interfaces = append(n.Interfaces, t.Interface(name))
			}
		}
		for _, irq := range t.Names(device, slot, "msi_irqs") {
			if v, err := strconv.Atoi(irq); err == nil && v >= 0 {
				n.IRQs = append(n.IRQs, v)
			}
		}
		slices.Sort(n.IRQs)
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b NIC) int { return cmp.Compare(a.Slot, b.Slot) })
	return out
}

const (
	device = "sys/bus/pci/devices"

	classBridge = 0x06
)

// BARs says whether the firmware left room for the memory of VFs.
type BARs struct {
	Known  bool // the kernel has the file
	VF     int  // BARs of VFs that have an address
	Absent int  // that have none
}

// Places in the "resource" file (include/linux/pci.h): six BARs, the ROM, six BARs of
// VFs. Flags of include/linux/ioport.h.
const (
	firstVFBAR, lastVFBAR = 7, 12
	flagUnset             = 0x20000000
	flagMemory            = 0x00000200
)

func (t Tree) bars(slot string) BARs {
	text, ok := t.Text(device, slot, "resource")
	return parseBARs(text, ok)
}

func parseBARs(text string, ok bool) BARs {
	lines := strings.Split(text, "\n")
	if !ok || len(lines) <= lastVFBAR {
		return BARs{}
	}
	b := BARs{Known: true}
	for _, line := range lines[firstVFBAR : lastVFBAR+1] {
		var start, end, flags uint64
		if _, err := fmt.Sscanf(line, "0x%x 0x%x 0x%x", &start, &end, &flags); err != nil {
			return BARs{}
		}
		switch {
		case flags&flagMemory == 0:
		case flags&flagUnset != 0, start == 0:
			b.Absent++
		default:
			b.VF++
		}
	}
	return b
}
