package guest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"neutrino/internal/netspace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answers makes the answer of a server on dev, in the namespace it is called in; it ends with the test.
func answers(t *testing.T, dev string, asked chan<- dhcpv4.MessageType) {
	t.Helper()
	own, offered := net.IPv4(10, 9, 0, 1), net.IPv4(10, 9, 0, 7)
	s, err := server4.NewServer(dev, nil, func(conn net.PacketConn, _ net.Addr, m *dhcpv4.DHCPv4) {
		asked <- m.MessageType()
		reply, rerr := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer), dhcpv4.WithServerIP(own),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(own)), dhcpv4.WithYourIP(offered))
		if rerr == nil {
			_, rerr = conn.WriteTo(reply.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ClientPort})
		}
		if rerr != nil {
			t.Error(rerr)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve() }() // it fails when it is closed
	t.Cleanup(func() { _ = s.Close(); <-done })
}

// A server that answers is heard, and asked for no lease; where nobody answers, or nobody can be asked, that is said.
func TestDiscover(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	ns := fmt.Sprintf("guest-%d", os.Getpid())
	if err := netspace.Create(ns, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netspace.Delete(ns) })
	asked := make(chan dhcpv4.MessageType, 100)
	err := netspace.Do(ns, func() error {
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "vf"}, PeerName: "wire"}); err != nil {
			return err
		}
		for _, name := range []string{"vf", "wire"} {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			if err = netlink.LinkSetUp(l); err != nil {
				return err
			}
			if name == "wire" {
				if err = netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 9, 0, 1), Mask: net.CIDRMask(24, 32)}}); err != nil {
					return err
				}
			}
		}
		if o := discover(t.Context(), "vf", 500*time.Millisecond); o.Err == nil || !strings.Contains(o.Err.Error(), "nobody answered within 500ms") {
			t.Errorf("without a server: %+v", o)
		}
		if o := discover(t.Context(), "none", time.Second); o.Err == nil || !strings.Contains(o.Err.Error(), "none") {
			t.Errorf("no such NIC: %+v", o)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if o := discover(ended, "vf", time.Minute); o.Err == nil {
			t.Errorf("ended: %+v", o)
		}
		answers(t, "wire", asked)
		o := discover(t.Context(), "vf", 20*time.Second)
		if o.Err != nil || o.Address != netip.MustParseAddr("10.9.0.7") || o.Server != netip.MustParseAddr("10.9.0.1") || o.Took <= 0 {
			t.Errorf("with a server: %+v", o)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for len(asked) > 0 {
		if kind := <-asked; kind != dhcpv4.MessageTypeDiscover {
			t.Errorf("it sent %s: it is to take no lease", kind)
		}
	}
}
