package tune

import (
	"slices"

	"neutrino/internal/machine"
)

// Placing is where one NIC's interrupts and queues go.
type Placing struct {
	IRQs map[int]machine.CPUList // IRQ -> CPUs
	Tx   map[int]int             // tx queue -> CPU of its interrupt
	Rx   map[int]int
}

// spread places the interrupts of all NICs. NICs of one node share its CPUs: each goes
// on where the one before it stopped, so that no CPU has two interrupts while another
// has none. A queue's interrupts, also where sending and receiving have one each, go to
// one CPU; interrupts without a queue go to all CPUs that are near.
// CPUs that somebody chose for a NIC take the place of those that are near.
func spread(f *Facts) map[string]Placing {
	next := map[string]int{}
	out := map[string]Placing{}
	done := map[int]Placing{} // by IRQ: two netdevs of one function (mlx4) have the same
	place := func(name string, node int, pins []CPU, irqs []IRQ) {
		near := pins
		if len(near) == 0 {
			near = f.local(node)
		}
		if len(near) == 0 || len(irqs) == 0 {
			return
		}
		if p, ok := done[irqs[0].Number]; ok {
			out[name] = p
			return
		}
		p := Placing{map[int]machine.CPUList{}, map[int]int{}, map[int]int{}}
		pool := poolOf(near)
		first := next[pool]
		used := 0
		sorted := slices.Clone(irqs)
		slices.SortStableFunc(sorted, func(a, b IRQ) int { return a.Number - b.Number })
		rank := ranks(sorted)
		for _, q := range sorted {
			r := roleOf(q.Name)
			if !r.rx && !r.tx {
				p.IRQs[q.Number] = numbers(near)
				continue
			}
			k := rank[r.queue]
			used = max(used, k+1)
			cpu := near[(first+k)%len(near)].Number
			p.IRQs[q.Number] = []int{cpu}
			if r.rx {
				p.Rx[r.queue] = cpu
			}
			if r.tx {
				p.Tx[r.queue] = cpu
			}
		}
		next[pool] = first + used
		for _, q := range irqs {
			done[q.Number] = p
		}
		out[name] = p
	}
	for _, n := range f.NICs {
		pins := f.pinned(n)
		place(n.Name, n.Node, pins, n.IRQs)
		for _, v := range n.VFs {
			place(v.Slot, n.Node, pins, v.IRQs)
		}
	}
	return out
}

// ranks numbers the queues that have interrupts: drivers leave some out (mlx4 counts
// over both ports).
func ranks(irqs []IRQ) map[int]int {
	var queues []int
	for _, q := range irqs {
		if r := roleOf(q.Name); (r.rx || r.tx) && !slices.Contains(queues, r.queue) {
			queues = append(queues, r.queue)
		}
	}
	slices.Sort(queues)
	out := map[int]int{}
	for i, q := range queues {
		out[q] = i
	}
	return out
}

func poolOf(cpus []CPU) string { return numbers(cpus).String() }

// senders says which CPUs send on each tx queue (XPS): every CPU on exactly one queue,
// those near the NIC first, and each queue's own CPU on it.
func senders(queues []int, own map[int]int, everywhere []CPU) map[int]machine.CPUList {
	out := map[int]machine.CPUList{}
	if len(queues) == 0 {
		return out
	}
	given := map[int]bool{}
	for _, q := range queues {
		if cpu, ok := own[q]; ok && !given[cpu] {
			out[q] = append(out[q], cpu)
			given[cpu] = true
		}
	}
	for _, c := range everywhere {
		if given[c.Number] {
			continue
		}
		least := queues[0]
		for _, q := range queues {
			if len(out[q]) < len(out[least]) {
				least = q
			}
		}
		out[least] = append(out[least], c.Number)
	}
	for q := range out {
		slices.Sort(out[q])
	}
	return out
}
