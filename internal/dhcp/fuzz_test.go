package dhcp

import (
	"net"
	"slices"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"neutrino/internal/model"
)

// FuzzHandle feeds whole frames: nothing panics, and every answer is a well-formed
// reply to that client with an address of its own port.
func FuzzHandle(f *testing.F) {
	n := testNetwork()
	v, _ := NewView(n, Defaults{DNSDomain: "example.org"})
	src, _ := net.ParseMAC(redMAC)
	seed := func(m *dhcpv4.DHCPv4) {
		b := buildFrame(src, broadcastMAC, ip("0.0.0.0"), ip("255.255.255.255"), serverPort, m.ToBytes())
		f.Add(b)
	}
	t := &testing.T{}
	seed(ask(t, dhcpv4.MessageTypeDiscover, redMAC))
	seed(ask(t, dhcpv4.MessageTypeRequest, redMAC, want50("10.0.0.5"), server("10.0.0.2")))
	seed(ask(t, dhcpv4.MessageTypeRequest, twoMAC, ciaddr("10.0.1.6"), relay("10.0.1.9")))
	seed(ask(t, dhcpv4.MessageTypeInform, twoMAC, ciaddr("10.0.1.6"), dhcpv4.WithRequestedOptions(dhcpv4.OptionRouter)))
	f.Add([]byte("not a frame"))
	own := map[string][]string{redMAC: {"10.0.0.5"}, twoMAC: {"10.0.0.6", "10.0.1.6"}}

	f.Fuzz(func(t *testing.T, frame []byte) {
		a, err := parseFrame(frame)
		if err != nil {
			return
		}
		reply, verdict := Handle(v, a.req)
		if reply == nil {
			return
		}
		mac, to, port := destination(a, reply)
		back, err := parseFrame(buildFrame(src, mac, ip("10.0.0.2"), to, serverPort, reply.ToBytes()))
		if err != nil {
			t.Fatalf("own reply cannot be read: %v", err)
		}
		if port != serverPort && port != clientPort {
			t.Errorf("port %d", port)
		}
		if back.req.OpCode != dhcpv4.OpcodeBootReply || back.req.TransactionID != a.req.TransactionID {
			t.Errorf("not a reply to the request: %s", back.req.Summary())
		}
		if verdict == Offered || verdict == Acked {
			if mine := own[a.req.ClientHWAddr.String()]; !slices.Contains(mine, back.req.YourIPAddr.String()) {
				t.Errorf("%s was given %s", a.req.ClientHWAddr, back.req.YourIPAddr)
			}
		}
	})
}

// FuzzExtraOption: whatever an option says, the port still has its lease.
func FuzzExtraOption(f *testing.F) {
	for _, s := range [][2]string{{"mtu", "9000"}, {"121", "10.0.0.0/8,10.0.0.1"}, {"client-id", "1:2"}, {"x", ""}, {"224", "a:b"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		n := testNetwork()
		n.Hosts[0].Options = []model.DHCPOpt{{Name: name, Value: value, IPVersion: 4}}
		v, _ := NewView(n, Defaults{})
		reply, verdict := Handle(v, ask(t, dhcpv4.MessageTypeDiscover, redMAC))
		if verdict != Offered || reply.YourIPAddr.String() != "10.0.0.5" {
			t.Fatalf("%s", verdict)
		}
		if _, err := dhcpv4.FromBytes(reply.ToBytes()); err != nil {
			t.Fatal(err)
		}
	})
}
