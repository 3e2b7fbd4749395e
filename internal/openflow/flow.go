package openflow

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Mark is the upper 16 bits of the cookies of our flows.
const Mark = 0x6e74

// MarkMask selects Mark.
const MarkMask = uint64(0xffff) << 48

// Flow is one flow. What it does without actions is drop.
type Flow struct {
	Table    uint8
	Priority uint16
	Match    []Cond // in the order of fields, each at most once
	Actions  []Action
}

// Cond is what one field is to be.
type Cond struct {
	Field       Field
	Value, Mask [16]byte // the first Width bytes; masked bits of Value only
}

// Field of a packet or of its metadata.
type Field uint8

// Fields, in the order in which OpenFlow wants them: what a field rests on comes first.
const (
	InPort Field = iota
	Reg0
	Reg1
	Reg2
	Reg3
	Reg4
	Reg5
	Reg6
	CTState
	CTMark
	ConjID
	EthDst
	EthSrc
	EthType
	VLAN // vlan_vid with its "present" bit: 0 = untagged, else 0x1000 | VLAN
	IPProto
	IPSrc
	IPDst
	ARPSPA
	ARPSHA
	IPv6Src
	IPv6Dst
	TCPDst
	UDPSrc
	UDPDst
	SCTPDst
	ICMPType
	ICMPCode
	ICMPv6Type
	ICMPv6Code
	NDTarget
	fields
)

type fieldInfo struct {
	name  string // as ovs-ofctl(8) has it
	class uint16 // OXM class: 0x8000 OpenFlow's, 1 Nicira's
	code  uint8
	width int // bytes
}

var fieldTable = [fields]fieldInfo{
	InPort: {"in_port", 0x8000, 0, 4},
	Reg0:   {"reg0", 1, 0, 4}, Reg1: {"reg1", 1, 1, 4}, Reg2: {"reg2", 1, 2, 4}, Reg3: {"reg3", 1, 3, 4},
	Reg4: {"reg4", 1, 4, 4}, Reg5: {"reg5", 1, 5, 4}, Reg6: {"reg6", 1, 6, 4},
	CTState: {"ct_state", 1, 105, 4}, CTMark: {"ct_mark", 1, 107, 4}, ConjID: {"conj_id", 1, 37, 4},
	EthDst: {"dl_dst", 0x8000, 3, 6}, EthSrc: {"dl_src", 0x8000, 4, 6}, EthType: {"eth_type", 0x8000, 5, 2},
	VLAN: {"vlan_tci", 0x8000, 6, 2}, IPProto: {"nw_proto", 0x8000, 10, 1},
	IPSrc: {"nw_src", 0x8000, 11, 4}, IPDst: {"nw_dst", 0x8000, 12, 4},
	ARPSPA: {"arp_spa", 0x8000, 22, 4}, ARPSHA: {"arp_sha", 0x8000, 24, 6},
	IPv6Src: {"ipv6_src", 0x8000, 26, 16}, IPv6Dst: {"ipv6_dst", 0x8000, 27, 16},
	TCPDst: {"tcp_dst", 0x8000, 14, 2}, UDPSrc: {"udp_src", 0x8000, 15, 2}, UDPDst: {"udp_dst", 0x8000, 16, 2},
	SCTPDst: {"sctp_dst", 0x8000, 18, 2}, ICMPType: {"icmp_type", 0x8000, 19, 1}, ICMPCode: {"icmp_code", 0x8000, 20, 1},
	ICMPv6Type: {"icmpv6_type", 0x8000, 29, 1}, ICMPv6Code: {"icmpv6_code", 0x8000, 30, 1}, NDTarget: {"nd_target", 0x8000, 31, 16},
}

// Width is the field's size in bytes.
func (f Field) Width() int { return fieldTable[f].width }

// OXM is the field's header on the wire, without its mask bit and length.
func (f Field) OXM() (class uint16, code uint8) { return fieldTable[f].class, fieldTable[f].code }

func (f Field) String() string { return fieldTable[f].name }

// Exact reports whether every bit of the field counts.
func (c Cond) Exact() bool {
	for _, b := range c.Mask[:c.Field.Width()] {
		if b != 0xff {
			return false
		}
	}
	return true
}

// number is a condition on a field of at most four bytes.
func number(f Field, value, mask uint32) Cond {
	c := Cond{Field: f}
	var v, m [4]byte
	binary.BigEndian.PutUint32(v[:], value&mask)
	binary.BigEndian.PutUint32(m[:], mask)
	w := f.Width()
	copy(c.Value[:], v[4-w:])
	copy(c.Mask[:], m[4-w:])
	return c
}

func is(f Field, value uint32) Cond { return number(f, value, 0xffffffff) }

func isMAC(f Field, mac MAC) Cond {
	c := Cond{Field: f}
	copy(c.Value[:], mac[:])
	copy(c.Mask[:], bytes.Repeat([]byte{0xff}, len(mac)))
	return c
}

// group is a destination of several receivers.
var group = Cond{Field: EthDst, Value: [16]byte{1}, Mask: [16]byte{1}}

// within is a condition on an address; ok is false where the prefix holds every one.
func within(f Field, p netip.Prefix) (c Cond, ok bool) {
	c.Field = f
	copy(c.Value[:], p.Masked().Addr().AsSlice())
	for i := range p.Bits() {
		c.Mask[i/8] |= 0x80 >> (i % 8)
	}
	return c, p.Bits() > 0
}

// ActionKind is what an Action does.
type ActionKind uint8

// Kinds of actions.
const (
	Normal      ActionKind = iota // forward as a switch does
	Output                        // to the port whose number is in reg4
	SetReg                        // Reg = Value
	Resubmit                      // to Table
	Track                         // look the packet up in conntrack's zone reg6, and go on in Table
	Commit                        // have conntrack keep the connection, with reg0 and reg1 as the lowest bits of its mark
	PopVLAN                       // take the VLAN tag off
	Learn                         // have NORMAL learn the sender, and forward nothing
	Conjunction                   // this flow is clause K of N of conjunction Value
)

// Action of a Flow.
type Action struct {
	Kind  ActionKind
	Reg   uint8
	Table uint8
	K, N  uint8 // K from 1
	Value uint32
}

func (a Action) String() string {
	switch a.Kind {
	case Normal:
		return "NORMAL"
	case Output:
		return "output:NXM_NX_REG4[]"
	case SetReg:
		return fmt.Sprintf("set_field:%#x->reg%d", a.Value, a.Reg)
	case Resubmit:
		return fmt.Sprintf("resubmit(,%d)", a.Table)
	case Track:
		return fmt.Sprintf("ct(table=%d,zone=NXM_NX_REG6[0..15])", a.Table)
	case Commit:
		return "ct(commit,zone=NXM_NX_REG6[0..15],exec(move:NXM_NX_REG0[0]->NXM_NX_CT_MARK[0],move:NXM_NX_REG1[0]->NXM_NX_CT_MARK[1]))"
	case PopVLAN:
		return "pop_vlan"
	case Learn:
		return "clone(move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],NORMAL)"
	case Conjunction:
		return fmt.Sprintf("conjunction(%d,%d/%d)", a.Value, a.K, a.N)
	}
	return "?"
}

func (c Cond) String() string {
	w := c.Field.Width()
	v, m := c.Value[:w], c.Mask[:w]
	var text, mask string
	switch c.Field {
	case EthDst, EthSrc, ARPSHA:
		text, mask = net.HardwareAddr(v).String(), net.HardwareAddr(m).String()
	case IPSrc, IPDst, ARPSPA, IPv6Src, IPv6Dst, NDTarget:
		a, _ := netip.AddrFromSlice(v)
		b, _ := netip.AddrFromSlice(m)
		text, mask = a.String(), b.String()
	case CTState:
		return "ct_state=" + stateText(binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(m))
	case InPort, IPProto, TCPDst, UDPSrc, UDPDst, SCTPDst, ICMPType, ICMPCode, ICMPv6Type, ICMPv6Code, ConjID:
		text, mask = strconv.FormatUint(be(v), 10), fmt.Sprintf("%#x", be(m))
	default:
		text, mask = fmt.Sprintf("%#x", be(v)), fmt.Sprintf("%#x", be(m))
		if c.Field == VLAN {
			mask = "0x1fff"
			return c.Field.String() + "=" + text + "/" + mask
		}
	}
	if !c.Exact() {
		text += "/" + mask
	}
	return c.Field.String() + "=" + text
}

func be(b []byte) (n uint64) {
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return n
}

// Bits of ct_state.
const (
	ctNew uint32 = 1 << iota
	ctEst
	ctRel
	ctReply
	ctInv
	ctTrk
)

func stateText(v, m uint32) string {
	var b strings.Builder
	for i, name := range []string{"new", "est", "rel", "rpl", "inv", "trk"} {
		switch bit := uint32(1) << i; {
		case m&bit == 0:
		case v&bit != 0:
			b.WriteString("+" + name)
		default:
			b.WriteString("-" + name)
		}
	}
	return b.String()
}

// String is the flow as ovs-ofctl(8) takes it, without its cookie.
func (f Flow) String() string {
	parts := []string{fmt.Sprintf("table=%d", f.Table), fmt.Sprintf("priority=%d", f.Priority)}
	for _, c := range f.Match {
		parts = append(parts, c.String())
	}
	actions := "drop"
	if len(f.Actions) > 0 {
		list := make([]string, len(f.Actions))
		for i, a := range f.Actions {
			list[i] = a.String()
		}
		actions = strings.Join(list, ",")
	}
	return strings.Join(parts, ",") + " actions=" + actions
}

// Cookie is what the flow is found by again: our mark and a hash of all that it is.
func (f Flow) Cookie() uint64 {
	b := []byte{f.Table, byte(f.Priority >> 8), byte(f.Priority)}
	for _, c := range f.Match {
		b = append(b, byte(c.Field))
		b = append(b, c.Value[:]...)
		b = append(b, c.Mask[:]...)
	}
	for _, a := range f.Actions {
		b = append(b, 0xff, byte(a.Kind), a.Reg, a.Table, a.K, a.N)
		b = binary.BigEndian.AppendUint32(b, a.Value)
	}
	return uint64(Mark)<<48 | xxhash.Sum64(b)&^MarkMask
}

// key is a table, a priority and a match: what there is one flow of.
func (f Flow) key() string {
	b := make([]byte, 0, 3+len(f.Match)*33)
	b = append(b, f.Table, byte(f.Priority>>8), byte(f.Priority))
	for _, c := range f.Match {
		b = append(b, byte(c.Field))
		b = append(b, c.Value[:]...)
		b = append(b, c.Mask[:]...)
	}
	return string(b)
}

// compareFlows orders by table, falling priority, match.
func compareFlows(a, b Flow) int {
	if c := cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(b.Priority, a.Priority)); c != 0 {
		return c
	}
	return slices.CompareFunc(a.Match, b.Match, func(x, y Cond) int {
		return cmp.Or(cmp.Compare(x.Field, y.Field), bytes.Compare(x.Value[:], y.Value[:]), bytes.Compare(x.Mask[:], y.Mask[:]))
	})
}

// Probe is a flow that no packet gets to, and that a datapath without conntrack, its zones or
// its marks does not take.
func Probe() Flow {
	return Flow{
		Table: tAnswered, Priority: 1,
		Match:   []Cond{is(Reg6, 0xffffffff), number(CTState, ctTrk, ctTrk), number(CTMark, 1, 1), is(EthType, typeIPv4)},
		Actions: []Action{{Kind: Commit}, track(tReply)},
	}
}
