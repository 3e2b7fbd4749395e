package mgmt

import (
	"context"
	"fmt"
	"testing"

	"neutrino/internal/openflow"
)

// BenchmarkProgram compiles and programs 100 ports with 20 rules each: from nothing, with one rule
// more, and with nothing to do.
func BenchmarkProgram(b *testing.B) {
	p := newPlace(b)
	bridge := openflow.Bridge{Conntrack: true}
	members := make([]string, 100)
	for i := range members {
		members[i] = fmt.Sprintf("10.0.0.%d/32", i+1)
		name := fmt.Sprintf("tap%d", i+1)
		p.Vsctl("add-port", br, name, "tag=100", "--", "set", "interface", name, "type=internal", fmt.Sprintf("ofport_request=%d", i+10))
	}
	rules := fromGroup(members...)
	for i := range 16 {
		rules = append(rules, tcp(1000+i))
	}
	for i := range members {
		g := &guest{n: i + 1}
		bridge.Ports = append(bridge.Ports, openflow.Port{
			ID: fmt.Sprintf("port-%03d", i), OFPort: uint32(i + 10), VLAN: 100, MAC: macOf(i + 1), Protected: true,
			Allowed: []openflow.Source{{MAC: macOf(i + 1), Prefix: mustPrefix(g.ip() + "/32")}}, Filter: filterOf(rules),
		})
	}
	set := func(br openflow.Bridge) int {
		prog, errs := openflow.Compile(br)
		if len(errs) > 0 {
			b.Fatal(errs)
		}
		if err := p.sw.Set(context.Background(), "br-eth6", prog); err != nil {
			b.Fatal(err)
		}
		return len(prog.Flows)
	}
	b.Run("fresh", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			set(openflow.Bridge{})
			b.StartTimer()
			b.ReportMetric(float64(set(bridge)), "flows")
		}
	})
	b.Run("one-rule", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			bridge.Ports[0].Filter = filterOf(append(rules[:len(rules):len(rules)], tcp(5000+i%100)))
			set(bridge)
		}
	})
	b.Run("nothing", func(b *testing.B) {
		set(bridge)
		for b.Loop() {
			set(bridge)
		}
	})
	b.Run("compile", func(b *testing.B) {
		for b.Loop() {
			openflow.Compile(bridge)
		}
	})
}
