package router

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// announcement returns the Ethernet frame that tells a link's neighbours where an address is
// now: a gratuitous ARP request (RFC 5944, 4.6) or an unsolicited neighbour advertisement
// (RFC 4861, 7.2.6) of a router, to override what they know.
func announcement(mac net.HardwareAddr, a netip.Addr) []byte {
	if a.Is4() {
		return gratuitousARP(mac, a)
	}
	return neighbourAdvertisement(mac, a)
}

func gratuitousARP(mac net.HardwareAddr, a netip.Addr) []byte {
	f := make([]byte, 0, 42)
	f = append(f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	f = append(f, mac...)
	f = append(f, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, request
	f = append(f, mac...)
	f = append(f, a.AsSlice()...)
	f = append(f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	return append(f, a.AsSlice()...)
}

func neighbourAdvertisement(mac net.HardwareAddr, a netip.Addr) []byte {
	allNodes := netip.MustParseAddr("ff02::1")
	body := []byte{136, 0, 0, 0, 0xa0, 0, 0, 0} // router, override
	body = append(body, a.AsSlice()...)
	body = append(body, 2, 1) // target link-layer address
	body = append(body, mac...)
	binary.BigEndian.PutUint16(body[2:], checksum6(a, allNodes, body))

	f := make([]byte, 0, 14+40+len(body))
	f = append(f, 0x33, 0x33, 0, 0, 0, 1)
	f = append(f, mac...)
	f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(len(body)))
	f = append(f, unix.IPPROTO_ICMPV6, 255)
	f = append(f, a.AsSlice()...)
	f = append(f, allNodes.AsSlice()...)
	return append(f, body...)
}

// checksum6 is ICMPv6's (RFC 8200, 8.1); the body has an even length.
func checksum6(src, dst netip.Addr, body []byte) uint16 {
	pseudo := append(src.AsSlice(), dst.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(body)))
	pseudo = append(pseudo, 0, 0, 0, unix.IPPROTO_ICMPV6)
	sum := uint32(0)
	for _, b := range [][]byte{pseudo, body} {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// notice is one announcement on one link.
type notice struct {
	ifindex int
	frame   []byte
}

func notices(l netlink.Link, addresses []netip.Prefix) []notice {
	var out []notice
	for _, p := range addresses {
		out = append(out, notice{l.Attrs().Index, announcement(l.Attrs().HardwareAddr, p.Addr())})
	}
	return out
}

// announce sends; it is to be called inside the namespace. The socket is closed beside: that
// waits for an RCU grace period, tens of milliseconds (net/packet/af_packet.c).
func announce(all []notice, beside *sync.WaitGroup) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a packet socket: %w", err)
	}
	defer beside.Go(func() { _ = unix.Close(fd) })
	var errs []error
	for _, n := range all {
		if err := unix.Sendto(fd, n.frame, 0, &unix.SockaddrLinklayer{Ifindex: n.ifindex, Halen: 6}); err != nil {
			errs = append(errs, fmt.Errorf("send on link %d: %w", n.ifindex, err))
		}
	}
	return errors.Join(errs...)
}
