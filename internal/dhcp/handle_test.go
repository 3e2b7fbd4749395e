package dhcp

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"neutrino/internal/model"
)

const (
	redMAC  = "fa:16:3e:00:00:05"
	twoMAC  = "fa:16:3e:00:00:06"
	bareMAC = "fa:16:3e:00:00:07"
	noMAC   = "02:00:00:00:00:01"
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func testNetwork() *model.DHCPNetwork {
	return &model.DHCPNetwork{
		NetworkID: "11111111-2222-3333-4444-555555555555",
		PortID:    "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
		MAC:       "fa:16:3e:00:00:02",
		MTU:       1450,
		Addresses: []model.FixedIP{{SubnetID: "s1", IP: ip("10.0.0.2")}, {SubnetID: "s2", IP: ip("10.0.1.2")}},
		Subnets: []*model.Subnet{
			{
				Meta: model.Meta{ID: "s1"}, IPVersion: 4, EnableDHCP: true,
				CIDR: netip.MustParsePrefix("10.0.0.0/24"), GatewayIP: ip("10.0.0.1"),
				DNSNameservers: []netip.Addr{ip("9.9.9.9"), ip("1.1.1.1")},
				HostRoutes:     []model.Route{{Destination: netip.MustParsePrefix("192.168.8.0/22"), NextHop: ip("10.0.0.9")}},
			},
			{Meta: model.Meta{ID: "s2"}, IPVersion: 4, EnableDHCP: true, CIDR: netip.MustParsePrefix("10.0.1.0/24")},
			{Meta: model.Meta{ID: "s6"}, IPVersion: 6, EnableDHCP: true, CIDR: netip.MustParsePrefix("fd00::/64")},
		},
		Hosts: []model.DHCPHost{
			{PortID: "p5", MAC: redMAC, Addresses: []model.FixedIP{{SubnetID: "s1", IP: ip("10.0.0.5")}}},
			{PortID: "p6", MAC: twoMAC, HostName: "db", Addresses: []model.FixedIP{
				{SubnetID: "s6", IP: ip("fd00::6")}, {SubnetID: "s1", IP: ip("10.0.0.6")}, {SubnetID: "s2", IP: ip("10.0.1.6")},
			}},
			{PortID: "p7", MAC: bareMAC, Addresses: []model.FixedIP{{SubnetID: "s6", IP: ip("fd00::7")}}},
		},
	}
}

func ask(t *testing.T, kind dhcpv4.MessageType, mac string, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(hw), dhcpv4.WithMessageType(kind)}, mods...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func want50(a string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(a)))
}

func server(a string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(a)))
}

func ciaddr(a string) dhcpv4.Modifier { return dhcpv4.WithClientIP(net.ParseIP(a)) }
func relay(a string) dhcpv4.Modifier  { return dhcpv4.WithGatewayIP(net.ParseIP(a)) }

func TestHandleFollowsRFC2131(t *testing.T) {
	discover, request := dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest
	for _, tc := range []struct {
		name    string
		kind    dhcpv4.MessageType
		mac     string
		mods    []dhcpv4.Modifier
		verdict Verdict
		yours   string
	}{
		{"discover", discover, redMAC, nil, Offered, "10.0.0.5"},
		{"discover asks for another address", discover, redMAC, []dhcpv4.Modifier{want50("10.0.0.77")}, Offered, "10.0.0.5"},
		{"discover, two addresses, first", discover, twoMAC, nil, Offered, "10.0.0.6"},
		{"discover, two addresses, the other is wished for", discover, twoMAC, []dhcpv4.Modifier{want50("10.0.1.6")}, Offered, "10.0.1.6"},
		{"discover by a relay of the other subnet", discover, twoMAC, []dhcpv4.Modifier{relay("10.0.1.1")}, Offered, "10.0.1.6"},
		{"discover by a relay of a strange subnet", discover, twoMAC, []dhcpv4.Modifier{relay("10.9.1.1")}, NoAddress, ""},
		{"discover, IPv6 only port", discover, bareMAC, nil, NoAddress, ""},
		{"discover by a stranger", discover, noMAC, nil, Foreign, ""},
		{"selecting us", request, redMAC, []dhcpv4.Modifier{server("10.0.0.2"), want50("10.0.0.5")}, Acked, "10.0.0.5"},
		{"selecting us by the other address", request, twoMAC, []dhcpv4.Modifier{server("10.0.1.2"), want50("10.0.1.6")}, Acked, "10.0.1.6"},
		{"selecting another", request, redMAC, []dhcpv4.Modifier{server("10.0.0.3"), want50("10.0.0.5")}, OtherServer, ""},
		{"selecting us, wrong address", request, redMAC, []dhcpv4.Modifier{server("10.0.0.2"), want50("10.0.0.6")}, Refused, ""},
		{"init-reboot", request, redMAC, []dhcpv4.Modifier{want50("10.0.0.5")}, Acked, "10.0.0.5"},
		{"init-reboot, moved here from elsewhere", request, redMAC, []dhcpv4.Modifier{want50("192.168.1.5")}, Refused, ""},
		{"init-reboot by a stranger", request, noMAC, []dhcpv4.Modifier{want50("10.0.0.5")}, Refused, ""},
		{"renewing after the port is gone", request, noMAC, []dhcpv4.Modifier{ciaddr("10.0.0.9")}, Refused, ""},
		{"renewing by a relay after the port is gone", request, noMAC, []dhcpv4.Modifier{ciaddr("10.0.1.9"), relay("10.0.1.1")}, Refused, ""},
		{"a stranger with an address of elsewhere", request, noMAC, []dhcpv4.Modifier{ciaddr("192.168.1.5")}, Foreign, ""},
		{"a stranger of another server", request, noMAC, []dhcpv4.Modifier{server("10.0.0.3"), want50("10.0.0.9")}, OtherServer, ""},
		{"renewing", request, redMAC, []dhcpv4.Modifier{ciaddr("10.0.0.5")}, Acked, "10.0.0.5"},
		{"rebinding with somebody's address", request, redMAC, []dhcpv4.Modifier{ciaddr("10.0.0.6")}, Refused, ""},
		{"renewing, two addresses, second", request, twoMAC, []dhcpv4.Modifier{ciaddr("10.0.1.6")}, Acked, "10.0.1.6"},
		{"request of nothing", request, redMAC, nil, Malformed, ""},
		{"request, address gone from the port", request, bareMAC, []dhcpv4.Modifier{ciaddr("10.0.0.7")}, Refused, ""},
		{"inform", dhcpv4.MessageTypeInform, redMAC, []dhcpv4.Modifier{ciaddr("10.0.0.5")}, Informed, "0.0.0.0"},
		{"inform by nobody", dhcpv4.MessageTypeInform, redMAC, nil, Malformed, ""},
		{"release", dhcpv4.MessageTypeRelease, redMAC, []dhcpv4.Modifier{ciaddr("10.0.0.5"), server("10.0.0.2")}, Released, ""},
		{"release to another", dhcpv4.MessageTypeRelease, redMAC, []dhcpv4.Modifier{server("10.0.0.3")}, OtherServer, ""},
		{"decline", dhcpv4.MessageTypeDecline, redMAC, []dhcpv4.Modifier{want50("10.0.0.5"), server("10.0.0.2")}, Declined, ""},
		{"an offer sent to us", dhcpv4.MessageTypeOffer, redMAC, nil, NotRequest, ""},
		{"BOOTP", dhcpv4.MessageTypeNone, redMAC, nil, NotRequest, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, problems := NewView(testNetwork(), Defaults{})
			if len(problems) != 0 {
				t.Fatal(problems)
			}
			reply, verdict := Handle(v, ask(t, tc.kind, tc.mac, tc.mods...))
			if verdict != tc.verdict {
				t.Fatalf("verdict %s, want %s", verdict, tc.verdict)
			}
			answers := verdict == Offered || verdict == Acked || verdict == Refused || verdict == Informed
			if answers != (reply != nil) {
				t.Fatalf("verdict %s with reply %v", verdict, reply)
			}
			if verdict == Refused {
				if reply.MessageType() != dhcpv4.MessageTypeNak || addr(reply.YourIPAddr).IsValid() || reply.Options.Has(dhcpv4.OptionIPAddressLeaseTime) {
					t.Errorf("NAK carries a lease: %s", reply.Summary())
				}
				return
			}
			if reply != nil && reply.YourIPAddr.String() != tc.yours {
				t.Errorf("yiaddr %s, want %s", reply.YourIPAddr, tc.yours)
			}
		})
	}
}

func TestReplyOptions(t *testing.T) {
	v, _ := NewView(testNetwork(), Defaults{DNSDomain: "example.org", DNSServers: []netip.Addr{ip("8.8.8.8")}})
	all := dhcpv4.WithRequestedOptions(dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName,
		dhcpv4.OptionHostName, dhcpv4.OptionClasslessStaticRoute, optionMicrosoftRoutes)
	reply, _ := Handle(v, ask(t, dhcpv4.MessageTypeDiscover, redMAC, all))
	if got := reply.Router(); len(got) != 1 || got[0].String() != "10.0.0.1" {
		t.Errorf("router %v", got)
	}
	if got := reply.DNS(); len(got) != 2 || got[0].String() != "9.9.9.9" {
		t.Errorf("dns %v", got)
	}
	if got := reply.HostName(); got != "host-10-0-0-5" {
		t.Errorf("host name %q", got)
	}
	if got := reply.DomainName(); got != "example.org" {
		t.Errorf("domain %q", got)
	}
	if mask := net.IP(reply.SubnetMask()).String(); mask != "255.255.255.0" {
		t.Errorf("mask %s", mask)
	}
	if got := reply.IPAddressLeaseTime(0); got != 24*time.Hour {
		t.Errorf("lease %s", got)
	}
	if t1, t2 := reply.IPAddressRenewalTime(0), reply.IPAddressRebindingTime(0); t1 != 12*time.Hour || t2 != 21*time.Hour {
		t.Errorf("T1 %s, T2 %s", t1, t2)
	}
	if mtu, err := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, reply.Options); err != nil || mtu != 1450 {
		t.Errorf("mtu %d %v", mtu, err)
	}
	want := "route to 192.168.8.0/22 via 10.0.0.9; route to 10.0.1.0/24 via 0.0.0.0; route to 0.0.0.0/0 via 10.0.0.1"
	if got := dhcpv4.Routes(reply.ClasslessStaticRoute()).String(); got != want {
		t.Errorf("routes\n%s\nwant\n%s", got, want)
	}
	if got := reply.Options.Get(optionMicrosoftRoutes); string(got) != string(reply.Options.Get(dhcpv4.OptionClasslessStaticRoute)) {
		t.Error("option 249 differs from 121")
	}

	// The other subnet: no gateway, no nameservers of its own, a name of its own.
	reply, _ = Handle(v, ask(t, dhcpv4.MessageTypeDiscover, twoMAC, all, want50("10.0.1.6")))
	if reply.Options.Has(dhcpv4.OptionRouter) || reply.HostName() != "db" || reply.DNS()[0].String() != "8.8.8.8" {
		t.Errorf("second subnet: %s", reply.Summary())
	}
	if got := reply.ServerIdentifier().String(); got != "10.0.1.2" {
		t.Errorf("server id %s", got)
	}
	if got := dhcpv4.Routes(reply.ClasslessStaticRoute()).String(); got != "route to 10.0.0.0/24 via 0.0.0.0" {
		t.Errorf("routes %s", got)
	}
}

func TestOnlyWhatWasAskedForIsSent(t *testing.T) {
	v, _ := NewView(testNetwork(), Defaults{})
	reply, _ := Handle(v, ask(t, dhcpv4.MessageTypeDiscover, redMAC, dhcpv4.WithRequestedOptions(dhcpv4.OptionDomainNameServer)))
	if reply.Options.Has(dhcpv4.OptionRouter) || reply.Options.Has(dhcpv4.OptionClasslessStaticRoute) || !reply.Options.Has(dhcpv4.OptionDomainNameServer) {
		t.Error(reply.Summary())
	}
	if !reply.Options.Has(dhcpv4.OptionInterfaceMTU) {
		t.Error("the MTU is always sent")
	}
	reply, _ = Handle(v, ask(t, dhcpv4.MessageTypeInform, redMAC, ciaddr("10.0.0.5")))
	for _, code := range []dhcpv4.OptionCode{dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue} {
		if reply.Options.Has(code) {
			t.Errorf("answer to INFORM carries %s", code)
		}
	}
}

func TestLeaseTimes(t *testing.T) {
	for _, tc := range []struct {
		in   time.Duration
		want uint32
	}{{0, 86400}, {-time.Second, infinite}, {time.Hour, 3600}, {time.Millisecond, 1}, {1 << 62, infinite}} {
		if got := leaseSeconds(tc.in); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.in, got, tc.want)
		}
	}
	v, _ := NewView(testNetwork(), Defaults{LeaseTime: -1})
	reply, _ := Handle(v, ask(t, dhcpv4.MessageTypeDiscover, redMAC))
	if reply.Options.Has(dhcpv4.OptionRenewTimeValue) {
		t.Error("a lease for ever has no time to renew")
	}
}

func TestRelayAndClientIdentifierComeBack(t *testing.T) {
	v, _ := NewView(testNetwork(), Defaults{})
	req := ask(t, dhcpv4.MessageTypeRequest, redMAC, relay("10.0.0.254"), want50("10.0.0.9"),
		dhcpv4.WithGeneric(dhcpv4.OptionClientIdentifier, []byte{1, 2, 3}),
		dhcpv4.WithGeneric(dhcpv4.OptionRelayAgentInformation, []byte{1, 1, 7}))
	reply, verdict := Handle(v, req)
	if verdict != Refused || !reply.IsBroadcast() {
		t.Fatalf("%s, broadcast %v", verdict, reply.IsBroadcast())
	}
	if string(reply.Options.Get(dhcpv4.OptionClientIdentifier)) != "\x01\x02\x03" || string(reply.Options.Get(dhcpv4.OptionRelayAgentInformation)) != "\x01\x01\x07" {
		t.Error(reply.Summary())
	}
	if !reply.GatewayIPAddr.Equal(req.GatewayIPAddr) {
		t.Errorf("giaddr %s", reply.GatewayIPAddr)
	}
}

func TestGatewayOutsideTheSubnet(t *testing.T) {
	n := testNetwork()
	n.Subnets = n.Subnets[:1]
	n.Subnets[0].HostRoutes = nil
	n.Subnets[0].GatewayIP = ip("172.16.0.1")
	v, _ := NewView(n, Defaults{})
	reply, _ := Handle(v, ask(t, dhcpv4.MessageTypeDiscover, redMAC))
	want := "route to 172.16.0.1/32 via 0.0.0.0; route to 0.0.0.0/0 via 172.16.0.1"
	if got := dhcpv4.Routes(reply.ClasslessStaticRoute()).String(); got != want {
		t.Errorf("routes %s", got)
	}
}

func TestDefaultHostRouteIsTheGateway(t *testing.T) {
	n := testNetwork()
	n.Subnets = n.Subnets[:1]
	n.Subnets[0].HostRoutes = []model.Route{{Destination: netip.MustParsePrefix("0.0.0.0/0"), NextHop: ip("10.0.0.9")}}
	v, _ := NewView(n, Defaults{})
	reply, _ := Handle(v, ask(t, dhcpv4.MessageTypeDiscover, redMAC))
	if reply.Router()[0].String() != "10.0.0.9" || reply.Options.Has(dhcpv4.OptionClasslessStaticRoute) {
		t.Error(reply.Summary())
	}
}

func TestNoNameserverByNeutronsSign(t *testing.T) {
	n := testNetwork()
	n.Subnets[0].DNSNameservers = []netip.Addr{ip("0.0.0.0")}
	v, _ := NewView(n, Defaults{DNSServers: []netip.Addr{ip("8.8.8.8")}})
	reply, _ := Handle(v, ask(t, dhcpv4.MessageTypeDiscover, redMAC))
	if reply.Options.Has(dhcpv4.OptionDomainNameServer) {
		t.Error("0.0.0.0 means no nameserver")
	}
}

func TestNetworkWithoutOwnAddressAnswersNobody(t *testing.T) {
	n := testNetwork()
	n.Addresses = nil
	v, problems := NewView(n, Defaults{})
	if len(problems) != 1 || !strings.Contains(problems[0].String(), "no IPv4 address") {
		t.Errorf("problems %v", problems)
	}
	if _, verdict := Handle(v, ask(t, dhcpv4.MessageTypeDiscover, redMAC)); verdict != NoAddress {
		t.Errorf("verdict %s", verdict)
	}
}

func TestReplyFitsTheClient(t *testing.T) {
	n := testNetwork()
	for i := range 60 {
		n.Subnets[0].HostRoutes = append(n.Subnets[0].HostRoutes,
			model.Route{Destination: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i), 0}), 24), NextHop: ip("10.0.0.9")})
	}
	v, _ := NewView(n, Defaults{DNSDomain: strings.Repeat("x", 60)})
	req := ask(t, dhcpv4.MessageTypeDiscover, redMAC, dhcpv4.WithRequestedOptions(dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionDomainName))
	reply, _ := Handle(v, req)
	if size := len(reply.ToBytes()) + headerLen; size > minMessage {
		t.Errorf("%d bytes to a client that takes %d", size, minMessage)
	}
	if !reply.Options.Has(dhcpv4.OptionIPAddressLeaseTime) || !reply.Options.Has(dhcpv4.OptionSubnetMask) {
		t.Error("what a lease cannot do without was dropped")
	}
	req.UpdateOption(dhcpv4.OptMaxMessageSize(1450))
	reply, _ = Handle(v, req)
	if len(reply.ClasslessStaticRoute()) != 63 {
		t.Errorf("%d routes, want all 63", len(reply.ClasslessStaticRoute()))
	}
}

func TestTheWayToMetadata(t *testing.T) {
	want := func(d Defaults, change func(*model.DHCPNetwork), routes ...string) {
		t.Helper()
		n := testNetwork()
		if change != nil {
			change(n)
		}
		v, problems := NewView(n, d)
		if len(problems) != 0 {
			t.Fatal(problems)
		}
		reply, _ := Handle(v, ask(t, dhcpv4.MessageTypeDiscover, redMAC, dhcpv4.WithRequestedOptions(dhcpv4.OptionClasslessStaticRoute)))
		var got []string
		for _, r := range reply.ClasslessStaticRoute() {
			got = append(got, r.Dest.String()+" "+r.Router.String())
		}
		if !slices.Equal(got, routes) {
			t.Errorf("routes %q, want %q", got, routes)
		}
	}
	subnet, other, def := "192.168.8.0/22 10.0.0.9", "10.0.1.0/24 0.0.0.0", "0.0.0.0/0 10.0.0.1"
	metadata := "169.254.169.254/32 10.0.0.2"
	want(Defaults{}, nil, subnet, other, def)
	want(Defaults{Metadata: true}, nil, subnet, other, metadata, def)
	routed := func(n *model.DHCPNetwork) { n.RoutedSubnets = []string{"s1"} }
	want(Defaults{Metadata: true}, routed, subnet, other, def)
	want(Defaults{MetadataEverywhere: true}, routed, subnet, other, metadata, def)
	want(Defaults{Metadata: true}, func(n *model.DHCPNetwork) {
		n.Subnets = n.Subnets[:1]
		n.Subnets[0].HostRoutes, n.Subnets[0].GatewayIP = nil, netip.Addr{}
	}, metadata)
	own := func(n *model.DHCPNetwork) {
		n.Subnets[0].HostRoutes = []model.Route{{Destination: netip.MustParsePrefix("169.254.169.254/32"), NextHop: ip("10.0.0.77")}}
	}
	want(Defaults{Metadata: true}, own, "169.254.169.254/32 10.0.0.77", other, def)
}
