package dhcp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"neutrino/internal/model"
)

// kind6 is how the value of a DHCPv6 option is written.
type kind6 int

const (
	guess6 kind6 = iota
	text6
	addrs6
	names6
	num6
	params6 // strings, each with its length before it
	ntp6    // RFC 5908: suboptions
)

type known6 struct {
	code int
	kind kind6
}

// byName6 are dnsmasq's names for DHCPv6 options.
var byName6 = map[string]known6{
	"sip-server-domain": {21, names6}, "sip-server": {22, addrs6}, "dns-server": {23, addrs6}, "domain-search": {24, names6},
	"nis-server": {27, addrs6}, "nis+-server": {28, addrs6}, "nis-domain": {29, names6}, "nis+-domain": {30, names6},
	"sntp-server": {31, addrs6}, "information-refresh-time": {32, num6}, "posix-timezone": {41, text6},
	"tzdb-timezone": {42, text6}, "ntp-server": {56, ntp6}, "bootfile-url": {59, text6}, "bootfile-param": {60, params6},
}

// reserved6 are the protocol's own; a port cannot have them set.
var reserved6 = func() map[int]bool {
	out := map[int]bool{39: true, 79: true}
	for n := range 21 {
		out[n] = true
	}
	out[25], out[26] = true, true
	out[15], out[16], out[17] = false, false, false // classes and vendor options may be
	return out
}()

// setExtra adds one extra_dhcp_opt of ip_version 6. An empty value keeps the option from being
// sent.
func (h *host6) setExtra(o model.DHCPOpt) error {
	k, ok := byName6[o.Name]
	if !ok {
		n, err := strconv.Atoi(o.Name)
		if err != nil {
			return fmt.Errorf("extra DHCPv6 option %q: no such name", o.Name)
		}
		if n < 1 || n > 65535 || reserved6[n] {
			return fmt.Errorf("extra DHCPv6 option %d: cannot be set", n)
		}
		k = known6{code: n}
		for _, named := range byName6 {
			if named.code == n {
				k = named
			}
		}
	}
	if o.Value == "" {
		h.hidden = append(h.hidden, uint16(k.code))
		return nil
	}
	data, err := encode6(k.kind, o.Value)
	if err == nil && len(data) > 512 {
		err = fmt.Errorf("%d bytes are more than 512", len(data))
	}
	if err != nil {
		return fmt.Errorf("extra DHCPv6 option %s = %.60q: %w", o.Name, o.Value, err)
	}
	h.opts[uint16(k.code)] = data
	return nil
}

func encode6(k kind6, value string) ([]byte, error) {
	switch k {
	case text6:
		return []byte(value), nil
	case addrs6:
		return encodeAddrs6(value)
	case names6:
		return encodeNames(value)
	case num6:
		n, err := strconv.ParseUint(value, 0, 32)
		return binary.BigEndian.AppendUint32(nil, uint32(n)), err
	case params6:
		var out []byte
		for f := range strings.SplitSeq(value, ",") {
			out = binary.BigEndian.AppendUint16(out, uint16(len(f)))
			out = append(out, f...)
		}
		return out, nil
	case ntp6:
		return encodeNTP6(value)
	default:
		if b, err := encodeAddrs6(value); err == nil {
			return b, nil
		}
		return encodeGuess(value), nil
	}
}

// address6 reads an IPv6 address, in brackets as dnsmasq writes it or without.
func address6(s string) (netip.Addr, error) {
	s = strings.TrimSpace(s)
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil || !a.Is6() || a.Is4In6() || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is not an IPv6 address", s)
	}
	return a, nil
}

func encodeAddrs6(value string) ([]byte, error) {
	var out []byte
	for f := range strings.SplitSeq(value, ",") {
		a, err := address6(f)
		if err != nil {
			return nil, err
		}
		out = append(out, a.AsSlice()...)
	}
	return out, nil
}

// encodeNTP6 writes servers as RFC 5908 wants them: unicast, multicast, or by name.
func encodeNTP6(value string) ([]byte, error) {
	var out []byte
	for f := range strings.SplitSeq(value, ",") {
		code, data := uint16(1), []byte(nil)
		if a, err := address6(f); err == nil {
			data = a.AsSlice()
			if a.IsMulticast() {
				code = 2
			}
		} else {
			code = 3
			if data, err = encodeNames(f); err != nil {
				return nil, err
			}
		}
		out = binary.BigEndian.AppendUint16(out, code)
		out = binary.BigEndian.AppendUint16(out, uint16(len(data)))
		out = append(out, data...)
	}
	return out, nil
}
