package neutron

import (
	"context"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/ipam"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// RouterInterface is what adding or removing an interface answers.
type RouterInterface struct {
	Router    *model.Router
	PortID    string
	NetworkID string
	SubnetIDs []string // of what was added or removed; at least one
}

// AddInterface connects a router to a subnet, with a port of its own at the subnet's
// gateway address, or through a port that nobody uses. Exactly one of the ids is given.
func (s *Service) AddInterface(ctx context.Context, who model.Actor, router, subnetID, portID string) (*RouterInterface, error) {
	id, release, err := s.reserveInterface(router, portID)
	if err != nil {
		return nil, err
	}
	defer release()
	return s.changeInterfaces(ctx, "adding an interface to router "+router, router, func(a *attempt, r *model.Router) (*RouterInterface, error) {
		if portID != "" {
			return s.attachPort(a, who, r, portID)
		}
		return s.attachSubnet(a, who, r, subnetID, id)
	})
}

// changeInterfaces attaches or detaches a port of a router, and writes the router's row with
// it: interfaces, gateway and routes of one router change one after the other.
func (s *Service) changeInterfaces(ctx context.Context, what, router string, change func(*attempt, *model.Router) (*RouterInterface, error)) (*RouterInterface, error) {
	var out *RouterInterface
	err := s.update(ctx, what, func(tx *store.Tx) error {
		a := s.begin(tx)
		old, ok := s.t.Routers.Read(tx, router)
		if !ok {
			return fault.RouterNotFound(router)
		}
		r := old.Clone()
		var changeErr error
		if out, changeErr = change(a, r); changeErr != nil {
			return changeErr
		}
		s.bump(&r.Meta)
		s.t.Routers.Put(tx, r)
		out.Router = r
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// reserveInterface reserves a place in the port quota for an interface that is to be made.
func (s *Service) reserveInterface(router, portID string) (id string, release func(), err error) {
	if portID != "" {
		return "", func() {}, nil
	}
	r, ok := s.t.Routers.Get(s.db.Snapshot(), router)
	if !ok {
		return "", nil, fault.RouterNotFound(router)
	}
	d := []Draft[model.Port]{{Value: &model.Port{Meta: model.Meta{ProjectID: r.ProjectID}}}}
	ids, release, err := reserve(s, quotaPort, d)
	if err != nil {
		return "", nil, err
	}
	return ids[0], release, nil
}

// attachSubnet makes an interface on a subnet. IPv6 subnets of one network share one port.
func (s *Service) attachSubnet(a *attempt, who model.Actor, r *model.Router, subnetID, newPort string) (*RouterInterface, error) {
	sub, ok := s.t.Subnets.Read(a.Tx, subnetID)
	if !ok {
		return nil, fault.SubnetNotFound(subnetID)
	}
	n, ok := s.t.Networks.Get(a.snap, sub.NetworkID)
	if !ok || !s.restOn(a, sub.NetworkID) || !seesNetwork(who, n) {
		return nil, fault.SubnetNotFound(subnetID)
	}
	if !sub.GatewayIP.IsValid() {
		return nil, fault.BadRequest("router", "Subnet for router interface must have a gateway IP")
	}
	if sub.ProjectID != who.ProjectID && !who.Admin {
		return nil, fault.BadRequest("router",
			"Cannot add interface to router because subnet %s is not owned by project making the request", sub.ID)
	}
	if sub.IPVersion == 6 && sub.IPv6RAMode == "" && sub.IPv6AddressMode != "" {
		return nil, fault.BadRequest("router",
			"IPv6 subnet %s configured to receive RAs from an external router cannot be added to Neutron Router.", sub.ID)
	}
	if err := s.checkOverlap(a, r.ID, "", []*model.Subnet{sub}); err != nil {
		return nil, err
	}
	fixed := model.FixedIP{SubnetID: sub.ID, IP: sub.GatewayIP}
	out := &RouterInterface{NetworkID: n.ID, SubnetIDs: []string{sub.ID}}
	if sub.IPVersion == 6 {
		if p := s.ipv6Interface(a, r.ID, n.ID, ""); p != nil {
			out.PortID = p.ID
			return out, s.addAddress(a, p, fixed)
		}
	}
	p := &model.Port{
		Meta: model.Meta{ProjectID: r.ProjectID}, NetworkID: n.ID, FixedIPs: []model.FixedIP{fixed},
		DeviceID: r.ID, DeviceOwner: model.OwnerRouterInterface,
	}
	out.PortID = newPort
	return out, s.makeRouterPort(a, n, p, newPort, true)
}

// ipv6Interface is the router's interface with IPv6 addresses on a network, except one.
func (s *Service) ipv6Interface(a *attempt, router, network, except string) *model.Port {
	for _, p := range s.attached(a, router) {
		if p.ID != except && p.DeviceOwner == model.OwnerRouterInterface && p.NetworkID == network && hasIPv6(p) {
			return p
		}
	}
	return nil
}

func hasIPv6(p *model.Port) bool {
	return slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.IP.Is6() })
}

// addAddress gives a port one more address.
func (s *Service) addAddress(a *attempt, old *model.Port, fixed model.FixedIP) error {
	p := old.Clone()
	chosen, err := ipam.ChooseAddresses(ipam.Request{
		NetworkID: p.NetworkID, MAC: p.MAC, DeviceOwner: p.DeviceOwner,
		Fixed: append(slices.Clone(old.FixedIPs), fixed), Given: true, Current: old.FixedIPs,
	}, s.subnetsOf(a, p.NetworkID), a.heldAddress, a.rnd)
	if err != nil {
		return err
	}
	p.FixedIPs = notNil(chosen)
	if err := s.moveAddresses(a, old, p); err != nil {
		return err
	}
	s.bump(&p.Meta)
	s.t.Ports.Put(a.Tx, p)
	return nil
}

// attachPort makes a port that nobody uses the router's, with all its addresses.
func (s *Service) attachPort(a *attempt, who model.Actor, r *model.Router, portID string) (*RouterInterface, error) {
	old, ok := s.t.Ports.Read(a.Tx, portID)
	if !ok {
		return nil, fault.PortNotFound(portID)
	}
	n, ok := s.t.Networks.Get(a.snap, old.NetworkID)
	if !ok || !s.restOn(a, old.NetworkID) || !s.seesPort(who, old, n) {
		return nil, fault.PortNotFound(portID)
	}
	if old.DeviceID != "" {
		return nil, fault.PortInUse(old.NetworkID, old.ID, old.DeviceID)
	}
	if len(old.FixedIPs) == 0 {
		return nil, fault.BadRequest("router", "Router port must have at least one fixed IP")
	}
	if hasIPv6(old) {
		if other := s.ipv6Interface(a, r.ID, old.NetworkID, old.ID); other != nil {
			return nil, fault.BadRequest("router", "Router already contains IPv6 port %s belonging to network id %s. "+
				"Only one IPv6 port from the same network subnet can be connected to a router.", other.ID, other.NetworkID)
		}
	}
	subnets, err := s.interfaceSubnets(a, r, old)
	if err != nil {
		return nil, err
	}
	p := old.Clone()
	p.DeviceID, p.DeviceOwner, p.PortSecurity = r.ID, model.OwnerRouterInterface, false
	p.AllowedAddressPairs = nil
	for _, g := range p.SecurityGroups {
		a.drop(claimGroup, groupKey(g, p.ID), p.ID)
	}
	p.SecurityGroups = nil
	p.Binding = model.Binding{VnicType: model.VnicNormal, VIFType: model.VIFUnbound}
	s.unbind(p)
	if err := s.bindToRouter(a, n, p); err != nil {
		return nil, err
	}
	s.bump(&p.Meta)
	s.t.Ports.Put(a.Tx, p)
	out := &RouterInterface{PortID: p.ID, NetworkID: p.NetworkID}
	for _, sub := range subnets {
		out.SubnetIDs = append(out.SubnetIDs, sub.ID)
	}
	return out, nil
}

// interfaceSubnets are the subnets of a port that is to become an interface, if it may.
func (s *Service) interfaceSubnets(a *attempt, r *model.Router, p *model.Port) ([]*model.Subnet, error) {
	var subnets []*model.Subnet
	v4 := 0
	for _, f := range p.FixedIPs {
		sub, ok := s.t.Subnets.Get(a.snap, f.SubnetID)
		if !ok {
			return nil, fault.SubnetNotFound(f.SubnetID)
		}
		if slices.Contains(subnets, sub) {
			continue
		}
		subnets = append(subnets, sub)
		if sub.IPVersion == 4 {
			v4++
		}
	}
	if err := s.checkOverlap(a, r.ID, "", subnets); err != nil {
		return nil, err
	}
	if v4 > 1 {
		return nil, fault.BadRequest("router", "Cannot have multiple IPv4 subnets on router port")
	}
	return subnets, nil
}

// seesPort reports whether the actor may name the port in a request.
func (s *Service) seesPort(who model.Actor, p *model.Port, n *model.Network) bool {
	return p.ProjectID == who.ProjectID || n.ProjectID == who.ProjectID || who.HasRole("service")
}

// RemoveInterface takes an interface away: by its port, by a subnet, or by both, which then
// must belong together. The port goes with it, unless it has other subnets.
func (s *Service) RemoveInterface(ctx context.Context, who model.Actor, router, subnetID, portID string) (*RouterInterface, error) {
	return s.changeInterfaces(ctx, "removing an interface from router "+router, router, func(a *attempt, r *model.Router) (*RouterInterface, error) {
		if portID != "" {
			return s.detachPort(a, r, portID, subnetID)
		}
		return s.detachSubnet(a, r, subnetID)
	})
}

func (s *Service) detachPort(a *attempt, r *model.Router, portID, subnetID string) (*RouterInterface, error) {
	p, ok := s.t.Ports.Read(a.Tx, portID)
	if !ok || p.DeviceID != r.ID || p.DeviceOwner != model.OwnerRouterInterface {
		return nil, fault.RouterInterfaceNotFound(r.ID, portID)
	}
	if subnetID != "" && !hasAddressOn(p, subnetID) {
		return nil, fault.SubnetMismatchForPort(portID, subnetID)
	}
	out := &RouterInterface{PortID: p.ID, NetworkID: p.NetworkID}
	for _, f := range p.FixedIPs {
		out.SubnetIDs = appendNew(out.SubnetIDs, f.SubnetID)
		if err := s.checkDetach(a, r, f.SubnetID); err != nil {
			return nil, err
		}
	}
	s.removePort(a, p.ID)
	return out, nil
}

func (s *Service) detachSubnet(a *attempt, r *model.Router, subnetID string) (*RouterInterface, error) {
	if _, ok := s.t.Subnets.Get(a.snap, subnetID); !ok {
		return nil, fault.SubnetNotFound(subnetID)
	}
	if err := s.checkDetach(a, r, subnetID); err != nil {
		return nil, err
	}
	for _, old := range s.attached(a, r.ID) {
		if old.DeviceOwner != model.OwnerRouterInterface || !hasAddressOn(old, subnetID) {
			continue
		}
		out := &RouterInterface{PortID: old.ID, NetworkID: old.NetworkID, SubnetIDs: []string{subnetID}}
		if slices.ContainsFunc(old.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID != subnetID }) {
			return out, s.dropSubnetAddresses(a, old.ID, subnetID)
		}
		s.removePort(a, old.ID)
		return out, nil
	}
	return nil, fault.RouterInterfaceNotFoundForSubnet(r.ID, subnetID)
}

// checkDetach refuses to take away an interface that floating IPs or routes need.
func (s *Service) checkDetach(a *attempt, r *model.Router, subnetID string) error {
	if !a.NoneUnder(claimVia, r.ID+"/"+subnetID+"/") {
		return fault.RouterInterfaceInUseByFloatingIP(r.ID, subnetID)
	}
	if sub, ok := s.t.Subnets.Get(a.snap, subnetID); ok && routeNeeds(r, sub.CIDR) {
		return fault.RouterInterfaceInUseByRoute(r.ID, subnetID)
	}
	return nil
}
