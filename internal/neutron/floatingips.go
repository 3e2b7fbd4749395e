package neutron

import (
	"context"
	"net/netip"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// CreateFloatingIPs makes all of d or none, each with the port that holds its address on the
// external network. Extra: "subnet_id" string, to have the address from that subnet.
func (s *Service) CreateFloatingIPs(ctx context.Context, who model.Actor, d []Draft[model.FloatingIP]) ([]*model.FloatingIP, error) {
	ids, release, err := reserve(s, quotaFIP, d)
	if err != nil {
		return nil, err
	}
	defer release()
	out := make([]*model.FloatingIP, len(d))
	err = s.update(ctx, "creating floating IPs", func(tx *store.Tx) error {
		a := s.begin(tx)
		for i := range d {
			f, draftErr := s.createFloatingIP(a, who, d[i], ids[i])
			if draftErr != nil {
				return draftErr
			}
			out[i] = f
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) createFloatingIP(a *attempt, who model.Actor, d Draft[model.FloatingIP], id string) (*model.FloatingIP, error) {
	f := d.Value.Clone()
	s.stamp(&f.Meta)
	f.ID, f.Status, f.RouterID = id, model.StatusDown, ""
	n, ok := s.t.Networks.Read(a.Tx, f.FloatingNetworkID)
	if !ok || !seesNetwork(who, n) || !n.External || !s.restOn(a, n.ID) {
		return nil, fault.BadRequest("floatingip", "Network %s is not a valid external network", f.FloatingNetworkID)
	}
	subnetID, _ := d.Extra["subnet_id"].(string)
	if err := s.takeFloating(a, n, f, subnetID); err != nil {
		return nil, err
	}
	port, fixed := f.PortID, f.FixedIP
	f.PortID, f.FixedIP = "", netip.Addr{}
	if err := s.associate(a, who, f, port, fixed, true); err != nil {
		return nil, err
	}
	a.take(claimWayOut, n.ID+"/"+f.ID, f.ID)
	s.t.FloatingIPs.Put(a.Tx, f)
	return f, nil
}

// takeFloating makes the port that holds the floating IP's address.
func (s *Service) takeFloating(a *attempt, n *model.Network, f *model.FloatingIP, subnetID string) error {
	v4 := false
	for _, sub := range s.subnetsOf(a, n.ID) {
		v4 = v4 || sub.IPVersion == 4
	}
	if !v4 {
		return fault.BadRequest("floatingip", "Network %s does not contain any IPv4 subnet", n.ID)
	}
	p := &model.Port{
		Meta: model.Meta{ID: newID()}, NetworkID: n.ID, AdminStateUp: true, PropagateUplinkStatus: true, Status: model.StatusNA,
		DeviceID: f.ID, DeviceOwner: model.OwnerFloatingIP,
	}
	s.stamp(&p.Meta)
	if err := s.takeMAC(a, p); err != nil {
		return err
	}
	asked := subnetID != "" || f.FloatingIP.IsValid()
	if asked {
		p.FixedIPs = []model.FixedIP{{SubnetID: subnetID, IP: f.FloatingIP}}
	}
	if err := s.firstAddresses(a, p, asked); err != nil {
		return err
	}
	p.Binding = model.Binding{VnicType: model.VnicNormal, VIFType: model.VIFUnbound}
	f.FloatingIP, f.FloatingPortID = netip.Addr{}, p.ID
	for _, fixed := range p.FixedIPs {
		if fixed.IP.Is4() && !f.FloatingIP.IsValid() {
			f.FloatingIP = fixed.IP
		}
	}
	if !f.FloatingIP.IsValid() {
		return fault.ExternalIPAddressExhausted(n.ID)
	}
	s.t.Ports.Put(a.Tx, p)
	return nil
}

// UpdateFloatingIP changes a floating IP's description, or what it stands for: another port,
// another address of its port, or nothing (port_id null).
func (s *Service) UpdateFloatingIP(ctx context.Context, who model.Actor, id string, c Change[model.FloatingIP]) (*model.FloatingIP, error) {
	var out *model.FloatingIP
	err := s.update(ctx, "updating floating IP "+id, func(tx *store.Tx) error {
		old, ok := s.t.FloatingIPs.Read(tx, id)
		if !ok {
			return fault.FloatingIPNotFound(id)
		}
		if err := checkMatch(c.IfMatch, old.Revision); err != nil {
			return err
		}
		f := old.Clone()
		c.Apply(f)
		port, fixed := f.PortID, f.FixedIP
		f.PortID, f.FixedIP, f.RouterID, f.Status = old.PortID, old.FixedIP, old.RouterID, old.Status
		if c.Given["port_id"] || c.Given["fixed_ip_address"] {
			if !c.Given["port_id"] {
				port = old.PortID
			}
			if !c.Given["fixed_ip_address"] {
				fixed = netip.Addr{}
			}
			if err := s.associate(s.begin(tx), who, f, port, fixed, false); err != nil {
				return err
			}
		}
		if out = old; same(old, f) {
			return nil
		}
		s.bump(&f.Meta)
		s.t.FloatingIPs.Put(tx, f)
		out = f
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteFloatingIP gives a floating IP back.
func (s *Service) DeleteFloatingIP(ctx context.Context, who model.Actor, id string, ifMatch *int64) error {
	return s.update(ctx, "deleting floating IP "+id, func(tx *store.Tx) error {
		a := s.begin(tx)
		old, ok := s.t.FloatingIPs.Read(tx, id)
		if !ok {
			return fault.FloatingIPNotFound(id)
		}
		if err := checkMatch(ifMatch, old.Revision); err != nil {
			return err
		}
		s.disassociate(a, old.Clone())
		s.removePort(a, old.FloatingPortID)
		a.drop(claimWayOut, old.FloatingNetworkID+"/"+id, id)
		s.t.FloatingIPs.Delete(tx, id)
		return nil
	})
}

// associate makes a floating IP (a copy that the caller writes) stand for a fixed IP of a
// port: the one that is named, or the port's only one. The commit rests on the port, on the
// router and on its interface being as they are.
func (s *Service) associate(a *attempt, who model.Actor, f *model.FloatingIP, port string, fixed netip.Addr, isNew bool) error {
	if port == "" {
		if fixed.IsValid() {
			return fault.BadRequest("floatingip", "fixed_ip_address cannot be specified without a port_id")
		}
		s.disassociate(a, f)
		return nil
	}
	p, err := s.portFor(a, who, f, port, isNew)
	if err != nil {
		return err
	}
	inside, err := fixedOf(p, fixed)
	if err != nil {
		return err
	}
	if f.PortID == port && f.FixedIP == inside.IP {
		return nil
	}
	router := s.routerBetween(a, inside.SubnetID, f.FloatingNetworkID)
	if router == "" {
		return fault.ExternalGatewayForFloatingIPNotFound(f.FloatingNetworkID, inside.SubnetID, port)
	}
	s.disassociate(a, f)
	if !a.take(claimFixed, fixedKey(port, inside.IP)+f.FloatingNetworkID, f.ID) {
		return fault.FloatingIPPortAlreadyAssociated(f.FloatingIP, f.ID, port, inside.IP, f.FloatingNetworkID)
	}
	a.take(claimVia, viaKey(router, inside.SubnetID, f.ID), f.ID)
	f.PortID, f.FixedIP, f.RouterID, f.SubnetID = port, inside.IP, router, inside.SubnetID
	return nil
}

// portFor is the port that a floating IP is to stand for, if the actor may do that.
func (s *Service) portFor(a *attempt, who model.Actor, f *model.FloatingIP, port string, isNew bool) (*model.Port, error) {
	p, ok := s.t.Ports.Read(a.Tx, port)
	if !ok {
		return nil, fault.PortNotFound(port)
	}
	n, ok := s.t.Networks.Get(a.snap, p.NetworkID)
	if !ok || !s.seesPort(who, p, n) {
		return nil, fault.PortNotFound(port)
	}
	if p.ProjectID == f.ProjectID || who.Admin {
		return p, nil
	}
	if isNew {
		return nil, fault.BadRequest("floatingip",
			"Cannot create floating IP and bind it to Port %s, since that port is owned by a different project", port)
	}
	return nil, fault.BadRequest("floatingip",
		"Port %s is associated with a different project than Floating IP %s and therefore cannot be bound", port, f.ID)
}

// fixedOf is the IPv4 address of a port that is asked for, or its only one.
func fixedOf(p *model.Port, asked netip.Addr) (model.FixedIP, error) {
	if asked.IsValid() && !asked.Is4() {
		return model.FixedIP{}, fault.BadRequest("floatingip",
			"Cannot process floating IP association with %s, since that is not an IPv4 address", asked)
	}
	var v4 []model.FixedIP
	for _, f := range p.FixedIPs {
		if f.IP.Is4() && (!asked.IsValid() || f.IP == asked) {
			v4 = append(v4, f)
		}
	}
	switch {
	case len(v4) == 1:
		return v4[0], nil
	case asked.IsValid():
		return model.FixedIP{}, fault.BadRequest("floatingip", "Port %s does not have fixed ip %s", p.ID, asked)
	case len(v4) == 0:
		return model.FixedIP{}, fault.BadRequest("floatingip", "Cannot add floating IP to port %s that has no fixed IPv4 addresses", p.ID)
	}
	return model.FixedIP{}, fault.BadRequest("floatingip",
		"Port %s has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when assigning a floating IP", p.ID)
}

// routerBetween finds the router that leads from a subnet to an external network; the one
// that is the subnet's gateway comes first.
func (s *Service) routerBetween(a *attempt, subnetID, external string) string {
	sub, ok := s.t.Subnets.Get(a.snap, subnetID)
	if !ok {
		return ""
	}
	var best *model.Port
	for p := range s.t.Ports.By(a.snap, BySubnet, subnetID) {
		if p.DeviceOwner != model.OwnerRouterInterface {
			continue
		}
		r, known := s.t.Routers.Get(a.snap, p.DeviceID)
		if !known || r.Gateway == nil || r.Gateway.NetworkID != external {
			continue
		}
		isGateway := false
		for _, f := range p.FixedIPs {
			isGateway = isGateway || f.IP == sub.GatewayIP
		}
		if best == nil || isGateway {
			best = p
		}
	}
	if best == nil {
		return ""
	}
	r, ok := s.t.Routers.Read(a.Tx, best.DeviceID)
	if _, there := s.t.Ports.Require(a.Tx, best.ID); !ok || !there || r.Gateway == nil {
		return ""
	}
	return r.ID
}

// disassociate makes a floating IP (a copy that the caller writes) stand for nothing.
func (s *Service) disassociate(a *attempt, f *model.FloatingIP) {
	if f.PortID == "" {
		return
	}
	a.drop(claimFixed, fixedKey(f.PortID, f.FixedIP)+f.FloatingNetworkID, f.ID)
	a.drop(claimVia, viaKey(f.RouterID, f.SubnetID, f.ID), f.ID)
	f.PortID, f.FixedIP, f.RouterID, f.SubnetID, f.Status = "", netip.Addr{}, "", "", model.StatusDown
}

// freeFixed takes the floating IPs from an address that a port gives back. That nobody gives
// it another one meanwhile is compared at commit.
func (s *Service) freeFixed(a *attempt, port string, fixed model.FixedIP) {
	if !fixed.IP.Is4() {
		return
	}
	for f := range s.t.FloatingIPs.By(a.snap, ByPort, port) {
		old, ok := s.t.FloatingIPs.Read(a.Tx, f.ID)
		if !ok || old.PortID != port || old.FixedIP != fixed.IP {
			continue
		}
		f = old.Clone()
		s.disassociate(a, f)
		s.bump(&f.Meta)
		s.t.FloatingIPs.Put(a.Tx, f)
	}
	if !a.NoneUnder(claimFixed, fixedKey(port, fixed.IP)) {
		s.log.Error("an address that is given back has floating IPs that do not exist", "port", port, "address", fixed.IP)
	}
}

func fixedKey(port string, fixed netip.Addr) string { return port + "/" + fixed.String() + "/" }

func viaKey(router, subnet, floating string) string {
	return strings.Join([]string{router, subnet, floating}, "/")
}
