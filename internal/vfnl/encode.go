package vfnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"neutrino/internal/model"
)

// ErrInvalid: a Change asks for what cannot be put into a message.
var ErrInvalid = errors.New("invalid change")

// Names returns the names of the attributes that are asked for, in the order in which
// the kernel goes through them.
func (a *Attrs) Names() []string {
	var out []string
	for _, n := range []struct {
		name string
		set  bool
	}{
		{"mac", a.MAC.IsSet()},
		{"vlan", a.VLAN.IsSet()},
		{"min_tx_rate", a.MinTxRate.IsSet()},
		{"max_tx_rate", a.MaxTxRate.IsSet()},
		{"spoof_check", a.SpoofCheck.IsSet()},
		{"link_state", a.LinkState.IsSet()},
		{"rss_query", a.RSSQuery.IsSet()},
		{"trust", a.Trust.IsSet()},
		{"node_guid", a.NodeGUID.IsSet()},
		{"port_guid", a.PortGUID.IsSet()},
	} {
		if n.set {
			out = append(out, n.name)
		}
	}
	return out
}

// Empty reports whether nothing is asked.
func (a *Attrs) Empty() bool {
	return !a.MAC.IsSet() && !a.VLAN.IsSet() && !a.MinTxRate.IsSet() && !a.MaxTxRate.IsSet() && !a.SpoofCheck.IsSet() &&
		!a.LinkState.IsSet() && !a.RSSQuery.IsSet() && !a.Trust.IsSet() && !a.NodeGUID.IsSet() && !a.PortGUID.IsSet()
}

// check reports what of a Change the kernel would take wrong or silently drop.
func (c *Change) check() error {
	var wrong []string
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if c.VF < 0 || c.VF > maxVF {
		bad("VF index %d", c.VF)
	}
	if c.Empty() {
		bad("nothing is asked")
	}
	if m, ok := c.MAC.Get(); ok && m[0]&1 != 0 {
		bad("mac %v is a multicast address", m)
	}
	if v, ok := c.VLAN.Get(); ok {
		if v.ID < 0 || v.ID > 4095 || v.QoS < 0 || v.QoS > 7 || (v.Proto != 0 && v.Proto != Dot1Q && v.Proto != Dot1AD) {
			bad("vlan %d qos %d protocol %#x", v.ID, v.QoS, v.Proto)
		}
	}
	if c.MinTxRate.IsSet() != c.MaxTxRate.IsSet() {
		bad("one tx rate without the other, which the kernel would set to 0")
	}
	low, _ := c.MinTxRate.Get()
	high, _ := c.MaxTxRate.Get()
	if low < 0 || high < 0 || low > 1<<31-1 || high > 1<<31-1 || (high > 0 && low > high) {
		bad("tx rates %d..%d Mbit/s", low, high)
	}
	if l, ok := c.LinkState.Get(); ok && (l < model.LinkAuto || l > model.LinkDisable) {
		bad("link state %d", l)
	}
	if len(wrong) > 0 {
		return fmt.Errorf("VF %d: %s: %w", c.VF, strings.Join(wrong, ", "), ErrInvalid)
	}
	return nil
}

// builder appends attributes.
type builder struct{ b []byte }

func (w *builder) open(typ int) int {
	at := len(w.b)
	w.b = order.AppendUint16(w.b, 0)
	w.b = order.AppendUint16(w.b, uint16(typ))
	return at
}

func (w *builder) close(at int) {
	order.PutUint16(w.b[at:], uint16(len(w.b)-at))
	for len(w.b)%4 != 0 {
		w.b = append(w.b, 0)
	}
}

// words appends an attribute made of __u32.
func (w *builder) words(typ int, words ...uint32) {
	at := w.open(typ)
	for _, n := range words {
		w.b = order.AppendUint32(w.b, n)
	}
	w.close(at)
}

// header appends struct ifinfomsg.
func (w *builder) header(ifindex int) {
	w.b = append(w.b, make([]byte, linkHeader)...)
	order.PutUint32(w.b[4:], uint32(int32(ifindex)))
}

// EncodeGet is the body of an RTM_GETLINK for one PF.
func EncodeGet(ifindex int, stats bool) []byte {
	w := builder{make([]byte, 0, linkHeader+8)}
	w.header(ifindex)
	mask := uint32(filterVF)
	if !stats {
		mask |= filterSkipStats
	}
	w.words(iflaExtMask, mask)
	return w.b
}

// Encode is the body of one RTM_SETLINK that carries out the changes in their order.
// It is an error (ErrInvalid) to ask for nothing, for one rate without the other, or
// for a value out of range.
//
// The kernel leaves a VF's information after the first GUID in it, so that a second one
// would be lost: node and port GUID each get one to themselves.
func Encode(ifindex int, changes ...Change) ([]byte, error) {
	w := builder{make([]byte, 0, 256)}
	w.header(ifindex)
	list := w.open(iflaVFInfoList)
	for i := range changes {
		if err := changes[i].check(); err != nil {
			return nil, err
		}
		w.change(&changes[i])
	}
	if len(changes) == 0 {
		return nil, fmt.Errorf("no VF: %w", ErrInvalid)
	}
	if len(w.b)-list > 1<<16-1 {
		return nil, fmt.Errorf("%d changes are more than one message takes: %w", len(changes), ErrInvalid)
	}
	w.close(list)
	return w.b, nil
}

func (w *builder) change(c *Change) {
	vf := uint32(c.VF)
	at := w.open(vfInfo)
	empty := len(w.b)
	if m, ok := c.MAC.Get(); ok {
		a := w.open(vfMAC)
		w.b = order.AppendUint32(w.b, vf)
		w.b = append(append(w.b, m[:]...), make([]byte, 32-len(m))...)
		w.close(a)
	}
	if v, ok := c.VLAN.Get(); ok {
		w.vlan(vf, v)
	}
	if low, ok := c.MinTxRate.Get(); ok {
		high, _ := c.MaxTxRate.Get()
		w.words(vfRate, vf, uint32(low), uint32(high))
	}
	if on, ok := c.SpoofCheck.Get(); ok {
		w.words(vfSpoofChk, vf, bit(on))
	}
	if l, ok := c.LinkState.Get(); ok {
		w.words(vfLinkState, vf, uint32(l))
	}
	if on, ok := c.RSSQuery.Get(); ok {
		w.words(vfRSSQuery, vf, bit(on))
	}
	if on, ok := c.Trust.Get(); ok {
		w.words(vfTrust, vf, bit(on))
	}
	if len(w.b) == empty {
		w.b = w.b[:at] // GUIDs only
	} else {
		w.close(at)
	}
	for _, g := range []struct {
		typ int
		val func() (GUID, bool)
	}{{vfNodeGUID, c.NodeGUID.Get}, {vfPortGUID, c.PortGUID.Get}} {
		if v, ok := g.val(); ok {
			w.guid(g.typ, vf, v)
		}
	}
}

// vlan uses the list only where the older attribute cannot say it.
func (w *builder) vlan(vf uint32, v VLAN) {
	if v.QoS == 0 && v.Proto != Dot1AD {
		w.words(vfVLAN, vf, uint32(v.ID), 0)
		return
	}
	if v.Proto == 0 {
		v.Proto = Dot1Q
	}
	list := w.open(vfVLANList)
	at := w.open(vlanInfo)
	for _, n := range []uint32{vf, uint32(v.ID), uint32(v.QoS)} {
		w.b = order.AppendUint32(w.b, n)
	}
	w.b = binary.BigEndian.AppendUint16(w.b, v.Proto)
	w.b = append(w.b, 0, 0) // the struct's own padding
	w.close(at)
	w.close(list)
}

func (w *builder) guid(typ int, vf uint32, g GUID) {
	at := w.open(vfInfo)
	a := w.open(typ)
	w.b = order.AppendUint32(w.b, vf)
	w.b = append(w.b, make([]byte, guidOffset-4)...)
	w.b = order.AppendUint64(w.b, uint64(g))
	w.close(a)
	w.close(at)
}

func bit(on bool) uint32 {
	if on {
		return 1
	}
	return 0
}

// encodeAddress is the body of an RTM_SETLINK that sets a netdev's own address.
func encodeAddress(ifindex int, m MAC) []byte {
	w := builder{make([]byte, 0, linkHeader+12)}
	w.header(ifindex)
	at := w.open(iflaAddress)
	w.b = append(w.b, m[:]...)
	w.close(at)
	return w.b
}
