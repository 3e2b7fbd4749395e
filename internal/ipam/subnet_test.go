package ipam

import (
	"math/big"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

func addr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

func cidr(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// ranges reads "a-b,c-d".
func ranges(s string) []model.IPRange {
	var out []model.IPRange
	for r := range strings.SplitSeq(s, ",") {
		if a, b, ok := strings.Cut(r, "-"); ok {
			out = append(out, model.IPRange{Start: addr(a), End: addr(b)})
		}
	}
	return out
}

func text(pools []model.IPRange) string {
	var parts []string
	for _, r := range pools {
		parts = append(parts, rangeText(r))
	}
	return strings.Join(parts, ",")
}

func subnet(block string, change ...func(*model.Subnet)) *model.Subnet {
	p := cidr(block)
	s := &model.Subnet{NetworkID: "net", CIDR: p, IPVersion: familyOf(p.Addr()), EnableDHCP: true}
	s.ID = "subnet-" + block
	for _, f := range change {
		f(s)
	}
	return s
}

func noDHCP(s *model.Subnet) { s.EnableDHCP = false }

func withPools(p string) func(*model.Subnet) {
	return func(s *model.Subnet) { s.AllocationPools = ranges(p) }
}

func withGateway(g string) func(*model.Subnet) {
	return func(s *model.Subnet) { s.GatewayIP = addr(g) }
}

func withModes(ra, address string) func(*model.Subnet) {
	return func(s *model.Subnet) { s.IPv6RAMode, s.IPv6AddressMode = ra, address }
}

func withTypes(t ...string) func(*model.Subnet) {
	return func(s *model.Subnet) { s.ServiceTypes = t }
}

func wantFault(t testing.TB, err error, status int, typ, message string) {
	t.Helper()
	f := fault.As(err)
	if f == nil {
		t.Fatalf("got %v, want %s %q", err, typ, message)
	}
	if f.Type != typ || f.Status != status || f.Message != message {
		t.Errorf("got  %d %s %q\nwant %d %s %q", f.Status, f.Type, f.Message, status, typ, message)
	}
}

func wantInput(t testing.TB, err error, message string) {
	t.Helper()
	wantFault(t, err, http.StatusBadRequest, "InvalidInput", "Invalid input for operation: "+message+".")
}

func TestCompleteSubnet(t *testing.T) {
	none := map[string]bool{"gateway_ip": true}
	for _, c := range []struct {
		name    string
		s       *model.Subnet
		given   map[string]bool
		cidr    string
		gateway string
		pools   string
	}{
		{"host bits", subnet("10.0.1.7/24"), nil, "10.0.1.0/24", "10.0.1.1", "10.0.1.2-10.0.1.254"},
		{
			"gateway in the middle", subnet("10.0.0.0/24", withGateway("10.0.0.100")), none, "10.0.0.0/24", "10.0.0.100",
			"10.0.0.1-10.0.0.99,10.0.0.101-10.0.0.254",
		},
		{"gateway at the end", subnet("10.0.0.0/24", withGateway("10.0.0.254")), none, "10.0.0.0/24", "10.0.0.254", "10.0.0.1-10.0.0.253"},
		{"no gateway", subnet("10.0.0.0/24"), none, "10.0.0.0/24", "", "10.0.0.1-10.0.0.254"},
		{"gateway outside", subnet("10.0.0.0/24", withGateway("10.9.9.9")), none, "10.0.0.0/24", "10.9.9.9", "10.0.0.1-10.0.0.254"},
		{"/30", subnet("10.0.0.4/30"), nil, "10.0.0.4/30", "10.0.0.5", "10.0.0.6-10.0.0.6"},
		{"/31 without gateway", subnet("10.0.0.4/31", noDHCP), none, "10.0.0.4/31", "", "10.0.0.4-10.0.0.5"},
		{"/32", subnet("10.0.0.4/32", noDHCP), none, "10.0.0.4/32", "", "10.0.0.4-10.0.0.4"},
		{"last /32", subnet("255.255.255.255/32", noDHCP), nil, "255.255.255.255/32", "", "255.255.255.255-255.255.255.255"},
		{"v6", subnet("FD00:0::1/64"), nil, "fd00::/64", "fd00::", "fd00::1-fd00::ffff:ffff:ffff:ffff"},
		{"v6 gateway 1", subnet("fd00::/64", withGateway("fd00::1")), none, "fd00::/64", "fd00::1", "fd00::2-fd00::ffff:ffff:ffff:ffff"},
		{"v6 link-local gateway", subnet("fd00::/64", withGateway("fe80::1")), none, "fd00::/64", "fe80::1", "fd00::1-fd00::ffff:ffff:ffff:ffff"},
		{"v6 /128", subnet("fd00::5/128", noDHCP), nil, "fd00::5/128", "fd00::5", "fd00::5-fd00::5"},
		{"v6 /127", subnet("fd00::4/127", noDHCP), nil, "fd00::4/127", "fd00::4", "fd00::5-fd00::5"},
		{
			"own pools, sorted", subnet("10.0.0.0/24", withPools("10.0.0.50-10.0.0.60,10.0.0.10-10.0.0.20")), nil, "10.0.0.0/24", "10.0.0.1",
			"10.0.0.10-10.0.0.20,10.0.0.50-10.0.0.60",
		},
		{"/8", subnet("10.0.0.0/8"), nil, "10.0.0.0/8", "10.0.0.1", "10.0.0.2-10.255.255.254"},
		{"slaac", subnet("fd00::/64", withModes("slaac", "slaac")), nil, "fd00::/64", "fd00::", "fd00::1-fd00::ffff:ffff:ffff:ffff"},
		{"stateful /80", subnet("fd00::/80", withModes("dhcpv6-stateful", "dhcpv6-stateful")), nil, "fd00::/80", "fd00::", "fd00::1-fd00::ffff:ffff:ffff"},
		{"service types", subnet("10.0.0.0/30", withTypes("compute:nova", "network:floatingip")), nil, "10.0.0.0/30", "10.0.0.1", "10.0.0.2-10.0.0.2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := CompleteSubnet(c.s, c.given, []*model.Subnet{c.s, subnet("172.16.0.0/24")}); err != nil {
				t.Fatal(err)
			}
			gateway := ""
			if c.s.GatewayIP.IsValid() {
				gateway = c.s.GatewayIP.String()
			}
			got := []string{c.s.CIDR.String(), gateway, text(c.s.AllocationPools)}
			if d := cmp.Diff([]string{c.cidr, c.gateway, c.pools}, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestCompleteSubnetInvalidInput(t *testing.T) {
	for _, c := range []struct {
		name string
		s    *model.Subnet
		want string
	}{
		{"version", subnet("10.0.0.0/24", func(s *model.Subnet) { s.IPVersion = 6 }), "cidr '10.0.0.0/24' does not match the ip_version '6'"},
		{"gateway's version", subnet("10.0.0.0/24", withGateway("fd00::1")), "gateway_ip 'fd00::1' does not match the ip_version '4'"},
		{"gateway's zone", subnet("fd00::/64", withGateway("fe80::1%eth0")), "gateway_ip 'fe80::1%eth0' does not match the ip_version '6'"},
		{
			"dns version", subnet("10.0.0.0/24", func(s *model.Subnet) { s.DNSNameservers = []netip.Addr{addr("fd00::1")} }),
			"dns_nameserver 'fd00::1' does not match the ip_version '4'",
		},
		{"next hop", subnet("10.0.0.0/24", func(s *model.Subnet) {
			s.HostRoutes = []model.Route{{Destination: cidr("10.1.0.0/24"), NextHop: addr("fd00::1")}}
		}), "nexthop 'fd00::1' does not match the ip_version '4'"},
		{"destination", subnet("10.0.0.0/24", func(s *model.Subnet) {
			s.HostRoutes = []model.Route{{Destination: cidr("fd00::/64"), NextHop: addr("10.0.0.9")}}
		}), "destination 'fd00::/64' does not match the ip_version '4'"},
		{"gateway is the network", subnet("10.0.0.0/24", withGateway("10.0.0.0")), "Gateway is not valid on subnet"},
		{"gateway is broadcast", subnet("10.0.0.0/24", withGateway("10.0.0.255")), "Gateway is not valid on subnet"},
		{"dhcp /31", subnet("10.0.0.0/31"), "Subnet has a prefix length that is incompatible with DHCP service enabled"},
		{"dhcp /32", subnet("10.0.0.0/32"), "Subnet has a prefix length that is incompatible with DHCP service enabled"},
		{"dhcp /127", subnet("fd00::/127"), "Subnet has a prefix length that is incompatible with DHCP service enabled"},
		{"dhcp /128", subnet("fd00::/128"), "Subnet has a prefix length that is incompatible with DHCP service enabled"},
		{"multicast", subnet("224.0.0.0/24"), "Multicast IP subnet is not supported if enable_dhcp is True"},
		{"multicast v6", subnet("ff02::/64"), "Multicast IP subnet is not supported if enable_dhcp is True"},
		{"loopback", subnet("127.0.0.0/24"), "Loopback IP subnet is not supported if enable_dhcp is True"},
		{"zero", subnet("0.0.0.0/24"), "First IP '0.0.0.0' of network is not supported if enable_dhcp is True."},
		{"/0", subnet("0.0.0.0/0", noDHCP), "0 is not allowed as CIDR prefix length"},
		{"v6 /0", subnet("::/0", noDHCP), "0 is not allowed as CIDR prefix length"},
		{"ra mode v4", subnet("10.0.0.0/24", withModes("slaac", "")), "ipv6_ra_mode is not valid when ip_version is 4"},
		{"address mode v4", subnet("10.0.0.0/24", withModes("", "slaac")), "ipv6_address_mode is not valid when ip_version is 4"},
		{
			"modes differ", subnet("fd00::/64", withModes("slaac", "dhcpv6-stateful")),
			"ipv6_ra_mode set to 'slaac' with ipv6_address_mode set to 'dhcpv6-stateful' is not valid. If both attributes are set, they must be the same value",
		},
		{
			"modes without dhcp", subnet("fd00::/64", noDHCP, withModes("slaac", "slaac")),
			"ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False",
		},
		{
			"slaac /63", subnet("fd00::/63", withModes("slaac", "slaac")),
			"Invalid CIDR fd00::/63 for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the prefix to be /64",
		},
		{
			"stateless /80", subnet("fd00::/80", withModes("", "dhcpv6-stateless")),
			"Invalid CIDR fd00::/80 for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the prefix to be /64",
		},
		{"overlap", subnet("172.16.0.128/25"), "Requested subnet with cidr: 172.16.0.128/25 for network: net overlaps with another subnet"},
		{"overlap around", subnet("172.0.0.0/8"), "Requested subnet with cidr: 172.0.0.0/8 for network: net overlaps with another subnet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantInput(t, CompleteSubnet(c.s, nil, []*model.Subnet{subnet("172.16.0.0/24")}), c.want)
		})
	}
}

func TestCompleteSubnetFaults(t *testing.T) {
	for _, c := range []struct {
		name    string
		s       *model.Subnet
		status  int
		typ     string
		message string
	}{
		{
			"no cidr", &model.Subnet{IPVersion: 4}, 400, "BadRequest",
			"Bad subnets request: a subnetpool must be specified in the absence of a cidr.",
		},
		{
			"out of bounds", subnet("10.7.0.0/24", withPools("10.8.0.10-10.8.0.15")), 400, "OutOfBoundsAllocationPool",
			"The allocation pool 10.8.0.10-10.8.0.15 spans beyond the subnet cidr 10.7.0.0/24.",
		},
		{
			"broadcast", subnet("10.7.0.0/24", withPools("10.7.0.10-10.7.0.255")), 400, "OutOfBoundsAllocationPool",
			"The allocation pool 10.7.0.10-10.7.0.255 spans beyond the subnet cidr 10.7.0.0/24.",
		},
		{
			"network", subnet("fd00::/64", withPools("fd00::-fd00::5")), 400, "OutOfBoundsAllocationPool",
			"The allocation pool fd00::-fd00::5 spans beyond the subnet cidr fd00::/64.",
		},
		{
			"gateway in pool", subnet("10.7.0.0/24", withPools("10.7.0.1-10.7.0.20")), 409, "GatewayConflictWithAllocationPools",
			"Gateway ip 10.7.0.1 conflicts with allocation pool 10.7.0.1-10.7.0.20.",
		},
		{
			"overlap", subnet("10.7.0.0/24", withPools("10.7.0.10-10.7.0.20,10.7.0.20-10.7.0.30")), 409, "OverlappingAllocationPools",
			"Found overlapping allocation pools: 10.7.0.10-10.7.0.20 10.7.0.20-10.7.0.30 for subnet 10.7.0.0/24.",
		},
		{
			"backwards", subnet("10.7.0.0/24", withPools("10.7.0.9-10.7.0.5")), 400, "InvalidAllocationPool",
			"The allocation pool {'start': '10.7.0.9', 'end': '10.7.0.5'} is not valid.",
		},
		{
			"families", subnet("10.7.0.0/24", withPools("10.7.0.9-fd00::1")), 400, "InvalidAllocationPool",
			"The allocation pool {'start': '10.7.0.9', 'end': 'fd00::1'} is not valid.",
		},
		{
			"other family", subnet("10.7.0.0/24", withPools("fd00::1-fd00::2")), 400, "InvalidAllocationPool",
			"The allocation pool fd00::1-fd00::2 is not valid.",
		},
		{"/31", subnet("10.0.0.0/31", noDHCP), 409, "IpamValueInvalid", "Gateway IP 10.0.0.1 cannot be allocated in CIDR 10.0.0.0/31"},
		{
			"service type", subnet("10.7.0.0/24", withTypes("compute:nova", "mine")), 400, "InvalidSubnetServiceType",
			"Subnet service type mine does not correspond to a valid device owner.",
		},
		{
			"other pool", subnet("10.7.0.0/24", func(s *model.Subnet) { s.SubnetPoolID = "pool" }), 400, "NetworkSubnetPoolAffinityError",
			"Subnets hosted on the same network must be allocated from the same subnet pool.",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantFault(t, CompleteSubnet(c.s, nil, []*model.Subnet{subnet("172.16.0.0/24")}), c.status, c.typ, c.message)
		})
	}
}

func TestCheckLimits(t *testing.T) {
	s := subnet("10.0.0.0/24", func(s *model.Subnet) {
		s.ID = ""
		s.DNSNameservers = make([]netip.Addr, 5)
		s.HostRoutes = make([]model.Route, 20)
	})
	if err := CheckLimits(s, 5, 20); err != nil {
		t.Error(err)
	}
	wantFault(t, CheckLimits(s, 4, 20), 400, "DNSNameServersExhausted",
		"Unable to complete operation for new subnet. The number of DNS nameservers exceeds the limit 4.")
	s.ID = "x"
	wantFault(t, CheckLimits(s, 5, 19), 400, "HostRoutesExhausted",
		"Unable to complete operation for x. The number of host routes exceeds the limit 19.")
}

func TestUpdateSubnet(t *testing.T) {
	base := func(block string, change ...func(*model.Subnet)) *model.Subnet {
		s := subnet(block, change...)
		if err := CompleteSubnet(s, map[string]bool{"gateway_ip": s.GatewayIP.IsValid()}, nil); err != nil {
			t.Fatal(err)
		}
		return s
	}
	v4 := base("10.7.0.0/24", withPools("10.7.0.10-10.7.0.20"))
	small := base("fd00::/127", noDHCP)
	slaac := base("fd00::/64", withModes("slaac", "slaac"))
	for _, c := range []struct {
		name    string
		old     *model.Subnet
		change  func(*model.Subnet)
		given   string
		status  int
		typ     string
		message string
	}{
		{"name", v4, func(s *model.Subnet) { s.Name = "x" }, "name", 0, "", ""},
		{"gateway", v4, withGateway("10.7.0.9"), "gateway_ip", 0, "", ""},
		{"no gateway", v4, withGateway(""), "gateway_ip", 0, "", ""},
		{
			"gateway into pool", v4, withGateway("10.7.0.15"), "gateway_ip", 409, "GatewayConflictWithAllocationPools",
			"Gateway ip 10.7.0.15 conflicts with allocation pool 10.7.0.10-10.7.0.20.",
		},
		{
			"gateway broadcast", v4, withGateway("10.7.0.255"), "gateway_ip", 400, "InvalidInput",
			"Invalid input for operation: Gateway is not valid on subnet.",
		},
		{
			"gateway family", v4, withGateway("::1"), "gateway_ip", 400, "InvalidInput",
			"Invalid input for operation: gateway_ip '::1' does not match the ip_version '4'.",
		},
		{"pools", v4, withPools("10.7.0.2-10.7.0.9"), "allocation_pools", 0, "", ""},
		{"no pools", v4, withPools(""), "allocation_pools", 0, "", ""},
		{
			"pool over gateway", v4, withPools("10.7.0.1-10.7.0.9"), "allocation_pools", 409, "GatewayConflictWithAllocationPools",
			"Gateway ip 10.7.0.1 conflicts with allocation pool 10.7.0.1-10.7.0.9.",
		},
		{
			"pool outside", v4, withPools("10.6.0.1-10.6.0.9"), "allocation_pools", 400, "OutOfBoundsAllocationPool",
			"The allocation pool 10.6.0.1-10.6.0.9 spans beyond the subnet cidr 10.7.0.0/24.",
		},
		{
			"dhcp on /127", small, func(s *model.Subnet) { s.EnableDHCP = true }, "enable_dhcp", 400, "InvalidInput",
			"Invalid input for operation: Subnet has a prefix length that is incompatible with DHCP service enabled.",
		},
		{
			"dhcp off with modes", slaac, noDHCP, "enable_dhcp", 400, "InvalidInput",
			"Invalid input for operation: Cannot disable enable_dhcp with ipv6 attributes set.",
		},
		{"dhcp off", v4, noDHCP, "enable_dhcp", 0, "", ""},
		{
			"service type", v4, withTypes("x"), "service_types", 400, "InvalidSubnetServiceType",
			"Subnet service type x does not correspond to a valid device owner.",
		},
		{"cidr stays", v4, func(s *model.Subnet) { s.CIDR = cidr("1.0.0.0/8") }, "", 0, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			changed := c.old.Clone()
			c.change(changed)
			err := UpdateSubnet(c.old, changed, map[string]bool{c.given: true}, nil)
			if c.typ != "" {
				wantFault(t, err, c.status, c.typ, c.message)
			} else if err != nil {
				t.Error(err)
			}
			if changed.CIDR != c.old.CIDR {
				t.Errorf("cidr became %s", changed.CIDR)
			}
		})
	}
}

func TestSizes(t *testing.T) {
	for want, s := range map[string]*model.Subnet{
		"253":                  subnet("10.0.0.0/24"),
		"1":                    subnet("10.0.0.4/32", noDHCP),
		"16777213":             subnet("10.0.0.0/8"),
		"18446744073709551615": subnet("fd00::/64"),
		"170141183460469231731687303715884105727": subnet("8000::/1"),
	} {
		if err := CompleteSubnet(s, nil, nil); err != nil {
			t.Fatal(err)
		}
		if got := Sizes(s); got.String() != want {
			t.Errorf("%s has %s, want %s", s.CIDR, got, want)
		}
	}
	if got := Sizes(&model.Subnet{AllocationPools: make([]model.IPRange, 2)}); got.Sign() != 0 {
		t.Errorf("empty ranges have %s", got)
	}
}

// Default pools never contain the gateway and hold exactly the rest.
func TestDefaultPoolsProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		block := drawPrefix(t, 1)
		gateway := drawAddrIn(t, block)
		pools := DefaultPools(block, gateway)
		all := usable(block)
		want := rangeSize(all)
		if inRange(all, gateway) && !block.IsSingleIP() {
			want.Sub(want, big.NewInt(1))
		}
		got := Sizes(&model.Subnet{AllocationPools: pools})
		if got.Cmp(want) != 0 {
			t.Fatalf("%s without %s: pools %s hold %s, want %s", block, gateway, text(pools), got, want)
		}
		for i, r := range pools {
			if !inRange(all, r.Start) || !inRange(all, r.End) || i > 0 && !pools[i-1].End.Less(r.Start) {
				t.Fatalf("pools %s of %s", text(pools), block)
			}
			if inRange(r, gateway) && !block.IsSingleIP() {
				t.Fatalf("gateway %s in %s", gateway, text(pools))
			}
		}
		if sorted, err := checkPools(pools, block); err != nil || !cmp.Equal(text(sorted), text(pools)) {
			t.Fatalf("own pools are refused: %v", err)
		}
	})
}

func drawPrefix(t *rapid.T, least int) netip.Prefix {
	if rapid.Bool().Draw(t, "v4") {
		b := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(b)), rapid.IntRange(least, 32).Draw(t, "bits")).Masked()
	}
	b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address")
	b[0] |= 0x20 // not ::ffff:0:0/96
	return netip.PrefixFrom(netip.AddrFrom16([16]byte(b)), rapid.IntRange(max(least, 3), 128).Draw(t, "bits")).Masked()
}

func drawAddrIn(t *rapid.T, p netip.Prefix) netip.Addr {
	mask := hostMask(p.Addr().BitLen() - p.Bits())
	off := u128{rapid.Uint64().Draw(t, "hi") & mask.hi, rapid.Uint64().Draw(t, "lo") & mask.lo}
	if rapid.Bool().Draw(t, "low") {
		off = u128{0, off.lo % 4}
	}
	a := addrOf(numberOf(p.Addr()).add(off), p.Addr().Is4())
	if !p.Contains(a) {
		return p.Addr()
	}
	return a
}
