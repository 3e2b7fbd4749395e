package rpc

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"neutrino/internal/model"
	"neutrino/internal/rpc/fabricv1"
)

func drawRouterPort(t *rapid.T, subnet string) model.RouterPort {
	id := rapid.StringMatching(`[0-9a-f]{8}-[0-9a-f]{4}`)
	sub := &model.Subnet{
		NetworkID: id.Draw(t, "network"), IPVersion: 4, CIDR: netip.MustParsePrefix("10.0.0.0/24"), EnableDHCP: rapid.Bool().Draw(t, "dhcp"),
	}
	if rapid.Bool().Draw(t, "gateway") {
		sub.GatewayIP = netip.MustParseAddr("10.0.0.1")
	}
	sub.ID = subnet
	if rapid.Bool().Draw(t, "six") {
		sub.IPVersion, sub.CIDR, sub.GatewayIP = 6, netip.MustParsePrefix("2001:db8::/64"), netip.Addr{}
		sub.IPv6RAMode = rapid.SampledFrom([]string{"", model.ModeSLAAC, model.ModeStateful}).Draw(t, "ra")
	}
	return model.RouterPort{
		PortID: id.Draw(t, "port"), NetworkID: sub.NetworkID, MAC: drawMAC(t), MTU: rapid.SampledFrom([]int{0, 1400, 9000}).Draw(t, "mtu"),
		Addresses: []model.FixedIP{{SubnetID: subnet, IP: sub.CIDR.Addr().Next().Next()}}, Subnets: []*model.Subnet{sub},
	}
}

func drawRouter(t *rapid.T) *model.RouterSpec {
	r := &model.RouterSpec{RouterID: "r-1", Revision: rapid.Int64().Draw(t, "revision"), EnableSNAT: rapid.Bool().Draw(t, "snat")}
	for range rapid.IntRange(0, 3).Draw(t, "interfaces") {
		r.Interfaces = append(r.Interfaces, drawRouterPort(t, "inside"))
	}
	for range rapid.IntRange(0, 2).Draw(t, "routes") {
		r.Routes = append(r.Routes, model.Route{Destination: netip.MustParsePrefix("172.16.0.0/12"), NextHop: netip.MustParseAddr("10.0.0.9")})
	}
	if rapid.Bool().Draw(t, "has gateway") {
		g := drawRouterPort(t, "outside")
		r.Gateway = &g
		for range rapid.IntRange(0, 2).Draw(t, "floating") {
			r.Floating = append(r.Floating, model.FloatingPair{ID: "f-1", Floating: netip.MustParseAddr("203.0.113.9"), Fixed: netip.MustParseAddr("10.0.0.7")})
		}
	}
	for range rapid.IntRange(0, 2).Draw(t, "metadata") {
		r.Metadata = append(r.Metadata, model.DHCPHost{
			PortID: "p-1", MAC: drawMAC(t), HostName: "host-10-0-0-7", Addresses: []model.FixedIP{{SubnetID: "inside", IP: netip.MustParseAddr("10.0.0.7")}},
		})
	}
	return r
}

func TestRouterRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRouter(t)
		wire, err := proto.Marshal(EncodeRouter(r))
		if err != nil {
			t.Fatal(err)
		}
		var m fabricv1.Router
		if err = proto.Unmarshal(wire, &m); err != nil {
			t.Fatal(err)
		}
		got, err := DecodeRouter(&m)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, got, addresses); diff != "" {
			t.Fatal(diff)
		}
	})
}

func goodRouter() *fabricv1.Router {
	sub := &model.Subnet{NetworkID: "n", IPVersion: 4, CIDR: netip.MustParsePrefix("10.0.0.0/24")}
	sub.ID = "s"
	port := model.RouterPort{
		PortID: "p", NetworkID: "n", MAC: "fa:16:3e:00:00:01", MTU: 1500,
		Addresses: []model.FixedIP{{SubnetID: "s", IP: netip.MustParseAddr("10.0.0.1")}}, Subnets: []*model.Subnet{sub},
	}
	return EncodeRouter(&model.RouterSpec{
		RouterID: "r", Revision: 1, Interfaces: []model.RouterPort{port}, Gateway: &port,
		Routes:   []model.Route{{Destination: netip.MustParsePrefix("172.16.0.0/12"), NextHop: netip.MustParseAddr("10.0.0.9")}},
		Floating: []model.FloatingPair{{ID: "f", Floating: netip.MustParseAddr("203.0.113.9"), Fixed: netip.MustParseAddr("10.0.0.7")}},
		Metadata: []model.DHCPHost{{PortID: "q", MAC: "fa:16:3e:00:00:02"}},
	})
}

func TestRouterRefused(t *testing.T) {
	if _, err := DecodeRouter(goodRouter()); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*fabricv1.Router){
		"router_id":                             func(r *fabricv1.Router) { r.RouterId = "../r" },
		"interfaces.port_id":                    func(r *fabricv1.Router) { r.Interfaces[0].PortId = "" },
		"interfaces.network_id":                 func(r *fabricv1.Router) { r.Interfaces[0].NetworkId = "a b" },
		"gateway.mac":                           func(r *fabricv1.Router) { r.Gateway.Mac = "01:00:5e:00:00:01" },
		"gateway.mtu":                           func(r *fabricv1.Router) { r.Gateway.Mtu = 1 },
		"gateway.addresses.ip":                  func(r *fabricv1.Router) { r.Gateway.Addresses[0].Ip = "10.0.0.300" },
		"interfaces.addresses: 10.0.0.1 is of":  func(r *fabricv1.Router) { r.Interfaces[0].Addresses[0].SubnetId = "other" },
		"interfaces.addresses: 10.9.9.9 is not": func(r *fabricv1.Router) { r.Interfaces[0].Addresses[0].Ip = "10.9.9.9" },
		"subnets.cidr":                          func(r *fabricv1.Router) { r.Interfaces[0].Subnets[0].Cidr = "10.0.0.0" },
		"interfaces: 257":                       func(r *fabricv1.Router) { r.Interfaces = make([]*fabricv1.RouterPort, 257) },
		"routes.destination":                    func(r *fabricv1.Router) { r.Routes[0].Destination = "x" },
		"two families":                          func(r *fabricv1.Router) { r.Routes[0].Nexthop = "2001:db8::1" },
		"floating.floating: 2001:db8::1 is not": func(r *fabricv1.Router) { r.Floating[0].Floating = "2001:db8::1" },
		"floating.fixed":                        func(r *fabricv1.Router) { r.Floating[0].Fixed = "" },
		"floating: a router":                    func(r *fabricv1.Router) { r.Gateway = nil },
		"floating: 4097":                        func(r *fabricv1.Router) { r.Floating = make([]*fabricv1.FloatingPair, 4097) },
		"hosts.mac":                             func(r *fabricv1.Router) { r.Metadata[0].Mac = "no" },
		"metadata: 65537":                       func(r *fabricv1.Router) { r.Metadata = make([]*fabricv1.DHCPHost, 65537) },
	} {
		m := goodRouter()
		change(m)
		if _, err := DecodeRouter(m); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestRouterReports(t *testing.T) {
	wild := model.RouterReport{RouterID: "r", Revision: 7, Reason: strings.Repeat("x", maxText+9) + "\xff\x00"}
	got, err := DecodeRouterReports(&fabricv1.Reports{Seq: 1, Routers: []*fabricv1.RouterReport{EncodeRouterReport(&wild)}})
	if err != nil || len(got) != 1 || len(got[0].Reason) != maxText || got[0].Revision != 7 {
		t.Fatalf("%d reports, %v", len(got), err)
	}
	for field, bad := range map[string]*fabricv1.Reports{
		"routers.router_id": {Routers: []*fabricv1.RouterReport{{}}},
		"routers.reason":    {Routers: []*fabricv1.RouterReport{{RouterId: "r", Reason: "\xff"}}},
		"routers: 4097":     {Routers: make([]*fabricv1.RouterReport, MaxReports+1)},
	} {
		if _, err = DecodeRouterReports(bad); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// FuzzRouter: no bytes make the decoder panic, and what it accepts it accepts again.
func FuzzRouter(f *testing.F) {
	seed, err := proto.Marshal(goodRouter())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		var m fabricv1.Router
		if proto.Unmarshal(data, &m) != nil {
			return
		}
		r, err := DecodeRouter(&m)
		if err != nil {
			return
		}
		if again, aerr := DecodeRouter(EncodeRouter(r)); aerr != nil || cmp.Diff(r, again, addresses) != "" {
			t.Fatalf("accepted once only: %v", aerr)
		}
	})
}
