package neutron

import (
	"context"
	"errors"
	"net/http"

	"neutrino/internal/fault"
	"neutrino/internal/ipam"
	"neutrino/internal/ml2"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// CreatePorts makes all of d or none: each with its MAC, its addresses, its security
// groups, and bound where a host is named. It is one transaction; ports that are made at
// the same time conflict only when they ask for the same MAC or address.
func (s *Service) CreatePorts(ctx context.Context, who model.Actor, d []Draft[model.Port]) ([]*model.Port, error) {
	ids, release, err := reserve(s, quotaPort, d)
	if err != nil {
		return nil, err
	}
	defer release()
	out := make([]*model.Port, len(d))
	err = s.update(ctx, "creating ports", func(tx *store.Tx) error {
		a := s.begin(tx)
		for i := range d {
			p, draftErr := s.createPort(a, who, d[i], ids[i])
			if draftErr != nil {
				return draftErr
			}
			out[i] = p
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, p := range out {
		out[i] = s.secondChance(ctx, p)
	}
	return out, nil
}

func (s *Service) createPort(a *attempt, who model.Actor, d Draft[model.Port], id string) (*model.Port, error) {
	p := d.Value.Clone()
	n, err := s.networkFor(a, who, p)
	if err != nil {
		return nil, err
	}
	if err := s.checkOwner(a, p); err != nil {
		return nil, err
	}
	s.stamp(&p.Meta)
	p.ID, p.Status = id, model.StatusDown
	p.Journey = model.Journey{Created: s.moment()}
	if err := s.takeMAC(a, p); err != nil {
		return nil, err
	}
	if err := s.firstAddresses(a, p, d.Given["fixed_ips"]); err != nil {
		return nil, err
	}
	if isNetworkOwned(p.DeviceOwner) {
		p.PortSecurity = false
	} else if !d.Given["port_security_enabled"] {
		p.PortSecurity = n.PortSecurity
	}
	if err := s.firstRules(a, who, p, d.Given["security_groups"]); err != nil {
		return nil, err
	}
	p.Binding = model.Binding{Host: p.Binding.Host, VnicType: p.Binding.VnicType, Profile: p.Binding.Profile, VIFType: model.VIFUnbound}
	set(&p.Binding.VnicType, model.VnicNormal)
	if _, err := ml2.ParseProfile(p.Binding.Profile); err != nil {
		return nil, err
	}
	if p.Binding.Host != "" {
		if err := s.bind(a, p, n); err != nil {
			return nil, err
		}
	}
	s.t.Ports.Put(a.Tx, p)
	return p, nil
}

// networkFor returns the network a port is to be made on, if the actor may do that.
func (s *Service) networkFor(a *attempt, who model.Actor, p *model.Port) (*model.Network, error) {
	n, ok := s.t.Networks.Get(a.snap, p.NetworkID)
	if !ok || !seesNetwork(who, n) || !s.restOn(a, p.NetworkID) {
		return nil, fault.NetworkNotFound(p.NetworkID)
	}
	if n.External && !n.Shared && n.ProjectID != who.ProjectID && !who.HasRole("service") {
		return nil, fault.New("HTTPForbidden", http.StatusForbidden, "Tenant %s not allowed to create port on this network", who.ProjectID)
	}
	return n, nil
}

// restOn makes the commit depend on the network's existence, subnets and segments being
// as they are in the view.
func (s *Service) restOn(a *attempt, network string) bool {
	_, ok := s.t.Layouts.Read(a.Tx, network)
	return ok
}

// takeMAC claims the port's MAC, or one of our own when it has none.
func (s *Service) takeMAC(a *attempt, p *model.Port) error {
	if p.MAC == "" {
		taken := func(mac string) bool { return a.held(claimMAC, macKey(p.NetworkID, mac)) }
		mac, err := ipam.GenerateMAC(s.o.BaseMAC, taken, a.rnd)
		if errors.Is(err, ipam.ErrMACsExhausted) {
			return fault.NetworkMACAddressGenerationFailure(p.NetworkID)
		}
		if err != nil {
			return err
		}
		p.MAC = mac
	}
	if !a.take(claimMAC, macKey(p.NetworkID, p.MAC), p.ID) {
		return fault.MACAddressInUse(p.NetworkID, p.MAC)
	}
	return nil
}

func (s *Service) firstAddresses(a *attempt, p *model.Port, given bool) error {
	fixed, err := ipam.ChooseAddresses(ipam.Request{
		NetworkID: p.NetworkID, MAC: p.MAC, DeviceOwner: p.DeviceOwner, Fixed: p.FixedIPs, Given: given,
	}, s.subnetsOf(a, p.NetworkID), a.heldAddress, a.rnd)
	if err != nil {
		return err
	}
	p.FixedIPs = notNil(fixed)
	p.IPAllocation = ipAllocation(fixed)
	return s.takeAddresses(a, p, fixed)
}

func (s *Service) takeAddresses(a *attempt, p *model.Port, fixed []model.FixedIP) error {
	for _, f := range fixed {
		if !a.take(claimIP, ipKey(f), p.ID) {
			return fault.IPAddressAlreadyAllocated(f.IP, f.SubnetID)
		}
	}
	return nil
}

// notNil keeps "no address" one value, also after a trip through JSON.
func notNil(fixed []model.FixedIP) []model.FixedIP {
	if fixed == nil {
		return []model.FixedIP{}
	}
	return fixed
}

func ipAllocation(fixed []model.FixedIP) string {
	if len(fixed) == 0 {
		return "none"
	}
	return "immediate"
}

// moveAddresses gives back the addresses that the port no longer has and claims the new ones.
func (s *Service) moveAddresses(a *attempt, old, p *model.Port) error {
	had := make(map[model.FixedIP]bool, len(old.FixedIPs))
	for _, f := range old.FixedIPs {
		had[f] = true
	}
	var added []model.FixedIP
	for _, f := range p.FixedIPs {
		if had[f] {
			delete(had, f)
		} else {
			added = append(added, f)
		}
	}
	for f := range had {
		a.drop(claimIP, ipKey(f), p.ID)
		s.freeFixed(a, p.ID, f)
	}
	p.IPAllocation = ipAllocation(p.FixedIPs)
	return s.takeAddresses(a, p, added)
}

// DeletePort deletes a port and everything that it holds.
func (s *Service) DeletePort(ctx context.Context, who model.Actor, id string, ifMatch *int64) error {
	return s.update(ctx, "deleting port "+id, func(tx *store.Tx) error {
		p, ok := s.t.Ports.Read(tx, id)
		if !ok {
			return fault.PortNotFound(id)
		}
		if err := checkMatch(ifMatch, p.Revision); err != nil {
			return err
		}
		a := s.begin(tx)
		if s.isService(a, p) {
			return fault.ServicePortInUse(id, p.DeviceOwner)
		}
		s.removePort(a, id)
		return nil
	})
}

// removePort deletes a port, if it is still there, with its claims.
func (s *Service) removePort(a *attempt, id string) {
	p, ok := s.t.Ports.Read(a.Tx, id)
	if !ok {
		return
	}
	a.drop(claimMAC, macKey(p.NetworkID, p.MAC), id)
	for _, f := range p.FixedIPs {
		a.drop(claimIP, ipKey(f), id)
		s.freeFixed(a, id, f)
	}
	for _, g := range p.SecurityGroups {
		a.drop(claimGroup, groupKey(g, id), id)
	}
	s.t.Ports.Delete(a.Tx, id)
}
