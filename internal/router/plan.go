package router

import (
	"fmt"
	"net/netip"
	"slices"

	"neutrino/internal/model"
)

// device is one of a router's ports as the kernel is to have it.
type device struct {
	port      *model.RouterPort
	gateway   bool
	name      string         // of the netdev
	addresses []netip.Prefix // sorted
}

// route is one route of the main table, apart from the kernel's own.
type route struct {
	to     netip.Prefix
	via    netip.Addr
	device string // port id
	onlink bool   // via is outside of the device's subnets
}

// plan is what the namespace of one router is to hold.
type plan struct {
	devices  []device // the gateway last
	routes   []route  // one per destination, sorted
	rules    ruleset
	keep     keeper
	problems []string // what is asked for and cannot be
}

// snat4 is the gateway's IPv4 address; the zero Addr where there is none.
func snat4(spec *model.RouterSpec) netip.Addr {
	if spec.Gateway == nil {
		return netip.Addr{}
	}
	for _, a := range spec.Gateway.Addresses {
		if a.IP.Is4() {
			return a.IP
		}
	}
	return netip.Addr{}
}

// deviceName is what Neutron calls the netdev of a router's port.
func deviceName(portID string, gateway bool) string {
	if gateway {
		return "qg-" + clip(portID, 11)
	}
	return "qr-" + clip(portID, 11)
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// newPlan is pure. names are those of netdevs that keep a name of their own, by port id;
// metadataPort is 0 where nothing serves metadata.
func newPlan(spec *model.RouterSpec, names map[string]string, metadataPort uint16) *plan {
	p := &plan{}
	add := func(port *model.RouterPort, gateway bool) {
		name := names[port.PortID]
		if name == "" {
			name = deviceName(port.PortID, gateway)
		}
		p.devices = append(p.devices, device{port: port, gateway: gateway, name: name, addresses: addresses(port)})
	}
	for i := range spec.Interfaces {
		add(&spec.Interfaces[i], false)
	}
	pairs := map[netip.Addr]netip.Addr{}
	if spec.Gateway != nil {
		add(spec.Gateway, true)
		d := &p.devices[len(p.devices)-1]
		for _, f := range spec.Floating {
			pairs[f.Floating] = f.Fixed
			d.addresses = append(d.addresses, netip.PrefixFrom(f.Floating, f.Floating.BitLen()))
		}
		d.addresses = sorted(d.addresses)
	}
	p.planRoutes(spec)
	p.rules = newRuleset(p, spec, pairs, metadataPort)
	p.keep = keeper{floating: pairs, gateway: snat4(spec), snat: spec.EnableSNAT}
	return p
}

// addresses of a port with their subnets' prefix lengths.
func addresses(port *model.RouterPort) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(port.Addresses))
	for _, a := range port.Addresses {
		bits := a.IP.BitLen()
		if s := subnetOf(port, a); s != nil {
			bits = s.CIDR.Bits()
		}
		out = append(out, netip.PrefixFrom(a.IP, bits))
	}
	return sorted(out)
}

func subnetOf(port *model.RouterPort, a model.FixedIP) *model.Subnet {
	for _, s := range port.Subnets {
		if s.ID == a.SubnetID {
			return s
		}
	}
	return nil
}

// sorted, each once.
func sorted(in []netip.Prefix) []netip.Prefix {
	slices.SortFunc(in, comparePrefix)
	return slices.Compact(in)
}

func comparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

// planRoutes: the default routes of the gateway's subnets, then the router's own, which
// win.
func (p *plan) planRoutes(spec *model.RouterSpec) {
	byTarget := map[netip.Prefix]route{}
	if spec.Gateway != nil {
		d := &p.devices[len(p.devices)-1]
		for _, a := range spec.Gateway.Addresses {
			s := subnetOf(spec.Gateway, a)
			if s == nil || !s.GatewayIP.IsValid() || s.GatewayIP == a.IP || s.GatewayIP.Is4() != a.IP.Is4() {
				continue
			}
			to := netip.PrefixFrom(unspecified(a.IP), 0)
			if _, taken := byTarget[to]; !taken {
				byTarget[to] = route{to, s.GatewayIP, d.port.PortID, !d.reaches(s.GatewayIP)}
			}
		}
	}
	for _, r := range spec.Routes {
		i := slices.IndexFunc(p.devices, func(d device) bool { return d.reaches(r.NextHop) })
		if i < 0 {
			p.problems = append(p.problems, fmt.Sprintf("route to %s: next hop %s is in no subnet of the router's", r.Destination, r.NextHop))
			continue
		}
		byTarget[r.Destination.Masked()] = route{r.Destination.Masked(), r.NextHop, p.devices[i].port.PortID, false}
	}
	for _, r := range byTarget {
		p.routes = append(p.routes, r)
	}
	slices.SortFunc(p.routes, func(a, b route) int { return comparePrefix(a.to, b.to) })
}

func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// reaches: the address is a neighbour on the device.
func (d *device) reaches(a netip.Addr) bool {
	return slices.ContainsFunc(d.addresses, func(p netip.Prefix) bool { return p.Contains(a) })
}
