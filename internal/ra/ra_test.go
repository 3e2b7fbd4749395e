package ra

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"neutrino/internal/model"
	"neutrino/internal/netspace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func subnet(cidr, mode string, dns ...string) *model.Subnet {
	s := &model.Subnet{IPVersion: 6, CIDR: netip.MustParsePrefix(cidr), IPv6RAMode: mode}
	for _, d := range dns {
		s.DNSNameservers = append(s.DNSNameservers, netip.MustParseAddr(d))
	}
	return s
}

var mac = net.HardwareAddr{0xfa, 0x16, 0x3e, 0, 0, 1}

// TestWhatModesMean: every ipv6_ra_mode, alone and together.
func TestWhatModesMean(t *testing.T) {
	for _, tc := range []struct {
		name           string
		subnets        []*model.Subnet
		ok             bool
		managed, other bool
		auto           []bool
	}{
		{"none", []*model.Subnet{subnet("fd00::/64", "")}, false, false, false, nil},
		{"slaac", []*model.Subnet{subnet("fd00::/64", model.ModeSLAAC)}, true, false, false, []bool{true}},
		{"stateless", []*model.Subnet{subnet("fd00::/64", model.ModeStateless)}, true, false, true, []bool{true}},
		{"stateful", []*model.Subnet{subnet("fd00::/64", model.ModeStateful)}, true, true, false, []bool{false}},
		{"mixed", []*model.Subnet{subnet("fd00::/64", model.ModeSLAAC), subnet("fd01::/64", ""), subnet("fd02::/64", model.ModeStateful)}, true, true, false, []bool{true, false}},
		{"IPv4", []*model.Subnet{{IPVersion: 4, CIDR: netip.MustParsePrefix("10.0.0.0/24")}}, false, false, false, nil},
	} {
		c, ok := Of(tc.subnets, Settings{MTU: 1450})
		var auto []bool
		for _, p := range c.Prefixes {
			auto = append(auto, p.Autonomous)
		}
		if ok != tc.ok || c.Managed != tc.managed || c.Other != tc.other || !slices.Equal(auto, tc.auto) {
			t.Errorf("%s: %v %+v", tc.name, ok, c)
		}
	}
}

func TestCompose(t *testing.T) {
	c, _ := Of([]*model.Subnet{subnet("fd00::/64", model.ModeSLAAC, "2001:db8::53", "9.9.9.9")},
		Settings{Lifetime: DefaultLifetime, MTU: 9000, Search: []string{"example.org", "bad..name"}})
	b, err := marshal(c, mac, netip.MustParseAddr("fe80::1"), allNodes)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ndp.ParseMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	got := m.(*ndp.RouterAdvertisement)
	if got.RouterLifetime != 300*time.Second || got.CurrentHopLimit != 64 {
		t.Errorf("%+v", got)
	}
	text := ""
	for _, o := range got.Options {
		text += fmt.Sprintf("%+v ", o)
	}
	want := "&{Direction:1 Addr:fa:16:3e:00:00:01} &{MTU:9000} " +
		"&{PrefixLength:64 OnLink:true AutonomousAddressConfiguration:true ValidLifetime:720h0m0s PreferredLifetime:168h0m0s Prefix:fd00::} " +
		"&{Lifetime:5m0s Servers:[2001:db8::53]} &{Lifetime:5m0s DomainNames:[example.org]} "
	if text != want {
		t.Errorf("options\n%s\nwant\n%s", text, want)
	}
}

// TestPace: however it is asked, two multicasts are never nearer than 3 s, and the next is
// never later than the interval; unicast answers are bounded.
func TestPace(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	now := time.Unix(1000, 0)
	p := newPace(now)
	var last time.Time
	singles := 0
	for range 100000 {
		now = now.Add(time.Duration(rnd.IntN(200)) * time.Millisecond)
		if rnd.IntN(3) == 0 {
			p.asked(now, time.Duration(rnd.IntN(500))*time.Millisecond)
		}
		for range rnd.IntN(50) {
			if p.unicast(now) {
				singles++
			}
		}
		if rnd.IntN(500) == 0 {
			p.restart(now)
		}
		if !p.due(now) {
			if p.next.After(now.Add(100 * time.Second)) {
				t.Fatal("too late")
			}
			continue
		}
		if !last.IsZero() && now.Sub(last) < betweenMulticast {
			t.Fatalf("%s after the last", now.Sub(last))
		}
		p.sent(now, 100*time.Second)
		last = now
	}
	if most := unicastBurst + int(now.Sub(time.Unix(1000, 0))/unicastEvery) + 1; singles > most || singles < most/2 {
		t.Errorf("%d unicast answers, at most %d", singles, most)
	}
}

// solicit is a solicitation as a host sends it.
func solicit(t testing.TB, from net.HardwareAddr, src netip.Addr) []byte {
	rs := &ndp.RouterSolicitation{}
	if !src.IsUnspecified() {
		rs.Options = append(rs.Options, &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: from})
	}
	dst := netip.MustParseAddr("ff02::2")
	b, err := ndp.MarshalMessageChecksum(rs, src, dst)
	if err != nil {
		t.Fatal(err)
	}
	return build(from, allRouters[:], src, dst, b)
}

func TestParseRefuses(t *testing.T) {
	good := solicit(t, mac, netip.MustParseAddr("fe80::5"))
	if _, src, ok := parse(good); !ok || src != netip.MustParseAddr("fe80::5") {
		t.Fatal("a good one is refused")
	}
	if _, src, ok := parse(solicit(t, mac, netip.IPv6Unspecified())); !ok || !src.IsUnspecified() {
		t.Error("one without an address is refused")
	}
	for name, spoil := range map[string]func([]byte){
		"hop limit": func(b []byte) { b[etherLen+7] = 254 }, "code": func(b []byte) { b[etherLen+ipLen+1] = 1 },
		"checksum": func(b []byte) { b[etherLen+ipLen+2] ^= 1 }, "length": func(b []byte) { b[etherLen+5] = 200 },
		"type": func(b []byte) { b[etherLen+ipLen] = 134 },
	} {
		b := slices.Clone(good)
		spoil(b)
		if _, _, ok := parse(b); ok {
			t.Errorf("wrong %s is taken", name)
		}
	}
}

// FuzzSolicitation: nothing panics, and what is taken is a neighbour's.
func FuzzSolicitation(f *testing.F) {
	f.Add(solicit(f, mac, netip.MustParseAddr("fe80::5")))
	f.Add(solicit(f, mac, netip.IPv6Unspecified()))
	f.Add([]byte("not a frame"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if from, src, ok := parse(b); ok && (len(from) != 6 || src.IsMulticast() || b[etherLen+7] != 255) {
			t.Errorf("%s %s", from, src)
		}
	})
}

// TestServer asks over a veth: a host with an address is answered alone and at once, the
// withdrawal reaches all.
func TestServer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	ns := fmt.Sprintf("dtra-%d", os.Getpid())
	if err := netspace.Create(ns, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netspace.Delete(ns) })
	var s *Server
	var host *packet.Conn
	var hostMAC net.HardwareAddr
	err := netspace.Do(ns, func() error {
		err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "r0"}, PeerName: "h0"})
		for _, name := range []string{"r0", "h0"} {
			if l, lerr := netlink.LinkByName(name); lerr == nil {
				err = errors.Join(err, netlink.LinkSetUp(l))
			}
		}
		if err != nil {
			return err
		}
		ifi, err := net.InterfaceByName("h0")
		if err != nil {
			return err
		}
		hostMAC = ifi.HardwareAddr
		if host, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_IPV6, nil); err != nil {
			return err
		}
		c, _ := Of([]*model.Subnet{subnet("fd00::/64", model.ModeSLAAC)}, Settings{Lifetime: DefaultLifetime, MTU: 1500})
		s, err = NewServer("r0", c, nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = host.Close() }()
	defer func() { _ = s.Close() }()
	// next returns the next advertisement to the address.
	next := func(to netip.Addr, again func()) *ndp.RouterAdvertisement {
		t.Helper()
		buf := make([]byte, 2000)
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
			_ = host.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			n, _, err := host.ReadFrom(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				again()
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if n < etherLen+ipLen+16 || buf[etherLen+6] != protoICMPv6 || buf[etherLen+ipLen] != 134 {
				continue
			}
			body := buf[etherLen+ipLen : n]
			if checksum(buf[etherLen+8:etherLen+ipLen], body) != 0 || buf[etherLen+7] != 255 {
				t.Fatal("not a valid advertisement")
			}
			m, err := ndp.ParseMessage(body)
			if err != nil {
				t.Fatal(err)
			}
			if netip.AddrFrom16([16]byte(buf[etherLen+24:])) == to {
				return m.(*ndp.RouterAdvertisement)
			}
		}
		t.Fatalf("nothing to %s", to)
		return nil
	}
	// A link that has just come up may drop the first: who has no address asks for one to all.
	askForAll := func() {
		if _, err := host.WriteTo(solicit(t, hostMAC, netip.IPv6Unspecified()), &packet.Addr{HardwareAddr: allRouters[:]}); err != nil {
			t.Fatal(err)
		}
	}
	nothing := func() {}
	if m := next(allNodes, askForAll); m.RouterLifetime != DefaultLifetime {
		t.Errorf("first: %+v", m)
	}
	asker := netip.MustParseAddr("fe80::5")
	ask := func() {
		if _, err := host.WriteTo(solicit(t, hostMAC, asker), &packet.Addr{HardwareAddr: allRouters[:]}); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	next(asker, ask)
	s.Update(Config{Other: true})
	s.Update(Config{Managed: true, RouterLifetime: time.Minute})
	if m := next(allNodes, nothing); !m.ManagedConfiguration {
		t.Errorf("after the change: %+v", m)
	}
	if err := s.Withdraw(); err != nil {
		t.Fatal(err)
	}
	if m := next(allNodes, nothing); m.RouterLifetime != 0 {
		t.Errorf("last: %+v", m)
	}
}
