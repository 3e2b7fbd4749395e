package dhcp

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"neutrino/internal/model"
)

// kind says how an option's text becomes bytes.
type kind int

const (
	guess kind = iota // as dnsmasq does for a bare number
	text
	addrs
	byte8
	num16
	num32
	routes
	names
	raw
)

// optionMicrosoftRoutes is option 121 under the number that old Windows clients use.
const optionMicrosoftRoutes = dhcpv4.GenericOptionCode(249)

// serverAddress is not an option but the header field siaddr.
const serverAddress = -1

type known struct {
	code int
	kind kind
}

// byName are the names that dnsmasq knows ("dnsmasq --help dhcp"), which are what
// Neutron's extra_dhcp_opts are written with.
var byName = map[string]known{
	"netmask": {1, addrs}, "time-offset": {2, num32}, "router": {3, addrs}, "time-server": {4, addrs},
	"dns-server": {6, addrs}, "log-server": {7, addrs}, "lpr-server": {9, addrs}, "hostname": {12, text},
	"boot-file-size": {13, num16}, "domain-name": {15, text}, "swap-server": {16, addrs},
	"root-path": {17, text}, "extension-path": {18, text}, "ip-forward-enable": {19, byte8},
	"non-local-source-routing": {20, byte8}, "policy-filter": {21, addrs},
	"max-datagram-reassembly": {22, num16}, "default-ttl": {23, byte8}, "mtu": {26, num16},
	"all-subnets-local": {27, byte8}, "broadcast": {28, addrs}, "router-discovery": {31, byte8},
	"router-solicitation": {32, addrs}, "static-route": {33, addrs}, "trailer-encapsulation": {34, byte8},
	"arp-timeout": {35, num32}, "ethernet-encap": {36, byte8}, "tcp-ttl": {37, byte8},
	"tcp-keepalive": {38, num32}, "nis-domain": {40, text}, "nis-server": {41, addrs},
	"ntp-server": {42, addrs}, "vendor-encap": {43, raw}, "netbios-ns": {44, addrs},
	"netbios-dd": {45, addrs}, "netbios-nodetype": {46, byte8}, "netbios-scope": {47, text},
	"x-windows-fs": {48, addrs}, "x-windows-dm": {49, addrs}, "lease-time": {51, num32}, "T1": {58, num32},
	"T2": {59, num32}, "t1": {58, num32}, "t2": {59, num32}, "vendor-class": {60, text},
	"nis+-domain": {64, text}, "nis+-server": {65, addrs}, "tftp-server": {66, text},
	"bootfile-name": {67, text}, "mobile-ip-home": {68, addrs}, "smtp-server": {69, addrs},
	"pop3-server": {70, addrs}, "nntp-server": {71, addrs}, "irc-server": {74, addrs},
	"user-class": {77, text}, "client-arch": {93, num16}, "posix-timezone": {100, text},
	"tzdb-timezone": {101, text}, "ipv6-only": {108, num32}, "captive-portal": {114, text},
	"domain-search": {119, names}, "sip-server": {120, raw}, "classless-static-route": {121, routes},
	"vendor-id-encap": {125, raw}, "tftp-server-address": {150, addrs},
	"ms-classless-static-route": {249, routes}, "wpad": {252, text},
	"server-ip-address": {serverAddress, addrs},
}

// kindOf gives the kind of a numbered option that has a name; others are guessed.
var kindOf = func() map[int]kind {
	out := map[int]kind{}
	for _, k := range byName {
		out[k.code] = k.kind
	}
	return out
}()

// reserved options are the protocol's own; a port cannot have them set.
var reserved = map[int]bool{0: true, 50: true, 52: true, 53: true, 54: true, 55: true, 57: true, 61: true, 82: true, 255: true}

// clientIdentifier reports whether o is the port's client identifier, and its bytes:
// colon-separated hexadecimal, else text (which the wire prefixes with type 0).
func clientIdentifier(o model.DHCPOpt) (id []byte, is bool, err error) {
	if o.Name != "client-id" && o.Name != "61" {
		return nil, false, nil
	}
	if b, ok := colonHex(o.Value); ok {
		return b, true, nil
	}
	if o.Value == "" {
		return nil, true, fmt.Errorf("extra DHCP option %s: empty", o.Name)
	}
	return append([]byte{0}, o.Value...), true, nil
}

// setExtra adds one extra_dhcp_opt. An empty value keeps the option from being sent.
func (h *host) setExtra(o model.DHCPOpt) error {
	k, err := resolve(o.Name)
	if err != nil {
		return err
	}
	if o.Value == "" && k.code > 0 {
		h.hidden = append(h.hidden, uint8(k.code))
		return nil
	}
	data, err := encode(k.kind, o.Value)
	if err != nil {
		return fmt.Errorf("extra DHCP option %s = %q: %w", o.Name, o.Value, err)
	}
	switch k.code {
	case serverAddress:
		if len(data) != 4 {
			return fmt.Errorf("extra DHCP option %s = %q: one IPv4 address is wanted", o.Name, o.Value)
		}
		h.next = netip.AddrFrom4([4]byte(data))
		return nil
	case int(dhcpv4.OptionBootfileName.Code()):
		if len(o.Value) < 128 { // a longer one goes as the option only
			h.file = o.Value
		}
	case int(dhcpv4.OptionTFTPServerName.Code()):
		// PXE firmware looks for the next server's address in the header.
		if a, parseErr := netip.ParseAddr(o.Value); parseErr == nil && a.Is4() && !h.next.IsValid() {
			h.next = a
		}
	case int(dhcpv4.OptionClasslessStaticRoute.Code()):
		h.opts[optionMicrosoftRoutes.Code()] = data
	}
	h.opts[uint8(k.code)] = data
	return nil
}

func resolve(name string) (known, error) {
	if k, ok := byName[name]; ok {
		return k, nil
	}
	n, err := strconv.Atoi(name)
	if err != nil {
		return known{}, fmt.Errorf("extra DHCP option %q: no such name", name)
	}
	if n < 0 || n > 255 || reserved[n] {
		return known{}, fmt.Errorf("extra DHCP option %d: cannot be set", n)
	}
	return known{n, kindOf[n]}, nil
}

func encode(k kind, value string) ([]byte, error) {
	switch k {
	case text:
		return []byte(value), nil
	case addrs:
		return encodeAddrs(value)
	case byte8:
		n, err := strconv.ParseUint(value, 0, 8)
		return []byte{byte(n)}, err
	case num16:
		n, err := strconv.ParseUint(value, 0, 16)
		return binary.BigEndian.AppendUint16(nil, uint16(n)), err
	case num32:
		if value == "infinite" {
			value = "0xffffffff"
		}
		n, err := strconv.ParseInt(value, 0, 64)
		if err == nil && (n < -1<<31 || n > 1<<32-1) {
			err = strconv.ErrRange
		}
		return binary.BigEndian.AppendUint32(nil, uint32(n)), err
	case routes:
		return encodeRouteText(value)
	case names:
		return encodeNames(value)
	case raw:
		if b, ok := colonHex(value); ok {
			return b, nil
		}
		return []byte(value), nil
	default:
		return encodeGuess(value), nil
	}
}

// encodeGuess follows dnsmasq for numbers it has no name for: addresses, a number in
// as few bytes as hold it, colon-separated hexadecimal, else text.
func encodeGuess(value string) []byte {
	if b, err := encodeAddrs(value); err == nil {
		return b
	}
	if n, err := strconv.ParseUint(value, 10, 32); err == nil {
		switch {
		case n < 1<<8:
			return []byte{byte(n)}
		case n < 1<<16:
			return binary.BigEndian.AppendUint16(nil, uint16(n))
		default:
			return binary.BigEndian.AppendUint32(nil, uint32(n))
		}
	}
	if b, ok := colonHex(value); ok {
		return b
	}
	return []byte(value)
}

func encodeAddrs(value string) ([]byte, error) {
	var out []byte
	for f := range strings.SplitSeq(value, ",") {
		a, err := netip.ParseAddr(strings.TrimSpace(f))
		if err != nil || !a.Is4() {
			return nil, fmt.Errorf("%q is not an IPv4 address", strings.TrimSpace(f))
		}
		out = append(out, a.AsSlice()...)
	}
	return out, nil
}

// colonHex reads "01:2a:ff"; there must be at least one colon.
func colonHex(value string) ([]byte, bool) {
	if !strings.Contains(value, ":") {
		return nil, false
	}
	var out []byte
	for f := range strings.SplitSeq(value, ":") {
		if len(f) == 1 {
			f = "0" + f
		}
		b, err := hex.DecodeString(f)
		if err != nil || len(b) != 1 {
			return nil, false
		}
		out = append(out, b[0])
	}
	return out, true
}

// encodeRouteText reads dnsmasq's "destination,next hop,destination,next hop...".
func encodeRouteText(value string) ([]byte, error) {
	f := strings.Split(value, ",")
	if len(f)%2 != 0 {
		return nil, fmt.Errorf("pairs of destination and next hop are wanted")
	}
	var out []byte
	for i := 0; i < len(f); i += 2 {
		dst, err := netip.ParsePrefix(strings.TrimSpace(f[i]))
		if err != nil || !dst.Addr().Is4() {
			return nil, fmt.Errorf("%q is not an IPv4 prefix", f[i])
		}
		hop, err := netip.ParseAddr(strings.TrimSpace(f[i+1]))
		if err != nil || !hop.Is4() {
			return nil, fmt.Errorf("%q is not an IPv4 address", f[i+1])
		}
		out = appendRoute(out, model.Route{Destination: dst.Masked(), NextHop: hop})
	}
	return out, nil
}

// appendRoute encodes one route as RFC 3442 does: only the octets of the destination
// that its length covers.
func appendRoute(out []byte, r model.Route) []byte {
	bits := r.Destination.Bits()
	out = append(out, byte(bits))
	out = append(out, r.Destination.Addr().AsSlice()[:(bits+7)/8]...)
	return append(out, r.NextHop.AsSlice()...)
}

func setRoutes(o dhcpv4.Options, list []model.Route) {
	var data []byte
	for _, r := range list {
		data = appendRoute(data, r)
	}
	o[dhcpv4.OptionClasslessStaticRoute.Code()] = data
	o[optionMicrosoftRoutes.Code()] = data
}

// encodeNames writes domain names as RFC 3397 wants them, without compression.
func encodeNames(value string) ([]byte, error) {
	var out []byte
	for f := range strings.SplitSeq(value, ",") {
		name := strings.Trim(strings.TrimSpace(f), ".")
		for label := range strings.SplitSeq(name, ".") {
			if label == "" || len(label) > 63 {
				return nil, fmt.Errorf("%q is not a domain name", f)
			}
			out = append(append(out, byte(len(label))), label...)
		}
		out = append(out, 0)
	}
	return out, nil
}
