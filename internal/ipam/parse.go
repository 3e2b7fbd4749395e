package ipam

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
)

// ErrMACsExhausted is GenerateMAC's error when no MAC under base_mac is free.
var ErrMACsExhausted = errors.New("no MAC address left under base_mac")

// ParseCIDR reads "address/length" of either family; host bits are masked, as the API
// does with a subnet's cidr. Zones and IPv4-mapped IPv6 are refused.
func ParseCIDR(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || !plain(p.Addr()) {
		return netip.Prefix{}, fmt.Errorf("'%s' is not a valid IP subnet", s)
	}
	return p.Masked(), nil
}

// ParseAddr reads one address of either family, without zone. IPv4-mapped IPv6 is
// refused.
func ParseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !plain(a) {
		return netip.Addr{}, fmt.Errorf("'%s' is not a valid IP address", s)
	}
	return a, nil
}

// ParseMAC reads six octets in hexadecimal, two digits each, separated by colons or by
// hyphens, of any case. All zeroes and the broadcast address are refused.
func ParseMAC(s string) ([6]byte, error) {
	var mac [6]byte
	bad := fmt.Errorf("'%s' is not a valid MAC address", s)
	if len(s) != 17 || (s[2] != ':' && s[2] != '-') {
		return mac, bad
	}
	for i := range mac {
		if i < 5 && s[3*i+2] != s[2] {
			return [6]byte{}, bad
		}
		if _, err := hex.Decode(mac[i:i+1], []byte(s[3*i:3*i+2])); err != nil {
			return [6]byte{}, bad
		}
	}
	if mac == [6]byte{} || mac == [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} {
		return [6]byte{}, bad
	}
	return mac, nil
}

// FormatMAC writes a MAC in lower case with colons.
func FormatMAC(mac [6]byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5])
}

// ValidateBaseMAC checks the option base_mac: a MAC whose first three octets (four if
// the fourth is not 00) start every generated MAC. A multicast one is refused: no NIC
// takes it as a station's address.
func ValidateBaseMAC(base string) error {
	mac, err := ParseMAC(base)
	if err != nil {
		return fmt.Errorf("base_mac: %w", err)
	}
	if mac[0]&1 != 0 {
		return fmt.Errorf("base_mac: '%s' is a multicast address", base)
	}
	return nil
}

// GenerateMAC returns a MAC under base that is not taken, at random. taken is asked
// with the canonical form. It fails with ErrMACsExhausted when it finds none, and with
// ValidateBaseMAC's error. A nil rnd gives the lowest.
func GenerateMAC(base string, taken func(mac string) bool, rnd *rand.Rand) (string, error) {
	if err := ValidateBaseMAC(base); err != nil {
		return "", err
	}
	mac, err := ParseMAC(base)
	if err != nil {
		return "", err
	}
	space := 1 << 24
	if mac[3] != 0 {
		space = 1 << 16
	}
	nth := func(n int) string {
		m := mac
		if space > 1<<16 {
			m[3] = byte(n >> 16)
		}
		m[4], m[5] = byte(n>>8), byte(n)
		return FormatMAC(m)
	}
	start := 0
	if rnd != nil {
		for range 64 {
			if s := nth(rnd.IntN(space)); !taken(s) {
				return s, nil
			}
		}
		start = rnd.IntN(space)
	}
	for i := range min(space, walkLimit) {
		if s := nth((start + i) % space); !taken(s) {
			return s, nil
		}
	}
	return "", fmt.Errorf("generate a MAC under %s: %w", base, ErrMACsExhausted)
}
