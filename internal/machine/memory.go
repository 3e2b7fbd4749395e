package machine

import (
	"fmt"
	"strconv"
	"strings"
)

// Memory is the machine's memory, in KiB.
type Memory struct {
	Total, Available int
	Huge             []Huge
	THP              string // transparent huge pages: "always", "madvise", "never"; "" = the kernel has none
}

// Huge is one size of huge pages, of the machine or of one node.
type Huge struct {
	Size  int // KiB
	Total int
	Free  int
}

// Node is a NUMA node.
type Node struct {
	ID        int
	CPUs      CPUList
	Total     int // KiB
	Free      int
	Huge      []Huge
	Distances []int // to the nodes, in their order
}

func (t Tree) memory() Memory {
	m := Memory{}
	info := t.meminfo("proc/meminfo")
	m.Total, m.Available = info["MemTotal"], info["MemAvailable"]
	m.Huge = t.huge("sys/kernel/mm/hugepages")
	if thp, ok := t.Text("sys/kernel/mm/transparent_hugepage/enabled"); ok {
		m.THP = chosen(thp)
	}
	return m
}

// chosen is the word in brackets of "always [madvise] never".
func chosen(text string) string {
	_, rest, _ := strings.Cut(text, "[")
	word, _, _ := strings.Cut(rest, "]")
	return word
}

// meminfo reads "MemTotal:  1024 kB" and, of a node, "Node 0 MemTotal:  1024 kB".
func (t Tree) meminfo(file string) map[string]int {
	text, _ := t.Text(file)
	out := map[string]int{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(line, ":")
		words, names := strings.Fields(value), strings.Fields(name)
		if !ok || len(words) == 0 || len(names) == 0 {
			continue
		}
		if n, err := strconv.Atoi(words[0]); err == nil {
			out[names[len(names)-1]] = n
		}
	}
	return out
}

func (t Tree) huge(dir string) []Huge {
	var out []Huge
	for _, name := range t.Names(dir) {
		size, ok := strings.CutPrefix(name, "hugepages-")
		n, err := strconv.Atoi(strings.TrimSuffix(size, "kB"))
		if !ok || err != nil {
			continue
		}
		h := Huge{Size: n}
		h.Total, _ = t.Number(dir, name, "nr_hugepages")
		h.Free, _ = t.Number(dir, name, "free_hugepages")
		out = append(out, h)
	}
	return out
}

func (t Tree) nodes() []Node {
	var out []Node
	dir := "sys/devices/system/node"
	for _, id := range t.numbered("node", dir) {
		at := fmt.Sprintf("%s/node%d", dir, id)
		n := Node{ID: id, CPUs: t.List(at, "cpulist"), Huge: t.huge(at + "/hugepages")}
		info := t.meminfo(at + "/meminfo")
		n.Total, n.Free = info["MemTotal"], info["MemFree"]
		distances, _ := t.Text(at, "distance")
		for _, d := range strings.Fields(distances) {
			if v, err := strconv.Atoi(d); err == nil {
				n.Distances = append(n.Distances, v)
			}
		}
		out = append(out, n)
	}
	return out
}
