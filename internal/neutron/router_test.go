package neutron_test

import (
	"net/http"
	"net/netip"
	"slices"
	"testing"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
)

// external makes an external network of project p0 with one subnet.
func (r *rig) external(cidr string) *model.Network {
	r.t.Helper()
	n := network("p0")
	n.External = true
	n = one[model.Network](r.t)(r.s.CreateNetworks(ctx, admin, []neutron.Draft[model.Network]{draft(n, "router:external")}))
	sub := subnet(n, cidr)
	sub.EnableDHCP = false
	r.addSubnet(sub, "cidr", "enable_dhcp")
	return n
}

func router(project string) *model.Router {
	return &model.Router{Meta: model.Meta{ProjectID: project}, AdminStateUp: true}
}

func gateway(info *neutron.GatewayInfo) map[string]any {
	return map[string]any{"external_gateway_info": info}
}

// router makes a router of a project, with a gateway where ext is not nil.
func (r *rig) router(project string, ext *model.Network) *model.Router {
	r.t.Helper()
	d := draft(router(project))
	if ext != nil {
		d.Extra = gateway(&neutron.GatewayInfo{NetworkID: ext.ID})
	}
	return one[model.Router](r.t)(r.s.CreateRouters(ctx, member(project), []neutron.Draft[model.Router]{d}))
}

func (r *rig) setGateway(id string, info *neutron.GatewayInfo) (*model.Router, error) {
	c := change(func(*model.Router) {}, "external_gateway_info")
	c.Extra = gateway(info)
	return r.s.UpdateRouter(ctx, admin, id, c)
}

func (r *rig) setRoutes(id string, routes ...model.Route) (*model.Router, error) {
	return r.s.UpdateRouter(ctx, admin, id, change(func(row *model.Router) { row.Routes = routes }, "routes"))
}

func route(to, via string) model.Route {
	return model.Route{Destination: netip.MustParsePrefix(to), NextHop: netip.MustParseAddr(via)}
}

func (r *rig) floating(project string, ext *model.Network, port string) (*model.FloatingIP, error) {
	f := &model.FloatingIP{Meta: model.Meta{ProjectID: project}, FloatingNetworkID: ext.ID, PortID: port}
	rows, err := r.s.CreateFloatingIPs(ctx, member(project), []neutron.Draft[model.FloatingIP]{draft(f, "port_id")})
	if err != nil {
		return nil, err
	}
	return rows[0], nil
}

func (r *rig) getFloating(id string) *model.FloatingIP {
	f, _ := r.tab.FloatingIPs.Get(r.db.Snapshot(), id)
	return f
}

func TestRouterLife(t *testing.T) {
	r := newRig(t, neutron.Options{})
	ext := r.external("203.0.113.0/24")
	n := r.network("p1")
	sub := r.subnet(n, "10.0.0.0/24")
	rt := r.router("p1", ext)
	if rt.Status != model.StatusActive || rt.Revision != 1 || rt.Gateway == nil || !rt.Gateway.EnableSNAT {
		t.Fatalf("new router: %+v", rt)
	}
	gw := r.getPort(rt.Gateway.PortID)
	if gw.DeviceOwner != model.OwnerRouterGateway || gw.DeviceID != rt.ID || gw.ProjectID != "" || len(gw.FixedIPs) != 1 {
		t.Fatalf("gateway port: %+v", gw)
	}
	i := must[*neutron.RouterInterface](t)(r.s.AddInterface(ctx, member("p1"), rt.ID, sub.ID, ""))
	p := r.getPort(i.PortID)
	if p.DeviceOwner != model.OwnerRouterInterface || p.FixedIPs[0].IP != sub.GatewayIP || p.ProjectID != "p1" || p.PortSecurity {
		t.Fatalf("interface: %+v", p)
	}
	if i.Router.Revision != 2 || !slices.Equal(i.SubnetIDs, []string{sub.ID}) || i.NetworkID != n.ID {
		t.Errorf("answer: %+v", i)
	}
	_, err := r.s.AddInterface(ctx, member("p1"), rt.ID, sub.ID, "")
	wantFault(t, err, "BadRequest", 400, "Bad router request: Router already has a port on subnet "+sub.ID+".")
	wantFault(t, r.s.DeleteRouter(ctx, admin, rt.ID, nil), "RouterInUse", 409, "Router "+rt.ID+" has ports still attached: "+p.ID)
	wantFault(t, r.s.DeletePort(ctx, admin, p.ID, nil), "ServicePortInUse", 409,
		"Port "+p.ID+" cannot be deleted directly via the port API: has device owner network:router_interface.")
	wantFault(t, r.s.DeletePort(ctx, admin, gw.ID, nil), "ServicePortInUse", 409, "")
	wantFault(t, r.s.DeleteSubnet(ctx, admin, sub.ID, nil), "SubnetInUse", 409, "")
	wantFault(t, r.s.DeleteNetwork(ctx, admin, ext.ID, nil), "NetworkInUse", 409, "")
	_, err = r.s.UpdateNetwork(ctx, admin, ext.ID, change(func(n *model.Network) { n.External = false }, "router:external"))
	wantFault(t, err, "ExternalNetworkInUse", 409, "")
	_, err = r.s.UpdatePort(ctx, admin, p.ID, change(func(p *model.Port) { p.DeviceID = "" }, "device_id"))
	wantFault(t, err, "PortInUse", 409, "")
	_, err = r.s.UpdatePort(ctx, admin, p.ID, change(func(p *model.Port) { p.FixedIPs = nil }, "fixed_ips"))
	wantFault(t, err, "BadRequest", 400, "")
	fake := port(n)
	fake.DeviceID, fake.DeviceOwner = rt.ID, model.OwnerRouterInterface
	_, err = r.s.CreatePorts(ctx, admin, []neutron.Draft[model.Port]{draft(fake)})
	wantFault(t, err, "DeviceIDNotOwnedByTenant", 409, "")

	got := must[*neutron.RouterInterface](t)(r.s.RemoveInterface(ctx, member("p1"), rt.ID, sub.ID, ""))
	if got.PortID != p.ID || r.getPort(p.ID) != nil {
		t.Errorf("removed: %+v", got)
	}
	_, err = r.s.RemoveInterface(ctx, admin, rt.ID, sub.ID, "")
	wantFault(t, err, "RouterInterfaceNotFoundForSubnet", 404, "Router "+rt.ID+" has no interface on subnet "+sub.ID)
	if err = r.s.DeleteRouter(ctx, admin, rt.ID, nil); err != nil {
		t.Fatal(err)
	}
	if r.getPort(gw.ID) != nil {
		t.Error("the gateway outlived its router")
	}
	wantFault(t, r.s.DeleteRouter(ctx, admin, rt.ID, nil), "RouterNotFound", 404, "Router "+rt.ID+" could not be found")
	must[*model.Network](t)(r.s.UpdateNetwork(ctx, admin, ext.ID, change(func(n *model.Network) { n.External = false }, "router:external")))
}

func TestRouterInterfacesByPortAndFamily(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	v4 := r.subnet(n, "10.0.0.0/24")
	six := r.subnet(n, "2001:db8:1::/64")
	seven := r.subnet(n, "2001:db8:2::/64")
	rt := r.router("p1", nil)
	p := r.port(port(n), "fixed_ips") // no address
	_, err := r.s.AddInterface(ctx, member("p1"), rt.ID, "", p.ID)
	wantFault(t, err, "BadRequest", 400, "Bad router request: Router port must have at least one fixed IP.")
	p = port(n)
	p.FixedIPs = []model.FixedIP{{SubnetID: v4.ID, IP: netip.MustParseAddr("10.0.0.9")}}
	p = r.port(p, "fixed_ips")
	if len(p.SecurityGroups) == 0 {
		t.Fatal("a port without groups proves nothing")
	}
	_, err = r.s.AddInterface(ctx, member("p2"), rt.ID, "", p.ID)
	wantFault(t, err, "PortNotFound", 404, "")
	must[*neutron.RouterInterface](t)(r.s.AddInterface(ctx, member("p1"), rt.ID, "", p.ID))
	if p = r.getPort(p.ID); p.DeviceID != rt.ID || p.PortSecurity || len(p.SecurityGroups) != 0 {
		t.Errorf("interface by port: %+v", p)
	}
	other := r.router("p1", nil)
	_, err = r.s.AddInterface(ctx, member("p1"), other.ID, "", p.ID)
	wantFault(t, err, "PortInUse", 409,
		"Unable to complete operation on port "+p.ID+" for network "+n.ID+". Port already has an attached device "+rt.ID+".")

	// IPv6 subnets of one network share a port, which goes with the last of them.
	a := must[*neutron.RouterInterface](t)(r.s.AddInterface(ctx, member("p1"), rt.ID, six.ID, ""))
	b := must[*neutron.RouterInterface](t)(r.s.AddInterface(ctx, member("p1"), rt.ID, seven.ID, ""))
	if a.PortID != b.PortID || len(r.getPort(a.PortID).FixedIPs) != 2 {
		t.Errorf("two IPv6 subnets: %+v %+v", a, b)
	}
	must[*neutron.RouterInterface](t)(r.s.RemoveInterface(ctx, member("p1"), rt.ID, six.ID, ""))
	if p := r.getPort(a.PortID); len(p.FixedIPs) != 1 || p.FixedIPs[0].SubnetID != seven.ID {
		t.Errorf("one IPv6 subnet left: %+v", p)
	}
	_, err = r.s.RemoveInterface(ctx, member("p1"), rt.ID, six.ID, a.PortID)
	wantFault(t, err, "SubnetMismatchForPort", 400, "")
	must[*neutron.RouterInterface](t)(r.s.RemoveInterface(ctx, member("p1"), rt.ID, seven.ID, a.PortID))
	_, err = r.s.RemoveInterface(ctx, member("p1"), rt.ID, "", a.PortID)
	wantFault(t, err, "RouterInterfaceNotFound", 404, "Router "+rt.ID+" does not have an interface with id "+a.PortID)
	must[*neutron.RouterInterface](t)(r.s.RemoveInterface(ctx, member("p1"), rt.ID, "", p.ID))

	// What overlaps is refused, what belongs to others too.
	twin := r.subnet(r.network("p1"), "10.0.0.0/25")
	foreign := r.subnet(r.network("p2"), "10.9.0.0/24")
	none := subnet(r.network("p1"), "10.8.0.0/24")
	none = r.addSubnet(none, "cidr", "gateway_ip")
	must[*neutron.RouterInterface](t)(r.s.AddInterface(ctx, member("p1"), rt.ID, v4.ID, ""))
	_, err = r.s.AddInterface(ctx, member("p1"), rt.ID, twin.ID, "")
	wantFault(t, err, "BadRequest", 400, "Bad router request: Cidr 10.0.0.0/25 of subnet "+twin.ID+" overlaps with cidr 10.0.0.0/24 of subnet "+v4.ID+".")
	_, err = r.s.AddInterface(ctx, member("p1"), rt.ID, foreign.ID, "")
	wantFault(t, err, "SubnetNotFound", 404, "")
	_, err = r.s.AddInterface(ctx, member("p1"), rt.ID, none.ID, "")
	wantFault(t, err, "BadRequest", 400, "Bad router request: Subnet for router interface must have a gateway IP.")
}

func TestGateways(t *testing.T) {
	r := newRig(t, neutron.Options{})
	one, two := r.external("203.0.113.0/24"), r.external("198.51.100.0/24")
	inner := r.network("p1")
	sub := r.subnet(inner, "198.51.100.0/25")
	rt := r.router("p1", one)
	first := rt.Gateway.PortID
	_, err := r.setGateway(rt.ID, &neutron.GatewayInfo{NetworkID: inner.ID})
	wantFault(t, err, "BadRequest", 400, "Bad router request: Network "+inner.ID+" is not an external network.")
	_, err = r.setGateway(rt.ID, &neutron.GatewayInfo{NetworkID: "no"})
	wantFault(t, err, "NetworkNotFound", 404, "")
	off := false
	rt = must[*model.Router](t)(r.setGateway(rt.ID, &neutron.GatewayInfo{NetworkID: one.ID, EnableSNAT: &off}))
	if rt.Gateway.EnableSNAT || rt.Gateway.PortID != first {
		t.Errorf("SNAT off: %+v", rt.Gateway)
	}
	before := rt.Revision
	rt = must[*model.Router](t)(r.setGateway(rt.ID, &neutron.GatewayInfo{NetworkID: one.ID, FixedIPs: []model.FixedIP{{IP: netip.MustParseAddr("203.0.113.77")}}}))
	if p := r.getPort(first); p.FixedIPs[0].IP.String() != "203.0.113.77" || !rt.Gateway.EnableSNAT || rt.Revision != before+1 {
		t.Errorf("another address: %+v, revision %d after %d", p.FixedIPs, rt.Revision, before)
	}
	_, err = r.setGateway(rt.ID, &neutron.GatewayInfo{NetworkID: one.ID, FixedIPs: []model.FixedIP{{IP: netip.MustParseAddr("203.0.113.1")}}})
	wantFault(t, err, "BadRequest", 400, "Bad router request: External IP 203.0.113.1 is the same as the gateway IP.")

	// A subnet that overlaps the other external network keeps the gateway from going there.
	must[*neutron.RouterInterface](t)(r.s.AddInterface(ctx, member("p1"), rt.ID, sub.ID, ""))
	_, err = r.setGateway(rt.ID, &neutron.GatewayInfo{NetworkID: two.ID})
	wantFault(t, err, "BadRequest", 400, "")
	if r.getPort(first) == nil {
		t.Fatal("a change that failed took the gateway away")
	}
	must[*neutron.RouterInterface](t)(r.s.RemoveInterface(ctx, member("p1"), rt.ID, sub.ID, ""))
	rt = must[*model.Router](t)(r.setGateway(rt.ID, &neutron.GatewayInfo{NetworkID: two.ID}))
	if r.getPort(first) != nil || rt.Gateway.NetworkID != two.ID {
		t.Error("the gateway did not move")
	}

	// A route over the gateway holds it.
	must[*model.Router](t)(r.setRoutes(rt.ID, route("172.16.0.0/12", "198.51.100.9")))
	_, err = r.setGateway(rt.ID, nil)
	wantFault(t, err, "RouterInterfaceInUseByRoute", 409, "")
	must[*model.Router](t)(r.setRoutes(rt.ID))
	rt = must[*model.Router](t)(r.setGateway(rt.ID, &neutron.GatewayInfo{}))
	if rt.Gateway != nil {
		t.Errorf("cleared: %+v", rt.Gateway)
	}
	if err = r.s.DeleteNetwork(ctx, admin, one.ID, nil); err != nil {
		t.Error(err)
	}
}

func TestExtraRoutes(t *testing.T) {
	r := newRig(t, neutron.Options{MaxRoutes: 2})
	sub := r.subnet(r.network("p1"), "10.0.0.0/24")
	rt := r.router("p1", nil)
	must[*neutron.RouterInterface](t)(r.s.AddInterface(ctx, member("p1"), rt.ID, sub.ID, ""))
	_, err := r.setRoutes(rt.ID, route("10.1.0.0/24", "10.9.0.1"))
	wantFault(t, err, "InvalidRoutes", 400,
		"Invalid format for routes: [{'destination': '10.1.0.0/24', 'nexthop': '10.9.0.1'}], the nexthop is not connected with router")
	_, err = r.setRoutes(rt.ID, route("10.1.0.0/24", "10.0.0.1"))
	wantFault(t, err, "InvalidRoutes", 400, "")
	_, err = r.s.AddRoutes(ctx, admin, rt.ID, []model.Route{route("10.1.0.0/24", "10.0.0.5"), route("10.2.0.0/24", "10.0.0.5"), route("10.3.0.0/24", "10.0.0.5")})
	wantFault(t, err, "RoutesExhausted", 400, "")
	rt = must[*model.Router](t)(r.s.AddRoutes(ctx, admin, rt.ID, []model.Route{route("10.2.0.0/24", "10.0.0.5"), route("10.1.0.0/24", "10.0.0.5")}))
	if len(rt.Routes) != 2 || rt.Routes[0].Destination.String() != "10.1.0.0/24" {
		t.Errorf("routes: %v", rt.Routes)
	}
	revision := rt.Revision
	rt = must[*model.Router](t)(r.s.AddRoutes(ctx, admin, rt.ID, []model.Route{route("10.2.0.0/24", "10.0.0.5")}))
	if rt.Revision != revision {
		t.Error("a route that is there was counted as a change")
	}
	_, err = r.s.RemoveInterface(ctx, admin, rt.ID, sub.ID, "")
	wantFault(t, err, "RouterInterfaceInUseByRoute", 409, "")
	rt = must[*model.Router](t)(r.s.RemoveRoutes(ctx, admin, rt.ID, []model.Route{route("10.2.0.0/24", "10.0.0.5"), route("10.7.0.0/24", "10.0.0.5")}))
	if len(rt.Routes) != 1 {
		t.Errorf("routes left: %v", rt.Routes)
	}
}

func TestFloatingIPs(t *testing.T) {
	r := newRig(t, neutron.Options{})
	ext := r.external("203.0.113.0/24")
	n := r.network("p1")
	sub := r.subnet(n, "10.0.0.0/24")
	vm := r.port(port(n))
	fixed := vm.FixedIPs[0].IP
	_, err := r.floating("p1", n, "")
	wantFault(t, err, "BadRequest", 400, "Bad floatingip request: Network "+n.ID+" is not a valid external network.")
	_, err = r.floating("p1", ext, vm.ID)
	wantFault(t, err, "ExternalGatewayForFloatingIPNotFound", 404, "External network "+ext.ID+" is not reachable from subnet "+sub.ID+
		".  Therefore, cannot associate Port "+vm.ID+" with a Floating IP.")
	rt := r.router("p1", ext)
	must[*neutron.RouterInterface](t)(r.s.AddInterface(ctx, member("p1"), rt.ID, sub.ID, ""))
	f := must[*model.FloatingIP](t)(r.floating("p1", ext, vm.ID))
	if f.PortID != vm.ID || f.FixedIP != fixed || f.RouterID != rt.ID || f.Status != model.StatusDown || !f.FloatingIP.Is4() {
		t.Fatalf("new: %+v", f)
	}
	hidden := r.getPort(f.FloatingPortID)
	if hidden.Status != model.StatusNA || hidden.DeviceID != f.ID || hidden.ProjectID != "" || hidden.FixedIPs[0].IP != f.FloatingIP {
		t.Errorf("its port: %+v", hidden)
	}
	second := must[*model.FloatingIP](t)(r.floating("p1", ext, ""))
	associate := func(id, port string) (*model.FloatingIP, error) {
		return r.s.UpdateFloatingIP(ctx, member("p1"), id, change(func(f *model.FloatingIP) { f.PortID = port }, "port_id"))
	}
	_, err = associate(second.ID, vm.ID)
	wantFault(t, err, "FloatingIPPortAlreadyAssociated", 409, "")

	// What it needs stays.
	_, err = r.s.RemoveInterface(ctx, admin, rt.ID, sub.ID, "")
	wantFault(t, err, "RouterInterfaceInUseByFloatingIP", 409, "")
	_, err = r.setGateway(rt.ID, nil)
	wantFault(t, err, "RouterExternalGatewayInUseByFloatingIp", 409, "")
	wantFault(t, r.s.DeletePort(ctx, admin, f.FloatingPortID, nil), "ServicePortInUse", 409, "")

	// A change of the description keeps it; null lets go.
	f = must[*model.FloatingIP](t)(r.s.UpdateFloatingIP(ctx, admin, f.ID, change(func(f *model.FloatingIP) { f.Description = "x" }, "description")))
	if f.PortID != vm.ID || f.Revision != 2 {
		t.Errorf("described: %+v", f)
	}
	f = must[*model.FloatingIP](t)(associate(f.ID, ""))
	if f.PortID != "" || f.RouterID != "" || f.FixedIP.IsValid() {
		t.Errorf("let go: %+v", f)
	}
	second = must[*model.FloatingIP](t)(associate(second.ID, vm.ID))

	// A port with two addresses has to be told apart.
	two := port(n)
	two.FixedIPs = []model.FixedIP{{SubnetID: sub.ID}, {SubnetID: sub.ID}}
	two = r.port(two, "fixed_ips")
	_, err = associate(f.ID, two.ID)
	wantFault(t, err, "BadRequest", 400, "")
	f = must[*model.FloatingIP](t)(r.s.UpdateFloatingIP(ctx, member("p1"), f.ID, change(func(f *model.FloatingIP) {
		f.PortID, f.FixedIP = two.ID, two.FixedIPs[1].IP
	}, "port_id", "fixed_ip_address")))
	if f.FixedIP != two.FixedIPs[1].IP {
		t.Errorf("the second address: %+v", f)
	}
	// The address goes: so does the association.
	must[*model.Port](t)(r.s.UpdatePort(ctx, admin, two.ID, change(func(p *model.Port) { p.FixedIPs = two.FixedIPs[:1] }, "fixed_ips")))
	if f = r.getFloating(f.ID); f.PortID != "" {
		t.Errorf("its address went: %+v", f)
	}
	// The port goes: so does the association.
	if err = r.s.DeletePort(ctx, admin, vm.ID, nil); err != nil {
		t.Fatal(err)
	}
	if second = r.getFloating(second.ID); second.PortID != "" || second.Status != model.StatusDown {
		t.Errorf("its port went: %+v", second)
	}
	for _, id := range []string{f.ID, second.ID} {
		if err = r.s.DeleteFloatingIP(ctx, admin, id, nil); err != nil {
			t.Fatal(err)
		}
	}
	wantFault(t, r.s.DeleteFloatingIP(ctx, admin, f.ID, nil), "FloatingIPNotFound", 404, "Floating IP "+f.ID+" could not be found")
	must[*neutron.RouterInterface](t)(r.s.RemoveInterface(ctx, admin, rt.ID, sub.ID, ""))

	// An address of one's own choice is had once.
	want := &model.FloatingIP{Meta: model.Meta{ProjectID: "p1"}, FloatingNetworkID: ext.ID, FloatingIP: netip.MustParseAddr("203.0.113.50")}
	must[[]*model.FloatingIP](t)(r.s.CreateFloatingIPs(ctx, admin, []neutron.Draft[model.FloatingIP]{draft(want)}))
	_, err = r.s.CreateFloatingIPs(ctx, admin, []neutron.Draft[model.FloatingIP]{draft(want)})
	if f := fault.As(err); f == nil || f.Status != http.StatusConflict {
		t.Errorf("twice: %v", err)
	}
}
