package rpc

import (
	"net/netip"

	"neutrino/internal/model"
	"neutrino/internal/rpc/fabricv1"
)

// EncodeRouter converts to the wire.
func EncodeRouter(r *model.RouterSpec) *fabricv1.Router {
	out := &fabricv1.Router{RouterId: r.RouterID, Revision: r.Revision, EnableSnat: r.EnableSNAT}
	for i := range r.Interfaces {
		out.Interfaces = append(out.Interfaces, encodeRouterPort(&r.Interfaces[i]))
	}
	if r.Gateway != nil {
		out.Gateway = encodeRouterPort(r.Gateway)
	}
	for _, t := range r.Routes {
		out.Routes = append(out.Routes, &fabricv1.Route{Destination: t.Destination.String(), Nexthop: text(t.NextHop)})
	}
	for _, f := range r.Floating {
		out.Floating = append(out.Floating, &fabricv1.FloatingPair{Id: f.ID, Floating: text(f.Floating), Fixed: text(f.Fixed)})
	}
	for i := range r.Metadata {
		out.Metadata = append(out.Metadata, EncodeDHCPHost(&r.Metadata[i]))
	}
	return out
}

func encodeRouterPort(p *model.RouterPort) *fabricv1.RouterPort {
	out := &fabricv1.RouterPort{
		PortId: p.PortID, NetworkId: p.NetworkID, Mac: p.MAC, Mtu: unsigned(p.MTU), Addresses: encodeFixedIPs(p.Addresses),
	}
	for _, s := range p.Subnets {
		out.Subnets = append(out.Subnets, encodeSubnet(s))
	}
	return out
}

// DecodeRouter converts from the wire and validates every field.
func DecodeRouter(in *fabricv1.Router) (*model.RouterSpec, error) {
	var c checks
	c.id("router_id", in.GetRouterId())
	out := &model.RouterSpec{RouterID: in.GetRouterId(), Revision: in.GetRevision(), EnableSNAT: in.GetEnableSnat()}
	if c.count("interfaces", len(in.GetInterfaces()), maxInterfaces) {
		for _, p := range in.GetInterfaces() {
			out.Interfaces = append(out.Interfaces, c.routerPort("interfaces", p))
		}
	}
	if in.GetGateway() != nil {
		g := c.routerPort("gateway", in.GetGateway())
		out.Gateway = &g
	}
	if c.count("routes", len(in.GetRoutes()), maxText) {
		for _, r := range in.GetRoutes() {
			out.Routes = append(out.Routes, c.route("routes", r))
		}
	}
	if c.count("floating", len(in.GetFloating()), maxFloating) {
		for _, f := range in.GetFloating() {
			c.id("floating.id", f.GetId())
			out.Floating = append(out.Floating, model.FloatingPair{
				ID: f.GetId(), Floating: c.addr4("floating.floating", f.GetFloating()), Fixed: c.addr4("floating.fixed", f.GetFixed()),
			})
		}
	}
	if len(out.Floating) > 0 && out.Gateway == nil {
		c.fail("floating", "a router without a gateway has none")
	}
	if c.count("metadata", len(in.GetMetadata()), MaxHosts) {
		for _, h := range in.GetMetadata() {
			out.Metadata = append(out.Metadata, c.dhcpHost(h))
		}
	}
	if c.failed() {
		return nil, c.err
	}
	return out, nil
}

// CheckRouter reports what would keep an agent from accepting the router.
func CheckRouter(r *model.RouterSpec) error {
	_, err := DecodeRouter(EncodeRouter(r))
	return err
}

func (c *checks) routerPort(field string, in *fabricv1.RouterPort) model.RouterPort {
	c.id(field+".port_id", in.GetPortId())
	c.id(field+".network_id", in.GetNetworkId())
	c.mac(field+".mac", in.GetMac())
	c.mtu(field+".mtu", in.GetMtu())
	out := model.RouterPort{
		PortID: in.GetPortId(), NetworkID: in.GetNetworkId(), MAC: in.GetMac(), MTU: int(in.GetMtu()),
		Addresses: c.fixedIPs(field+".addresses", in.GetAddresses()),
	}
	known := make(map[string]*model.Subnet, len(in.GetSubnets()))
	if c.count(field+".subnets", len(in.GetSubnets()), maxSubnets) {
		for _, s := range in.GetSubnets() {
			sub := c.subnet(s)
			out.Subnets = append(out.Subnets, sub)
			known[sub.ID] = sub
		}
	}
	if c.failed() {
		return out
	}
	for _, a := range out.Addresses {
		switch sub := known[a.SubnetID]; {
		case sub == nil:
			c.fail(field+".addresses", "%s is of subnet %s, which is not there", a.IP, a.SubnetID)
		case !sub.CIDR.Contains(a.IP):
			c.fail(field+".addresses", "%s is not in subnet %s", a.IP, sub.CIDR)
		}
	}
	return out
}

func (c *checks) route(field string, in *fabricv1.Route) model.Route {
	r := model.Route{
		Destination: c.prefix(field+".destination", in.GetDestination()),
		NextHop:     c.addr(field+".nexthop", in.GetNexthop()),
	}
	if !c.failed() && r.Destination.Addr().Is4() != r.NextHop.Is4() {
		c.fail(field, "%s by way of %s: two families", r.Destination, r.NextHop)
	}
	return r
}

func (c *checks) addr4(field, s string) netip.Addr {
	a := c.addr(field, s)
	if !c.failed() && !a.Is4() {
		c.fail(field, "%s is not IPv4", a)
	}
	return a
}

// EncodeRouterReport converts to the wire; the reason is made fit as a port's is.
func EncodeRouterReport(r *model.RouterReport) *fabricv1.RouterReport {
	return &fabricv1.RouterReport{RouterId: r.RouterID, Revision: r.Revision, Up: r.Up, Reason: fitReason(r.Reason)}
}

// DecodeRouterReports converts the routers of a Reports message and validates every field.
func DecodeRouterReports(in *fabricv1.Reports) ([]model.RouterReport, error) {
	var c checks
	if !c.count("routers", len(in.GetRouters()), MaxReports) {
		return nil, c.err
	}
	var out []model.RouterReport
	for _, r := range in.GetRouters() {
		c.id("routers.router_id", r.GetRouterId())
		c.text("routers.reason", r.GetReason(), maxText)
		out = append(out, model.RouterReport{RouterID: r.GetRouterId(), Revision: r.GetRevision(), Up: r.GetUp(), Reason: r.GetReason()})
	}
	if c.failed() {
		return nil, c.err
	}
	return out, nil
}
