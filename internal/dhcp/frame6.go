package dhcp

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"golang.org/x/net/bpf"
)

const (
	ip6Len      = 40
	etherIPv6   = 0x86dd
	serverPort6 = 547
	clientPort6 = 546
	maxRelays   = 8 // HOP_COUNT_LIMIT (RFC 8415, 7.6)
)

// allServers is All_DHCP_Relay_Agents_and_Servers, and its Ethernet address.
var (
	allServers    = netip.MustParseAddr("ff02::1:2")
	allServersMAC = [6]byte{0x33, 0x33, 0, 1, 0, 2}
)

// onlyServerPort6 lets through IPv6 UDP datagrams to port 547 without extension headers.
var onlyServerPort6 = []bpf.Instruction{
	bpf.LoadAbsolute{Off: etherLen + 6, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoUDP, SkipTrue: 3},
	bpf.LoadAbsolute{Off: etherLen + ip6Len + 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: serverPort6, SkipTrue: 1},
	bpf.RetConstant{Val: 65535},
	bpf.RetConstant{Val: 0},
}

// arrival6 is a message as it came off the wire.
type arrival6 struct {
	from    net.HardwareAddr // who sent the frame: the client or a relay
	src     netip.Addr
	relays  []*dhcpv6.RelayMessage // the outermost first; none for a neighbour
	request Request6
}

// parseFrame6 reads an Ethernet frame, as parseFrame does. The checksum is not looked at, for
// the same reason.
func parseFrame6(frame []byte) (arrival6, error) {
	if len(frame) < etherLen+ip6Len+udpLen || binary.BigEndian.Uint16(frame[12:]) != etherIPv6 {
		return arrival6{}, errNotDHCP
	}
	ip := frame[etherLen:]
	total := int(binary.BigEndian.Uint16(ip[4:]))
	if ip[0]>>4 != 6 || ip[6] != protoUDP || total < udpLen || total > len(ip)-ip6Len {
		return arrival6{}, errNotDHCP
	}
	udp := ip[ip6Len : ip6Len+total]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp[2:]) != serverPort6 || length < udpLen || length > len(udp) {
		return arrival6{}, errNotDHCP
	}
	a := arrival6{from: net.HardwareAddr(frame[6:12]), src: netip.AddrFrom16([16]byte(ip[8:24]))}
	dst := netip.AddrFrom16([16]byte(ip[24:40]))
	if a.src.IsMulticast() || a.src.IsUnspecified() {
		return arrival6{}, errMalformed
	}
	if err := a.open(udp[udpLen:length]); err != nil {
		return arrival6{}, fmt.Errorf("%w: %w", errMalformed, err)
	}
	a.request.Unicast = !dst.IsMulticast()
	return a, nil
}

// open takes the client's message out of its relays' envelopes.
func (a *arrival6) open(payload []byte) error {
	if nested(payload) > maxRelays {
		return fmt.Errorf("more than %d relays", maxRelays)
	}
	outer, err := dhcpv6.FromBytes(payload)
	if err != nil {
		return err
	}
	for m := outer; ; {
		switch x := m.(type) {
		case *dhcpv6.RelayMessage:
			if x.MessageType != dhcpv6.MessageTypeRelayForward {
				return fmt.Errorf("a %s is not for servers", x.MessageType)
			}
			a.relays = append(a.relays, x)
			m = x.Options.RelayMessage()
		case *dhcpv6.Message:
			a.request.Msg = x
			a.describe()
			return nil
		default:
			return fmt.Errorf("a relay's message holds none")
		}
	}
}

// nested counts envelopes before anything is parsed: parsing goes as deep as they do.
func nested(b []byte) int {
	depth := 0
	for len(b) > dhcpv6.RelayHeaderSize && (b[0] == byte(dhcpv6.MessageTypeRelayForward) || b[0] == byte(dhcpv6.MessageTypeRelayReply)) {
		depth++
		opts := b[dhcpv6.RelayHeaderSize:]
		b = nil
		for len(opts) >= 4 {
			code, n := binary.BigEndian.Uint16(opts), int(binary.BigEndian.Uint16(opts[2:]))
			if n > len(opts)-4 {
				break
			}
			if code == uint16(dhcpv6.OptionRelayMsg) && len(opts[4:4+n]) > len(b) {
				b = opts[4 : 4+n]
			}
			opts = opts[4+n:]
		}
	}
	return depth
}

// describe says what is known of where the client is.
func (a *arrival6) describe() {
	if len(a.relays) == 0 {
		a.request.MAC = a.from
		return
	}
	a.request.Relayed = true
	for _, r := range a.relays { // the innermost that says so counts (RFC 8415, 13.1)
		if l := address(r.LinkAddr); l.IsValid() && !l.IsUnspecified() && !l.IsLinkLocalUnicast() {
			a.request.Link = l
		}
	}
	inner := a.relays[len(a.relays)-1]
	if kind, mac := inner.Options.ClientLinkLayerAddress(); kind == iana.HWTypeEthernet && len(mac) == 6 {
		a.request.MAC = mac
	}
}

// envelop puts a reply into the envelopes that its request came in. What says where the relay
// has its client goes back as it came.
func (a *arrival6) envelop(reply *dhcpv6.Message) (payload []byte, port uint16) {
	if len(a.relays) == 0 {
		return reply.ToBytes(), clientPort6
	}
	var m dhcpv6.DHCPv6 = reply
	for i := len(a.relays) - 1; i >= 0; i-- {
		in := a.relays[i]
		out := &dhcpv6.RelayMessage{
			MessageType: dhcpv6.MessageTypeRelayReply, HopCount: in.HopCount, LinkAddr: in.LinkAddr, PeerAddr: in.PeerAddr,
		}
		out.AddOption(dhcpv6.OptRelayMessage(m))
		for _, code := range []dhcpv6.OptionCode{dhcpv6.OptionInterfaceID, dhcpv6.OptionRemoteID} {
			if o := in.GetOneOption(code); o != nil {
				out.AddOption(o)
			}
		}
		m = out
	}
	return m.ToBytes(), serverPort6
}

// buildFrame6 wraps a message into UDP, IPv6 and Ethernet.
func buildFrame6(srcMAC, dstMAC net.HardwareAddr, src, dst netip.Addr, srcPort, dstPort uint16, message []byte) []byte {
	f := make([]byte, etherLen+ip6Len+udpLen, etherLen+ip6Len+udpLen+len(message))
	copy(f, dstMAC)
	copy(f[6:], srcMAC)
	binary.BigEndian.PutUint16(f[12:], etherIPv6)
	ip := f[etherLen:]
	ip[0] = 0x60
	binary.BigEndian.PutUint16(ip[4:], uint16(udpLen+len(message)))
	ip[6], ip[7] = protoUDP, 64
	s, d := src.As16(), dst.As16()
	copy(ip[8:], s[:])
	copy(ip[24:], d[:])
	udp := ip[ip6Len:]
	binary.BigEndian.PutUint16(udp, srcPort)
	binary.BigEndian.PutUint16(udp[2:], dstPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(udpLen+len(message)))
	f = append(f, message...)
	udp = f[etherLen+ip6Len:]
	check := fold(sum(udp, sum(f[etherLen+8:etherLen+ip6Len], protoUDP+uint32(len(udp)))))
	if check == 0 {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], check)
	return f
}
