package dhcp

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"neutrino/internal/model"
)

// testNetwork6 has a subnet of each kind; red has an address in two, two in the stateless one.
func testNetwork6() *model.DHCPNetwork {
	n := testNetwork()
	sub := func(id, cidr, ra, address string) *model.Subnet {
		return &model.Subnet{
			Meta: model.Meta{ID: id}, IPVersion: 6, EnableDHCP: true, CIDR: netip.MustParsePrefix(cidr),
			IPv6RAMode: ra, IPv6AddressMode: address, DNSNameservers: []netip.Addr{ip("2001:db8::53")},
		}
	}
	n.Subnets = []*model.Subnet{
		n.Subnets[0],
		sub("full", "fd00::/64", model.ModeStateful, model.ModeStateful),
		sub("bare", "fd01::/64", "", ""),
		sub("less", "fd02::/64", model.ModeStateless, model.ModeStateless),
		sub("auto", "fd03::/64", model.ModeSLAAC, model.ModeSLAAC),
	}
	n.Addresses = append(n.Addresses[:1], model.FixedIP{SubnetID: "full", IP: ip("fd00::2")})
	n.Hosts = []model.DHCPHost{
		{PortID: "p5", MAC: redMAC, Addresses: []model.FixedIP{
			{SubnetID: "s1", IP: ip("10.0.0.5")}, {SubnetID: "full", IP: ip("fd00::5")}, {SubnetID: "bare", IP: ip("fd01::5")},
		}},
		{PortID: "p6", MAC: twoMAC, Addresses: []model.FixedIP{{SubnetID: "less", IP: ip("fd02::f816:3eff:fe00:6")}}},
		{PortID: "p7", MAC: bareMAC, Addresses: []model.FixedIP{{SubnetID: "auto", IP: ip("fd03::f816:3eff:fe00:7")}}},
	}
	return n
}

func hw(s string) net.HardwareAddr {
	m, _ := net.ParseMAC(s)
	return m
}

func duid(mac string) dhcpv6.DUID {
	return &dhcpv6.DUIDLLT{HWType: iana.HWTypeEthernet, Time: 7, LinkLayerAddr: hw(mac)}
}

func ours6() dhcpv6.Option {
	return dhcpv6.OptServerID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: hw("fa:16:3e:00:00:02")})
}

func theirs6() dhcpv6.Option {
	return dhcpv6.OptServerID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: hw("fa:16:3e:00:00:99")})
}

func ia(id byte, addrs ...string) dhcpv6.Option {
	o := &dhcpv6.OptIANA{IaId: [4]byte{id}}
	for _, a := range addrs {
		o.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP(a)})
	}
	return o
}

func ask6(kind dhcpv6.MessageType, mac string, opts ...dhcpv6.Option) Request6 {
	m := &dhcpv6.Message{MessageType: kind, TransactionID: dhcpv6.TransactionID{1, 2, 3}}
	m.AddOption(dhcpv6.OptClientID(duid(mac)))
	for _, o := range opts {
		m.AddOption(o)
	}
	return Request6{Msg: m, MAC: hw(mac)}
}

// tell writes a reply's associations in one line each: id, address=valid seconds, status.
func tell(m *dhcpv6.Message) []string {
	var out []string
	for _, ia := range m.Options.IANA() {
		s := string('0'+ia.IaId[0]) + ":"
		for _, a := range ia.Options.Addresses() {
			s += " " + a.IPv6Addr.String() + "=" + a.ValidLifetime.String()
		}
		if st := ia.Options.Status(); st != nil {
			s += " " + st.StatusCode.String()
		}
		out = append(out, s)
	}
	return out
}

func TestHandle6FollowsRFC8415(t *testing.T) {
	v, problems := NewView(testNetwork6(), Defaults{LeaseTime: time.Hour})
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	solicit, request, renew, rebind := dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind
	confirm, release, decline := dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline
	type opts = []dhcpv6.Option
	both := "1: fd00::5=1h0m0s fd01::5=1h0m0s"
	for _, tc := range []struct {
		name    string
		kind    dhcpv6.MessageType
		mac     string
		opts    opts
		verdict Verdict
		ias     []string
	}{
		{"solicit", solicit, redMAC, opts{ia(1)}, Offered, []string{both}},
		{"solicit of two", solicit, redMAC, opts{ia(1), ia(2, "fd00::5")}, Offered, []string{"1: fd01::5=1h0m0s", "2: fd00::5=1h0m0s"}},
		{"rapid commit", solicit, redMAC, opts{ia(1), &dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit}}, Acked, []string{both}},
		{"solicit without lease", solicit, twoMAC, opts{ia(1)}, Offered, []string{"1: NoAddrsAvail"}},
		{"solicit on a subnet without DHCPv6", solicit, bareMAC, opts{ia(1)}, Foreign, nil},
		{"solicit by a stranger", solicit, noMAC, opts{ia(1)}, Foreign, nil},
		{"solicit that names a server", solicit, redMAC, opts{ia(1), ours6()}, Malformed, nil},
		{"request", request, redMAC, opts{ia(1, "fd00::5"), ours6()}, Acked, []string{both}},
		{"request of another's address", request, redMAC, opts{ia(1, "fd00::6"), ours6()}, Acked, []string{both}},
		{"request to the other server", request, redMAC, opts{ia(1), theirs6()}, OtherServer, nil},
		{"request to nobody", request, redMAC, opts{ia(1)}, Malformed, nil},
		{"renew", renew, redMAC, opts{ia(1, "fd00::5"), ours6()}, Acked, []string{both}},
		{"renew of one too many", renew, redMAC, opts{ia(1, "fd00::5", "fd00::99"), ours6()}, Acked, []string{both + " fd00::99=0s"}},
		{"renew of nothing", renew, twoMAC, opts{ia(1), ours6()}, Acked, []string{"1: NoBinding"}},
		{"renew after the port is gone", renew, noMAC, opts{ia(1, "fd00::9"), ours6()}, Withdrawn, []string{"1: fd00::9=0s"}},
		{"rebind", rebind, redMAC, opts{ia(1, "fd00::5", "fd01::5")}, Acked, []string{both}},
		{"rebind after the port is gone", rebind, noMAC, opts{ia(1, "fd00::9")}, Withdrawn, []string{"1: fd00::9=0s"}},
		{"rebind of what is not ours", rebind, noMAC, opts{ia(1, "2001:db8::9")}, Foreign, nil},
		{"confirm", confirm, redMAC, opts{ia(1, "fd00::5")}, Confirmed, nil},
		{"confirm of what it left", confirm, redMAC, opts{ia(1, "2001:db8::9")}, Refused, nil},
		{"confirm of nothing", confirm, redMAC, opts{ia(1)}, Malformed, nil},
		{"confirm by a stranger", confirm, noMAC, opts{ia(1, "2001:db8::9")}, Foreign, nil},
		{"release", release, redMAC, opts{ia(1, "fd00::5"), ours6()}, Released, nil},
		{"release of another's", release, redMAC, opts{ia(1, "fd00::6"), ours6()}, Released, []string{"1: NoBinding"}},
		{"release after the port is gone", release, noMAC, opts{ia(1, "fd00::9"), ours6()}, Released, []string{"1: NoBinding"}},
		{"decline", decline, redMAC, opts{ia(1, "fd00::5"), ours6()}, Declined, nil},
		{"information", dhcpv6.MessageTypeInformationRequest, twoMAC, nil, Informed, nil},
		{"information with an association", dhcpv6.MessageTypeInformationRequest, twoMAC, opts{ia(1)}, Malformed, nil},
		{"information from the other server", dhcpv6.MessageTypeInformationRequest, twoMAC, opts{theirs6()}, OtherServer, nil},
		{"an advertisement sent to us", dhcpv6.MessageTypeAdvertise, redMAC, nil, NotRequest, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, verdict := Handle6(v, ask6(tc.kind, tc.mac, tc.opts...))
			if verdict != tc.verdict {
				t.Fatalf("verdict %s, want %s", verdict, tc.verdict)
			}
			silent := slices.Contains([]Verdict{Foreign, OtherServer, Malformed, NotRequest}, verdict)
			if (m == nil) != silent {
				t.Fatalf("reply %v", m)
			}
			if m == nil {
				return
			}
			if got := tell(m); !slices.Equal(got, tc.ias) {
				t.Errorf("%q, want %q", got, tc.ias)
			}
			if m.TransactionID != (dhcpv6.TransactionID{1, 2, 3}) || !m.Options.ClientID().Equal(duid(tc.mac)) || !m.Options.ServerID().Equal(v.six.id) {
				t.Errorf("not for this client: %s", m.Summary())
			}
			if (m.MessageType == dhcpv6.MessageTypeAdvertise) != (verdict == Offered) {
				t.Errorf("type %s", m.MessageType)
			}
		})
	}
}

// TestTwoServers6: two nodes of one network give the same; each has its own name.
func TestTwoServers6(t *testing.T) {
	a, _ := NewView(testNetwork6(), Defaults{})
	n := testNetwork6()
	n.PortID, n.MAC, n.Addresses = "other", "fa:16:3e:00:00:99", []model.FixedIP{{SubnetID: "full", IP: ip("fd00::3")}}
	b, _ := NewView(n, Defaults{})
	x, _ := Handle6(a, ask6(dhcpv6.MessageTypeSolicit, redMAC, ia(1), ia(2)))
	y, _ := Handle6(b, ask6(dhcpv6.MessageTypeSolicit, redMAC, ia(1), ia(2)))
	if !slices.Equal(tell(x), tell(y)) || x.Options.ServerID().Equal(y.Options.ServerID()) {
		t.Errorf("%s\n%s", x.Summary(), y.Summary())
	}
	if m, verdict := Handle6(b, ask6(dhcpv6.MessageTypeRequest, redMAC, ia(1), ours6())); m != nil || verdict != OtherServer {
		t.Errorf("the other one answers: %s", verdict)
	}
}

func TestWhoAClientIs(t *testing.T) {
	v, _ := NewView(testNetwork6(), Defaults{})
	r := ask6(dhcpv6.MessageTypeSolicit, noMAC, ia(1))
	r.MAC = hw(redMAC) // a DUID of some other NIC: what was seen on the wire counts
	if m, verdict := Handle6(v, r); verdict != Offered || tell(m)[0][:10] != "1: fd00::5" {
		t.Errorf("by link-layer source: %s", verdict)
	}
	r = ask6(dhcpv6.MessageTypeSolicit, redMAC, ia(1))
	r.MAC, r.Relayed, r.Link = nil, true, ip("fd01::1")
	if _, verdict := Handle6(v, r); verdict != Offered {
		t.Errorf("by DUID: %s", verdict)
	}
	r.Link = ip("2001:db8::1")
	if m, verdict := Handle6(v, r); m != nil || verdict != NoAddress {
		t.Errorf("behind a relay of another link: %s", verdict)
	}
	r = ask6(dhcpv6.MessageTypeRenew, redMAC, ia(1), ours6())
	r.Unicast = true
	if m, verdict := Handle6(v, r); verdict != UseMulticast || m.Options.Status().StatusCode != iana.StatusUseMulticast {
		t.Errorf("unicast: %s", verdict)
	}
}

func TestOptions6(t *testing.T) {
	n := testNetwork6()
	add := func(name, value string) {
		n.Hosts[0].Options = append(n.Hosts[0].Options, model.DHCPOpt{Name: name, Value: value, IPVersion: 6})
	}
	add("ntp-server", "fd00::123,ff05::101,time.example.org")
	add("bootfile-url", "tftp://[fd00::7]/boot.efi")
	add("60", "a,bc")
	add("domain-search", "")
	v, problems := NewView(n, Defaults{DNSDomain: "example.org", LeaseTime: -1})
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	m, _ := Handle6(v, ask6(dhcpv6.MessageTypeSolicit, redMAC, ia(1)))
	back, err := dhcpv6.MessageFromBytes(m.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	o := back.Options
	if dns := o.DNS(); len(dns) != 1 || dns[0].String() != "2001:db8::53" {
		t.Errorf("DNS %v", dns)
	}
	if o.DomainSearchList() != nil {
		t.Error("a hidden option was sent")
	}
	if o.BootFileURL() != "tftp://[fd00::7]/boot.efi" || !slices.Equal(o.BootFileParam(), []string{"a", "bc"}) || len(o.NTPServers()) == 0 {
		t.Errorf("%s", back.Summary())
	}
	if o.Preference() != 255 || o.OneIANA().T1 != infinite*time.Second || o.OneIANA().Options.OneAddress().ValidLifetime != infinite*time.Second {
		t.Errorf("%s", back.Summary())
	}
	for _, bad := range [][2]string{{"1", "x"}, {"nonsense", "x"}, {"dns-server", "10.0.0.1"}, {"ntp-server", "a..b"}, {"70000", "x"}, {"59", strings.Repeat("x", 600)}} {
		n := testNetwork6()
		n.Hosts[0].Options = []model.DHCPOpt{{Name: bad[0], Value: bad[1], IPVersion: 6}}
		if _, problems := NewView(n, Defaults{}); len(problems) != 1 {
			t.Errorf("%q: problems %v", bad, problems)
		}
	}
	less, _ := Handle6(v, ask6(dhcpv6.MessageTypeInformationRequest, twoMAC, dhcpv6.OptRequestedOption(dhcpv6.OptionDomainSearchList)))
	if less.Options.DNS() != nil || less.Options.DomainSearchList() == nil {
		t.Errorf("not what was asked for: %s", less.Summary())
	}
}

// relayed puts a message into as many envelopes.
func relayed(t *testing.T, m dhcpv6.DHCPv6, link string, opts ...dhcpv6.Option) *dhcpv6.RelayMessage {
	t.Helper()
	out, err := dhcpv6.EncapsulateRelay(m, dhcpv6.MessageTypeRelayForward, net.ParseIP(link), net.ParseIP("fe80::5"))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range opts {
		out.AddOption(o)
	}
	return out
}

func frame6(payload []byte) []byte {
	return buildFrame6(hw(redMAC), net.HardwareAddr(allServersMAC[:]), ip("fe80::f816:3eff:fe00:5"), allServers, clientPort6, serverPort6, payload)
}

func TestRelays6(t *testing.T) {
	v, _ := NewView(testNetwork6(), Defaults{})
	r := ask6(dhcpv6.MessageTypeSolicit, noMAC, ia(1))
	inner := relayed(t, r.Msg, "fd00::1", dhcpv6.OptClientLinkLayerAddress(iana.HWTypeEthernet, hw(redMAC)),
		dhcpv6.OptInterfaceID([]byte("port 7")))
	outer := relayed(t, inner, "::", dhcpv6.OptInterfaceID([]byte("rack")))
	a, err := parseFrame6(frame6(outer.ToBytes()))
	if err != nil {
		t.Fatal(err)
	}
	if !a.request.Relayed || a.request.Link != ip("fd00::1") || a.request.MAC.String() != redMAC {
		t.Fatalf("%+v", a.request)
	}
	reply, verdict := Handle6(v, a.request)
	if verdict != Offered {
		t.Fatal(verdict)
	}
	payload, port := a.envelop(reply)
	back, err := dhcpv6.RelayMessageFromBytes(payload)
	if err != nil || port != serverPort6 || back.MessageType != dhcpv6.MessageTypeRelayReply {
		t.Fatalf("%v, port %d", err, port)
	}
	second, ok := back.Options.RelayMessage().(*dhcpv6.RelayMessage)
	if !ok || !bytes.Equal(back.Options.InterfaceID(), []byte("rack")) || !bytes.Equal(second.Options.InterfaceID(), []byte("port 7")) {
		t.Errorf("%s", back.Summary())
	}
	if m, err := back.GetInnerMessage(); err != nil || m.MessageType != dhcpv6.MessageTypeAdvertise {
		t.Errorf("%v %v", m, err)
	}
	var deep dhcpv6.DHCPv6 = r.Msg
	for range maxRelays + 1 {
		deep = relayed(t, deep, "::")
	}
	if _, err := parseFrame6(frame6(deep.ToBytes())); err == nil {
		t.Error("too many relays are followed")
	}
}

// FuzzHandle6 feeds whole frames: nothing panics, and every answer can be read and gives
// nobody another's address.
func FuzzHandle6(f *testing.F) {
	v, _ := NewView(testNetwork6(), Defaults{DNSDomain: "example.org"})
	t := &testing.T{}
	for _, r := range []Request6{
		ask6(dhcpv6.MessageTypeSolicit, redMAC, ia(1), dhcpv6.OptRequestedOption(dhcpv6.OptionDNSRecursiveNameServer)),
		ask6(dhcpv6.MessageTypeRequest, redMAC, ia(1, "fd00::5"), ours6()), ask6(dhcpv6.MessageTypeRebind, noMAC, ia(1, "fd00::9")),
		ask6(dhcpv6.MessageTypeConfirm, redMAC, ia(1, "fd00::5")), ask6(dhcpv6.MessageTypeInformationRequest, twoMAC),
	} {
		f.Add(frame6(r.Msg.ToBytes()))
		f.Add(frame6(relayed(t, relayed(t, r.Msg, "fd00::1", dhcpv6.OptInterfaceID([]byte("x"))), "::").ToBytes()))
	}
	f.Add([]byte("not a frame"))
	own := []string{"fd00::5", "fd01::5"}
	f.Fuzz(func(t *testing.T, frame []byte) {
		a, err := parseFrame6(frame)
		if err != nil {
			return
		}
		reply, _ := Handle6(v, a.request)
		if reply == nil {
			return
		}
		payload, _ := a.envelop(reply)
		back, err := dhcpv6.FromBytes(payload)
		if err != nil {
			t.Fatalf("own reply cannot be read: %v", err)
		}
		m, err := back.GetInnerMessage()
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range leased(m) {
			if !slices.Contains(own, got) {
				t.Errorf("gave %s", got)
			}
		}
	})
}
