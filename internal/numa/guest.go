package numa

import (
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/machine"
)

// guests finds QEMU's processes. One that ends meanwhile is passed over.
func guests(t machine.Tree) []Guest {
	var out []Guest
	for _, name := range t.Names("proc") {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		comm, ok := t.Text("proc", name, "comm")
		if !ok || !strings.HasPrefix(comm, "qemu") && comm != "kvm" {
			continue
		}
		line, _ := t.Bytes("proc", name, "cmdline")
		g := Guest{Name: nameOf(strings.Split(string(line), "\x00")), PID: pid, VCPUs: []VCPU{}, Memory: map[int]int{}}
		if g.Name == "" {
			g.Name = comm
		}
		for _, thread := range t.Names("proc", name, "task") {
			tid, terr := strconv.Atoi(thread)
			text, _ := t.Text("proc", name, "task", thread, "comm")
			if index, is := vcpu(text); is && terr == nil {
				g.VCPUs = append(g.VCPUs, VCPU{index, tid, allowed(t, name, thread)})
			}
		}
		if len(g.VCPUs) == 0 { // threads without names: -name ...,debug-threads=off
			g.VCPUs = []VCPU{{0, pid, allowed(t, name, name)}}
		}
		slices.SortFunc(g.VCPUs, func(a, b VCPU) int { return a.Index - b.Index })
		maps, _ := t.Text("proc", name, "numa_maps")
		g.Memory = memory(maps)
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b Guest) int { return a.PID - b.PID })
	return out
}

// nameOf is what QEMU was told: "-name guest=vm1,debug-threads=on" or "-name vm1".
func nameOf(args []string) string {
	i := slices.Index(args, "-name")
	if i < 0 || i+1 >= len(args) {
		return ""
	}
	first, _, _ := strings.Cut(args[i+1], ",")
	return strings.TrimPrefix(first, "guest=")
}

// vcpu reads the name of a thread: "CPU 3/KVM".
func vcpu(comm string) (int, bool) {
	rest, ok := strings.CutPrefix(comm, "CPU ")
	digits, _, slash := strings.Cut(rest, "/")
	n, err := strconv.Atoi(digits)
	return n, ok && slash && err == nil && n >= 0
}

// allowed is where a thread may run.
func allowed(t machine.Tree, pid, thread string) string {
	text, _ := t.Text("proc", pid, "task", thread, "status")
	for line := range strings.Lines(text) {
		if l, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
			return strings.TrimSpace(l)
		}
	}
	return ""
}

// memory sums numa_maps, in MB by node: "7f.. default anon=512 N0=256 N1=256 kernelpagesize_kB=4".
func memory(text string) map[int]int {
	kb := map[int]int{}
	for line := range strings.Lines(text) {
		pages, size := map[int]int{}, 4
		for _, w := range strings.Fields(line) {
			key, value, ok := strings.Cut(w, "=")
			n, err := strconv.Atoi(value)
			if !ok || err != nil || n < 0 {
				continue
			}
			if key == "kernelpagesize_kB" {
				size = n
			}
			if digits, isNode := strings.CutPrefix(key, "N"); isNode {
				if id, ierr := strconv.Atoi(digits); ierr == nil && id >= 0 {
					pages[id] += n
				}
			}
		}
		for id, n := range pages {
			kb[id] += n * size
		}
	}
	out := map[int]int{}
	for id, n := range kb {
		if n >= 1024 {
			out[id] = n / 1024
		}
	}
	return out
}
