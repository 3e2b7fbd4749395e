package numa

import (
	"fmt"
	"slices"
	"strings"

	"neutrino/internal/machine"
	"neutrino/internal/pci"
)

// Map is where everything is.
type Map struct {
	Nodes  []Node   `json:"nodes"`
	NICs   []NIC    `json:"nics"`
	Guests []Guest  `json:"guests"`
	Notes  []string `json:"notes,omitempty"` // what could not be seen
}

// Node is one NUMA node. A machine that has none counts as one, 0.
type Node struct {
	ID       int    `json:"id"`
	CPUs     string `json:"cpus"`
	Isolated string `json:"isolated,omitempty"`
	MemoryMB int    `json:"memory_mb"`

	cpus machine.CPUList
}

// NIC is a network controller and its interrupts.
type NIC struct {
	Name   string `json:"name"`
	Slot   string `json:"pci_slot"`
	Driver string `json:"driver"`
	PF     string `json:"pf,omitempty"` // PCI slot of the PF; "" = it is no VF
	Node   int    `json:"numa_node"`    // -1 = not told
	IRQs   []IRQ  `json:"irqs"`
	// CPUs is where its interrupts are delivered now, Near and Far how many of them go to
	// its own node and to others. Where it has no node, all are near.
	CPUs string `json:"irq_cpus"`
	Near int    `json:"irqs_near"`
	Far  int    `json:"irqs_far"`
}

// IRQ is one interrupt.
type IRQ struct {
	Number    int    `json:"irq"`
	Name      string `json:"name"`
	Allowed   string `json:"allowed"`
	Effective string `json:"effective"`
	Count     uint64 `json:"count"`
}

// Guest is one QEMU process.
type Guest struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	// CPUs is where its virtual CPUs may run, Nodes the nodes of these.
	CPUs   string      `json:"vcpu_cpus"`
	VCPUs  []VCPU      `json:"vcpus"`
	Nodes  []int       `json:"vcpu_nodes"`
	Memory map[int]int `json:"memory_mb"` // by node; empty = not told
	NICs   []string    `json:"pci_slots"` // functions that it holds
	// Far says what of it is not where its NICs are; empty = all is, or it has none.
	Far []string `json:"far,omitempty"`
}

// VCPU is a virtual CPU and where it may run.
type VCPU struct {
	Index  int    `json:"vcpu"`
	Thread int    `json:"thread"`
	CPUs   string `json:"cpus"`
}

// Read looks at the machine below root; "" = the running one.
func Read(root string) (Map, error) {
	m, err := machine.Read(root)
	if err != nil {
		return Map{}, err
	}
	out := Map{Nodes: nodes(m), NICs: []NIC{}, Guests: []Guest{}}
	all, _ := m.Tree.Interrupts()
	var slots []string
	for _, n := range m.NICs {
		out.NICs = append(out.NICs, out.nic(m, n, all))
		slots = append(slots, n.Slot)
	}
	holders := map[int][]string{}
	users, err := (&pci.Sys{Root: root}).Users(slots...)
	if err != nil {
		out.Notes = append(out.Notes, "which guest holds which VF is not known: "+err.Error())
	}
	for _, u := range users {
		if u.Kind == "vfio" && !slices.Contains(holders[u.PID], u.Slot) {
			holders[u.PID] = append(holders[u.PID], u.Slot)
		}
	}
	for _, g := range guests(m.Tree) {
		g.NICs = append([]string{}, holders[g.PID]...)
		slices.Sort(g.NICs)
		out.Guests = append(out.Guests, out.judge(g))
	}
	return out, nil
}

func nodes(m machine.Machine) []Node {
	var out []Node
	for _, n := range m.Nodes {
		out = append(out, Node{ID: n.ID, MemoryMB: n.Total / 1024, cpus: n.CPUs})
	}
	if len(out) == 0 {
		out = []Node{{cpus: m.CPU.Online, MemoryMB: m.Memory.Total / 1024}}
	}
	for i := range out {
		out[i].CPUs, out[i].Isolated = out[i].cpus.String(), m.CPU.Isolated.And(out[i].cpus).String()
	}
	return out
}

// at are the nodes of CPUs.
func (m *Map) at(cpus machine.CPUList) []int {
	out := []int{}
	for _, n := range m.Nodes {
		if len(n.cpus.And(cpus)) > 0 {
			out = append(out, n.ID)
		}
	}
	return out
}

func (m *Map) nic(from machine.Machine, n machine.NIC, all []machine.Interrupt) NIC {
	x := NIC{Name: n.Name(), Slot: n.Slot, Driver: n.Driver, PF: n.PhysFn, Node: n.NUMANode, IRQs: []IRQ{}}
	if len(n.Interfaces) == 0 {
		x.Name = virtio(from.Tree, n.Slot)
	}
	var cpus machine.CPUList
	for _, i := range all {
		if i.Name == "" || !slices.Contains(n.IRQs, i.IRQ) {
			continue
		}
		a := from.Tree.Affinity(i.IRQ)
		now := a.Effective
		if len(now) == 0 {
			now = a.Allowed
		}
		x.IRQs = append(x.IRQs, IRQ{i.IRQ, i.Name, a.Allowed.String(), now.String(), i.Total()})
		cpus = cpus.Or(now)
		if n.NUMANode < 0 || slices.Equal(m.at(now), []int{n.NUMANode}) {
			x.Near++
		} else {
			x.Far++
		}
	}
	x.CPUs = cpus.String()
	return x
}

// virtio is the device of a virtio function, which is one level further down; the slot
// where there is none.
func virtio(t machine.Tree, slot string) string {
	at := "sys/bus/pci/devices/" + slot
	for _, name := range t.Names(at) {
		if below := t.Names(at, name, "net"); strings.HasPrefix(name, "virtio") && len(below) > 0 {
			return below[0]
		}
	}
	return slot
}

// judge says what of a guest is not where its NICs are.
func (m *Map) judge(g Guest) Guest {
	var cpus machine.CPUList
	for _, v := range g.VCPUs {
		l, err := machine.ParseCPUList(v.CPUs, 0)
		if err == nil {
			cpus = cpus.Or(l)
		}
	}
	g.CPUs, g.Nodes = cpus.String(), m.at(cpus)
	for _, slot := range g.NICs {
		i := slices.IndexFunc(m.NICs, func(n NIC) bool { return n.Slot == slot })
		if i < 0 || m.NICs[i].Node < 0 {
			continue
		}
		node := m.NICs[i].Node
		if !slices.Equal(g.Nodes, []int{node}) && len(g.VCPUs) > 0 {
			g.Far = append(g.Far, fmt.Sprintf("%s is on node %d, its virtual CPUs may run on %s", slot, node, nodeText(g.Nodes)))
		}
		total, here := 0, g.Memory[node]
		for _, mb := range g.Memory {
			total += mb
		}
		if total > 0 && here*10 < total*9 {
			g.Far = append(g.Far, fmt.Sprintf("%s is on node %d, %d of its %d MB of memory are elsewhere", slot, node, total-here, total))
		}
	}
	return g
}

func nodeText(ids []int) string {
	switch len(ids) {
	case 0:
		return "none"
	case 1:
		return fmt.Sprintf("node %d", ids[0])
	}
	return "nodes " + strings.ReplaceAll(strings.Trim(fmt.Sprint(ids), "[]"), " ", ", ")
}
