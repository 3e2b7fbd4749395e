package dhcp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

const (
	etherLen   = 14
	ipLen      = 20
	udpLen     = 8
	etherIPv4  = 0x0800
	protoUDP   = 17
	serverPort = 67
	clientPort = 68
)

var (
	errNotDHCP   = errors.New("not a DHCP request")
	errMalformed = errors.New("malformed DHCP request")
	broadcastMAC = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// arrival is a request as it came off the wire.
type arrival struct {
	from net.HardwareAddr // who sent the frame: the client or a relay
	req  *dhcpv4.DHCPv4
}

// parseFrame reads an Ethernet frame. errNotDHCP: none of our business; errMalformed:
// meant for us and broken. The UDP checksum is not looked at: on a virtual link it is
// the kernel's to fill in, and often nobody does.
func parseFrame(frame []byte) (arrival, error) {
	if len(frame) < etherLen+ipLen || binary.BigEndian.Uint16(frame[12:]) != etherIPv4 {
		return arrival{}, errNotDHCP
	}
	ip := frame[etherLen:]
	head := int(ip[0]&0x0f) * 4
	total := int(binary.BigEndian.Uint16(ip[2:]))
	fragment := binary.BigEndian.Uint16(ip[6:])&0x3fff != 0
	if ip[0]>>4 != 4 || head < ipLen || ip[9] != protoUDP || fragment || total < head+udpLen || total > len(ip) {
		return arrival{}, errNotDHCP
	}
	udp := ip[head:total]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp[2:]) != serverPort || length < udpLen || length > len(udp) {
		return arrival{}, errNotDHCP
	}
	req, err := dhcpv4.FromBytes(udp[udpLen:length])
	if err != nil {
		return arrival{}, errMalformed
	}
	return arrival{from: net.HardwareAddr(frame[6:12]), req: req}, nil
}

// destination of a reply (RFC 2131, 4.1).
func destination(a arrival, reply *dhcpv4.DHCPv4) (net.HardwareAddr, netip.Addr, uint16) {
	everyone := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if relay := addr(a.req.GatewayIPAddr); relay.IsValid() {
		return a.from, relay, serverPort
	}
	if reply.MessageType() == dhcpv4.MessageTypeNak {
		return broadcastMAC, everyone, clientPort
	}
	if client := addr(a.req.ClientIPAddr); client.IsValid() {
		return a.req.ClientHWAddr, client, clientPort
	}
	if yours := addr(reply.YourIPAddr); yours.IsValid() && !a.req.IsBroadcast() {
		return a.req.ClientHWAddr, yours, clientPort
	}
	return broadcastMAC, everyone, clientPort
}

// buildFrame wraps a message into UDP, IPv4 and Ethernet.
func buildFrame(srcMAC, dstMAC net.HardwareAddr, src, dst netip.Addr, dstPort uint16, message []byte) []byte {
	f := make([]byte, etherLen+ipLen+udpLen, etherLen+ipLen+udpLen+len(message))
	copy(f, dstMAC)
	copy(f[6:], srcMAC)
	binary.BigEndian.PutUint16(f[12:], etherIPv4)

	ip := f[etherLen:]
	ip[0] = 0x45
	ip[1] = 0x10 // low delay, as other servers send
	binary.BigEndian.PutUint16(ip[2:], uint16(ipLen+udpLen+len(message)))
	ip[8] = 64
	ip[9] = protoUDP
	s4, d4 := src.As4(), dst.As4()
	copy(ip[12:], s4[:])
	copy(ip[16:], d4[:])
	binary.BigEndian.PutUint16(ip[10:], fold(sum(ip[:ipLen], 0)))

	udp := ip[ipLen:]
	binary.BigEndian.PutUint16(udp, serverPort)
	binary.BigEndian.PutUint16(udp[2:], dstPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(udpLen+len(message)))
	f = append(f, message...)
	udp = f[etherLen+ipLen:]
	pseudo := sum(ip[12:20], protoUDP+uint32(len(udp)))
	check := fold(sum(udp, pseudo))
	if check == 0 {
		check = 0xffff // 0 means "none"
	}
	binary.BigEndian.PutUint16(udp[6:], check)
	return f
}

func sum(b []byte, s uint32) uint32 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}
