package openflow

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"

	"neutrino/internal/model"
)

// protect checks what a protected port sends, and what it is sent.
func (c *compilation) protect(p *Port) {
	c.noFlood[p.OFPort] = true
	c.add(tClassify, 45010, m(is(InPort, p.OFPort), untagged), set(regFrom, p.OFPort), set(regZone, c.zone(p.VLAN)), to(tSource))
	c.add(tClassify, 45000, m(is(InPort, p.OFPort)))
	c.sources(p)
	c.rules(p)
}

// sources lets frames pass whose sender is the port.
func (c *compilation) sources(p *Port) {
	from := is(regCond(regFrom), p.OFPort)
	rules := to(tForward)
	if p.Filter != nil {
		rules = to(tGate)
	}
	byMAC := map[MAC][]netip.Prefix{p.MAC: nil}
	for _, s := range p.Allowed {
		if s.Prefix.IsValid() {
			byMAC[s.MAC] = append(byMAC[s.MAC], s.Prefix)
		}
	}
	for _, mac := range slices.SortedFunc(maps.Keys(byMAC), func(a, b MAC) int { return bytes.Compare(a[:], b[:]) }) {
		sender := isMAC(EthSrc, mac)
		// Addresses that say "I have none yet": DHCP, and looking for duplicates.
		none := within1(IPSrc, netip.PrefixFrom(netip.IPv4Unspecified(), 32))
		c.add(tSource, 80, m(from, sender, is(EthType, typeIPv4), is(IPProto, protoUDP), is(UDPSrc, 68), is(UDPDst, 67), none), to(tForward))
		c.add(tSource, 80, m(from, sender, is(EthType, typeARP), isMAC(ARPSHA, mac), within1(ARPSPA, netip.PrefixFrom(netip.IPv4Unspecified(), 32))), to(tForward))
		c.add(tNeighbour, 10, m(from, sender, is(EthType, typeIPv6), within1(IPv6Src, netip.PrefixFrom(netip.IPv6Unspecified(), 128))), to(tForward))
		for _, prefix := range byMAC[mac] {
			c.source(from, sender, mac, prefix, rules)
		}
	}
}

// within1 is within for a prefix that does not hold everything.
func within1(f Field, p netip.Prefix) Cond {
	c, _ := within(f, p)
	return c
}

// source lets frames pass from one address.
func (c *compilation) source(from, sender Cond, mac MAC, prefix netip.Prefix, rules Action) {
	match := func(f Field, conds ...Cond) []Cond {
		conds = append(conds, from, sender)
		if addr, some := within(f, prefix); some {
			conds = append(conds, addr)
		}
		return conds
	}
	if prefix.Addr().Is4() {
		c.add(tSource, 80, match(ARPSPA, is(EthType, typeARP), isMAC(ARPSHA, mac)), to(tForward))
		c.add(tSource, 80, match(IPSrc, is(EthType, typeIPv4), is(IPProto, protoUDP), is(UDPSrc, 68), is(UDPDst, 67)), to(tForward))
		c.add(tSource, 70, match(IPSrc, is(EthType, typeIPv4)), rules)
		return
	}
	c.add(tSource, 80, match(IPv6Src, is(EthType, typeIPv6), is(IPProto, protoUDP), is(UDPSrc, 546), is(UDPDst, 547)), to(tForward))
	c.add(tSource, 70, match(IPv6Src, is(EthType, typeIPv6)), rules)
	c.add(tSource, 84, match(NDTarget, is(EthType, typeIPv6), is(IPProto, protoICMPv6), is(ICMPv6Type, 136), is(ICMPv6Code, 0)), to(tNeighbour))
	c.add(tNeighbour, 10, match(IPv6Src, is(EthType, typeIPv6)), to(tForward))
}

// network looks where frames of a VLAN with protected ports go.
func (c *compilation) network(vlan int, ports []*Port) {
	net := is(regCond(regZone), c.zone(vlan))
	own := map[MAC]*Port{}
	var copies []Action
	for _, p := range ports {
		copies = append(copies, set(regTo, p.OFPort), to(tIngress))
		if other := own[p.MAC]; other != nil {
			c.fail(p, fmt.Errorf("%w: port %s of this VLAN has MAC %s, too", ErrShared, other.ID, text(p.MAC)))
			continue
		}
		own[p.MAC] = p
		mac := isMAC(EthDst, p.MAC)
		c.add(tForward, 100, m(net, untagged, mac), Action{Kind: Learn}, set(regTo, p.OFPort), to(tIngress))
		if vlan != 0 {
			c.add(tForward, 100, m(net, tagged(vlan), mac), Action{Kind: Learn}, Action{Kind: PopVLAN}, set(regTo, p.OFPort), to(tIngress))
		}
	}
	c.add(tForward, 90, m(net, untagged, group), append([]Action{normal}, copies...)...)
	if vlan != 0 {
		c.add(tForward, 90, m(net, tagged(vlan), group), append([]Action{normal, {Kind: PopVLAN}}, copies...)...)
	}
	c.pairs(net, ports, own)
}

// pairs looks where frames to further MACs of ports go. Such a MAC may be elsewhere at the
// moment: the port's rules count, and NORMAL knows the way.
func (c *compilation) pairs(net Cond, ports []*Port, own map[MAC]*Port) {
	holder := map[MAC]*Port{}
	for _, p := range ports {
		refused := map[MAC]bool{}
		for _, s := range p.Allowed {
			if s.MAC == p.MAC || holder[s.MAC] == p || refused[s.MAC] {
				continue
			}
			first := holder[s.MAC]
			if owner := own[s.MAC]; owner != nil {
				first = owner
			}
			if first != nil {
				if !reflect.DeepEqual(incoming(first.Filter), incoming(p.Filter)) {
					c.fail(p, fmt.Errorf("%w: %s of its allowed address pairs is port %s's, too", ErrShared, text(s.MAC), first.ID))
					refused[s.MAC] = true
				}
				continue
			}
			holder[s.MAC] = p
			c.add(tForward, 95, m(net, isMAC(EthDst, s.MAC)), set(regTo, p.OFPort), set(regNormal, 1), to(tIngress))
		}
		// It does not send from there either: NORMAL would learn that the MAC is at this port.
		if len(refused) > 0 {
			p.Allowed = slices.DeleteFunc(slices.Clone(p.Allowed), func(s Source) bool { return refused[s.MAC] })
		}
	}
}

func text(mac MAC) string { return net.HardwareAddr(mac[:]).String() }

// incoming are the rules on what a port is sent; nil = there are none to heed.
func incoming(f *model.Filter) []model.FilterRule {
	if f == nil {
		return nil
	}
	out := []model.FilterRule{}
	for _, r := range f.Rules {
		if !r.Egress {
			out = append(out, r)
		}
	}
	return out
}

// neighbourTypes are the ICMPv6 messages that IPv6 does not work without: what a port may
// send, and what it may be sent (RFC 2710, RFC 3810, RFC 4861). Neighbour advertisements are
// sent after a look at their target, router advertisements not at all.
var (
	neighbourOut = []uint32{130, 131, 132, 133, 135, 143}
	neighbourIn  = []uint32{130, 131, 132, 134, 135, 136, 143}
)

// shared are the flows that are the same for all ports.
func (c *compilation) shared() {
	icmp := func(kind uint32) []Cond {
		return m(is(EthType, typeIPv6), is(IPProto, protoICMPv6), is(ICMPv6Type, kind))
	}
	udp := func(ethType, from, to uint32) []Cond {
		return m(is(EthType, ethType), is(IPProto, protoUDP), is(UDPSrc, from), is(UDPDst, to))
	}
	c.add(tSource, 90, udp(typeIPv4, 67, 68))
	c.add(tSource, 90, udp(typeIPv6, 547, 546))
	c.add(tSource, 90, icmp(134))
	c.add(tSource, 83, icmp(136))
	for _, kind := range neighbourOut {
		c.add(tSource, 84, icmp(kind), to(tNeighbour))
	}

	c.add(tForward, 0, nil, set(regNormal, 1), to(tDeliver))

	deliver := to(tDeliver)
	c.add(tIngress, 50, m(is(EthType, typeARP)), deliver)
	c.add(tIngress, 50, udp(typeIPv4, 67, 68), deliver)
	c.add(tIngress, 50, udp(typeIPv6, 547, 546), deliver)
	for _, kind := range neighbourIn {
		c.add(tIngress, 50, icmp(kind), deliver)
	}
	for _, ethType := range []uint32{typeIPv4, typeIPv6} {
		c.add(tGate, 30, m(is(EthType, ethType), group), set(regCount, 1), to(tEgress))
		c.add(tIngress, 30, m(is(EthType, ethType), group), set(regCount, 1), to(tAllow))
	}
	// The rest is about conntrack. A datapath without it takes no such flow.
	if c.Conntrack {
		c.tracked(tAnswered, 2, tForward, tEgress)
		c.tracked(tReply, 1, tDeliver, tAllow)
		// What was let through by a stateful rule is kept, with whose rule it was.
		kept := func(priority uint16, reg uint8, bit uint32) {
			for _, ethType := range []uint32{typeIPv4, typeIPv6} {
				c.add(tDeliver, priority, m(is(regCond(reg), 1), number(CTState, ctTrk, ctTrk|ctReply|ctInv|ctRel), number(CTMark, 0, bit), is(EthType, ethType)),
					Action{Kind: Commit}, to(tOut))
			}
		}
		kept(30, regSent, 1)
		kept(29, regLet, 2)
	}
	c.add(tDeliver, 10, nil, to(tOut))
	c.add(tOut, 10, m(is(regCond(regNormal), 1)), normal)
	c.add(tOut, 0, nil, Action{Kind: Output})
}

// tracked sorts what conntrack has seen: answers to what bit allowed pass, what opens is for
// the rules.
func (c *compilation) tracked(table uint8, bit uint32, pass, rules uint8) {
	c.add(table, 50, m(number(CTState, ctTrk|ctInv, ctTrk|ctInv)))
	c.add(table, 40, m(number(CTState, ctTrk|ctRel, ctTrk|ctRel)), to(pass))
	c.add(table, 30, m(number(CTState, ctTrk|ctEst|ctReply, ctTrk|ctEst|ctReply), number(CTMark, bit, bit)), to(pass))
	c.add(table, 20, m(number(CTState, ctTrk|ctReply, ctTrk|ctReply)), set(regCount, 0), to(rules))
	c.add(table, 10, m(number(CTState, ctTrk, ctTrk)), set(regCount, 1), to(rules))
}

func regCond(reg uint8) Field { return Reg0 + Field(reg) }
