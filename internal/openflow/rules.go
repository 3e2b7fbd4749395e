package openflow

import (
	"fmt"
	"hash/fnv"
	"math/bits"
	"net/netip"
	"slices"
	"strings"

	"neutrino/internal/model"
)

// Priorities in the tables of rules. Stateful ones come first: what both kinds allow is kept in
// conntrack. Of a conjunction the clauses are below what it leads to.
const (
	prioStateful       = 40
	prioStatefulFound  = 35
	prioStatefulClause = 30
	prioStateless      = 20
	prioStatelessFound = 15
	prioStatelessPart  = 10
)

// rules enforces a port's filter.
func (c *compilation) rules(p *Port) {
	to4 := is(regCond(regTo), p.OFPort)
	from := is(regCond(regFrom), p.OFPort)
	if p.Filter == nil {
		c.add(tIngress, 40, m(to4), to(tDeliver))
		return
	}
	stateful := false
	ordinal := map[string]int{}
	for i := range p.Filter.Rules {
		r := &p.Filter.Rules[i]
		if !r.Stateless {
			if !c.Conntrack {
				c.fail(p, fmt.Errorf("%w, which datapath %s lacks: stateless rules of the port are in force, the others are not", ErrConntrack, c.Datapath))
				continue
			}
			stateful = true
		}
		if err := c.rule(p, r, ordinal); err != nil {
			c.fail(p, err)
		}
	}
	if stateful {
		c.add(tIngress, 20, m(to4, number(CTState, ctTrk, ctTrk)), to(tReply))
	}
	for _, ethType := range []uint32{typeIPv4, typeIPv6} {
		if stateful {
			c.add(tGate, 20, m(from, is(EthType, ethType)), track(tAnswered))
			c.add(tIngress, 10, m(to4, is(EthType, ethType)), track(tReply))
			continue
		}
		c.add(tGate, 20, m(from, is(EthType, ethType)), set(regCount, 1), to(tEgress))
		c.add(tIngress, 10, m(to4, is(EthType, ethType)), set(regCount, 1), to(tAllow))
	}
}

// rule adds the flows of one rule. ordinal counts the port's rules that differ in their remotes only.
func (c *compilation) rule(p *Port, r *model.FilterRule, ordinal map[string]int) error {
	kinds, err := transport(r)
	if err != nil {
		return err
	}
	table, end, far := tAllow, is(regCond(regTo), p.OFPort), IPSrc
	actions := []Action{set(regLet, 1), to(tDeliver)}
	if r.Egress {
		table, end, far = tEgress, is(regCond(regFrom), p.OFPort), IPDst
		actions = []Action{set(regSent, 1), to(tForward)}
	}
	if r.IPv6 {
		far += IPv6Src - IPSrc
		if r.Egress {
			far = IPv6Dst
		}
	}
	plain, found, clause := uint16(prioStateful), uint16(prioStatefulFound), uint16(prioStatefulClause)
	if r.Stateless {
		plain, found, clause = prioStateless, prioStatelessFound, prioStatelessPart
		actions = actions[1:]
	}
	family := is(EthType, typeIPv4)
	if r.IPv6 {
		family = is(EthType, typeIPv6)
	}
	base := m(end, family)
	if !r.Stateless {
		base = append(base, is(regCond(regCount), 1))
	}
	remotes, anybody := remotesOf(r)
	switch {
	case anybody:
		for _, k := range kinds {
			c.add(table, plain, slices.Concat(base, k), actions...)
		}
	case len(remotes) == 1:
		for _, k := range kinds {
			c.add(table, plain, slices.Concat(base, k, m(within1(far, remotes[0]))), actions...)
		}
	case len(remotes) > 1:
		id := c.conjunction(p, r, table, remotes, ordinal)
		for _, k := range kinds {
			c.add(table, clause, slices.Concat(base, k), Action{Kind: Conjunction, Value: id, K: 1, N: 2})
		}
		for _, prefix := range remotes {
			c.add(table, clause, m(family, within1(far, prefix)), Action{Kind: Conjunction, Value: id, K: 2, N: 2})
		}
		c.add(table, found, m(is(ConjID, id)), actions...)
	}
	return nil
}

// remotesOf are the rule's remotes in its own family, sorted, each once and none within another.
func remotesOf(r *model.FilterRule) (out []netip.Prefix, anybody bool) {
	if r.Remotes == nil {
		return nil, true
	}
	for _, p := range r.Remotes {
		if p.IsValid() && p.Addr().Is6() == r.IPv6 {
			if p.Bits() == 0 {
				return nil, true
			}
			out = append(out, p.Masked())
		}
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int {
		if n := a.Addr().Compare(b.Addr()); n != 0 {
			return n
		}
		return a.Bits() - b.Bits()
	})
	kept := out[:0]
	for _, p := range out {
		if n := len(kept); n == 0 || !kept[n-1].Overlaps(p) {
			kept = append(kept, p)
		}
	}
	return kept, false
}

// conjunction returns the number of a set of remotes. Ports whose rules have the same set
// share it: the set is one clause, and which port it is is in the other. The number follows
// from the first rule that has the set, so that it stays when a member comes or goes.
func (c *compilation) conjunction(p *Port, r *model.FilterRule, table uint8, remotes []netip.Prefix, ordinal map[string]int) uint32 {
	var b strings.Builder
	fmt.Fprint(&b, table, r.IPv6, r.Stateless)
	for _, prefix := range remotes {
		b.WriteByte(' ')
		b.WriteString(prefix.String())
	}
	spec := fmt.Sprint(table, r.IPv6, r.Stateless, r.Protocol, value(r.PortMin), value(r.PortMax))
	n := ordinal[spec]
	ordinal[spec]++
	if id, ok := c.sets[b.String()]; ok {
		return id
	}
	h := fnv.New32a()
	fmt.Fprint(h, p.ID, spec, n)
	id := h.Sum32()
	for id == 0 || c.ids[id] {
		id++
	}
	c.ids[id] = true
	c.sets[b.String()] = id
	return id
}

func value(p *int) int {
	if p == nil {
		return -1
	}
	return *p
}

// transport is what a rule asks of protocol, ports, type and code: one match of several
// suffices.
func transport(r *model.FilterRule) ([][]Cond, error) {
	if r.Protocol == model.AnyProtocol {
		if r.PortMin != nil || r.PortMax != nil {
			return nil, fmt.Errorf("%w: ports without a protocol", ErrMatch)
		}
		return [][]Cond{nil}, nil
	}
	if r.Protocol < 0 || r.Protocol > 255 {
		return nil, fmt.Errorf("%w: there is no IP protocol %d", ErrMatch, r.Protocol)
	}
	proto := is(IPProto, uint32(r.Protocol)) //nolint:gosec // checked
	if r.PortMin == nil && r.PortMax == nil {
		return [][]Cond{m(proto)}, nil
	}
	var port Field
	switch {
	case r.Protocol == protoTCP:
		port = TCPDst
	case r.Protocol == protoUDP:
		port = UDPDst
	case r.Protocol == protoSCTP:
		port = SCTPDst
	case r.Protocol == protoICMP && !r.IPv6:
		return icmp(r, proto, ICMPType, ICMPCode)
	case r.Protocol == protoICMPv6 && r.IPv6:
		return icmp(r, proto, ICMPv6Type, ICMPv6Code)
	default:
		return nil, fmt.Errorf("%w: ports of IP protocol %d", ErrMatch, r.Protocol)
	}
	lo, hi := 0, 65535
	if r.PortMin != nil {
		lo = *r.PortMin
	}
	if r.PortMax != nil {
		hi = *r.PortMax
	}
	if lo < 0 || hi > 65535 || lo > hi {
		return nil, fmt.Errorf("%w: ports %d to %d", ErrMatch, lo, hi)
	}
	var out [][]Cond
	for _, block := range blocks(lo, hi) {
		k := m(proto)
		if block.mask != 0 {
			k = append(k, number(port, uint32(block.value), uint32(block.mask)))
		}
		out = append(out, k)
	}
	return out, nil
}

func icmp(r *model.FilterRule, proto Cond, kind, code Field) ([][]Cond, error) {
	k := m(proto)
	for _, x := range []struct {
		want *int
		f    Field
	}{{r.PortMin, kind}, {r.PortMax, code}} {
		if x.want == nil {
			continue
		}
		if *x.want < 0 || *x.want > 255 {
			return nil, fmt.Errorf("%w: %s %d", ErrMatch, x.f, *x.want)
		}
		k = append(k, is(x.f, uint32(*x.want))) //nolint:gosec // checked
	}
	return [][]Cond{k}, nil
}

type block struct{ value, mask uint16 }

// blocks are the aligned blocks of ports that a range is made of, at most 30.
func blocks(lo, hi int) []block {
	var out []block
	for lo <= hi {
		size := 1 << 16
		if lo > 0 {
			size = 1 << bits.TrailingZeros(uint(lo)) //nolint:gosec // not negative
		}
		for lo+size-1 > hi {
			size >>= 1
		}
		out = append(out, block{uint16(lo), uint16(-size & 0xffff)}) //nolint:gosec // both within 16 bits
		lo += size
	}
	return out
}
