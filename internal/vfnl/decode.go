package vfnl

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

// ErrTruncated: the list of VFs is longer than its 16-bit length can say and its end
// cannot be found, or the answer was longer than the receive buffer. Reading without
// statistics makes it shorter.
var ErrTruncated = errors.New("list of VFs is truncated")

// errMalformed: not what a kernel sends.
var errMalformed = errors.New("malformed link message")

var order = binary.NativeEndian

// next reads one attribute: its type and payload, and what follows it.
func next(b []byte) (typ int, payload, rest []byte, ok bool) {
	if len(b) < attrHeader {
		return 0, nil, nil, false
	}
	n := int(order.Uint16(b))
	if n < attrHeader || n > len(b) {
		return 0, nil, nil, false
	}
	return int(order.Uint16(b[2:]) & typeMask), b[attrHeader:n], b[min(align(n), len(b)):], true
}

// Decode reads the body of an RTM_NEWLINK that answers RTM_GETLINK, that is what follows
// struct nlmsghdr. Statistics are decoded when stats says so.
//
// Errors: ErrTruncated; any other means that this is no such message.
func Decode(msg []byte, stats bool) (PF, error) {
	if len(msg) < linkHeader {
		return PF{}, fmt.Errorf("%d bytes: %w", len(msg), errMalformed)
	}
	flags := order.Uint32(msg[8:])
	p := PF{
		Ifindex: int(int32(order.Uint32(msg[4:]))), Up: flags&flagUp != 0, Carrier: flags&flagLowerUp != 0,
	}
	for b := msg[linkHeader:]; len(b) > 0; {
		typ, v, rest, ok := next(b)
		if !ok {
			return PF{}, errMalformed
		}
		if typ == iflaVFInfoList {
			var err error
			if rest, err = p.list(b, stats); err != nil {
				return PF{}, err
			}
		} else {
			p.attr(typ, v)
		}
		b = rest
	}
	return p, nil
}

func (p *PF) attr(typ int, v []byte) {
	switch {
	case typ == iflaAddress && len(v) == 6:
		p.Address = MAC(v)
	case typ == iflaPermAddr && len(v) == 6:
		p.Permanent = MAC(v)
	case typ == iflaIfname:
		p.Name = string(bytes.TrimRight(v, "\x00"))
	case typ == iflaMTU && len(v) == 4:
		p.MTU = number(order.Uint32(v))
	case typ == iflaCarrier && len(v) == 1:
		p.Carrier = v[0] == 1
	case typ == iflaNumVF && len(v) == 4:
		p.NumVFs = number(order.Uint32(v))
	}
}

// list decodes the VFINFO_LIST at the beginning of b and returns what follows it. Its
// length may have wrapped around: it ends where it and all that follows make sense.
func (p *PF) list(b []byte, stats bool) ([]byte, error) {
	for n := int(order.Uint16(b)); n <= len(b); n += 1 << 16 {
		rest := b[min(align(n), len(b)):]
		count, ok := infos(b[attrHeader:n])
		if !ok || count > p.NumVFs || !follows(rest) {
			continue
		}
		p.VFs = make([]VF, count)
		l := b[attrHeader:n]
		for i := range p.VFs {
			_, v, more, _ := next(l)
			if !p.VFs[i].decode(v, stats) {
				return nil, fmt.Errorf("VF information: %w", errMalformed)
			}
			l = more
		}
		return rest, p.sort()
	}
	return nil, fmt.Errorf("%d VFs: %w", p.NumVFs, ErrTruncated)
}

// sort puts the VFs in order. The kernel names each once.
func (p *PF) sort() error {
	if !slices.IsSortedFunc(p.VFs, byIndex) {
		slices.SortFunc(p.VFs, byIndex)
	}
	for i := 1; i < len(p.VFs); i++ {
		if p.VFs[i].Index == p.VFs[i-1].Index {
			return fmt.Errorf("VF %d is there twice: %w", p.VFs[i].Index, errMalformed)
		}
	}
	return nil
}

func byIndex(a, b VF) int { return cmp.Compare(a.Index, b.Index) }

// infos counts the entries of a list that consists of IFLA_VF_INFO only.
func infos(b []byte) (int, bool) {
	count := 0
	for len(b) > 0 {
		typ, _, rest, ok := next(b)
		if !ok || typ != vfInfo {
			return 0, false
		}
		count++
		b = rest
	}
	return count, true
}

// follows reports whether b are attributes of a link that may come after the list of
// VFs. IFLA_ADDRESS has the number of IFLA_VF_INFO, and comes before.
func follows(b []byte) bool {
	for len(b) > 0 {
		typ, _, rest, ok := next(b)
		if !ok || typ == vfInfo {
			return false
		}
		b = rest
	}
	return true
}

// nothingTold is a VF of which nothing was read yet.
var nothingTold = VF{Index: -1, Attrs: Attrs{
	MAC: eswitch.Unsupported[MAC](), VLAN: eswitch.Unsupported[VLAN](),
	SpoofCheck: eswitch.Unsupported[bool](), Trust: eswitch.Unsupported[bool](),
	LinkState: eswitch.Unsupported[model.LinkState](),
	MinTxRate: eswitch.Unsupported[int](), MaxTxRate: eswitch.Unsupported[int](),
	RSSQuery: eswitch.Unsupported[bool](), NodeGUID: eswitch.Unsupported[GUID](), PortGUID: eswitch.Unsupported[GUID](),
}}

// decode reads one IFLA_VF_INFO.
func (vf *VF) decode(b []byte, stats bool) bool {
	*vf = nothingTold
	listed := false
	for len(b) > 0 {
		typ, v, rest, ok := next(b)
		if !ok {
			return false
		}
		b = rest
		switch typ {
		case vfVLANList:
			t, entry, _, ok := next(v)
			if ok && t == vlanInfo && len(entry) >= 14 {
				vf.VLAN, listed = decodeVLAN(entry), true
			}
			continue
		case vfStats:
			if stats {
				vf.Stats = decodeStats(v)
			}
			continue
		}
		if len(v) < 8 || typ > vfPortGUID { // each begins with the index; IFLA_VF_BROADCAST and newer do not
			continue
		}
		if vf.Index < 0 {
			vf.Index = int(int32(order.Uint32(v)))
		} else if vf.Index != int(int32(order.Uint32(v))) {
			return false
		}
		vf.attr(typ, v, listed)
	}
	return vf.Index >= 0
}

// attr takes over one attribute, v being its struct.
func (vf *VF) attr(typ int, v []byte, listed bool) {
	first := order.Uint32(v[4:])
	switch typ {
	case vfMAC:
		if len(v) >= 10 {
			vf.MAC = eswitch.Set(MAC(v[4:10]))
		}
	case vfVLAN:
		if len(v) >= 12 && !listed {
			vf.VLAN = eswitch.Set(VLAN{ID: number(first), QoS: number(order.Uint32(v[8:])), Proto: Dot1Q})
		}
	case vfTxRate:
		if !vf.MaxTxRate.IsSet() { // before Linux 3.16 the only one
			vf.MaxTxRate = eswitch.Set(number(first))
		}
	case vfRate:
		if len(v) >= 12 {
			vf.MinTxRate, vf.MaxTxRate = eswitch.Set(number(first)), eswitch.Set(number(order.Uint32(v[8:])))
		}
	case vfSpoofChk:
		vf.SpoofCheck = flag(first)
	case vfTrust:
		vf.Trust = flag(first)
	case vfRSSQuery:
		vf.RSSQuery = flag(first)
	case vfLinkState:
		if first <= uint32(model.LinkDisable) {
			vf.LinkState = eswitch.Set(model.LinkState(first))
		}
	case vfNodeGUID:
		vf.NodeGUID = decodeGUID(v)
	case vfPortGUID:
		vf.PortGUID = decodeGUID(v)
	}
}

func decodeVLAN(v []byte) eswitch.Attr[VLAN] {
	proto := binary.BigEndian.Uint16(v[12:])
	if proto == 0 {
		proto = Dot1Q // mlx5 wipes the kernel's preset (mlx5_eswitch_get_vport_config)
	}
	return eswitch.Set(VLAN{ID: number(order.Uint32(v[4:])), QoS: number(order.Uint32(v[8:])), Proto: proto})
}

func decodeGUID(v []byte) eswitch.Attr[GUID] {
	if len(v) < int(guidOffset)+8 {
		return eswitch.Unsupported[GUID]()
	}
	return eswitch.Set(GUID(order.Uint64(v[guidOffset:])))
}

func decodeStats(b []byte) eswitch.Attr[Stats] {
	var s Stats
	for len(b) > 0 {
		typ, v, rest, ok := next(b)
		if !ok {
			return eswitch.Unsupported[Stats]()
		}
		b = rest
		if len(v) != 8 {
			continue
		}
		n := order.Uint64(v)
		switch typ {
		case statsRxPackets:
			s.RxPackets = n
		case statsTxPackets:
			s.TxPackets = n
		case statsRxBytes:
			s.RxBytes = n
		case statsTxBytes:
			s.TxBytes = n
		case statsBroadcast:
			s.Broadcast = n
		case statsMulticast:
			s.Multicast = n
		case statsRxDropped:
			s.RxDropped = n
		case statsTxDropped:
			s.TxDropped = n
		}
	}
	return eswitch.Set(s)
}

func flag(n uint32) eswitch.Attr[bool] {
	if n == nothing {
		return eswitch.Unsupported[bool]()
	}
	return eswitch.Set(n != 0)
}

func number(n uint32) int { return int(min(n, math.MaxInt32)) }
