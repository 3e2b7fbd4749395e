package neutron

import (
	"maps"
	"net/netip"

	"neutrino/internal/fault"
	"neutrino/internal/ipam"
	"neutrino/internal/model"
)

// setGateway gives the router (a copy that the caller writes) the gateway that is asked for.
// On the network that it has, only addresses and SNAT change; else the old gateway goes.
func (s *Service) setGateway(a *attempt, who model.Actor, r *model.Router, info *GatewayInfo) error {
	if info == nil || info.NetworkID == "" {
		return s.clearGateway(a, r)
	}
	n, ok := s.t.Networks.Read(a.Tx, info.NetworkID)
	if !ok || !seesNetwork(who, n) {
		return fault.NetworkNotFound(info.NetworkID)
	}
	if !n.External {
		return fault.BadRequest("router", "Network %s is not an external network", n.ID)
	}
	subnets := s.subnetsOf(a, n.ID)
	for _, f := range info.FixedIPs {
		for _, sub := range subnets {
			if f.IP.IsValid() && f.IP == sub.GatewayIP {
				return fault.BadRequest("router", "External IP %s is the same as the gateway IP", f.IP)
			}
		}
	}
	snat := !s.o.NoSNAT
	if info.EnableSNAT != nil {
		snat = *info.EnableSNAT
	}
	if r.Gateway != nil && r.Gateway.NetworkID == n.ID {
		r.Gateway.EnableSNAT = snat
		return s.moveGateway(a, r, info.FixedIPs)
	}
	if err := s.clearGateway(a, r); err != nil {
		return err
	}
	if err := s.checkOverlap(a, r.ID, "", subnets); err != nil {
		return err
	}
	p := &model.Port{
		NetworkID: n.ID, FixedIPs: info.FixedIPs, DeviceID: r.ID, DeviceOwner: model.OwnerRouterGateway,
	}
	if err := s.makeRouterPort(a, n, p, newID(), len(info.FixedIPs) > 0); err != nil {
		return err
	}
	a.take(claimWayOut, n.ID+"/"+r.ID, r.ID)
	r.Gateway = &model.RouterGateway{NetworkID: n.ID, PortID: p.ID, EnableSNAT: snat}
	return nil
}

// moveGateway changes the addresses of a gateway that stays on its network. A route must not
// lose the subnet that its next hop is on.
func (s *Service) moveGateway(a *attempt, r *model.Router, fixed []model.FixedIP) error {
	old, ok := s.t.Ports.Read(a.Tx, r.Gateway.PortID)
	if !ok || !s.restOn(a, r.Gateway.NetworkID) {
		return fault.PortNotFound(r.Gateway.PortID)
	}
	if !asksForMore(old.FixedIPs, fixed) {
		return nil
	}
	chosen, err := ipam.ChooseAddresses(ipam.Request{
		NetworkID: old.NetworkID, MAC: old.MAC, DeviceOwner: old.DeviceOwner, Fixed: fixed, Given: true, Current: old.FixedIPs,
	}, s.subnetsOf(a, old.NetworkID), a.heldAddress, a.rnd)
	if err != nil {
		return err
	}
	p := old.Clone()
	p.FixedIPs = notNil(chosen)
	if same(old, p) {
		return nil
	}
	for _, f := range old.FixedIPs {
		if sub, known := s.t.Subnets.Get(a.snap, f.SubnetID); known && !hasAddressOn(p, sub.ID) && routeNeeds(r, sub.CIDR) {
			return fault.RouterInterfaceInUseByRoute(r.ID, sub.ID)
		}
	}
	var added []*model.Subnet
	for _, f := range p.FixedIPs {
		if sub, known := s.t.Subnets.Get(a.snap, f.SubnetID); known && !hasAddressOn(old, sub.ID) {
			added = append(added, sub) // it may be younger than the gateway
		}
	}
	if err := s.checkOverlap(a, r.ID, p.ID, added); err != nil {
		return err
	}
	for _, one := range r.Routes {
		for _, f := range p.FixedIPs {
			if f.IP == one.NextHop {
				return fault.InvalidRoutes(showRoutes(r.Routes), "the nexthop is used by router")
			}
		}
	}
	if err := s.moveAddresses(a, old, p); err != nil {
		return err
	}
	s.bump(&p.Meta)
	s.t.Ports.Put(a.Tx, p)
	s.bump(&r.Meta) // the router shows its gateway's addresses
	return nil
}

// asksForMore is Neutron's test of whether external_fixed_ips ask for a change: other
// subnets, or other addresses. How many per subnet does not count.
func asksForMore(have, asked []model.FixedIP) bool {
	if len(asked) == 0 {
		return false
	}
	sets := func(list []model.FixedIP) (subnets map[string]bool, addresses map[netip.Addr]bool) {
		subnets, addresses = make(map[string]bool), make(map[netip.Addr]bool)
		for _, f := range list {
			if f.SubnetID != "" {
				subnets[f.SubnetID] = true
			}
			if f.IP.IsValid() {
				addresses[f.IP] = true
			}
		}
		return subnets, addresses
	}
	haveSubnets, haveAddresses := sets(have)
	subnets, addresses := sets(asked)
	return !maps.Equal(haveSubnets, subnets) || !maps.Equal(haveAddresses, addresses)
}

// clearGateway takes the router's gateway away, unless floating IPs or routes need it.
func (s *Service) clearGateway(a *attempt, r *model.Router) error {
	g := r.Gateway
	if g == nil {
		return nil
	}
	if !a.NoneUnder(claimVia, r.ID+"/") {
		return fault.RouterExternalGatewayInUseByFloatingIP(r.ID, g.NetworkID)
	}
	if p, ok := s.t.Ports.Read(a.Tx, g.PortID); ok {
		for _, f := range p.FixedIPs {
			if sub, known := s.t.Subnets.Get(a.snap, f.SubnetID); known && routeNeeds(r, sub.CIDR) {
				return fault.RouterInterfaceInUseByRoute(r.ID, sub.ID)
			}
		}
	}
	s.removePort(a, g.PortID)
	a.drop(claimWayOut, g.NetworkID+"/"+r.ID, r.ID)
	r.Gateway = nil
	return nil
}

// makeRouterPort makes a port of a router (p names network, router, owner and addresses),
// and binds it on the router's host when it has one.
func (s *Service) makeRouterPort(a *attempt, n *model.Network, p *model.Port, id string, fixedGiven bool) error {
	if !s.restOn(a, n.ID) {
		return fault.NetworkNotFound(n.ID)
	}
	s.stamp(&p.Meta)
	p.ID, p.AdminStateUp, p.PropagateUplinkStatus, p.Status = id, true, true, model.StatusDown
	p.Journey = model.Journey{Created: s.moment()}
	if err := s.takeMAC(a, p); err != nil {
		return err
	}
	if err := s.firstAddresses(a, p, fixedGiven); err != nil {
		return err
	}
	p.Binding = model.Binding{VnicType: model.VnicNormal, VIFType: model.VIFUnbound}
	if err := s.bindToRouter(a, n, p); err != nil {
		return err
	}
	s.t.Ports.Put(a.Tx, p)
	a.ports = append(a.ports, p)
	return nil
}

// bindToRouter binds a port where its router is. A router that an operator took off its
// agent is to be scheduled again, now that it has changed.
func (s *Service) bindToRouter(a *attempt, n *model.Network, p *model.Port) error {
	b, ok := s.t.RouterBindings.Read(a.Tx, p.DeviceID)
	if !ok {
		return nil
	}
	if b.AgentID == "" {
		s.t.RouterBindings.Delete(a.Tx, p.DeviceID)
		return nil
	}
	agent, ok := s.t.Agents.Get(a.snap, b.AgentID)
	if !ok {
		return nil
	}
	return s.bindOn(a, n, p, agent.Host)
}

// bindOn binds a port of a router on a host, as the host's switch has it.
func (s *Service) bindOn(a *attempt, n *model.Network, p *model.Port, host string) error {
	p.Binding = model.Binding{Host: host, VnicType: s.dhcpVnicType(a.snap, host)}
	s.unbind(p)
	return s.bind(a, p, n)
}
