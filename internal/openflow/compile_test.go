package openflow

import (
	"errors"
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

var update = flag.Bool("update", false, "write golden files anew")

func mac(n byte) MAC { return MAC{0xfa, 0x16, 0x3e, 0, 0, n} }

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func num(n int) *int { return &n }

// guest is a protected port of VLAN 100 with one address of each family.
func guest(n byte, rules ...model.FilterRule) Port {
	return Port{
		ID: fmt.Sprintf("port-%02d", n), OFPort: uint32(n), VLAN: 100, MAC: mac(n), Protected: true,
		Allowed: []Source{
			{mac(n), pfx(fmt.Sprintf("10.0.0.%d/32", n))},
			{mac(n), pfx(fmt.Sprintf("fd00::%d/128", n))},
			{mac(n), pfx(fmt.Sprintf("fe80::%d/128", n))},
		},
		Filter: &model.Filter{Rules: rules},
	}
}

// defaultGroup are the rules of a group called default with these members.
func defaultGroup(members ...string) []model.FilterRule {
	remotes := []netip.Prefix{}
	for _, s := range members {
		remotes = append(remotes, pfx(s))
	}
	return []model.FilterRule{
		{Egress: true, Protocol: model.AnyProtocol},
		{Egress: true, IPv6: true, Protocol: model.AnyProtocol},
		{Protocol: model.AnyProtocol, Remotes: remotes},
		{IPv6: true, Protocol: model.AnyProtocol, Remotes: remotes},
	}
}

func compiled(t testing.TB, ports []Port, others ...Other) *Program {
	t.Helper()
	p, errs := Compile(Bridge{Conntrack: true, Datapath: "netdev", Ports: ports, Others: others})
	if len(errs) > 0 {
		t.Fatalf("Compile: %v", errs)
	}
	return p
}

func TestFlowsAreAsReviewed(t *testing.T) {
	ssh := model.FilterRule{Protocol: protoTCP, PortMin: num(22), PortMax: num(22), Remotes: []netip.Prefix{pfx("192.0.2.0/24")}}
	web := model.FilterRule{Protocol: protoTCP, PortMin: num(8000), PortMax: num(8010), Stateless: true}
	plain := guest(3)
	plain.Protected, plain.Allowed, plain.Filter = false, nil, nil
	down := guest(4)
	down.Down = true
	vrrp := guest(5, web)
	vrrp.Allowed = append(vrrp.Allowed, Source{MAC{0, 0, 0x5e, 0, 1, 7}, pfx("10.0.0.100/32")})
	for name, b := range map[string]Bridge{
		"group": {Conntrack: true, Ports: []Port{guest(1, append(defaultGroup("10.0.0.1/32", "10.0.0.2/32", "fd00::1/128"), ssh)...), guest(2, defaultGroup("10.0.0.1/32", "10.0.0.2/32", "fd00::1/128")...)}},
		"mixed": {Conntrack: true, Slot: 1, Ports: []Port{plain, down, vrrp}, Others: []Other{{OFPort: 9, Untagged: 100}, {OFPort: 10, Untagged: 7, Trunk: true}, {OFPort: 11, Untagged: -1, Tagged: []int{4095, 100}}, {OFPort: Local, Untagged: 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			prog, errs := Compile(b)
			var out strings.Builder
			for _, f := range prog.Flows {
				fmt.Fprintln(&out, f)
			}
			fmt.Fprintln(&out, "no-flood", prog.NoFlood, "errors", errs)
			path := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(path, []byte(out.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if string(want) != out.String() {
				t.Errorf("%s is not what is compiled now (-update writes it anew):\n%s", path, out.String())
			}
		})
	}
}

// TestSenders: what a protected port may send.
func TestSenders(t *testing.T) {
	a := guest(1, defaultGroup()...)
	prog := compiled(t, []Port{a})
	gw, all := mac(0x99), MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	from := func(src MAC, dst MAC) packet { return frame(1, 0, src, dst) }
	own, peer := addr("10.0.0.1"), addr("10.0.0.9")
	own6, peer6, ll := addr("fd00::1"), addr("fd00::9"), addr("fe80::1")
	nd := func(p packet, kind uint32, target netip.Addr) packet {
		return p.ports(kind, 0).bytes(NDTarget, target.AsSlice())
	}
	for _, c := range []struct {
		name string
		p    packet
		pass bool
	}{
		{"IPv4", from(a.MAC, gw).ip(own, peer, protoTCP).ports(1, 80), true},
		{"IPv6", from(a.MAC, gw).ip(own6, peer6, protoTCP).ports(1, 80), true},
		{"another's MAC", from(mac(2), gw).ip(own, peer, protoTCP).ports(1, 80), false},
		{"another's IPv4 address", from(a.MAC, gw).ip(addr("10.0.0.2"), peer, protoTCP).ports(1, 80), false},
		{"another's IPv6 address", from(a.MAC, gw).ip(addr("fd00::2"), peer6, protoTCP).ports(1, 80), false},
		{"tagged", frame(1, 100, a.MAC, gw).ip(own, peer, protoTCP).ports(1, 80), false},
		{"tagged for another VLAN", frame(1, 7, a.MAC, gw).ip(own, peer, protoTCP).ports(1, 80), false},
		{"ARP", from(a.MAC, all).arp(a.MAC, own), true},
		{"ARP probe", from(a.MAC, all).arp(a.MAC, addr("0.0.0.0")), true},
		{"ARP for another's address", from(a.MAC, all).arp(a.MAC, peer), false},
		{"ARP for another's MAC", from(a.MAC, all).arp(gw, own), false},
		{"ARP from another's MAC", from(gw, all).arp(gw, own), false},
		{"DHCP client", from(a.MAC, all).ip(addr("0.0.0.0"), addr("255.255.255.255"), protoUDP).ports(68, 67), true},
		{"DHCP client renewing", from(a.MAC, gw).ip(own, peer, protoUDP).ports(68, 67), true},
		{"DHCP server", from(a.MAC, all).ip(own, addr("255.255.255.255"), protoUDP).ports(67, 68), false},
		{"DHCPv6 client", from(a.MAC, MAC{0x33, 0x33, 0, 1, 0, 2}).ip(ll, addr("ff02::1:2"), protoUDP).ports(546, 547), true},
		{"DHCPv6 server", from(a.MAC, gw).ip(ll, peer6, protoUDP).ports(547, 546), false},
		{"router advertisement", from(a.MAC, MAC{0x33, 0x33, 0, 0, 0, 1}).ip(ll, addr("ff02::1"), protoICMPv6).ports(134, 0), false},
		{"router solicitation", from(a.MAC, MAC{0x33, 0x33, 0, 0, 0, 2}).ip(ll, addr("ff02::2"), protoICMPv6).ports(133, 0), true},
		{"neighbour solicitation", nd(from(a.MAC, MAC{0x33, 0x33, 0xff, 0, 0, 9}).ip(own6, addr("ff02::1:ff00:9"), protoICMPv6), 135, peer6), true},
		{"duplicate address detection", nd(from(a.MAC, MAC{0x33, 0x33, 0xff, 0, 0, 1}).ip(addr("::"), addr("ff02::1:ff00:1"), protoICMPv6), 135, own6), true},
		{"solicitation from another's address", nd(from(a.MAC, gw).ip(peer6, own6, protoICMPv6), 135, peer6), false},
		{"neighbour advertisement", nd(from(a.MAC, gw).ip(own6, peer6, protoICMPv6), 136, own6), true},
		{"advertisement of another's address", nd(from(a.MAC, gw).ip(own6, peer6, protoICMPv6), 136, peer6), false},
		{"advertisement from another's address", nd(from(a.MAC, gw).ip(peer6, own6, protoICMPv6), 136, own6), false},
		{"MLD report of one without an address", from(a.MAC, MAC{0x33, 0x33, 0, 0, 0, 0x16}).ip(addr("::"), addr("ff02::16"), protoICMPv6).ports(143, 0), true},
		{"neither ARP nor IP", from(a.MAC, gw).put(EthType, 0x88cc), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := sentTo(prog, c.p, ctNew, 0)
			if r.problem != "" {
				t.Fatal(r.problem)
			}
			if got := slices.Contains(r.out, "NORMAL"); got != c.pass {
				t.Errorf("passed = %v, want %v (%v)", got, c.pass, r.out)
			}
		})
	}
}

// TestPortWithoutAddressesSendsFromNone: it can ask for one, and speak for nobody's, as in
// Neutron. Its allowed address pairs count.
func TestPortWithoutAddressesSendsFromNone(t *testing.T) {
	bare, paired := guest(1, defaultGroup()...), guest(2, defaultGroup()...)
	bare.Allowed = nil
	paired.Allowed = []Source{{paired.MAC, pfx("10.0.0.0/24")}}
	prog := compiled(t, []Port{bare, paired})
	gw, all := mac(0x99), MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	own, other := addr("10.0.0.7"), addr("10.9.0.7")
	for _, c := range []struct {
		name string
		p    packet
		pass bool
	}{
		{"DHCP client", frame(1, 0, bare.MAC, all).ip(addr("0.0.0.0"), addr("255.255.255.255"), protoUDP).ports(68, 67), true},
		{"ARP probe", frame(1, 0, bare.MAC, all).arp(bare.MAC, addr("0.0.0.0")), true},
		{"IPv4", frame(1, 0, bare.MAC, gw).ip(own, addr("10.0.0.9"), protoTCP).ports(1, 80), false},
		{"ARP for the gateway", frame(1, 0, bare.MAC, all).arp(bare.MAC, addr("10.0.0.1")), false},
		{"IPv6", frame(1, 0, bare.MAC, gw).ip(addr("fd00::7"), addr("fd00::9"), protoTCP).ports(1, 80), false},
		{"advertisement", frame(1, 0, bare.MAC, gw).ip(addr("fd00::7"), addr("fd00::9"), protoICMPv6).ports(136, 0).bytes(NDTarget, addr("fd00::7").AsSlice()), false},
		{"from a pair", frame(2, 0, paired.MAC, gw).ip(own, addr("10.0.0.9"), protoTCP).ports(1, 80), true},
		{"ARP for a pair", frame(2, 0, paired.MAC, all).arp(paired.MAC, own), true},
		{"from outside of the pair", frame(2, 0, paired.MAC, gw).ip(other, addr("10.0.0.9"), protoTCP).ports(1, 80), false},
	} {
		r := sentTo(prog, c.p, ctNew, 0)
		if got := slices.Contains(r.out, "NORMAL"); got != c.pass || r.problem != "" {
			t.Errorf("%s: passed = %v, want %v (%v) %s", c.name, got, c.pass, r.out, r.problem)
		}
	}
}

func TestAnswersPassWhereTheRuleIsStateful(t *testing.T) {
	out := model.FilterRule{Egress: true, Protocol: model.AnyProtocol}
	for _, c := range []struct {
		name        string
		stateless   bool
		state, mark uint32
		pass        bool
	}{
		{"answer", false, ctEst | ctReply, 1, true},
		{"answer to what another port's rule allowed", false, ctEst | ctReply, 2, false},
		{"new", false, ctNew, 0, false},
		{"opening direction of an old connection that no rule allows", false, ctEst, 3, false},
		{"invalid", false, ctInv, 0, false},
		{"related", false, ctRel, 1, true},
		{"answer to a stateless rule", true, ctEst | ctReply, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			rule := out
			rule.Stateless = c.stateless
			prog := compiled(t, []Port{guest(1, rule)})
			r := sentTo(prog, frame(50, 100, mac(9), mac(1)).ip(addr("10.0.0.9"), addr("10.0.0.1"), protoTCP).ports(80, 40000), c.state, c.mark)
			if got := slices.Equal(r.out, []string{"port 1"}); got != c.pass || !r.learned || r.problem != "" {
				t.Errorf("out = %v, learned %v %s; want it to pass: %v", r.out, r.learned, r.problem, c.pass)
			}
		})
	}
}

func TestWhatCannotBeHadIsReportedAndClosed(t *testing.T) {
	open := model.FilterRule{Protocol: protoTCP, PortMin: num(80), PortMax: num(80)}
	bare := open
	bare.Stateless = true
	dccp := model.FilterRule{Protocol: 33, PortMin: num(1), PortMax: num(2)}
	packetTo := frame(50, 100, mac(9), mac(1)).ip(addr("10.0.0.9"), addr("10.0.0.1"), protoTCP).ports(1, 80)
	for _, c := range []struct {
		name string
		b    Bridge
		want error
		pass bool
	}{
		{"stateful without conntrack", Bridge{Datapath: "x", Ports: []Port{guest(1, open)}}, ErrConntrack, false},
		{"stateless beside it", Bridge{Datapath: "x", Ports: []Port{guest(1, open, bare)}}, ErrConntrack, true},
		{"DCCP's ports", Bridge{Conntrack: true, Ports: []Port{guest(1, dccp)}}, ErrMatch, false},
		{"too many bridges", Bridge{Conntrack: true, Slot: 16, Ports: []Port{guest(1, open)}}, ErrBridge, false},
		{"the same MAC twice", Bridge{Conntrack: true, Ports: []Port{{ID: "port-00", OFPort: 7, VLAN: 100, MAC: mac(1), Protected: true, Filter: &model.Filter{}}, guest(1, open)}}, ErrShared, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			prog, errs := Compile(c.b)
			if !errors.Is(errs["port-01"], c.want) {
				t.Errorf("errors = %v, want %v", errs, c.want)
			}
			r := sentTo(prog, packetTo, ctNew, 0)
			if got := slices.Contains(r.out, "port 1"); got != c.pass || slices.Contains(r.out, "NORMAL") {
				t.Errorf("out = %v, want it to pass: %v", r.out, c.pass)
			}
		})
	}
	if errs := func() map[string]error { _, e := Compile(Bridge{Ports: []Port{guest(1, bare)}}); return e }(); len(errs) > 0 {
		t.Errorf("stateless rules without conntrack: %v", errs)
	}
}

func TestSharedPairNeedsTheSameRules(t *testing.T) {
	vmac := MAC{0, 0, 0x5e, 0, 1, 7}
	pair := func(p Port) Port {
		p.Allowed = append(p.Allowed, Source{vmac, pfx("10.0.0.100/32")})
		return p
	}
	open := model.FilterRule{Protocol: protoTCP}
	prog := compiled(t, []Port{pair(guest(1, open)), pair(guest(2, open))})
	in := frame(50, 100, mac(9), vmac).ip(addr("10.0.0.9"), addr("10.0.0.100"), protoTCP).ports(1, 80)
	if r := sentTo(prog, in, ctNew, 0); !slices.Equal(r.out, []string{"NORMAL"}) {
		t.Errorf("a shared MAC: %v, want NORMAL", r.out)
	}
	prog, errs := Compile(Bridge{Conntrack: true, Ports: []Port{pair(guest(1, open)), pair(guest(2))}})
	if !errors.Is(errs["port-02"], ErrShared) || errs["port-01"] != nil {
		t.Errorf("errors = %v", errs)
	}
	if r := sentTo(prog, frame(2, 0, vmac, mac(9)).arp(vmac, addr("10.0.0.100")), 0, 0); len(r.out) > 0 {
		t.Errorf("the refused port may use the MAC: %v", r.out)
	}
}

func TestPortsThatAreDown(t *testing.T) {
	down, plain := guest(1), guest(3)
	down.Down, down.Protected = true, false
	plain.Protected, plain.Filter = false, nil
	prog := compiled(t, []Port{down, plain, guest(2, defaultGroup()...)})
	if !slices.Equal(prog.NoFlood, []uint32{1, 2}) {
		t.Errorf("NoFlood = %v", prog.NoFlood)
	}
	ip := func(p packet) packet { return p.ip(addr("10.0.0.2"), addr("10.0.0.1"), protoTCP).ports(1, 2) }
	for _, p := range []packet{ip(frame(1, 0, mac(1), mac(9))), ip(frame(2, 0, mac(2), mac(1))), ip(frame(3, 0, mac(3), mac(1))), ip(frame(50, 100, mac(9), mac(1)))} {
		if r := sentTo(prog, p, ctNew, 0); len(r.out) > 0 {
			t.Errorf("%s: %v", p, r.out)
		}
	}
	if r := sentTo(prog, ip(frame(3, 0, mac(3), mac(9))), ctNew, 0); !slices.Equal(r.out, []string{"NORMAL"}) {
		t.Errorf("a port without security is kept from sending: %v", r.out)
	}
}

// TestVLANsThatAPortMayNotSend: what NORMAL would drop does not get past it to a protected port.
func TestVLANsThatAPortMayNotSend(t *testing.T) {
	open := guest(1, model.FilterRule{Protocol: model.AnyProtocol})
	plain := guest(3)
	plain.Protected, plain.Filter, plain.VLAN = false, nil, 7
	prog := compiled(t, []Port{open, plain},
		Other{OFPort: 9, Untagged: -1, Tagged: []int{4095}}, Other{OFPort: 10, Untagged: -1, Tagged: []int{100}}, Other{OFPort: 11, Untagged: 100})
	for _, c := range []struct {
		port uint32
		tag  int
		pass bool
	}{{3, 100, false}, {3, 0, false}, {9, 100, false}, {9, 0, false}, {10, 100, true}, {10, 0, false}, {11, 0, true}, {11, 100, false}, {50, 100, true}, {50, 0, false}} {
		r := sentTo(prog, frame(c.port, c.tag, mac(9), mac(1)).ip(addr("10.0.0.9"), addr("10.0.0.1"), protoTCP).ports(1, 80), ctNew, 0)
		if got := slices.Equal(r.out, []string{"port 1"}); got != c.pass || (!c.pass && !slices.Equal(r.out, []string{"NORMAL"})) {
			t.Errorf("from port %d with tag %d: %v", c.port, c.tag, r.out)
		}
	}
}

func TestBlocksAreTheRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lo := rapid.IntRange(0, 65535).Draw(t, "lo")
		hi := rapid.IntRange(lo, 65535).Draw(t, "hi")
		next := lo
		list := blocks(lo, hi)
		for _, b := range list {
			if int(b.value) != next || b.value&^b.mask != 0 {
				t.Fatalf("%d-%d: %v does not go on at %d", lo, hi, list, next)
			}
			next += int(^b.mask) + 1
		}
		if next != hi+1 || len(list) > 30 {
			t.Fatalf("%d-%d: %v ends at %d", lo, hi, list, next)
		}
	})
}

func TestProgramIsAFunctionOfWhatIsAsked(t *testing.T) {
	ports := []Port{guest(1, defaultGroup("10.0.0.1/32", "10.0.0.2/32")...), guest(2, defaultGroup("10.0.0.1/32", "10.0.0.2/32")...), guest(3)}
	a := compiled(t, ports)
	slices.Reverse(ports)
	b := compiled(t, ports)
	seen := map[uint64]string{}
	for i, f := range a.Flows {
		if f.String() != b.Flows[i].String() || f.Cookie() != b.Flows[i].Cookie() {
			t.Fatalf("%s and %s", f, b.Flows[i])
		}
		if other := seen[f.Cookie()]; other != "" || f.Cookie()>>48 != Mark {
			t.Fatalf("cookie %#x of %s is also that of %q", f.Cookie(), f, other)
		}
		seen[f.Cookie()] = f.String()
	}
	if p := compiled(t, nil, Other{OFPort: 3}); len(p.Flows) > 0 {
		t.Errorf("a bridge without protected ports has %d flows", len(p.Flows))
	}
}

// TestOneMemberMoreIsAFewFlows: a group with a thousand members on a hundred ports is not
// programmed anew when it grows.
func TestOneMemberMoreIsAFewFlows(t *testing.T) {
	var members []string
	for i := range 1000 {
		members = append(members, fmt.Sprintf("10.1.%d.%d/32", i/250, i%250+1))
	}
	build := func(n int) map[uint64]bool {
		var ports []Port
		for i := range byte(100) {
			ports = append(ports, guest(i+1, defaultGroup(members[:n]...)...))
		}
		out := map[uint64]bool{}
		for _, f := range compiled(t, ports).Flows {
			out[f.Cookie()] = true
		}
		return out
	}
	before, after := build(999), build(1000)
	fresh := 0
	for c := range after {
		if !before[c] {
			fresh++
		}
	}
	if fresh != 1 || len(after) != len(before)+1 || len(after) > 5000 {
		t.Errorf("one member more: %d flows are new, %d before, %d after", fresh, len(before), len(after))
	}
}
