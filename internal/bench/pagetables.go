package bench

import (
	"fmt"
	"slices"
	"strings"
)

// overviewOf collects the main figure of each measurement, a row per path.
type overviewOf struct {
	heads []string
	names []string
	cells map[[2]string]string // by name and head
}

func (o *overviewOf) add(m Measurement, x Metric, name, cell string) {
	head := m.String() + ": " + x.Title
	if !slices.Contains(o.heads, head) {
		o.heads = append(o.heads, head)
	}
	if !slices.Contains(o.names, name) {
		o.names = append(o.names, name)
	}
	o.cells[[2]string{name, head}] = cell
}

func overviewCell(i *Interval, base bool, s Spread, x Metric) string {
	switch {
	case base:
		return Figure(s.Median) + " " + x.Unit
	case i == nil:
		return "-"
	}
	return fmt.Sprintf("× %.2f", i.Ratio)
}

func (o *overviewOf) rows() [][]string {
	out := [][]string{append([]string{""}, o.heads...)}
	for _, n := range o.names {
		row := []string{n}
		for _, h := range o.heads {
			row = append(row, o.cells[[2]string{n, h}])
		}
		out = append(out, row)
	}
	return out
}

// machines is a table of what each result was measured on; the first row is its head. What nobody knows is left out.
func machines(results []Named) [][]string {
	heads := []string{""}
	var all []Environment
	for _, r := range results {
		heads, all = append(heads, r.Name), append(all, r.Local)
		if r.Remote != nil {
			heads, all = append(heads, r.Name+", peer"), append(all, *r.Remote)
		}
	}
	out := [][]string{heads}
	for _, f := range environmentFields {
		row := []string{f.what}
		for _, e := range all {
			row = append(row, f.of(e))
		}
		if strings.Join(row[1:], "") != "" {
			out = append(out, row)
		}
	}
	return out
}

func number(n int, unit string) string {
	if n == 0 {
		return ""
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", n, unit))
}

func ofNIC(f func(*NIC) string) func(Environment) string {
	return func(e Environment) string {
		if e.NIC == nil {
			return ""
		}
		return f(e.NIC)
	}
}

var environmentFields = []struct {
	what string
	of   func(Environment) string
}{
	{"host", func(e Environment) string { return e.Host }},
	{"machine", func(e Environment) string {
		if e.Virtual {
			return strings.TrimSpace(e.Product + " (virtual)")
		}
		return e.Product
	}},
	{"system", func(e Environment) string { return e.OS }},
	{"kernel", func(e Environment) string { return e.Kernel }},
	{"kernel's command line", func(e Environment) string { return e.CommandLine }},
	{"CPU", func(e Environment) string { return e.CPU }},
	{"CPUs", func(e Environment) string { return number(e.CPUs, "") }},
	{"NUMA nodes", func(e Environment) string { return number(e.Nodes, "") }},
	{"governor", func(e Environment) string { return e.Governor }},
	{"tuning profile", func(e Environment) string { return e.Profile }},
	{"TCP congestion control", func(e Environment) string { return e.Congestion }},
	{"interface", ofNIC(func(n *NIC) string {
		if n.VF {
			return n.Name + " (VF)"
		}
		return n.Name
	})},
	{"driver", ofNIC(func(n *NIC) string { return strings.TrimSpace(n.Driver + " " + n.Version) })},
	{"firmware", ofNIC(func(n *NIC) string { return n.Firmware })},
	{"PCI slot", ofNIC(func(n *NIC) string { return n.Slot })},
	{"NIC's NUMA node", ofNIC(func(n *NIC) string {
		if n.Node == nil {
			return ""
		}
		return fmt.Sprint(*n.Node)
	})},
	{"MTU", ofNIC(func(n *NIC) string { return number(n.MTU, "") })},
	{"link speed", ofNIC(func(n *NIC) string { return number(n.Speed, "Mbit/s") })},
	{"receive queues", ofNIC(func(n *NIC) string { return number(n.Queues, "") })},
	{"neutrino", func(e Environment) string { return e.Neutrino }},
}
