package router

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"neutrino/internal/model"
)

var update = flag.Bool("update", false, "write the golden files")

// words of a plan, as the golden files have them.
func (p *plan) words() string {
	var b strings.Builder
	for _, d := range p.devices {
		fmt.Fprintf(&b, "device %s mac %s mtu %d\n", d.name, d.port.MAC, d.port.MTU)
		for _, a := range d.addresses {
			fmt.Fprintf(&b, "  address %s\n", a)
		}
	}
	for _, r := range p.routes {
		fmt.Fprintf(&b, "route %s via %s port %s onlink %t\n", r.to, r.via, r.device, r.onlink)
	}
	for _, c := range p.rules.chains {
		fmt.Fprintf(&b, "chain %s { type %s hook %d priority %d\n", c.name, c.kind, c.hook, c.priority)
		for _, r := range c.rules {
			fmt.Fprintf(&b, "  %s\n", r.text)
		}
		b.WriteString("}\n")
	}
	for _, f := range slices.SortedFunc(keys(p.rules.floating), netip.Addr.Compare) {
		fmt.Fprintf(&b, "floating %s : %s\n", f, p.rules.floating[f])
	}
	for _, x := range p.problems {
		fmt.Fprintf(&b, "problem: %s\n", x)
	}
	return b.String()
}

func keys(m map[netip.Addr]netip.Addr) func(func(netip.Addr) bool) {
	return func(yield func(netip.Addr) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestPlans(t *testing.T) {
	inside := twoSubnets()
	inside.Gateway = nil
	routed := twoSubnets()
	routed.EnableSNAT = false
	full := twoSubnets()
	full.Gateway.MTU = 1450
	full.Floating = []model.FloatingPair{floating("203.0.113.20", "10.0.1.5"), floating("203.0.113.21", "10.0.2.5")}
	full.Routes = []model.Route{
		{Destination: netip.MustParsePrefix("192.0.2.0/24"), NextHop: netip.MustParseAddr("10.0.2.9")},
		{Destination: netip.MustParsePrefix("198.51.100.0/24"), NextHop: netip.MustParseAddr("10.0.9.9")},
	}
	onlink := twoSubnets()
	gw := testPort(gwOf+"1", 0x10, 1500, "203.0.113.10/29", "203.0.113.1", "2001:db8:f::10/64", "fe80::1")
	onlink.Gateway = &gw
	for name, spec := range map[string]*model.RouterSpec{"inside": inside, "snat": twoSubnets(), "routed": routed, "full": full, "onlink": onlink} {
		t.Run(name, func(t *testing.T) {
			metadata := uint16(0)
			if name == "full" {
				metadata = DefaultMetadataPort
			}
			got := newPlan(spec, map[string]string{portOf + "2": "tap01000002"}, metadata).words()
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("plan:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// Comments are how rules are found again: nf_tables keeps at most 128 bytes for nft(8).
func TestRuleTextsFitComments(t *testing.T) {
	spec := twoSubnets()
	spec.Gateway.MTU = 1400
	names := map[string]string{}
	for _, p := range portsOf(spec) {
		names[p.PortID] = "tap012345678-ab"[:15]
	}
	for _, c := range newPlan(spec, names, 65535).rules.chains {
		seen := map[string]bool{}
		for _, r := range c.rules {
			if len(r.text) > 127 {
				t.Errorf("%d bytes: %s", len(r.text), r.text)
			}
			if seen[r.text] {
				t.Errorf("twice: %s", r.text)
			}
			seen[r.text] = true
		}
	}
}

func TestFlowsThatStay(t *testing.T) {
	a := netip.MustParseAddr
	floating := map[netip.Addr]netip.Addr{a("203.0.113.20"): a("10.0.1.5")}
	snat := keeper{floating: floating, gateway: a("203.0.113.10"), snat: true}
	routed := snat
	routed.snat = false
	var none keeper
	for _, c := range []struct {
		what                 string
		src, dst, from, back string
		snat, routed, none   bool
	}{
		{"between subnets", "10.0.1.5", "10.0.2.5", "10.0.2.5", "10.0.1.5", true, true, true},
		{"out by the gateway address", "10.0.2.5", "198.51.100.1", "198.51.100.1", "203.0.113.10", true, false, false},
		{"out by another address", "10.0.2.5", "198.51.100.1", "198.51.100.1", "203.0.113.11", false, false, false},
		{"out by a floating IP", "10.0.1.5", "198.51.100.1", "198.51.100.1", "203.0.113.20", true, true, false},
		{"out by another's floating IP", "10.0.2.5", "198.51.100.1", "198.51.100.1", "203.0.113.20", false, false, false},
		{"in by a floating IP", "198.51.100.1", "203.0.113.20", "10.0.1.5", "198.51.100.1", true, true, false},
		{"in to who had it before", "198.51.100.1", "203.0.113.20", "10.0.2.5", "198.51.100.1", false, false, false},
		{"in by one that is gone", "198.51.100.1", "203.0.113.21", "10.0.1.5", "198.51.100.1", false, false, false},
		{"from inside to a floating IP", "10.0.2.5", "203.0.113.20", "10.0.1.5", "203.0.113.10", true, true, false},
		{"metadata", "10.0.2.5", "169.254.169.254", "10.0.2.1", "10.0.2.5", true, true, true},
	} {
		f := flow{a(c.src), a(c.dst), a(c.from), a(c.back)}
		if got := [3]bool{snat.keeps(f), routed.keeps(f), none.keeps(f)}; got != [3]bool{c.snat, c.routed, c.none} {
			t.Errorf("%s: stays with SNAT, routed, without a gateway: %v, want %v", c.what, got, [3]bool{c.snat, c.routed, c.none})
		}
	}
}

// The plan is a function of the spec alone, whatever order its parts come in.
func TestPlanProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := drawSpec(t)
		words := newPlan(spec, nil, 0).words()
		if again := newPlan(spec, nil, 0).words(); again != words {
			t.Fatalf("two plans of one spec:\n%s\n%s", words, again)
		}
		slices.Reverse(spec.Floating)
		if other := newPlan(spec, nil, 0).words(); other != words {
			t.Fatalf("the order of floating IPs counts:\n%s\n%s", words, other)
		}
	})
}

// drawSpec is a router of up to two interfaces, a gateway or none, floating IPs and routes.
func drawSpec(t *rapid.T) *model.RouterSpec {
	spec := twoSubnets()
	spec.EnableSNAT = rapid.Bool().Draw(t, "snat")
	spec.Interfaces = spec.Interfaces[:rapid.IntRange(1, 2).Draw(t, "interfaces")]
	if rapid.Bool().Draw(t, "wide") {
		spec.Interfaces[0].MTU = 1400
	}
	if rapid.Bool().Draw(t, "gateway") {
		last := rapid.IntRange(10, 12).Draw(t, "address")
		gw := testPort(gwOf+"1", 0x10+last, 1500, fmt.Sprintf("203.0.113.%d/24", last), "203.0.113.1")
		spec.Gateway = &gw
		for i := range rapid.IntRange(0, 3).Draw(t, "floating") {
			spec.Floating = append(spec.Floating, floating(fmt.Sprintf("203.0.113.%d", 20+i), fmt.Sprintf("10.0.1.%d", rapid.IntRange(1, 80).Draw(t, "fixed")+80*i)))
		}
	} else {
		spec.Gateway = nil
	}
	if rapid.Bool().Draw(t, "route") {
		spec.Routes = []model.Route{{Destination: netip.MustParsePrefix("192.0.2.0/24"), NextHop: netip.AddrFrom4([4]byte{10, 0, 1, byte(rapid.IntRange(7, 9).Draw(t, "hop"))})}}
	}
	return spec
}
