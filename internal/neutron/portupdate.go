package neutron

import (
	"context"

	"neutrino/internal/fault"
	"neutrino/internal/ipam"
	"neutrino/internal/ml2"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// UpdatePort changes a port. A change of host, vnic_type or profile binds it anew, and
// puts its status to DOWN; any change tries once more to bind a port that could not be bound.
func (s *Service) UpdatePort(ctx context.Context, who model.Actor, id string, c Change[model.Port]) (*model.Port, error) {
	var out *model.Port
	err := s.update(ctx, "updating port "+id, func(tx *store.Tx) error {
		a := s.begin(tx)
		old, ok := s.t.Ports.Read(tx, id)
		if !ok {
			return fault.PortNotFound(id)
		}
		if err := checkMatch(c.IfMatch, old.Revision); err != nil {
			return err
		}
		p := old.Clone()
		c.Apply(p)
		if err := s.changePort(a, who, old, p, c); err != nil {
			return err
		}
		if out = old; same(old, p) {
			return nil
		}
		s.bump(&p.Meta)
		s.t.Ports.Put(tx, p)
		out = p
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.secondChance(ctx, out), nil
}

func (s *Service) changePort(a *attempt, who model.Actor, old, p *model.Port, c Change[model.Port]) error {
	given := c.Given
	// What a client cannot write comes from the row, whatever Apply did.
	p.ID, p.NetworkID, p.Status, p.IPAllocation = old.ID, old.NetworkID, old.Status, old.IPAllocation
	if err := s.checkService(a, old, p, given); err != nil {
		return err
	}
	if given["extra_dhcp_opts"] {
		p.ExtraDHCPOpts = mergeOptions(old.ExtraDHCPOpts, optionChanges(c.Extra, p.ExtraDHCPOpts))
	}
	if given["binding:profile"] {
		if _, err := ml2.ParseProfile(p.Binding.Profile); err != nil {
			return err
		}
	}
	s.defaultGroupOf(a, p.ProjectID)
	n, ok := s.t.Networks.Get(a.snap, p.NetworkID)
	if !ok || !s.restOn(a, p.NetworkID) {
		return fault.NetworkNotFound(p.NetworkID)
	}
	asked := p.FixedIPs
	p.FixedIPs = old.FixedIPs
	if given["mac_address"] {
		if err := s.changeMAC(a, old, p); err != nil {
			return err
		}
	}
	if given["fixed_ips"] {
		fixed, err := ipam.ChooseAddresses(ipam.Request{
			NetworkID: p.NetworkID, MAC: p.MAC, DeviceOwner: p.DeviceOwner,
			Fixed: asked, Given: true, Current: p.FixedIPs,
		}, s.subnetsOf(a, p.NetworkID), a.heldAddress, a.rnd)
		if err != nil {
			return err
		}
		p.FixedIPs = notNil(fixed)
	}
	if err := s.changeRules(a, who, old, p, given); err != nil {
		return err
	}
	if err := s.changeBinding(a, old, p, n); err != nil {
		return err
	}
	return s.moveAddresses(a, old, p)
}
