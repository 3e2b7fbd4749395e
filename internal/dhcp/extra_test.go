package dhcp

import (
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"neutrino/internal/model"
)

func TestExtraOptions(t *testing.T) {
	for _, tc := range []struct {
		name, value string
		code        uint8
		want        string
	}{
		{"tftp-server", "192.0.2.9", 66, "192.0.2.9"},
		{"bootfile-name", "pxelinux.0", 67, "pxelinux.0"},
		{"mtu", "9000", 26, "\x23\x28"},
		{"dns-server", "192.0.2.1, 192.0.2.2", 6, "\xc0\x00\x02\x01\xc0\x00\x02\x02"},
		{"router", "10.0.0.3", 3, "\x0a\x00\x00\x03"},
		{"domain-name", "red.example", 15, "red.example"},
		{"ntp-server", "192.0.2.1", 42, "\xc0\x00\x02\x01"},
		{"42", "192.0.2.1", 42, "\xc0\x00\x02\x01"},
		{"classless-static-route", "10.7.0.0/16,10.0.0.1,0.0.0.0/0,10.0.0.4", 121, "\x10\x0a\x07\x0a\x00\x00\x01\x00\x0a\x00\x00\x04"},
		{"domain-search", "a.example,b.", 119, "\x01a\x07example\x00\x01b\x00"},
		{"default-ttl", "64", 23, "\x40"},
		{"lease-time", "infinite", 51, "\xff\xff\xff\xff"},
		{"time-offset", "-3600", 2, "\xff\xff\xf1\xf0"},
		{"224", "01:2:ff", 224, "\x01\x02\xff"},
		{"224", "300", 224, "\x01\x2c"},
		{"224", "70000", 224, "\x00\x01\x11\x70"},
		{"224", "hello, world", 224, "hello, world"},
		{"hostname", "mine", 12, "mine"},
	} {
		t.Run(tc.name+"="+tc.value, func(t *testing.T) {
			n := testNetwork()
			n.Hosts[0].Options = []model.DHCPOpt{{Name: tc.name, Value: tc.value, IPVersion: 4}}
			v, problems := NewView(n, Defaults{})
			if len(problems) != 0 {
				t.Fatal(problems)
			}
			// An explicit option is sent whether the client asks for it or not.
			reply, _ := Handle(v, ask(t, dhcpv4.MessageTypeDiscover, redMAC, dhcpv4.WithRequestedOptions(dhcpv4.OptionRouter)))
			if got := string(reply.Options[tc.code]); got != tc.want {
				t.Errorf("option %d = %q, want %q", tc.code, got, tc.want)
			}
		})
	}
}

func TestExtraOptionsThatCannotBe(t *testing.T) {
	for _, tc := range []struct{ name, value, says string }{
		{"nonsense", "1", "no such name"},
		{"53", "1", "cannot be set"},
		{"256", "1", "cannot be set"},
		{"-1", "1", "cannot be set"},
		{"mtu", "70000", "mtu"},
		{"mtu", "many", "mtu"},
		{"router", "fe80::1", "not an IPv4 address"},
		{"classless-static-route", "10.0.0.0/8", "pairs"},
		{"classless-static-route", "10.0.0.0/99,10.0.0.1", "prefix"},
		{"domain-search", "a..b", "not a domain name"},
		{"server-ip-address", "10.0.0.1,10.0.0.2", "one IPv4 address"},
		{"server-ip-address", "", "not an IPv4"},
		{"client-id", "", "empty"},
	} {
		n := testNetwork()
		n.Hosts[0].Options = []model.DHCPOpt{{Name: tc.name, Value: tc.value, IPVersion: 4}}
		v, problems := NewView(n, Defaults{})
		if len(problems) != 1 || problems[0].PortID != "p5" || !strings.Contains(problems[0].String(), tc.says) {
			t.Errorf("%s=%s: problems %v, want one with %q", tc.name, tc.value, problems, tc.says)
		}
		if _, verdict := Handle(v, ask(t, dhcpv4.MessageTypeDiscover, redMAC)); verdict != Offered {
			t.Errorf("%s=%s: the port gets no lease: %s", tc.name, tc.value, verdict)
		}
	}
}

func TestPXEHeaderFields(t *testing.T) {
	n := testNetwork()
	n.Hosts[0].Options = []model.DHCPOpt{
		{Name: "tftp-server", Value: "192.0.2.9", IPVersion: 4},
		{Name: "server-ip-address", Value: "192.0.2.10", IPVersion: 4},
		{Name: "67", Value: "ipxe.efi", IPVersion: 4},
		{Name: "dns-server", Value: "::1", IPVersion: 6}, // for another server
	}
	v, problems := NewView(n, Defaults{})
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	reply, _ := Handle(v, ask(t, dhcpv4.MessageTypeDiscover, redMAC))
	if reply.ServerIPAddr.String() != "192.0.2.10" || reply.BootFileName != "ipxe.efi" {
		t.Error(reply.Summary())
	}
}

func TestEmptyValueHidesTheOption(t *testing.T) {
	n := testNetwork()
	n.Hosts[0].Options = []model.DHCPOpt{{Name: "router", Value: "", IPVersion: 4}}
	v, _ := NewView(n, Defaults{})
	reply, _ := Handle(v, ask(t, dhcpv4.MessageTypeDiscover, redMAC))
	if reply.Options.Has(dhcpv4.OptionRouter) {
		t.Error("router is sent")
	}
}

func TestClientIdentifierFindsThePort(t *testing.T) {
	n := testNetwork()
	n.Hosts[0].Options = []model.DHCPOpt{{Name: "client-id", Value: "ff:00:01", IPVersion: 4}}
	v, problems := NewView(n, Defaults{})
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	reply, verdict := Handle(v, ask(t, dhcpv4.MessageTypeDiscover, noMAC, dhcpv4.WithGeneric(dhcpv4.OptionClientIdentifier, []byte{0xff, 0, 1})))
	if verdict != Offered || reply.YourIPAddr.String() != "10.0.0.5" {
		t.Errorf("%s %v", verdict, reply)
	}
}
