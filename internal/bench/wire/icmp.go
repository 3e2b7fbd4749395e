package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Of RFC 792, RFC 791 and RFC 4443.
const (
	icmpHeader      = 8
	icmpEchoRequest = 8
	icmpEchoReply   = 0
	maxIPHeader     = 60

	icmp6EchoRequest = 128
	icmp6EchoReply   = 129
)

// echo is how the echo messages of one flow look.
type echo struct {
	v6, raw bool
	id      uint16
}

// dialICMP makes a line on which echo requests to a host are answered by its kernel. The kernel's
// ping sockets take no right, where net.ipv4.ping_group_range allows them; else it is a raw socket.
func dialICMP(to netip.Addr) (*line, *echo, error) {
	family, proto := unix.AF_INET, unix.IPPROTO_ICMP
	e := &echo{v6: to.Is6(), id: uint16(rand.Uint32())}
	if e.v6 {
		family, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		e.raw = true
		fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open a socket for ICMP echo: %w; run as root, or allow it to all with sysctl net.ipv4.ping_group_range='0 2147483647'", err)
	}
	l := &line{fd: fd, index: icmpHeader}
	sa, err := sockaddr(netip.AddrPortFrom(to, 0))
	if err == nil && e.raw {
		err = e.filter(fd)
	}
	if err == nil {
		err = unix.Connect(fd, sa)
	}
	if err != nil {
		l.close()
		return nil, nil, fmt.Errorf("reach %s for ICMP echo: %w", to, err)
	}
	return l, e, nil
}

// filter lets only echo replies into a raw socket.
func (e *echo) filter(fd int) error {
	if e.v6 {
		f := unix.ICMPv6Filter{}
		for i := range f.Data {
			f.Data[i] = ^uint32(0)
		}
		f.Data[icmp6EchoReply/32] &^= 1 << (icmp6EchoReply % 32)
		return unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &f)
	}
	const icmpFilter = 1 // ICMP_FILTER of linux/icmp.h
	return unix.SetsockoptInt(fd, unix.SOL_RAW, icmpFilter, int(^uint32(1<<icmpEchoReply)))
}

// request makes b an echo request.
func (e *echo) request(b []byte) {
	b[0], b[1] = icmpEchoRequest, 0
	if e.v6 {
		b[0] = icmp6EchoRequest
	}
	binary.BigEndian.PutUint16(b[4:], e.id)
	binary.BigEndian.PutUint16(b[6:], 1)
}

// sum fills in the checksum, where the kernel does not.
func (e *echo) sum(b []byte) {
	if !e.raw || e.v6 {
		return
	}
	b[2], b[3] = 0, 0
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	s = s>>16 + s&0xffff
	s += s >> 16
	binary.BigEndian.PutUint16(b[2:], ^uint16(s))
}

// reply returns the echo reply in what was received, or nothing if it is none of this flow's.
func (e *echo) reply(b []byte) []byte {
	kind := byte(icmpEchoReply)
	if e.v6 {
		kind = icmp6EchoReply
	}
	if e.raw && !e.v6 { // with its IP header
		if len(b) == 0 || int(b[0]&15)*4 < 20 || len(b) < int(b[0]&15)*4 {
			return nil
		}
		b = b[int(b[0]&15)*4:]
	}
	if len(b) < icmpHeader || b[0] != kind || b[1] != 0 {
		return nil
	}
	if e.raw && binary.BigEndian.Uint16(b[4:]) != e.id { // ping sockets are given their own only
		return nil
	}
	return b
}

// sockaddr is an address as system calls take it.
func sockaddr(a netip.AddrPort) (unix.Sockaddr, error) {
	ip := a.Addr().Unmap()
	switch {
	case ip.Is4():
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}, nil
	case ip.Is6():
		sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: ip.As16()}
		if zone := ip.Zone(); zone != "" {
			link, err := net.InterfaceByName(zone)
			if err != nil {
				return nil, fmt.Errorf("find the interface of %s: %w", a.Addr(), err)
			}
			sa.ZoneId = uint32(link.Index)
		}
		return sa, nil
	}
	return nil, errors.New("no IP address")
}
