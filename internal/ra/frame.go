package ra

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/bpf"
)

const (
	etherLen     = 14
	ipLen        = 40
	etherIPv6    = 0x86dd
	protoICMPv6  = 58
	solicitation = 133
)

var (
	allNodes    = netip.MustParseAddr("ff02::1")
	allNodesMAC = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
	allRouters  = [6]byte{0x33, 0x33, 0, 0, 0, 2}
)

// onlySolicitations lets through ICMPv6 router solicitations with a hop limit of 255, which
// nobody but a neighbour can send (RFC 4861, 6.1.1).
var onlySolicitations = []bpf.Instruction{
	bpf.LoadAbsolute{Off: etherLen + 6, Size: 2}, // next header, hop limit
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoICMPv6<<8 | ndp.HopLimit, SkipTrue: 3},
	bpf.LoadAbsolute{Off: etherLen + ipLen, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: solicitation, SkipTrue: 1},
	bpf.RetConstant{Val: 65535},
	bpf.RetConstant{Val: 0},
}

// parse reads a solicitation. ok is false for anything that RFC 4861, 6.1.1, says to discard.
// src is unspecified for a host that has no address yet.
func parse(frame []byte) (mac net.HardwareAddr, src netip.Addr, ok bool) {
	if len(frame) < etherLen+ipLen+8 || binary.BigEndian.Uint16(frame[12:]) != etherIPv6 {
		return nil, netip.Addr{}, false
	}
	ip := frame[etherLen:]
	length := int(binary.BigEndian.Uint16(ip[4:]))
	if ip[0]>>4 != 6 || ip[6] != protoICMPv6 || ip[7] != ndp.HopLimit || length < 8 || length > len(ip)-ipLen {
		return nil, netip.Addr{}, false
	}
	body := ip[ipLen : ipLen+length]
	if body[0] != solicitation || body[1] != 0 || checksum(ip[8:40], body) != 0 {
		return nil, netip.Addr{}, false
	}
	m, err := ndp.ParseMessage(body)
	if err != nil {
		return nil, netip.Addr{}, false
	}
	rs, isRS := m.(*ndp.RouterSolicitation)
	src = netip.AddrFrom16([16]byte(ip[8:24]))
	if !isRS || src.IsMulticast() || src.Is4In6() {
		return nil, netip.Addr{}, false
	}
	for _, o := range rs.Options {
		if lla, is := o.(*ndp.LinkLayerAddress); is && lla.Direction == ndp.Source && src.IsUnspecified() {
			return nil, netip.Addr{}, false
		}
	}
	return net.HardwareAddr(append([]byte(nil), frame[6:12]...)), src, true
}

// checksum of an ICMPv6 message with its pseudo header; 0 when the message holds the right one.
func checksum(addresses, body []byte) uint16 {
	s := uint32(len(body)) + protoICMPv6
	add := func(b []byte) {
		for ; len(b) > 1; b = b[2:] {
			s += uint32(binary.BigEndian.Uint16(b))
		}
		if len(b) == 1 {
			s += uint32(b[0]) << 8
		}
	}
	add(addresses)
	add(body)
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

func build(srcMAC, dstMAC net.HardwareAddr, src, dst netip.Addr, body []byte) []byte {
	f := make([]byte, etherLen+ipLen, etherLen+ipLen+len(body))
	copy(f, dstMAC)
	copy(f[6:], srcMAC)
	binary.BigEndian.PutUint16(f[12:], etherIPv6)
	ip := f[etherLen:]
	ip[0] = 0x60
	binary.BigEndian.PutUint16(ip[4:], uint16(len(body)))
	ip[6], ip[7] = protoICMPv6, ndp.HopLimit
	s, d := src.As16(), dst.As16()
	copy(ip[8:], s[:])
	copy(ip[24:], d[:])
	return append(f, body...)
}

// LinkLocal is the address that an interface speaks from: the one that its MAC gives (RFC
// 4291, appendix A), which it has or will have, else the first link-local one that it has.
// What a service beside has on the interface, as the metadata service does on several hosts of
// a link, is not it.
func LinkLocal(ifi *net.Interface) netip.Addr {
	var have []netip.Addr
	addrs, _ := ifi.Addrs()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			have = append(have, p.Addr().WithZone(""))
		}
	}
	return source(have, ifi.HardwareAddr)
}

func source(have []netip.Addr, mac net.HardwareAddr) netip.Addr {
	own := netip.IPv6Unspecified()
	if m := mac; len(m) == 6 {
		own = netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
	}
	if len(have) == 0 || slices.Contains(have, own) {
		return own
	}
	return have[0]
}
