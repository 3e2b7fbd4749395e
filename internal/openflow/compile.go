package openflow

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"neutrino/internal/model"
)

// Errors for errors.Is.
var (
	// ErrConntrack: the port has stateful rules, and the datapath has no conntrack.
	ErrConntrack = errors.New("stateful rules need conntrack")
	// ErrMatch: a rule asks for what OpenFlow cannot match.
	ErrMatch = errors.New("rule cannot be expressed in OpenFlow")
	// ErrShared: another port of the bridge has the same MAC with other rules.
	ErrShared = errors.New("MAC is shared with a port of other rules")
	// ErrBridge: the port cannot be filtered on this bridge at all.
	ErrBridge = errors.New("port cannot be filtered on this bridge")
)

// MAC is a hardware address.
type MAC [6]byte

// ParseMAC reads one of six bytes.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil {
		return MAC{}, err
	}
	if len(hw) != len(MAC{}) {
		return MAC{}, fmt.Errorf("%q is no MAC address of six bytes", s)
	}
	return MAC(hw), nil
}

// Source is a MAC and a prefix that a port may use together.
type Source struct {
	MAC    MAC
	Prefix netip.Prefix
}

// Port is one access port of a bridge that belongs to a port of the API.
type Port struct {
	ID     string
	OFPort uint32 // 1 to MaxOFPort
	VLAN   int    // 0 = untagged frames of the bridge, else 1 to 4094
	MAC    MAC
	// Protected: port security is on. Without it the port is like any other.
	Protected bool
	// Down: nothing passes, protected or not.
	Down bool
	// Allowed are what a protected port may send from; empty = it can ask for an address, no more.
	Allowed []Source
	// Filter is what its security groups allow; nil = they are not enforced.
	Filter *model.Filter
}

// Other is a port of the bridge that is nobody's we know, as NORMAL sees it. A trunk of all
// VLANs, whose untagged frames are those of VLAN 0, need not be named.
type Other struct {
	OFPort   uint32
	Untagged int   // VLAN of its untagged frames; -1 = it has none
	Tagged   []int // VLANs of its tagged frames
	Trunk    bool  // Tagged are all of them
	// Dead: nothing passes. It is on the dead VLAN, which an uplink that takes all VLANs has, too.
	Dead bool
}

// DeadVLAN is where ports are put that are nobody's any more. No frame on a wire has it.
const DeadVLAN = 4095

// Local is the OpenFlow port of the bridge itself.
const Local = 0xfffffffe

// Bridge is what is compiled.
type Bridge struct {
	// Slot tells bridges of one datapath apart, 0 to MaxSlot: their VLANs of the same id are zones
	// of their own.
	Slot int
	// Conntrack: the datapath has it. Datapath is its name for messages.
	Conntrack bool
	Datapath  string
	Ports     []Port
	Others    []Other
}

// Limits.
const (
	MaxOFPort = 0xfeff // numbers above are OpenFlow's own (OFPP_MAX of OpenFlow 1.0)
	MaxSlot   = 15
	// MaxGroup is how many protected ports one VLAN of a bridge may have: a frame to a group is
	// copied to each in one flow.
	MaxGroup = 1000

	untaggedZone = 4095
)

// Program is what a bridge is to have.
type Program struct {
	Flows   []Flow   // in the order of tables, falling priorities, matches
	NoFlood []uint32 // OpenFlow ports that NORMAL must not flood to, ascending
	Flood   []uint32 // those of Ports that it may flood to, ascending
}

// Tables.
const (
	tClassify  uint8 = 0
	tSource    uint8 = 100
	tGate      uint8 = 101
	tAnswered  uint8 = 102
	tEgress    uint8 = 103
	tForward   uint8 = 104
	tIngress   uint8 = 105
	tReply     uint8 = 106
	tAllow     uint8 = 107
	tDeliver   uint8 = 108
	tOut       uint8 = 109
	tNeighbour uint8 = 110
)

// Registers.
const (
	regSent = iota
	regLet
	regCount
	regNormal
	regTo
	regFrom
	regZone
)

const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeIPv6 = 0x86dd

	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
	protoSCTP   = 132

	present = 0x1000 // in vlan_vid
)

var (
	untagged = is(VLAN, 0)
	normal   = Action{Kind: Normal}
)

func to(table uint8) Action { return Action{Kind: Resubmit, Table: table} }

func set(reg uint8, value uint32) Action { return Action{Kind: SetReg, Reg: reg, Value: value} }

func track(table uint8) Action { return Action{Kind: Track, Table: table} }

// compilation gathers flows.
type compilation struct {
	Bridge
	flows   map[string]*Flow
	sets    map[string]uint32 // conjunctions by what they are of
	ids     map[uint32]bool   // conjunctions
	noFlood map[uint32]bool
	flood   []uint32
	errs    map[string]error
}

// Compile returns what the bridge is to have, and what of it cannot be had, by port. A port with an
// error gets less than it is allowed, never more. Without a protected port, or one that is down
// or dead, there are no flows. The order of Ports does not matter.
func Compile(b Bridge) (*Program, map[string]error) {
	c := &compilation{
		Bridge: b, flows: map[string]*Flow{}, sets: map[string]uint32{}, ids: map[uint32]bool{}, noFlood: map[uint32]bool{}, errs: map[string]error{},
	}
	c.Ports = slices.SortedFunc(slices.Values(b.Ports), func(a, b Port) int { return strings.Compare(a.ID, b.ID) })
	closed, open, some := c.sort()
	if !some {
		return c.program(), c.errs
	}
	for _, vlan := range slices.Sorted(maps.Keys(closed)) {
		c.network(vlan, closed[vlan])
		for _, p := range closed[vlan] {
			c.protect(p)
		}
	}
	c.open(closed, open)
	c.unreachable(open)
	if len(closed) > 0 {
		c.shared()
	}
	return c.program(), c.errs
}

// sort tells ports apart: the protected ones by VLAN, and those that are like any other. Ports that
// are down are cut off. some is false where there is neither of the first two kinds.
func (c *compilation) sort() (closed map[int][]*Port, open []Other, some bool) {
	closed = map[int][]*Port{}
	seen := map[uint32]bool{}
	for i := range c.Ports {
		p := &c.Ports[i]
		err := c.check(p, seen)
		if err == nil && p.Protected && !p.Down && len(closed[p.VLAN]) == MaxGroup {
			err = fmt.Errorf("%w: VLAN %d has %d protected ports already", ErrBridge, p.VLAN, MaxGroup)
		}
		if err != nil {
			if p.Protected || p.Down {
				c.fail(p, err)
			}
			if p.OFPort < 1 || p.OFPort > MaxOFPort || seen[p.OFPort] {
				continue // it is none
			}
		}
		seen[p.OFPort] = true
		switch {
		case p.Down, err != nil && p.Protected:
			some = true
			p.Down = true
			c.cut(p)
		case p.Protected:
			some = true
			closed[p.VLAN] = append(closed[p.VLAN], p)
		case err == nil:
			c.flood = append(c.flood, p.OFPort)
			open = append(open, Other{OFPort: p.OFPort, Untagged: p.VLAN})
		}
	}
	for _, o := range c.Others {
		switch {
		case seen[o.OFPort]:
		case o.Dead:
			c.add(tClassify, 45020, m(is(InPort, o.OFPort)))
			c.add(tClassify, 45019, m(tagged(DeadVLAN)))
		default:
			open = append(open, o)
		}
	}
	slices.Sort(c.flood)
	return closed, open, some
}

// check reports why a port cannot be compiled at all.
func (c *compilation) check(p *Port, seen map[uint32]bool) error {
	switch {
	case p.OFPort < 1 || p.OFPort > MaxOFPort:
		return fmt.Errorf("%w: it has OpenFlow port %d", ErrBridge, p.OFPort)
	case seen[p.OFPort]:
		return fmt.Errorf("%w: OpenFlow port %d is another port's", ErrBridge, p.OFPort)
	case p.VLAN < 0 || p.VLAN > 4094:
		return fmt.Errorf("%w: there is no VLAN %d", ErrBridge, p.VLAN)
	case c.Slot < 0 || c.Slot > MaxSlot:
		return fmt.Errorf("%w: it is the bridge number %d of this host, and conntrack has zones for %d", ErrBridge, c.Slot+1, MaxSlot+1)
	case p.MAC[0]&1 != 0 || p.MAC == MAC{}:
		return fmt.Errorf("%w: %s is not the MAC of a port", ErrBridge, net.HardwareAddr(p.MAC[:]))
	}
	return nil
}

func (c *compilation) fail(p *Port, err error) {
	if c.errs[p.ID] == nil {
		c.errs[p.ID] = err
	}
}

// zone is the conntrack zone of a VLAN, and its name within the flows.
func (c *compilation) zone(vlan int) uint32 {
	if vlan == 0 {
		vlan = untaggedZone
	}
	return uint32(c.Slot<<12 | vlan) //nolint:gosec // both are small
}

func (c *compilation) add(table uint8, priority uint16, match []Cond, actions ...Action) {
	f := Flow{Table: table, Priority: priority, Match: slices.Clone(match), Actions: actions}
	slices.SortFunc(f.Match, func(a, b Cond) int { return int(a.Field) - int(b.Field) })
	key := f.key()
	have := c.flows[key]
	if have == nil {
		c.flows[key] = &f
		return
	}
	// Only clauses of conjunctions meet at one match with actions that differ.
	for _, a := range actions {
		if !slices.Contains(have.Actions, a) {
			have.Actions = append(have.Actions, a)
		}
	}
}

func (c *compilation) program() *Program {
	p := &Program{Flows: make([]Flow, 0, len(c.flows)), NoFlood: slices.Sorted(maps.Keys(c.noFlood)), Flood: c.flood}
	for _, f := range c.flows {
		if len(f.Actions) > 1 && f.Actions[0].Kind == Conjunction {
			slices.SortFunc(f.Actions, func(a, b Action) int {
				if a.Value != b.Value {
					return int(int64(a.Value) - int64(b.Value))
				}
				return int(a.K) - int(b.K)
			})
		}
		p.Flows = append(p.Flows, *f)
	}
	slices.SortFunc(p.Flows, compareFlows)
	return p
}

// cut takes nothing from a port.
func (c *compilation) cut(p *Port) {
	c.add(tClassify, 45020, m(is(InPort, p.OFPort)))
	c.noFlood[p.OFPort] = true
}

// unreachable keeps from ports that are down what NORMAL would forward to them.
func (c *compilation) unreachable(open []Other) {
	for i := range c.Ports {
		p := &c.Ports[i]
		if !p.Down || p.VLAN < 0 || p.VLAN > 4094 {
			continue
		}
		mac := isMAC(EthDst, p.MAC)
		tag := untagged
		if p.VLAN != 0 {
			tag = tagged(p.VLAN)
		}
		c.add(tClassify, 44010, m(tag, mac))
		for _, a := range open {
			if a.Untagged == p.VLAN {
				c.add(tClassify, 45018, m(is(InPort, a.OFPort), untagged, mac))
			}
			if slices.Contains(a.Tagged, p.VLAN) && p.VLAN > 0 {
				c.add(tClassify, 45018, m(is(InPort, a.OFPort), tagged(p.VLAN), mac))
			}
		}
		c.add(tForward, 110, m(is(regCond(regZone), c.zone(p.VLAN)), mac)) // from protected ports
	}
}

func tagged(vlan int) Cond { return is(VLAN, present|uint32(vlan)) } //nolint:gosec // at most 4094

// open has ports without protection, and trunks, look where their frames would go.
func (c *compilation) open(closed map[int][]*Port, ports []Other) {
	for _, o := range ports {
		in := is(InPort, o.OFPort)
		enter := func(tag Cond, vlan int) {
			if closed[vlan] != nil {
				c.add(tClassify, 45010, m(in, tag), set(regZone, c.zone(vlan)), to(tForward))
			} else {
				c.add(tClassify, 45010, m(in, tag), normal)
			}
		}
		if o.Untagged >= 0 {
			enter(untagged, o.Untagged)
		}
		if o.Trunk {
			continue
		}
		for _, vlan := range o.Tagged {
			if vlan > 0 && vlan <= 4094 {
				enter(tagged(vlan), vlan)
			}
		}
		// NORMAL drops the rest. It is not to be taken for a trunk's.
		c.add(tClassify, 45000, m(in), normal)
	}
	for vlan := range closed {
		tag := untagged
		if vlan != 0 {
			tag = tagged(vlan)
		}
		c.add(tClassify, 44000, m(tag), set(regZone, c.zone(vlan)), to(tForward))
	}
}

func m(conds ...Cond) []Cond { return conds }
