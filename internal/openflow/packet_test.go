package openflow

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
)

// packet is a frame and what a switch knows of it.
type packet struct {
	field map[Field][16]byte
	tag   int // VLAN of its tag, 0 = none
}

func (p packet) clone() packet {
	c := packet{field: map[Field][16]byte{}, tag: p.tag}
	for k, v := range p.field {
		c.field[k] = v
	}
	return c
}

func (p packet) put(f Field, v uint32) packet {
	p.field[f] = is(f, v).Value
	return p
}

func (p packet) bytes(f Field, b []byte) packet {
	var v [16]byte
	copy(v[:], b)
	p.field[f] = v
	return p
}

func (p packet) num(f Field) uint32 {
	v, ok := p.field[f]
	if !ok {
		return 0
	}
	return uint32(be(v[:f.Width()]))
}

func (p packet) matches(conds []Cond) bool {
	for _, c := range conds {
		v, ok := p.field[c.Field]
		if c.Field == VLAN {
			n := 0
			if p.tag != 0 {
				n = present | p.tag
			}
			v, ok = is(VLAN, uint32(n)).Value, true
		}
		if !ok && c.Field > ConjID { // a field of another protocol; metadata is 0 where nothing was put
			return false
		}
		for i := range v {
			if v[i]&c.Mask[i] != c.Value[i] {
				return false
			}
		}
	}
	return true
}

// run is a tiny Open vSwitch: what it does with one packet.
type run struct {
	flows map[uint8][]Flow
	// state is what conntrack says of the packet once it is asked, mark that of its connection.
	state, mark uint32

	out     []string // "port 3", "NORMAL"
	commit  []uint32
	learned bool
	steps   int
	problem string
}

func newRun(p *Program) *run {
	r := &run{flows: map[uint8][]Flow{}}
	for _, f := range p.Flows {
		r.flows[f.Table] = append(r.flows[f.Table], f)
	}
	return r
}

func (r *run) table(t uint8, p *packet) {
	if r.steps++; r.steps > 4000 {
		r.problem = "does not end"
		return
	}
	f := r.lookup(t, p)
	if f == nil {
		return
	}
	for _, a := range f.Actions {
		r.act(a, p)
	}
}

// lookup returns the flow that counts. Two of one priority that do different things are a problem.
func (r *run) lookup(t uint8, p *packet) *Flow {
	var hits []Flow
	for _, f := range r.flows[t] {
		if p.matches(f.Match) {
			hits = append(hits, f)
		}
	}
	slices.SortStableFunc(hits, func(a, b Flow) int { return int(b.Priority) - int(a.Priority) })
	for len(hits) > 0 {
		end := slices.IndexFunc(hits, func(f Flow) bool { return f.Priority != hits[0].Priority })
		if end < 0 {
			end = len(hits)
		}
		level := hits[:end]
		hits = hits[len(level):]
		hard := level[:0:0]
		clauses := map[uint32]uint64{}
		n := map[uint32]uint8{}
		for _, f := range level {
			if len(f.Actions) == 0 || f.Actions[0].Kind != Conjunction {
				hard = append(hard, f)
				continue
			}
			for _, a := range f.Actions {
				clauses[a.Value] |= 1 << a.K
				n[a.Value] = a.N
			}
		}
		if len(hard) > 0 {
			for _, f := range hard[1:] {
				if !slices.Equal(f.Actions, hard[0].Actions) {
					r.problem = fmt.Sprintf("ambiguous: %s and %s", f, hard[0])
				}
			}
			return &hard[0]
		}
		for id, have := range clauses {
			if have == 1<<(n[id]+1)-2 {
				q := p.clone().put(ConjID, id)
				return r.lookup(t, &q)
			}
		}
	}
	return nil
}

func (r *run) act(a Action, p *packet) {
	switch a.Kind {
	case Normal:
		r.out = append(r.out, "NORMAL")
	case Output:
		if to := p.num(Reg4); to != p.num(InPort) {
			if p.tag != 0 {
				r.problem = "tagged frame to an access port"
			}
			r.out = append(r.out, fmt.Sprintf("port %d", to))
		}
	case SetReg:
		p.put(regCond(a.Reg), a.Value)
	case Resubmit:
		r.table(a.Table, p)
	case Track:
		q := p.clone()
		q.put(CTState, r.state|ctTrk).put(CTMark, r.mark)
		r.table(a.Table, &q)
	case Commit:
		r.commit = append(r.commit, p.num(Reg0)|p.num(Reg1)<<1)
	case PopVLAN:
		if p.tag == 0 {
			r.problem = "no tag to take off"
		}
		p.tag = 0
	case Learn:
		r.learned = true
	default:
		r.problem = "conjunction carried out"
	}
}

func frame(in uint32, tag int, src, dst MAC) packet {
	p := packet{field: map[Field][16]byte{}, tag: tag}
	return p.put(InPort, in).bytes(EthSrc, src[:]).bytes(EthDst, dst[:])
}

// ip makes it an IP packet.
func (p packet) ip(src, dst netip.Addr, proto uint32) packet {
	s, d := IPSrc, IPDst
	p.put(EthType, typeIPv4)
	if src.Is6() {
		s, d = IPv6Src, IPv6Dst
		p.put(EthType, typeIPv6)
	}
	return p.bytes(s, src.AsSlice()).bytes(d, dst.AsSlice()).put(IPProto, proto)
}

func (p packet) arp(mac MAC, ip netip.Addr) packet {
	return p.put(EthType, typeARP).bytes(ARPSHA, mac[:]).bytes(ARPSPA, ip.AsSlice())
}

func (p packet) ports(src, dst uint32) packet {
	switch p.num(IPProto) {
	case protoUDP:
		p.put(UDPSrc, src).put(UDPDst, dst)
	case protoTCP:
		p.put(TCPDst, dst)
	case protoSCTP:
		p.put(SCTPDst, dst)
	case protoICMP:
		p.put(ICMPType, src).put(ICMPCode, dst)
	case protoICMPv6:
		p.put(ICMPv6Type, src).put(ICMPv6Code, dst)
	}
	return p
}

func (p packet) String() string {
	var b bytes.Buffer
	for f := range fields {
		if v, ok := p.field[f]; ok {
			fmt.Fprintf(&b, "%s=%x ", f, v[:f.Width()])
		}
	}
	return fmt.Sprintf("%stag=%d", b.String(), p.tag)
}

// sentTo runs a program on a packet whose connection conntrack knows so.
func sentTo(prog *Program, p packet, state, mark uint32) *run {
	r := newRun(prog)
	r.state, r.mark = state, mark
	q := p.clone()
	if !slices.ContainsFunc(r.flows[tClassify], func(f Flow) bool { return p.matches(f.Match) }) {
		r.out = []string{"NORMAL"} // the flow that every bridge begins with
		return r
	}
	r.table(tClassify, &q)
	slices.Sort(r.out)
	return r
}

func fieldAddr(p packet, f4, f6 Field) netip.Addr {
	if v, ok := p.field[f4]; ok {
		return netip.AddrFrom4([4]byte(v[:4]))
	}
	if v, ok := p.field[f6]; ok {
		return netip.AddrFrom16(v)
	}
	return netip.Addr{}
}
