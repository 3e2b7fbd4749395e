package ipam

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

// Allocate and release in any order on random small subnets: nothing is given twice,
// nothing outside, never network, broadcast or gateway, and a free address is always
// found.
func TestAllocationProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		subnets := drawSubnets(t)
		h, ports, next := held{}, map[string][]model.FixedIP{}, 0
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				owner := rapid.SampledFrom([]string{"", "compute:nova", model.OwnerDHCP}).Draw(t, "owner")
				next++
				req := Request{NetworkID: "net", DeviceOwner: owner, MAC: fmt.Sprintf("fa:16:3e:00:%02x:%02x", next>>8&255, next&255)}
				if rapid.Bool().Draw(t, "fixed") {
					req.Given, req.Fixed = true, drawFixed(t, subnets)
				}
				got, err := ChooseAddresses(req, subnets, h.taken, rnd)
				if err != nil {
					checkRefusal(t, req, err, subnets, h)
					return
				}
				checkAddressesOf(t, req, got, subnets, h)
				for _, f := range got {
					h[f] = true
				}
				ports[req.MAC] = got
			},
			"update": func(t *rapid.T) {
				m, ok := drawKey(t, ports)
				if !ok {
					return
				}
				req := Request{NetworkID: "net", MAC: m, Given: true, Fixed: drawFixed(t, subnets), Current: ports[m]}
				if rapid.Bool().Draw(t, "resend") {
					req.Fixed = append(slices.Clone(ports[m]), req.Fixed...)
				}
				got, err := ChooseAddresses(req, subnets, h.taken, rnd)
				if err != nil {
					if fault.As(err) == nil {
						t.Fatalf("no fault: %v", err)
					}
					return
				}
				for _, f := range ports[m] {
					delete(h, f)
				}
				checkAddressesOf(t, req, got, subnets, h)
				for _, f := range got {
					h[f] = true
				}
				ports[m] = got
			},
			"delete": func(t *rapid.T) {
				if m, ok := drawKey(t, ports); ok {
					for _, f := range ports[m] {
						delete(h, f)
					}
					delete(ports, m)
				}
			},
			"": func(t *rapid.T) {
				n := 0
				for _, ips := range ports {
					n += len(ips)
				}
				if n != len(h) {
					t.Fatalf("%d addresses held, %d claims", n, len(h))
				}
			},
		})
	})
}

func drawSubnets(t *rapid.T) []*model.Subnet {
	blocks := []string{"10.0.0.0/29", "10.0.1.0/30", "10.0.2.0/24", "10.0.3.0/31", "fd00::/125", "fd01::/64", "fd02::/64"}
	var out []*model.Subnet
	for i, on := range rapid.SliceOfN(rapid.Bool(), len(blocks), len(blocks)).Draw(t, "subnets") {
		if !on {
			continue
		}
		s := subnet(blocks[i])
		given := map[string]bool{}
		switch blocks[i] {
		case "10.0.3.0/31":
			s.EnableDHCP, given["gateway_ip"] = false, true
		case "fd02::/64":
			withModes("slaac", "slaac")(s)
		}
		if err := CompleteSubnet(s, given, out); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func drawFixed(t *rapid.T, subnets []*model.Subnet) []model.FixedIP {
	var out []model.FixedIP
	for range rapid.IntRange(0, 3).Draw(t, "entries") {
		var f model.FixedIP
		if len(subnets) == 0 {
			break
		}
		s := rapid.SampledFrom(subnets).Draw(t, "subnet")
		if rapid.Bool().Draw(t, "named") {
			f.SubnetID = s.ID
		}
		if rapid.Bool().Draw(t, "addressed") {
			f.IP = plus(s.CIDR.Addr(), rapid.Uint64Range(0, 9).Draw(t, "offset"))
		}
		out = append(out, f)
	}
	return out
}

func drawKey(t *rapid.T, ports map[string][]model.FixedIP) (string, bool) {
	if len(ports) == 0 {
		return "", false
	}
	var keys []string
	for k := range ports {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return rapid.SampledFrom(keys).Draw(t, "port"), true
}

func checkAddressesOf(t *rapid.T, req Request, got []model.FixedIP, subnets []*model.Subnet, h held) {
	seen := held{}
	for _, f := range got {
		i := slices.IndexFunc(subnets, func(s *model.Subnet) bool { return s.ID == f.SubnetID })
		if i < 0 || !subnets[i].CIDR.Contains(f.IP) {
			t.Fatalf("%v is outside", f)
		}
		s := subnets[i]
		if h[f] || seen[f] {
			t.Fatalf("%v was given twice", f)
		}
		seen[f] = true
		if s.IPVersion == 4 && !inRange(usable(s.CIDR), f.IP) {
			t.Fatalf("%v is the network's or broadcast address", f)
		}
		asked := slices.ContainsFunc(req.Fixed, func(a model.FixedIP) bool { return a.IP == f.IP })
		mine := slices.Contains(req.Current, f)
		if f.IP == s.GatewayIP && !asked && !mine {
			t.Fatalf("%v is the gateway's", f)
		}
	}
	if req.Given && len(req.Fixed) == 0 && len(got) != 0 {
		t.Fatalf("none asked, got %v", got)
	}
}

// checkRefusal: a choice that was left to ChooseAddresses fails only without space.
func checkRefusal(t *rapid.T, req Request, err error, subnets []*model.Subnet, h held) {
	if fault.As(err) == nil {
		t.Fatalf("no fault: %v", err)
	}
	if req.Given {
		return
	}
	if !fault.HasType(err, "IpAddressGenerationFailure") {
		t.Fatal(err)
	}
	for _, version := range []int{4, 6} {
		had, space := false, false
		for _, s := range subnets {
			if s.IPVersion != version || s.AutoAddress() {
				continue
			}
			had = true
			_, ok := pickFree(s.AllocationPools, func(a netip.Addr) bool { return !h.taken(s.ID, a) }, nil)
			space = space || ok
		}
		if had && !space {
			return
		}
	}
	t.Fatalf("%v although there is space", err)
}
