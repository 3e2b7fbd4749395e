package ipam

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

type held map[model.FixedIP]bool

func (h held) taken(id string, a netip.Addr) bool { return h[model.FixedIP{SubnetID: id, IP: a}] }

func nothing(string, netip.Addr) bool { return false }

// made is a completed subnet with a short id.
func made(t testing.TB, id, block string, change ...func(*model.Subnet)) *model.Subnet {
	t.Helper()
	s := subnet(block, change...)
	s.ID = id
	if err := CompleteSubnet(s, map[string]bool{"gateway_ip": s.GatewayIP.IsValid()}, nil); err != nil {
		t.Fatal(err)
	}
	return s
}

func fixed(pairs ...string) []model.FixedIP {
	var out []model.FixedIP
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, model.FixedIP{SubnetID: pairs[i], IP: addr(pairs[i+1])})
	}
	return out
}

func lines(ips []model.FixedIP) []string {
	var out []string
	for _, f := range ips {
		out = append(out, f.SubnetID+" "+f.IP.String())
	}
	return out
}

const mac = "fa:16:3e:12:34:56"

// With a nil rnd the lowest free address is taken, so results are exact.
func TestChooseAddresses(t *testing.T) {
	v4 := made(t, "v4", "10.0.0.0/24")
	v4b := made(t, "v4b", "10.1.0.0/24")
	stateful := made(t, "stateful", "fd00::/64")
	slaac := made(t, "slaac", "fd01::/64", withModes("slaac", "slaac"))
	stateless := made(t, "stateless", "fd02::/64", withModes("", "dhcpv6-stateless"))
	raOnly := made(t, "ra", "fd03::/64", withModes("slaac", ""))
	compute := made(t, "compute", "10.2.0.0/24", withTypes("compute:"))
	router := made(t, "router", "10.3.0.0/24", withTypes("network:router_interface"))
	tiny := made(t, "tiny", "10.4.0.0/30")
	eui := "f816:3eff:fe12:3456"
	for _, c := range []struct {
		name    string
		req     Request
		subnets []*model.Subnet
		taken   []model.FixedIP
		want    []string
	}{
		{"no subnet", Request{}, nil, nil, nil},
		{"v4", Request{}, []*model.Subnet{v4}, nil, []string{"v4 10.0.0.2"}},
		{"taken", Request{}, []*model.Subnet{v4}, fixed("v4", "10.0.0.2", "v4", "10.0.0.4"), []string{"v4 10.0.0.3"}},
		{"one of each family", Request{}, []*model.Subnet{v4, v4b, stateful}, nil, []string{"v4 10.0.0.2", "stateful fd00::1"}},
		{"next subnet", Request{}, []*model.Subnet{tiny, v4}, fixed("tiny", "10.4.0.2"), []string{"v4 10.0.0.2"}},
		{
			"every auto subnet",
			Request{},
			[]*model.Subnet{slaac, v4, stateless},
			nil,
			[]string{"v4 10.0.0.2", "slaac fd01::" + eui, "stateless fd02::" + eui},
		},
		{"ra mode alone assigns", Request{}, []*model.Subnet{raOnly}, nil, []string{"ra fd03::1"}},
		{"router port", Request{DeviceOwner: "network:router_interface"}, []*model.Subnet{slaac, v4}, nil, []string{"v4 10.0.0.2"}},
		{"none asked", Request{Given: true}, []*model.Subnet{slaac, v4}, nil, nil},
		{"by subnet", Request{Given: true, Fixed: fixed("v4b", "")}, []*model.Subnet{v4, v4b}, nil, []string{"v4b 10.1.0.2"}},
		{"by address", Request{Given: true, Fixed: fixed("", "10.1.0.77")}, []*model.Subnet{v4, v4b}, nil, []string{"v4b 10.1.0.77"}},
		{"gateway's address", Request{Given: true, Fixed: fixed("v4", "10.0.0.1")}, []*model.Subnet{v4}, nil, []string{"v4 10.0.0.1"}},
		{
			"two on one, in order",
			Request{Given: true, Fixed: fixed("v4", "", "v4", "10.0.0.2")},
			[]*model.Subnet{v4},
			nil,
			[]string{"v4 10.0.0.3", "v4 10.0.0.2"},
		},
		{
			"asked and formed",
			Request{Given: true, Fixed: fixed("v4", "")},
			[]*model.Subnet{slaac, v4},
			nil,
			[]string{"v4 10.0.0.2", "slaac fd01::" + eui},
		},
		{"auto subnet by name", Request{Given: true, Fixed: fixed("slaac", "")}, []*model.Subnet{slaac, v4}, nil, []string{"slaac fd01::" + eui}},
		{
			"router on auto subnet",
			Request{Given: true, Fixed: fixed("slaac", "fd01::1"), DeviceOwner: "network:router_interface"},
			[]*model.Subnet{slaac},
			nil,
			[]string{"slaac fd01::1"},
		},
		{
			"router takes v6 gateway",
			Request{Given: true, Fixed: fixed("", "fd00::"), DeviceOwner: "network:router_interface"},
			[]*model.Subnet{stateful},
			nil,
			[]string{"stateful fd00::"},
		},
		{"service subnet first", Request{DeviceOwner: "compute:nova"}, []*model.Subnet{v4, compute, router}, nil, []string{"compute 10.2.0.2"}},
		{"not its service", Request{DeviceOwner: "network:dhcp"}, []*model.Subnet{compute, v4, router}, nil, []string{"v4 10.0.0.2"}},
		{
			"keeps by subnet",
			Request{Given: true, Fixed: fixed("v4", ""), Current: fixed("v4", "10.0.0.9")},
			[]*model.Subnet{v4},
			fixed("v4", "10.0.0.9"),
			[]string{"v4 10.0.0.9"},
		},
		{
			"keeps by address",
			Request{Given: true, Fixed: fixed("v4", "10.0.0.9", "v4", ""), Current: fixed("v4", "10.0.0.9")},
			[]*model.Subnet{v4},
			fixed("v4", "10.0.0.9"),
			[]string{"v4 10.0.0.9", "v4 10.0.0.2"},
		},
		{
			"keeps two",
			Request{Given: true, Fixed: fixed("v4", "", "v4", "", "v4", ""), Current: fixed("v4", "10.0.0.9", "v4", "10.0.0.5")},
			[]*model.Subnet{v4},
			fixed("v4", "10.0.0.9", "v4", "10.0.0.5"),
			[]string{"v4 10.0.0.9", "v4 10.0.0.5", "v4 10.0.0.2"},
		},
		{
			"resends what was formed",
			Request{
				Given: true, Fixed: fixed("v4", "10.0.0.9", "slaac", "fd01::"+eui),
				Current: fixed("v4", "10.0.0.9", "slaac", "fd01::"+eui),
			},
			[]*model.Subnet{v4, slaac},
			fixed("v4", "10.0.0.9", "slaac", "fd01::"+eui),
			[]string{"v4 10.0.0.9", "slaac fd01::" + eui},
		},
		{"keeps on a subnet since reserved", Request{
			Given: true, Fixed: fixed("router", "10.3.0.9"), Current: fixed("router", "10.3.0.9"),
			DeviceOwner: "compute:nova",
		}, []*model.Subnet{v4, router}, fixed("router", "10.3.0.9"), []string{"router 10.3.0.9"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := held{}
			for _, f := range c.taken {
				h[f] = true
			}
			c.req.NetworkID, c.req.MAC = "net", mac
			got, err := ChooseAddresses(c.req, c.subnets, h.taken, nil)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, lines(got), cmpopts.EquateEmpty()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestChooseAddressesFaults(t *testing.T) {
	v4 := made(t, "v4", "10.0.0.0/30")
	v6 := made(t, "v6", "fd00::/64")
	slaac := made(t, "slaac", "fd01::/64", withModes("slaac", "slaac"))
	compute := made(t, "compute", "10.2.0.0/24", withTypes("compute:nova"))
	all := []*model.Subnet{v4, v6, slaac, compute}
	for _, c := range []struct {
		name    string
		req     Request
		subnets []*model.Subnet
		taken   Taken
		status  int
		typ     string
		message string
	}{
		{
			"full",
			Request{},
			[]*model.Subnet{v4},
			func(string, netip.Addr) bool { return true }, 409, "IpAddressGenerationFailure",
			"No more IP addresses available on network net.",
		},
		{
			"full v6",
			Request{},
			[]*model.Subnet{v6},
			func(string, netip.Addr) bool { return true }, 409, "IpAddressGenerationFailure",
			"No more IP addresses available on network net.",
		},
		{
			"no service subnet",
			Request{DeviceOwner: "network:dhcp"},
			[]*model.Subnet{compute},
			nothing, 409, "IpAddressGenerationFailureNoMatchingSubnet",
			"No valid service subnet for the given device owner, network net, service type network:dhcp.",
		},
		{
			"in use",
			Request{Given: true, Fixed: fixed("v4", "10.0.0.2")},
			all, func(string, netip.Addr) bool { return true }, 409,
			"IpAddressAlreadyAllocated", "IP address 10.0.0.2 already allocated in subnet v4",
		},
		{
			"twice",
			Request{Given: true, Fixed: fixed("v4", "10.0.0.2", "", "10.0.0.2")},
			all, nothing, 409,
			"IpAddressAlreadyAllocated", "IP address 10.0.0.2 already allocated in subnet v4",
		},
		{
			"formed in use",
			Request{},
			[]*model.Subnet{slaac},
			func(string, netip.Addr) bool { return true }, 409,
			"IpAddressAlreadyAllocated", "IP address fd01::f816:3eff:fe12:3456 already allocated in subnet slaac",
		},
		{
			"outside subnet",
			Request{Given: true, Fixed: fixed("v4", "10.9.0.2")},
			all, nothing, 400, "InvalidIpForSubnet",
			"IP address 10.9.0.2 is not a valid IP for the specified subnet.",
		},
		{
			"broadcast",
			Request{Given: true, Fixed: fixed("v4", "10.0.0.3")},
			all, nothing, 400, "InvalidIpForSubnet",
			"IP address 10.0.0.3 is not a valid IP for the specified subnet.",
		},
		{
			"network",
			Request{Given: true, Fixed: fixed("", "10.0.0.0")},
			all, nothing, 400, "InvalidIpForNetwork",
			"IP address 10.0.0.0 is not a valid IP for any of the subnets on the specified network.",
		},
		{
			"anycast",
			Request{Given: true, Fixed: fixed("v6", "fd00::"), DeviceOwner: "compute:nova"},
			all, nothing, 400, "InvalidIpForSubnet",
			"IP address fd00:: is not a valid IP for the specified subnet.",
		},
		{
			"outside network",
			Request{Given: true, Fixed: fixed("", "192.0.2.1")},
			all, nothing, 400, "InvalidIpForNetwork",
			"IP address 192.0.2.1 is not a valid IP for any of the subnets on the specified network.",
		},
		{
			"mapped",
			Request{Given: true, Fixed: fixed("v4", "::ffff:10.0.0.2")},
			all, nothing, 400, "InvalidIpForSubnet",
			"IP address ::ffff:10.0.0.2 is not a valid IP for the specified subnet.",
		},
		{
			"auto subnet",
			Request{Given: true, Fixed: fixed("slaac", "fd01::5")},
			all, nothing, 400, "AllocationOnAutoAddressSubnet",
			"IPv6 address fd01::5 cannot be directly assigned to a port on subnet slaac as the subnet is configured for automatic addresses",
		},
		{
			"other network's subnet",
			Request{Given: true, Fixed: fixed("x", "")},
			all, nothing, 400, "InvalidInput",
			"Invalid input for operation: Failed to create port on network net, because fixed_ips included invalid subnet x.",
		},
		{
			"no subnets",
			Request{Given: true, Fixed: fixed("", "10.0.0.2")},
			nil, nothing, 400, "InvalidInput",
			"Invalid input for operation: IP allocation requires subnets for network.",
		},
		{
			"neither",
			Request{Given: true, Fixed: fixed("", "")},
			all, nothing, 400, "InvalidInput",
			"Invalid input for operation: IP allocation requires subnet_id or ip_address.",
		},
		{
			"no MAC",
			Request{MAC: "?"},
			[]*model.Subnet{slaac},
			nothing, 400, "InvalidInput",
			"Invalid input for operation: form an EUI-64 address on fd01::/64: '?' is not a valid MAC address.",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.req.NetworkID = "net"
			if c.req.MAC == "" {
				c.req.MAC = mac
			}
			_, err := ChooseAddresses(c.req, c.subnets, c.taken, random())
			wantFault(t, err, c.status, c.typ, c.message)
		})
	}
}

func TestFollowMAC(t *testing.T) {
	subnets := []*model.Subnet{made(t, "v4", "10.0.0.0/24"), made(t, "slaac", "fd01::/64", withModes("slaac", "slaac"))}
	current := fixed("v4", "10.0.0.9", "slaac", "fd01::f816:3eff:fe12:3456")
	got, err := FollowMAC(current, "fa:16:3e:00:00:01", "compute:nova", subnets, nothing)
	if err != nil || !cmp.Equal(lines(got), []string{"v4 10.0.0.9", "slaac fd01::f816:3eff:fe00:1"}) {
		t.Errorf("%v %v", lines(got), err)
	}
	if lines(current)[1] != "slaac fd01::f816:3eff:fe12:3456" {
		t.Error("the present addresses were changed")
	}
	if got, err = FollowMAC(nil, mac, "", subnets, nothing); err != nil || len(got) != 0 {
		t.Errorf("without addresses: %v %v", got, err)
	}
	if got, err = FollowMAC(current, mac, "network:router_interface", subnets, nothing); err != nil || !cmp.Equal(lines(got), lines(current)) {
		t.Errorf("a router's: %v %v", got, err)
	}
	if got, err = FollowMAC(current, mac, "", subnets, func(string, netip.Addr) bool { return true }); err != nil || !cmp.Equal(lines(got), lines(current)) {
		t.Errorf("the same MAC: %v %v", got, err)
	}
	if _, err = FollowMAC(current, "fa:16:3e:00:00:01", "", subnets, func(string, netip.Addr) bool { return true }); !fault.HasType(err, "IpAddressAlreadyAllocated") {
		t.Errorf("in use: %v", err)
	}
	if _, err = FollowMAC(current, "", "", subnets, nothing); !fault.HasType(err, "InvalidInput") {
		t.Errorf("no MAC: %v", err)
	}
}

// An automatic address is one of the lowest free ones, and is not predictable: among
// the first 1000 while the pool's first thousand is mostly free, never far beyond.
func TestWindow(t *testing.T) {
	s := made(t, "s", "10.0.0.0/16")
	rnd := random()
	for _, taken := range []int{0, 100, 500, 900, 1000} { // from the start of the pool
		h := held{}
		a := s.AllocationPools[0].Start
		for range taken {
			h[model.FixedIP{SubnetID: "s", IP: a}] = true
			a = a.Next()
		}
		limit, seen := plus(s.AllocationPools[0].Start, 2*window+uint64(taken)), map[netip.Addr]bool{}
		if taken <= 100 {
			limit = plus(a, window-1)
		}
		for range 2000 {
			got, err := ChooseAddresses(Request{}, []*model.Subnet{s}, h.taken, rnd)
			if err != nil || limit.Less(got[0].IP) || h[got[0]] {
				t.Fatalf("%d taken: %v %v beyond %s", taken, got, err, limit)
			}
			seen[got[0].IP] = true
		}
		if len(seen) < 50 {
			t.Errorf("%d taken: only %d different addresses", taken, len(seen))
		}
	}
}

// The cost of a choice is bounded whatever the size of the block.
func TestLookUpsAreBounded(t *testing.T) {
	for _, c := range []struct {
		block string
		used  uint64 // from the start, without a gap
		most  int
	}{
		{"10.0.0.0/8", 0, 100},
		{"10.0.0.0/8", 100_000, 1000},
		{"10.0.0.0/8", 5_000_000, 1000},
		{"fd00::/64", 0, 100},
		{"fd00::/64", 1 << 40, 2000},
		{"8000::/1", 1 << 50, 3000},
	} {
		s := made(t, "s", c.block)
		first := numberOf(s.AllocationPools[0].Start)
		for seed := range uint64(50) {
			looked := 0
			got, err := ChooseAddresses(Request{}, []*model.Subnet{s}, func(_ string, a netip.Addr) bool {
				looked++
				return numberOf(a).sub(first).lo < c.used
			}, rand.New(rand.NewPCG(seed, 9)))
			if err != nil || looked > c.most {
				t.Fatalf("%s with %d used: %v %v after %d look-ups", c.block, c.used, got, err, looked)
			}
			// Near the low end of what is free: how near depends on what was skipped.
			if off := numberOf(got[0].IP).sub(first).lo; off < c.used || off > 2*c.used+4*window {
				t.Errorf("%s with %d used: chose the one at %d", c.block, c.used, off)
			}
		}
	}
}

func TestDHCPGetsLowest(t *testing.T) {
	s := made(t, "s", "10.0.0.0/8")
	h := held{{SubnetID: "s", IP: addr("10.0.0.2")}: true}
	got, err := ChooseAddresses(Request{DeviceOwner: model.OwnerDHCP}, []*model.Subnet{s}, h.taken, random())
	if err != nil || got[0].IP != addr("10.0.0.3") {
		t.Errorf("%v %v", got, err)
	}
	// Beyond the walk it still finds one.
	first := numberOf(s.AllocationPools[0].Start)
	got, err = ChooseAddresses(Request{DeviceOwner: model.OwnerDHCP}, []*model.Subnet{s}, func(_ string, a netip.Addr) bool {
		return numberOf(a).sub(first).lo < walkLimit+7
	}, random())
	if err != nil || numberOf(got[0].IP).sub(first).lo < walkLimit+7 {
		t.Errorf("%v %v", got, err)
	}
}

func TestOddPoolsAreSkipped(t *testing.T) {
	free := func(netip.Addr) bool { return true }
	bad := []model.IPRange{{}, {Start: addr("10.0.0.9"), End: addr("10.0.0.1")}, {Start: addr("10.0.0.1"), End: addr("fd00::1")}}
	if a, ok := pickFree(bad, free, random()); ok {
		t.Errorf("chose %s", a)
	}
}

// BenchmarkChooseAddresses is one automatic IPv4 address with so many taken.
func BenchmarkChooseAddresses(b *testing.B) {
	for _, c := range []struct {
		block string
		used  int
	}{{"10.0.0.0/24", 200}, {"10.0.0.0/16", 10_000}, {"10.0.0.0/8", 0}, {"10.0.0.0/8", 100_000}, {"fd00::/64", 100_000}} {
		b.Run(fmt.Sprintf("%s with %d", c.block, c.used), func(b *testing.B) {
			s := made(b, "s", c.block)
			h := held{}
			a := s.AllocationPools[0].Start
			for range c.used {
				h[model.FixedIP{SubnetID: "s", IP: a}] = true
				a = a.Next()
			}
			rnd, subnets := random(), []*model.Subnet{s}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ChooseAddresses(Request{MAC: mac}, subnets, h.taken, rnd); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
