package tune

import (
	"fmt"
	"slices"
	"strings"

	"neutrino/internal/machine"
)

// placeRules put interrupts and queues where their work is to be done.
func placeRules() []Rule {
	const near = "near"
	always := all(near)
	always[affinityOnly] = near
	return []Rule{
		{
			Name: "irqbalance", Title: "interrupts that irqbalance leaves alone", Source: "irqbalance(1), its socket",
			Why:    "it would move again what is placed here; it goes on with all others",
			Values: always, wish: banned,
		},
		{
			Name: "irq-affinity", Title: "where interrupts of NICs and VFs are delivered", Source: "mlnx-tools: set_irq_affinity_bynode.sh",
			Why:    "memory and cache of the far socket are slow, and two queues on one CPU share it",
			Values: always, wish: affinity,
		},
		{
			Name: "xps", Title: "which CPUs send on which queue (XPS)", Source: fromKernel + "networking/scaling.rst",
			Why:    "each CPU has one queue, the one whose interrupt it takes: no lock, no far cache",
			Values: all(near), wish: xps,
		},
		{
			Name: "rps", Title: "which CPUs work for a receive queue (RPS)", Source: fromKernel + "networking/scaling.rst",
			Why:    "one queue is one CPU, unless others help; with several queues the NIC divides the work itself",
			Values: values{Throughput: near, Forwarding: near, Latency: none}, wish: rps,
		},
	}
}

// ours are all interrupts of tuned NICs and their VFs that can be placed.
func ours(f *Facts) []IRQ {
	var out []IRQ
	for _, n := range f.NICs {
		out = append(out, n.IRQs...)
		for _, v := range n.VFs {
			out = append(out, v.IRQs...)
		}
	}
	slices.SortStableFunc(out, func(a, b IRQ) int { return a.Number - b.Number })
	out = slices.CompactFunc(out, func(a, b IRQ) bool { return a.Number == b.Number })
	return slices.DeleteFunc(out, func(q IRQ) bool { return q.Fixed })
}

// banned adds our interrupts to those that irqbalance leaves alone already.
func banned(f *Facts, r *Rule, p Profile) []Wish {
	b := f.Irqbalance
	if b == nil || r.Values[p] == "" || len(ours(f)) == 0 {
		return nil
	}
	want := slices.Clone(b.Banned)
	for _, q := range ours(f) {
		if !slices.Contains(want, q.Number) {
			want = append(want, q.Number)
		}
	}
	slices.Sort(want)
	w := Wish{Target: Target{Kind: KindBanned, PID: b.PID}, Now: list(b.Banned), Want: list(want)}
	if b.Socket == "" {
		w.Now = ""
		w.Refused = "irqbalance has no socket to be told on: start it with a version of 1.5 or later, or give it --banirq for these IRQs"
	}
	return []Wish{w}
}

// list writes numbers for people and back: "none" or "34 35 36".
func list(n []int) string {
	if len(n) == 0 {
		return none
	}
	return strings.Trim(fmt.Sprint(n), "[]")
}

// affinity wants every interrupt of a NIC on its CPU.
func affinity(f *Facts, r *Rule, p Profile) []Wish {
	if r.Values[p] == "" {
		return nil
	}
	placing := spread(f)
	var out []Wish
	for _, n := range f.NICs {
		out = append(out, placed(n.IRQs, placing[n.Name])...)
		for _, v := range n.VFs {
			out = append(out, placed(v.IRQs, placing[v.Slot])...)
		}
	}
	// Two netdevs of one function (mlx4) have the same interrupts: the first has placed them.
	var once []Wish
	for _, w := range out {
		if !slices.ContainsFunc(once, func(o Wish) bool { return o.Target.IRQ == w.Target.IRQ }) {
			once = append(once, w)
		}
	}
	return once
}

func placed(irqs []IRQ, p Placing) []Wish {
	var out []Wish
	for _, q := range irqs {
		cpus, ok := p.IRQs[q.Number]
		if !ok {
			continue
		}
		w := Wish{Target: Target{Kind: KindIRQ, IRQ: q.Number, Name: q.Name, Device: q.Device}, Now: setOf(q.CPUs), Want: setOf(cpus)}
		if q.Fixed && w.Now != w.Want {
			w.Refused = "the kernel manages it: it cannot be moved"
		}
		out = append(out, w)
	}
	return out
}

// xps gives each CPU its sending queue. A NIC of one queue has nothing to divide.
func xps(f *Facts, r *Rule, p Profile) []Wish {
	if r.Values[p] == "" {
		return nil
	}
	placing := spread(f)
	var out []Wish
	for _, n := range f.NICs {
		if len(n.TxQueue) < 2 {
			continue
		}
		by := senders(n.TxQueue, placing[n.Name].Tx, f.everywhere(n.Node))
		for _, q := range n.TxQueue {
			out = append(out, f.queue(n, fmt.Sprintf("tx-%d/xps_cpus", q), by[q])...)
		}
	}
	return out
}

// rps lets the CPUs near a NIC of one queue help; elsewhere the NIC divides the work.
func rps(f *Facts, r *Rule, p Profile) []Wish {
	value := r.Values[p]
	if value == "" {
		return nil
	}
	var out []Wish
	for _, n := range f.NICs {
		var cpus machine.CPUList
		if near := numbers(f.local(n.Node)); value != none && len(n.RxQueue) == 1 && len(near) > 1 && len(n.IRQs) > 0 {
			cpus = near
		}
		for _, q := range n.RxQueue {
			out = append(out, f.queue(n, fmt.Sprintf("rx-%d/rps_cpus", q), cpus)...)
		}
	}
	return out
}

// queue wants a mask of CPUs in a file of a queue, where it is there.
func (f *Facts) queue(n NIC, name string, cpus machine.CPUList) []Wish {
	path := "sys/class/net/" + n.Name + "/queues/" + name
	now, ok := f.Files[path]
	if !ok {
		return nil
	}
	return []Wish{{
		Target: Target{Kind: KindQueue, Path: path, Device: n.Name, Index: n.Index},
		Now:    setOfMask(now), Want: setOf(cpus),
	}}
}

// none is how an empty set of CPUs is written.
const none = "none"

// setOf writes a set of CPUs as people and the findings have it.
func setOf(cpus machine.CPUList) string {
	if len(cpus) == 0 {
		return none
	}
	return cpus.String()
}

// setOfMask is setOf of a mask that the kernel has written.
func setOfMask(text string) string {
	cpus, err := machine.ParseCPUMask(text)
	if err != nil {
		return text
	}
	return setOf(cpus)
}
