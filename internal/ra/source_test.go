package ra

import (
	"net"
	"net/netip"
	"testing"
)

func TestSourceIsTheInterfacesOwnAddress(t *testing.T) {
	mac := net.HardwareAddr{0xfa, 0x16, 0x3e, 0, 0, 1}
	own, service, other := netip.MustParseAddr("fe80::f816:3eff:fe00:1"), netip.MustParseAddr("fe80::a9fe:a9fe"), netip.MustParseAddr("fe80::1234")
	for _, c := range []struct {
		have []netip.Addr
		mac  net.HardwareAddr
		want netip.Addr
	}{
		{nil, mac, own},
		{[]netip.Addr{own}, mac, own},
		{[]netip.Addr{service, own}, mac, own}, // the metadata service's, which other hosts have as well
		{[]netip.Addr{other}, mac, other},      // an operator's choice
		{nil, nil, netip.IPv6Unspecified()},
	} {
		if got := source(c.have, c.mac); got != c.want {
			t.Errorf("of %v with MAC %s: %s, want %s", c.have, c.mac, got, c.want)
		}
	}
}
