package ipam

import (
	"fmt"
	"net/netip"
)

// EUI64 returns the address that a host with the MAC forms on a /64: the prefix, then
// the MAC with its universal/local bit flipped and ff:fe in the middle (RFC 4291,
// appendix A).
func EUI64(prefix netip.Prefix, mac string) (netip.Addr, error) {
	if !plain(prefix.Addr()) || !prefix.Addr().Is6() || prefix.Bits() != 64 {
		return netip.Addr{}, fmt.Errorf("form an EUI-64 address on %s: not an IPv6 /64", prefix)
	}
	m, err := ParseMAC(mac)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("form an EUI-64 address on %s: %w", prefix, err)
	}
	a := prefix.Masked().Addr().As16()
	copy(a[8:], []byte{m[0] ^ 0x02, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
	return netip.AddrFrom16(a), nil
}

// MACOf returns the MAC that an EUI-64 address was formed from, or false when the
// address is none.
func MACOf(a netip.Addr) ([6]byte, bool) {
	if !a.Is6() || a.Is4In6() {
		return [6]byte{}, false
	}
	b := a.As16()
	if b[11] != 0xff || b[12] != 0xfe {
		return [6]byte{}, false
	}
	return [6]byte{b[8] ^ 0x02, b[9], b[10], b[13], b[14], b[15]}, true
}
