package tune

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/ethtool"
	"neutrino/internal/hostprep"
	"neutrino/internal/pci"
)

const netDir = "sys/class/net"

// devices lists the network devices that are to be tuned.
func (h *Host) devices(names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		found, err := h.named(name)
		if errors.Is(err, ErrNoNIC) && h.lenient {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
		for _, f := range found {
			out = append(out, h.vfDevices(f)...)
		}
	}
	if len(names) == 0 {
		for _, name := range h.tree().Names(netDir) {
			if _, err := os.Stat(h.path(netDir, name, "device")); err == nil {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// vfDevices are the network devices that the VFs of a PF have here.
func (h *Host) vfDevices(name string) []string {
	p, err := h.Sys.PF(name)
	if err != nil {
		return nil // it is no PF
	}
	var out []string
	for _, v := range p.VFs {
		out = append(out, h.tree().Names("sys/bus/pci/devices", v.Slot, "net")...)
	}
	return out
}

// named finds a device by its own name, or those of a PCI function.
func (h *Host) named(name string) ([]string, error) {
	if pci.CheckSlot(name) == nil {
		fn, err := h.Sys.Function(name)
		if err != nil || len(fn.Netdevs) == 0 {
			return nil, fmt.Errorf("PCI function %s has no network device here: %w", name, ErrNoNIC)
		}
		var out []string
		for _, d := range fn.Netdevs {
			out = append(out, d.Name)
		}
		return out, nil
	}
	if name == "" || strings.ContainsAny(name, "/\x00") || name == "." || name == ".." {
		return nil, fmt.Errorf("%.40q: %w", name, ErrNoNIC)
	}
	if _, err := os.Stat(h.path(netDir, name)); err != nil {
		return nil, fmt.Errorf("%s: %w", name, ErrNoNIC)
	}
	return []string{name}, nil
}

// nic reads one device, its interrupts, queues, settings and VFs.
func (h *Host) nic(f *Facts, name string, handlers map[int]string) (NIC, error) {
	n := NIC{Name: name, Node: -1}
	n.Index, _ = h.tree().Number(netDir, name, "ifindex")
	flags, _ := h.text(netDir, name, "flags")
	if bits, err := strconv.ParseUint(flags, 0, 32); err == nil {
		n.Up = bits&1 != 0
	}
	n.Slot, n.Driver = h.function(name)
	if n.Slot != "" {
		fn, err := h.Sys.Function(n.Slot)
		if err != nil {
			return NIC{}, err
		}
		n.Node, n.VF = fn.NUMANode, fn.PhysFn != ""
		if above := h.tree().Names("sys/bus/pci/devices", fn.PhysFn, "net"); n.VF && len(above) > 0 {
			n.PF = above[0]
		}
		n.IRQs = h.irqs(n.Slot, name, handlers)
		n.ReadReq, _ = h.readReq(n.Slot)
	}
	for _, q := range h.tree().Names(netDir, name, "queues") {
		kind, digits, _ := strings.Cut(q, "-")
		i, err := strconv.Atoi(digits)
		switch {
		case err != nil:
		case kind == "rx":
			n.RxQueue = append(n.RxQueue, i)
			h.file(f, netDir+"/"+name+"/queues/"+q+"/rps_cpus")
		case kind == "tx":
			n.TxQueue = append(n.TxQueue, i)
			h.file(f, netDir+"/"+name+"/queues/"+q+"/xps_cpus")
		}
	}
	slices.Sort(n.RxQueue)
	slices.Sort(n.TxQueue)
	if h.Ethtool != nil {
		s, err := h.Ethtool.Read(name)
		if errors.Is(err, ethtool.ErrNoDevice) {
			return NIC{}, fmt.Errorf("%s has gone: %w", name, ErrNoNIC)
		}
		if err != nil {
			return NIC{}, err
		}
		n.Ethtool = s
	}
	n.Bridge = h.bridge(name)
	if !h.EvenManagement {
		n.Cut = hostprep.Host{Sys: h.Sys}.CutOff(name)
	}
	return n, h.vfs(&n, handlers)
}

// function is the PCI function behind a device, and the driver of the device: virtio's
// is one level further up.
func (h *Host) function(name string) (slot, driver string) {
	at, err := filepath.EvalSymlinks(h.path(netDir, name, "device"))
	if err != nil {
		return "", ""
	}
	driver = base(filepath.Join(at, "driver"))
	for range 3 {
		if slot = filepath.Base(at); pci.CheckSlot(slot) == nil && h.Sys.Exists(slot) {
			return slot, driver
		}
		at = filepath.Dir(at)
	}
	return "", driver
}

func base(link string) string {
	to, err := os.Readlink(link)
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}

// vfs reads the VFs of a PF: their interrupts, whoever handles them, and their vectors.
func (h *Host) vfs(n *NIC, handlers map[int]string) error {
	if n.Slot == "" || n.VF {
		return nil
	}
	p, err := h.Sys.PF(n.Slot)
	if errors.Is(err, pci.ErrNotPF) {
		return nil
	}
	if err != nil {
		return err
	}
	n.VectorsTotal, _ = h.tree().Number("sys/bus/pci/devices", n.Slot, "sriov_vf_total_msix")
	for _, ref := range p.VFs {
		fn, ferr := h.Sys.Function(ref.Slot)
		if errors.Is(ferr, pci.ErrNoDevice) { // removed by hand; its link remains
			continue
		}
		if ferr != nil {
			return ferr
		}
		v := VF{Index: ref.Index, Slot: ref.Slot, Driver: fn.Driver}
		v.Vectors, _ = h.vectors(ref.Slot)
		if len(fn.Netdevs) == 0 { // else it is a device of its own
			v.IRQs = h.irqs(ref.Slot, "", handlers)
		}
		n.VFs = append(n.VFs, v)
	}
	return nil
}

// irqs are the interrupts of a function that somebody handles: what sysfs lists, or, on
// kernels that do not, those whose handlers bear the device's name or its address.
func (h *Host) irqs(slot, device string, handlers map[int]string) []IRQ {
	var out []IRQ
	listed := h.tree().Names("sys/bus/pci/devices", slot, "msi_irqs")
	if len(listed) == 0 {
		if n, ok := h.tree().Number("sys/bus/pci/devices", slot, "irq"); ok && n > 0 {
			listed = []string{strconv.Itoa(n)}
		}
	}
	for _, text := range listed {
		n, err := strconv.Atoi(text)
		if name, handled := handlers[n]; err == nil && handled {
			out = append(out, h.irq(n, name, device))
		}
	}
	if len(out) == 0 {
		for n, name := range handlers {
			if strings.Contains(name, slot) || device != "" && slices.Contains(strings.FieldsFunc(name, func(r rune) bool { return r == '-' || r == ' ' }), device) {
				out = append(out, h.irq(n, name, device))
			}
		}
	}
	slices.SortFunc(out, func(a, b IRQ) int { return a.Number - b.Number })
	return out
}

func (h *Host) irq(n int, name, device string) IRQ {
	q := IRQ{Number: n, Name: name, Device: device, CPUs: h.tree().List(irqFile(n))}
	info, err := os.Stat(h.path(irqFile(n)))
	q.Fixed = err != nil || info.Mode().Perm()&0o200 == 0
	return q
}

// flaps counts how often the link of a value's device has come and gone.
func (h *Host) flaps(t Target) int {
	if t.Device == "" {
		return 0
	}
	n, _ := h.tree().Number(netDir, t.Device, "carrier_changes")
	return n
}

func irqFile(n int) string { return fmt.Sprintf("proc/irq/%d/smp_affinity_list", n) }

// bridge says what on top of a device passes its packets on.
func (h *Host) bridge(name string) string {
	seen := map[string]bool{}
	for todo := []string{name}; len(todo) > 0; todo = todo[1:] {
		at := todo[0]
		if seen[at] {
			continue
		}
		seen[at] = true
		if at != name {
			if at == "ovs-system" {
				return "Open vSwitch"
			}
			if _, err := os.Stat(h.path(netDir, at, "bridge")); err == nil {
				return "bridge " + at
			}
			if uevent, _ := h.text(netDir, at, "uevent"); strings.Contains(uevent, "DEVTYPE=mac") {
				return at
			}
		}
		for _, e := range h.tree().Names(netDir, at) {
			if upper, ok := strings.CutPrefix(e, "upper_"); ok {
				todo = append(todo, upper)
			}
		}
	}
	return ""
}
