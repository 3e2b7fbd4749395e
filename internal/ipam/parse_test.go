package ipam

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"neutrino/internal/model"
)

func random() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func TestParseMAC(t *testing.T) {
	for _, s := range []string{"fa:16:3e:00:00:01", "FA-16-3E-AB-CD-EF", "01:00:5e:00:00:01"} {
		mac, err := ParseMAC(s)
		if err != nil || FormatMAC(mac) != model.CanonicalMAC(s) {
			t.Errorf("%s: %v %v", s, mac, err)
		}
	}
	for _, s := range []string{
		"", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "fa:16:3e:00:00", "fa:16:3e-00:00:01", "fa163e000001",
		"fa:16:3e:00:00:0g", "fa:16:3e:00:00:01:02", "fa.16.3e.00.00.01", " a:16:3e:00:00:01", "fa:16:3e:00:00:1 ",
	} {
		if _, err := ParseMAC(s); err == nil || err.Error() != "'"+s+"' is not a valid MAC address" {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestGenerateMAC(t *testing.T) {
	free := func(string) bool { return false }
	for base, prefix := range map[string]string{
		"fa:16:3e:00:00:00": "fa:16:3e:",
		"FA-16-3E-00-12-34": "fa:16:3e:",
		"fa:16:3e:4f:00:00": "fa:16:3e:4f:",
	} {
		rnd, seen := random(), map[string]bool{}
		for range 100 {
			mac, err := GenerateMAC(base, free, rnd)
			if err != nil || !strings.HasPrefix(mac, prefix) {
				t.Fatalf("%s: %s %v", base, mac, err)
			}
			seen[mac[9:11]] = true
		}
		if base[9:11] == "00" && len(seen) < 50 {
			t.Errorf("%s: the fourth octet takes %d values", base, len(seen))
		}
	}
	last := func(s string) bool { return s != "fa:16:3e:4f:ab:cd" }
	if mac, err := GenerateMAC("fa:16:3e:4f:00:00", last, random()); err != nil || mac != "fa:16:3e:4f:ab:cd" {
		t.Errorf("the last free one: %s %v", mac, err)
	}
	if _, err := GenerateMAC("fa:16:3e:4f:00:00", func(string) bool { return true }, random()); !errors.Is(err, ErrMACsExhausted) {
		t.Errorf("all taken: %v", err)
	}
	if mac, err := GenerateMAC("fa:16:3e:00:00:00", func(s string) bool { return s < "fa:16:3e:00:01:00" }, nil); err != nil || mac != "fa:16:3e:00:01:00" {
		t.Errorf("lowest: %s %v", mac, err)
	}
	for _, base := range []string{"", "x", "01:16:3e:00:00:00", "00:00:00:00:00:00"} {
		if _, err := GenerateMAC(base, free, random()); err == nil {
			t.Errorf("base %q is accepted", base)
		}
	}
}

func TestParseCIDR(t *testing.T) {
	for s, want := range map[string]string{
		"10.0.1.7/24": "10.0.1.0/24", "FD00:0:0::1/64": "fd00::/64", "1.2.3.4/32": "1.2.3.4/32", "0.0.0.0/0": "0.0.0.0/0",
	} {
		if p, err := ParseCIDR(s); err != nil || p.String() != want {
			t.Errorf("%s: %s %v", s, p, err)
		}
	}
	for _, s := range []string{"", "10.0.0.1", "10.0.0.0/33", "10.0.0/24", "fe80::1%e/64", "::ffff:10.0.0.0/120", "10.0.0.0/-1", "010.0.0.0/8", "a/b"} {
		if p, err := ParseCIDR(s); err == nil {
			t.Errorf("%q is %s", s, p)
		}
	}
	for _, s := range []string{"", "10.0.0.0/8", "fe80::1%e", "::ffff:1.2.3.4", "1.2.3"} {
		if a, err := ParseAddr(s); err == nil {
			t.Errorf("%q is %s", s, a)
		}
	}
	if a, err := ParseAddr("FD00::01"); err != nil || a.String() != "fd00::1" {
		t.Errorf("%s %v", a, err)
	}
}

func TestEUI64(t *testing.T) {
	a, err := EUI64(cidr("fd00:1::/64"), "FA:16:3E:12:34:56")
	if err != nil || a.String() != "fd00:1::f816:3eff:fe12:3456" {
		t.Errorf("%s %v", a, err)
	}
	for _, c := range [][2]string{{"fd00::/63", "fa:16:3e:12:34:56"}, {"10.0.0.0/24", "fa:16:3e:12:34:56"}, {"fd00::/64", "nonsense"}} {
		if a, err = EUI64(cidr(c[0]), c[1]); err == nil {
			t.Errorf("%v: %s", c, a)
		}
	}
	if _, ok := MACOf(addr("10.0.0.1")); ok {
		t.Error("an IPv4 address has a MAC")
	}
	if _, ok := MACOf(addr("fd00::1")); ok {
		t.Error("fd00::1 has a MAC")
	}
}

func TestEUI64Roundtrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mac := [6]byte(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac"))
		if _, err := ParseMAC(FormatMAC(mac)); err != nil {
			return // all zeroes or broadcast
		}
		b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "prefix")
		b[0] |= 0x20
		prefix := netip.PrefixFrom(netip.AddrFrom16([16]byte(b)), 64).Masked()
		a, err := EUI64(prefix, FormatMAC(mac))
		if err != nil || !prefix.Contains(a) {
			t.Fatalf("%s %v", a, err)
		}
		if back, ok := MACOf(a); !ok || back != mac {
			t.Fatalf("%s came from %s, not %s", a, FormatMAC(mac), FormatMAC(back))
		}
	})
}

func FuzzMAC(f *testing.F) {
	for _, s := range []string{"fa:16:3e:00:00:01", "FA-16-3E-00-00-01", "fa:16:3e-00:00:01", "00:00:00:00:00:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		mac, err := ParseMAC(s)
		if err == nil && FormatMAC(mac) != model.CanonicalMAC(s) {
			t.Errorf("%q is %v", s, mac)
		}
	})
}

func FuzzCIDR(f *testing.F) {
	for _, s := range []string{"10.0.1.7/24", "fd00::/64", "0.0.0.0/0", "::/0", "255.255.255.255/32", "10.0.0.0/31"} {
		f.Add(s, "10.0.0.1")
	}
	f.Fuzz(func(t *testing.T, s, gateway string) {
		p, err := ParseCIDR(s)
		if err != nil {
			return
		}
		if again, bad := ParseCIDR(p.String()); bad != nil || again != p {
			t.Fatalf("%q is %s is %s %v", s, p, again, bad)
		}
		n := &model.Subnet{CIDR: p, IPVersion: familyOf(p.Addr())}
		given := map[string]bool{}
		if a, bad := ParseAddr(gateway); bad == nil {
			n.GatewayIP, given["gateway_ip"] = a, true
		}
		if CompleteSubnet(n, given, nil) != nil {
			return
		}
		if _, err = checkPools(n.AllocationPools, p); err != nil || Sizes(n).Sign() < 0 {
			t.Errorf("%s: pools %s: %v", p, text(n.AllocationPools), err)
		}
	})
}
