package vfnltest

import (
	"encoding/binary"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"neutrino/internal/model"
	"neutrino/internal/vfnl"
)

// answer carries out one request: a body for an RTM_NEWLINK, or an errno (0 = done) and
// its explanation.
func (k *Kernel) answer(m netlink.Message) ([]byte, unix.Errno, string) {
	if len(m.Data) < unix.SizeofIfInfomsg {
		return nil, unix.EINVAL, "Invalid header"
	}
	ifindex := int(int32(ne.Uint32(m.Data[4:])))
	attrs, ok := parse(m.Data[unix.SizeofIfInfomsg:])
	if !ok {
		return nil, unix.EINVAL, "Malformed attributes"
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.links[ifindex]
	if l == nil {
		return nil, unix.ENODEV, ""
	}
	switch m.Header.Type {
	case unix.RTM_GETLINK:
		k.counts.Gets++
		mask := uint32(0)
		if a := find(attrs, unix.IFLA_EXT_MASK); len(a) == 4 {
			mask = ne.Uint32(a)
		}
		return fillLink(l, mask, true), 0, ""
	case unix.RTM_SETLINK:
		k.counts.Sets++
		for ch := l.hang; ch != nil; ch = l.hang {
			k.mu.Unlock()
			<-ch
			k.mu.Lock()
		}
		no, text, changed := k.set(l, attrs)
		if changed && l.Up {
			k.notify(l, unix.RTM_NEWLINK)
		}
		return nil, no, text
	}
	return nil, unix.EOPNOTSUPP, ""
}

func (k *Kernel) set(l *Link, attrs []attr) (no unix.Errno, text string, changed bool) {
	if a := find(attrs, unix.IFLA_ADDRESS); len(a) == 6 {
		k.asked = append(k.asked, Request{l.Ifindex, -1, "address"})
		if k.fails != nil {
			if f := k.fails(Request{l.Ifindex, -1, "address"}); f != nil {
				return f.Errno, f.Message, false
			}
		}
		l.Address, changed = vfnl.MAC(a), true
		if k.address != nil {
			k.address(l.Ifindex, l.Address)
		}
	}
	infos, ok := parse(find(attrs, unix.IFLA_VFINFO_LIST))
	if !ok {
		return unix.EINVAL, "Malformed VF list", changed
	}
	for _, info := range infos {
		tb, ok := parse(info.data)
		if info.typ != unix.IFLA_VF_INFO || !ok {
			return unix.EINVAL, "", changed
		}
		no, text := k.setVF(l, tb)
		if no != 0 {
			return no, text, changed
		}
		changed = true
	}
	return 0, "", changed
}

// setters in the order of do_setvfinfo, with the least length of each struct.
var setters = []struct {
	typ, size int
	name      string
	do        func(l *Link, v *VF, b []byte) unix.Errno
}{
	{unix.IFLA_VF_MAC, 36, "mac", func(l *Link, v *VF, b []byte) unix.Errno { return l.Driver.setMAC(v, vfnl.MAC(b[4:10])) }},
	{unix.IFLA_VF_VLAN, 12, "vlan", func(l *Link, v *VF, b []byte) unix.Errno {
		return l.Driver.setVLAN(v, vfnl.VLAN{ID: u32(b[4:]), QoS: u32(b[8:]), Proto: vfnl.Dot1Q})
	}},
	{unix.IFLA_VF_VLAN_LIST, 4, "vlan", func(l *Link, v *VF, b []byte) unix.Errno {
		entries, ok := parse(b)
		if !ok || len(entries) != 1 || entries[0].typ != unix.IFLA_VF_VLAN_INFO || len(entries[0].data) < 16 {
			return unix.EINVAL
		}
		e := entries[0].data
		return l.Driver.setVLAN(v, vfnl.VLAN{ID: u32(e[4:]), QoS: u32(e[8:]), Proto: binary.BigEndian.Uint16(e[12:])})
	}},
	{unix.IFLA_VF_RATE, 12, "tx_rate", func(l *Link, v *VF, b []byte) unix.Errno {
		return l.Driver.setRate(v, u32(b[4:]), u32(b[8:]), l.Carrier)
	}},
	{unix.IFLA_VF_SPOOFCHK, 8, "spoof_check", func(l *Link, v *VF, b []byte) unix.Errno { return l.Driver.setSpoof(v, u32(b[4:]) != 0) }},
	{unix.IFLA_VF_LINK_STATE, 8, "link_state", func(l *Link, v *VF, b []byte) unix.Errno {
		return l.Driver.plain("link_state", func() { v.Link = model.LinkState(u32(b[4:])) })
	}},
	{unix.IFLA_VF_RSS_QUERY_EN, 8, "rss_query", func(l *Link, v *VF, b []byte) unix.Errno {
		return l.Driver.plain("rss_query", func() { v.RSS = u32(b[4:]) != 0 })
	}},
	{unix.IFLA_VF_TRUST, 8, "trust", func(l *Link, v *VF, b []byte) unix.Errno {
		return l.Driver.plain("trust", func() { v.Trust = u32(b[4:]) != 0 })
	}},
	{unix.IFLA_VF_IB_NODE_GUID, 12, "node_guid", func(l *Link, v *VF, b []byte) unix.Errno { return l.Driver.guid(&v.Node, b) }},
	{unix.IFLA_VF_IB_PORT_GUID, 12, "port_guid", func(l *Link, v *VF, b []byte) unix.Errno { return l.Driver.guid(&v.Port, b) }},
}

func (d *Driver) plain(name string, do func()) unix.Errno {
	if d.lacks(name) {
		return d.errno()
	}
	do()
	return 0
}

func (d *Driver) guid(g *vfnl.GUID, b []byte) unix.Errno {
	if !d.GUIDs {
		return unix.EOPNOTSUPP
	}
	*g = vfnl.GUID(ne.Uint64(b[len(b)-8:]))
	return 0
}

// setVF is do_setvfinfo: one attribute after the other, to the first that fails, and
// nothing after a GUID.
func (k *Kernel) setVF(l *Link, tb []attr) (unix.Errno, string) {
	no := unix.EINVAL
	for _, s := range setters {
		b := find(tb, s.typ)
		if b == nil {
			continue
		}
		if len(b) < s.size {
			return unix.ERANGE, "Attribute failed policy validation"
		}
		index := u32(b)
		if s.typ == unix.IFLA_VF_VLAN_LIST && len(b) >= 8 {
			index = u32(b[4:])
		}
		r := Request{l.Ifindex, index, s.name}
		k.asked = append(k.asked, r)
		if k.fails != nil {
			if f := k.fails(r); f != nil {
				return f.Errno, f.Message
			}
		}
		if index >= len(l.VFs) {
			return unix.EINVAL, ""
		}
		if no = s.do(l, &l.VFs[index], b); no != 0 {
			return no, ""
		}
		if s.typ == unix.IFLA_VF_IB_NODE_GUID {
			return 0, ""
		}
	}
	return no, ""
}
