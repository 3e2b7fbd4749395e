package vfnltest

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"neutrino/internal/vfnl"
)

var ne = binary.NativeEndian

func u32(b []byte) int { return int(ne.Uint32(b)) }

type attr struct {
	typ  int
	data []byte
}

func parse(b []byte) ([]attr, bool) {
	var out []attr
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, false
		}
		n := int(ne.Uint16(b))
		if n < 4 || n > len(b) {
			return nil, false
		}
		out = append(out, attr{int(ne.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)), b[4:n]})
		b = b[min((n+3)&^3, len(b)):]
	}
	return out, true
}

func find(attrs []attr, typ int) []byte {
	for _, a := range attrs {
		if a.typ == typ {
			return a.data
		}
	}
	return nil
}

// put appends an attribute. Its length wraps around at 16 bits, as the kernel's does.
func put(b []byte, typ int, data []byte) []byte {
	b = ne.AppendUint16(b, uint16(len(data)+4))
	b = ne.AppendUint16(b, uint16(typ))
	b = append(b, data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func words(n ...int) []byte {
	var b []byte
	for _, x := range n {
		b = ne.AppendUint32(b, uint32(x))
	}
	return b
}

// fillLink is rtnl_fill_ifinfo, as far as it goes. A reading that counts lets delayed
// things come closer.
func fillLink(l *Link, mask uint32, counts bool) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	ne.PutUint16(b[2:], 1) // ARPHRD_ETHER
	ne.PutUint32(b[4:], uint32(l.Ifindex))
	flags := uint32(0)
	if l.Up {
		flags |= unix.IFF_UP
	}
	if l.Carrier {
		flags |= unix.IFF_LOWER_UP
	}
	ne.PutUint32(b[8:], flags)
	b = put(b, unix.IFLA_IFNAME, append([]byte(l.Name), 0))
	b = put(b, unix.IFLA_MTU, words(l.MTU))
	carrier := byte(0)
	if l.Carrier {
		carrier = 1
	}
	b = put(b, unix.IFLA_CARRIER, []byte{carrier})
	b = put(b, unix.IFLA_ADDRESS, l.Address[:])
	b = put(b, unix.IFLA_BROADCAST, []byte{255, 255, 255, 255, 255, 255})
	if mask&1 != 0 && l.VFs != nil {
		b = put(b, unix.IFLA_NUM_VF, words(len(l.VFs)))
		var list []byte
		for i := range l.VFs {
			v := &l.VFs[i]
			if v.hidden || v.hideTimes > 0 {
				if counts {
					v.hideTimes--
				}
				continue
			}
			list = put(list, unix.IFLA_VF_INFO, fillVF(&l.Driver, v, i, mask))
			if counts && v.lag > 0 {
				v.lag--
			}
		}
		b = put(b, unix.IFLA_VFINFO_LIST, list)
	}
	if l.Permanent != (vfnl.MAC{}) {
		b = put(b, unix.IFLA_PERM_ADDRESS, l.Permanent[:])
	}
	return put(b, unix.IFLA_GROUP, words(0))
}

// fillVF is rtnl_fill_vfinfo, attribute by attribute.
func fillVF(d *Driver, v *VF, i int, mask uint32) []byte {
	three := func(name string, on bool) int {
		switch {
		case d.lacks(name):
			return -1
		case on:
			return 1
		}
		return 0
	}
	mac := d.shownMAC(v)
	vlan, high := v.VLAN, v.Max
	if d.VGT && vlan.ID == 0 && vlan.QoS == 0 {
		vlan.ID = 4095
	}
	if d.VGT && !v.rated() {
		high = 0
	}
	proto := vlan.Proto
	if d.ZeroProto && proto == vfnl.Dot1Q {
		proto = 0
	}
	b := put(nil, unix.IFLA_VF_MAC, append(append(words(i), mac[:]...), make([]byte, 26)...))
	b = put(b, unix.IFLA_VF_BROADCAST, append([]byte{255, 255, 255, 255, 255, 255}, make([]byte, 26)...))
	b = put(b, unix.IFLA_VF_VLAN, words(i, vlan.ID, vlan.QoS))
	b = put(b, unix.IFLA_VF_RATE, words(i, v.Min, high))
	b = put(b, unix.IFLA_VF_TX_RATE, words(i, high))
	b = put(b, unix.IFLA_VF_SPOOFCHK, words(i, three("spoof_check", v.Spoof)))
	b = put(b, unix.IFLA_VF_LINK_STATE, words(i, int(v.Link)))
	b = put(b, unix.IFLA_VF_RSS_QUERY_EN, words(i, three("rss_query", v.RSS)))
	b = put(b, unix.IFLA_VF_TRUST, words(i, three("trust", v.Trust)))
	if d.GUIDs {
		b = put(b, unix.IFLA_VF_IB_NODE_GUID, ne.AppendUint64(words(i, 0), uint64(v.Node)))
		b = put(b, unix.IFLA_VF_IB_PORT_GUID, ne.AppendUint64(words(i, 0), uint64(v.Port)))
	}
	info := append(binary.BigEndian.AppendUint16(words(i, vlan.ID, vlan.QoS), proto), 0, 0)
	b = put(b, unix.IFLA_VF_VLAN_LIST, put(nil, unix.IFLA_VF_VLAN_INFO, info))
	if mask&8 == 0 {
		var s []byte
		for _, c := range []struct {
			typ int
			n   uint64
		}{
			{unix.IFLA_VF_STATS_RX_PACKETS, v.Stats.RxPackets},
			{unix.IFLA_VF_STATS_TX_PACKETS, v.Stats.TxPackets},
			{unix.IFLA_VF_STATS_RX_BYTES, v.Stats.RxBytes},
			{unix.IFLA_VF_STATS_TX_BYTES, v.Stats.TxBytes},
			{unix.IFLA_VF_STATS_BROADCAST, v.Stats.Broadcast},
			{unix.IFLA_VF_STATS_MULTICAST, v.Stats.Multicast},
			{unix.IFLA_VF_STATS_RX_DROPPED, v.Stats.RxDropped},
			{unix.IFLA_VF_STATS_TX_DROPPED, v.Stats.TxDropped},
		} {
			s = put(s, c.typ, ne.AppendUint64(nil, c.n))
		}
		b = put(b, unix.IFLA_VF_STATS, s)
	}
	return b
}

// Message is the body of the RTM_NEWLINK that answers a request for l and its VFs.
func Message(l Link, stats bool) []byte {
	mask := uint32(1)
	if !stats {
		mask |= 8
	}
	return fillLink(&l, mask, false)
}
