package trunk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrLLDP: the bytes are no LLDP data unit.
var ErrLLDP = errors.New("not an LLDP data unit")

// Neighbour is what a switch says of itself over LLDP (IEEE Std 802.1AB).
type Neighbour struct {
	Chassis    string `json:"chassis"`
	Port       string `json:"port"`
	PortText   string `json:"port_description,omitempty"`
	SystemName string `json:"system_name,omitempty"`
	NativeVLAN int    `json:"native_vlan,omitempty"` // PVID; 0 = not said, or none
	VLANs      VLANs  `json:"vlans,omitzero"`        // that it names (VLAN Name TLVs)
	MaxFrame   int    `json:"max_frame,omitempty"`   // bytes, headers and FCS included; 0 = not said
}

// TLV types and organisations of LLDP.
const (
	tlvEnd = iota
	tlvChassis
	tlvPort
	tlvTTL
	tlvPortText
	tlvSystemName

	tlvOrg    = 127
	org8021   = 0x0080c2
	org8023   = 0x00120f
	maxLLDPID = 255
)

// ParseLLDP reads what stands behind EtherType 0x88CC. Chassis, port and time to live
// come first, in this order and once each, as 802.1AB wants; text is made printable.
func ParseLLDP(b []byte) (Neighbour, error) {
	var n Neighbour
	for i := 0; ; i++ {
		if len(b) < 2 {
			return Neighbour{}, fmt.Errorf("%w: it ends without its end mark", ErrLLDP)
		}
		head := binary.BigEndian.Uint16(b)
		kind, size := int(head>>9), int(head&0x1ff)
		if len(b) < 2+size {
			return Neighbour{}, fmt.Errorf("%w: TLV %d of %d bytes does not fit", ErrLLDP, kind, size)
		}
		v := b[2 : 2+size]
		b = b[2+size:]
		want := []int{tlvChassis, tlvPort, tlvTTL}
		if i < len(want) && kind != want[i] || i >= len(want) && kind >= tlvChassis && kind <= tlvTTL {
			return Neighbour{}, fmt.Errorf("%w: TLV %d in place %d", ErrLLDP, kind, i+1)
		}
		if kind == tlvEnd {
			if size != 0 {
				return Neighbour{}, fmt.Errorf("%w: an end mark of %d bytes", ErrLLDP, size)
			}
			return n, nil
		}
		if err := n.take(kind, v); err != nil {
			return Neighbour{}, err
		}
	}
}

func (n *Neighbour) take(kind int, v []byte) error {
	var err error
	switch kind {
	case tlvChassis:
		n.Chassis, err = lldpID(v, 4, 5)
	case tlvPort:
		n.Port, err = lldpID(v, 3, 4)
	case tlvTTL:
		if len(v) < 2 {
			err = fmt.Errorf("%w: a time to live of %d bytes", ErrLLDP, len(v))
		}
	case tlvPortText:
		n.PortText = printable(v)
	case tlvSystemName:
		n.SystemName = printable(v)
	case tlvOrg:
		err = n.takeOrg(v)
	}
	return err
}

// takeOrg reads the TLVs of IEEE 802.1 (annex D) and 802.3 (clause 79).
func (n *Neighbour) takeOrg(v []byte) error {
	if len(v) < 4 {
		return fmt.Errorf("%w: an organisation's TLV of %d bytes", ErrLLDP, len(v))
	}
	org, sub, v := int(v[0])<<16|int(v[1])<<8|int(v[2]), v[3], v[4:]
	switch {
	case org == org8021 && sub == 1, org == org8023 && sub == 4:
		if len(v) != 2 {
			return fmt.Errorf("%w: %06x/%d has %d bytes", ErrLLDP, org, sub, len(v))
		}
		if x := int(binary.BigEndian.Uint16(v)); org == org8023 {
			n.MaxFrame = x
		} else if x <= MaxVLAN {
			n.NativeVLAN = x
		}
	case org == org8021 && sub == 3:
		if len(v) < 3 || len(v) != 3+int(v[2]) {
			return fmt.Errorf("%w: a VLAN name of %d bytes", ErrLLDP, len(v))
		}
		n.VLANs.Add(int(binary.BigEndian.Uint16(v)))
	}
	return nil
}

// lldpID is a chassis or port id: mac and address are the subtypes that hold a MAC and a
// network address.
func lldpID(v []byte, mac, address byte) (string, error) {
	if len(v) < 2 || len(v) > 1+maxLLDPID {
		return "", fmt.Errorf("%w: an id of %d bytes", ErrLLDP, len(v))
	}
	sub, v := v[0], v[1:]
	switch sub {
	case mac:
		if len(v) != 6 {
			return "", fmt.Errorf("%w: a MAC of %d bytes", ErrLLDP, len(v))
		}
		return net.HardwareAddr(v).String(), nil
	case address:
		if a, ok := netip.AddrFromSlice(v[1:]); ok && (v[0] == 1 && a.Is4() || v[0] == 2 && a.Is6()) { // IANA address families
			return a.String(), nil
		}
	}
	return printable(v), nil
}

// printable keeps what a switch says from steering a terminal.
func printable(v []byte) string {
	s := strings.ToValidUTF8(strings.TrimRight(string(v), "\x00"), "?")
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	for len(s) > maxLLDPID {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}
