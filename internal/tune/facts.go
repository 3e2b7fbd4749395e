package tune

import (
	"slices"

	"neutrino/internal/ethtool"
	"neutrino/internal/machine"
)

// Facts is the machine as the rules see it.
type Facts struct {
	Container string // what kind this runs in; "" = none
	CPUs      []CPU  // those that are online, by number
	NICs      []NIC
	// Files are the values of files below sys and proc, by path without the leading "/".
	// One that is not there, or cannot be read, is missing.
	Files map[string]string
	// Forwarders are interfaces that forward although the machine does not.
	Forwarders []string
	// Before is what earlier tuning found, of what it has changed.
	Before map[Target]string
	// Pins are the CPUs that somebody chose for the interrupts of a NIC, by its name.
	Pins map[string]machine.CPUList
	// Irqbalance has the IRQs that the running irqbalance leaves alone; nil = none runs.
	Irqbalance *Balancer
}

// CPU is one that is online.
type CPU struct {
	Number   int
	Node     int
	Package  int
	Core     int // within the package
	Isolated bool
}

// Balancer is a running irqbalance.
type Balancer struct {
	PID    int
	Socket string // "" = it cannot be talked to
	Banned []int
}

// NIC is one network device that is tuned.
type NIC struct {
	Name   string
	Index  int    // ifindex: a device that is made anew has another one
	Slot   string // PCI address; "" = none
	Driver string
	Node   int // -1 = not told
	Up     bool
	VF     bool   // it is a VF of a PF of this machine
	PF     string // the PF's device, where it has one here
	// Cut says why settings that cut the link would cut the host off; "" = they would not.
	Cut string
	// Bridge says what passes its packets on: "bridge br0", "macvtap"; "" = nothing.
	Bridge  string
	IRQs    []IRQ
	RxQueue []int
	TxQueue []int
	Ethtool ethtool.Settings
	VFs     []VF
	// ReadReq is MaxReadReq in bytes; 0 = it has no PCI Express capability.
	ReadReq int
	// VectorsTotal is how many MSI-X vectors there are for its VFs; 0 = not settable.
	VectorsTotal int
}

// VF is a virtual function of a PF.
type VF struct {
	Index   int
	Slot    string
	Driver  string // "" = none: only then its MSI-X vectors can be set
	IRQs    []IRQ
	Vectors int // its MSI-X table; 0 = not told
}

// IRQ is one interrupt.
type IRQ struct {
	Number int
	Name   string          // of its handler in proc/interrupts
	Device string          // network device that it belongs to; "" = none here
	CPUs   machine.CPUList // where it may be delivered
	Fixed  bool            // the kernel or the driver manages it: it cannot be moved
}

// before is what a value was before it was tuned.
func (f *Facts) before(t Target, now string) string {
	if v, ok := f.Before[t]; ok {
		return v
	}
	return now
}

// pinned are the CPUs that were chosen for a NIC or its PF, those of them that are
// online.
func (f *Facts) pinned(n NIC) []CPU {
	chosen, ok := f.Pins[n.Name]
	if !ok {
		chosen = f.Pins[n.PF]
	}
	var out []CPU
	for _, c := range f.CPUs {
		if chosen.Has(c.Number) {
			out = append(out, c)
		}
	}
	return coresFirst(out)
}

// local are the CPUs near a NIC that take work, in the order in which queues are given
// to them: one thread of each core first, then their siblings. Isolated CPUs are for
// others; they count only where there is nothing else.
func (f *Facts) local(node int) []CPU {
	near := f.on(node)
	if len(near) == 0 { // not told, or a node of memory without CPUs
		near = f.CPUs
	}
	free := slices.DeleteFunc(slices.Clone(near), func(c CPU) bool { return c.Isolated })
	if len(free) == 0 {
		free = near
	}
	return coresFirst(free)
}

func (f *Facts) on(node int) []CPU {
	var out []CPU
	for _, c := range f.CPUs {
		if node < 0 || c.Node == node {
			out = append(out, c)
		}
	}
	return out
}

// everywhere are all CPUs that take work, those of the node first.
func (f *Facts) everywhere(node int) []CPU {
	near := f.local(node)
	out := slices.Clone(near)
	for _, c := range f.local(-1) {
		if !slices.Contains(near, c) {
			out = append(out, c)
		}
	}
	return out
}

// coresFirst puts one thread of every core before the second of any.
func coresFirst(cpus []CPU) []CPU {
	type core struct{ pkg, core int }
	threads := map[core]int{}
	rank := map[int]int{}
	for _, c := range cpus {
		k := core{c.Package, c.Core}
		rank[c.Number] = threads[k]
		threads[k]++
	}
	out := slices.Clone(cpus)
	slices.SortStableFunc(out, func(a, b CPU) int {
		if d := rank[a.Number] - rank[b.Number]; d != 0 {
			return d
		}
		return a.Number - b.Number
	})
	return out
}

// cores counts the physical cores among CPUs.
func cores(cpus []CPU) int {
	seen := map[[2]int]bool{}
	for _, c := range cpus {
		seen[[2]int{c.Package, c.Core}] = true
	}
	return len(seen)
}

func numbers(cpus []CPU) machine.CPUList {
	out := make([]int, len(cpus))
	for i, c := range cpus {
		out[i] = c.Number
	}
	return machine.NewCPUList(out...)
}
