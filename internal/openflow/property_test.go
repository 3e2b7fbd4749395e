package openflow

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"neutrino/internal/model"
)

// drawRule draws from few values, so that they meet.
func drawRule(t *rapid.T) model.FilterRule {
	r := model.FilterRule{
		Egress: rapid.Bool().Draw(t, "egress"), IPv6: rapid.Bool().Draw(t, "IPv6"), Stateless: rapid.Bool().Draw(t, "stateless"),
		Protocol: rapid.SampledFrom([]int{model.AnyProtocol, model.AnyProtocol, model.AnyProtocol, protoTCP, protoTCP, protoUDP, protoICMP, protoICMPv6, protoSCTP, 50}).Draw(t, "protocol"),
	}
	if r.Protocol == protoICMP && r.IPv6 {
		r.Protocol = protoICMPv6
	} else if r.Protocol == protoICMPv6 && !r.IPv6 {
		r.Protocol = protoICMP
	}
	if r.Protocol != model.AnyProtocol && r.Protocol != 50 && rapid.Bool().Draw(t, "with ports") {
		lo := rapid.IntRange(0, 20).Draw(t, "lo")
		r.PortMin, r.PortMax = num(lo), num(lo+rapid.IntRange(0, 9).Draw(t, "span"))
	}
	if rapid.Bool().Draw(t, "with remotes") {
		r.Remotes = rapid.SliceOfN(rapid.SampledFrom([]netip.Prefix{
			pfx("10.0.0.1/32"), pfx("10.0.0.2/32"), pfx("10.0.0.0/30"), pfx("10.0.0.9/32"), pfx("fd00::1/128"), pfx("fd00::9/128"), pfx("fd00::/64"), pfx("0.0.0.0/0"),
		}), 0, 4).Draw(t, "remotes")
		if r.Remotes == nil {
			r.Remotes = []netip.Prefix{}
		}
	}
	return r
}

// ruled is what the rules say of a packet: the definition that flows are held against.
func ruled(f *model.Filter, egress bool, p packet, count bool) (pass, stateful bool) {
	src, dst := fieldAddr(p, IPSrc, IPv6Src), fieldAddr(p, IPDst, IPv6Dst)
	far := src
	if egress {
		far = dst
	}
	for _, r := range f.Rules {
		proto := int(p.num(IPProto))
		if r.Egress != egress || r.IPv6 != far.Is6() || (r.Protocol != model.AnyProtocol && r.Protocol != proto) || (!r.Stateless && !count) {
			continue
		}
		if r.PortMin != nil {
			var a, b uint32
			switch proto {
			case protoTCP:
				a = p.num(TCPDst)
			case protoUDP:
				a = p.num(UDPDst)
			case protoSCTP:
				a = p.num(SCTPDst)
			case protoICMP:
				a, b = p.num(ICMPType), p.num(ICMPCode)
			case protoICMPv6:
				a, b = p.num(ICMPv6Type), p.num(ICMPv6Code)
			}
			if proto == protoICMP || proto == protoICMPv6 {
				if int(a) != *r.PortMin || int(b) != *r.PortMax {
					continue
				}
			} else if int(a) < *r.PortMin || int(a) > *r.PortMax {
				continue
			}
		}
		if r.Remotes != nil && !slices.ContainsFunc(r.Remotes, func(q netip.Prefix) bool { return q.Contains(far) }) {
			continue
		}
		pass = true
		stateful = stateful || !r.Stateless
	}
	return pass, stateful
}

// judged is what a port's filter and conntrack say of a packet that is not to be let through in any case.
func judged(p *Port, egress bool, pk packet, toGroup bool, state, mark uint32) (pass, stateful bool) {
	tracks := slices.ContainsFunc(p.Filter.Rules, func(r model.FilterRule) bool { return !r.Stateless })
	if toGroup || !tracks {
		return ruled(p.Filter, egress, pk, true)
	}
	bit := uint32(1)
	if egress {
		bit = 2
	}
	switch {
	case state&ctInv != 0:
		return false, false
	case state&ctRel != 0:
		return true, false
	case state&(ctEst|ctReply) == ctEst|ctReply && mark&bit != 0:
		return true, false
	}
	return ruled(p.Filter, egress, pk, state&ctReply == 0)
}

// TestFlowsDoWhatRulesSay: any rules, any packet, any state of its connection.
func TestFlowsDoWhatRulesSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := guest(1, rapid.SliceOfN(rapid.Custom(drawRule), 0, 6).Draw(t, "rules of 1")...)
		b := guest(2, rapid.SliceOfN(rapid.Custom(drawRule), 0, 6).Draw(t, "rules of 2")...)
		prog, errs := Compile(Bridge{Conntrack: true, Ports: []Port{a, b}})
		if len(errs) > 0 {
			t.Fatalf("Compile: %v", errs)
		}
		for range 30 {
			checkPacket(t, prog, &a, &b)
		}
	})
}

// checkPacket holds what becomes of one packet against what the rules say.
func checkPacket(t *rapid.T, prog *Program, a, b *Port) {
	six := rapid.Bool().Draw(t, "IPv6 packet")
	ends := []netip.Addr{addr("10.0.0.1"), addr("10.0.0.2"), addr("10.0.0.9")}
	if six {
		ends = []netip.Addr{addr("fd00::1"), addr("fd00::2"), addr("fd00::9")}
	}
	from, into := rapid.IntRange(0, 2).Draw(t, "from"), rapid.IntRange(0, 2).Draw(t, "to")
	if from == into {
		into = (from + 1) % 3
	}
	macs := []MAC{mac(1), mac(2), mac(9)}
	pk := frame(uint32(from+1), 0, macs[from], macs[into])
	if from == 2 {
		pk = frame(50, 100, macs[from], macs[into])
	}
	toGroup := rapid.Bool().Draw(t, "to a group")
	if toGroup {
		pk.bytes(EthDst, []byte{0x33, 0x33, 0, 0, 0, 0x42})
	}
	protos := []uint32{protoTCP, protoUDP, protoICMP, protoSCTP, 50}
	if six {
		protos[2] = protoICMPv6
	}
	pk = pk.ip(ends[from], ends[into], rapid.SampledFrom(protos).Draw(t, "protocol"))
	pk = pk.ports(uint32(rapid.IntRange(0, 30).Draw(t, "sport")), uint32(rapid.IntRange(0, 30).Draw(t, "dport")))
	state := rapid.SampledFrom([]uint32{ctNew, ctEst, ctEst | ctReply, ctRel, ctInv}).Draw(t, "state")
	mark := uint32(rapid.IntRange(0, 3).Draw(t, "mark"))
	if state == ctNew {
		mark = 0
	}

	want := []string{}
	var commit uint32
	sent, keep := true, false
	if from < 2 {
		sent, keep = judged([]*Port{a, b}[from], true, pk, toGroup, state, mark)
	}
	if keep {
		commit = 1
	}
	let := func(i int) {
		if i == from {
			return
		}
		pass, stateful := judged([]*Port{a, b}[i], false, pk, toGroup, state, mark)
		if stateful {
			commit |= 2
		}
		if pass {
			want = append(want, fmt.Sprintf("port %d", i+1))
		}
	}
	switch {
	case !sent:
	case toGroup:
		want = append(want, "NORMAL")
		let(0)
		let(1)
	case into < 2:
		let(into)
	default:
		want = append(want, "NORMAL")
	}
	slices.Sort(want)
	r := sentTo(prog, pk, state, mark)
	if r.problem != "" || !slices.Equal(r.out, want) {
		t.Fatalf("%s, state %s mark %d: out %v %s, want %v", pk, stateText(state, 63), mark, r.out, r.problem, want)
	}
	// What two ends allowed is kept exactly once, and only where it got through.
	keepIt := len(want) > 0 && !toGroup && state&(ctReply|ctRel|ctInv) == 0 && commit&^mark != 0
	if keepIt != (len(r.commit) == 1) || (keepIt && r.commit[0] != commit) {
		t.Fatalf("%s, state %s mark %d: committed %v, want %v %d", pk, stateText(state, 63), mark, r.commit, keepIt, commit)
	}
}
