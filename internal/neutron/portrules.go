package neutron

import (
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/ipam"
	"neutrino/internal/model"
)

// firstRules settles port security, address pairs and security groups of a new port.
func (s *Service) firstRules(a *attempt, who model.Actor, p *model.Port, groupsGiven bool) error {
	if err := s.checkPairs(p); err != nil {
		return err
	}
	if !p.PortSecurity && len(p.AllowedAddressPairs) > 0 {
		return fault.AddressPairNeedsPortSecurity()
	}
	own := s.defaultGroupOf(a, p.ProjectID)
	switch {
	case isNetworkOwned(p.DeviceOwner):
		p.SecurityGroups = nil
	case !p.PortSecurity && len(p.SecurityGroups) > 0:
		return fault.GroupsNeedPortSecurity()
	case p.PortSecurity && !groupsGiven && own != "":
		p.SecurityGroups = []string{own}
	}
	return s.takeGroups(a, who, p, nil)
}

// takeGroups checks and claims the groups of p; those in had are held already.
func (s *Service) takeGroups(a *attempt, who model.Actor, p *model.Port, had []string) error {
	if len(p.SecurityGroups) == 0 {
		return nil
	}
	p.SecurityGroups = uniqueTags(p.SecurityGroups)
	var missing []string
	stateful := make(map[bool]bool, 1)
	for _, id := range p.SecurityGroups {
		if made := a.groups[p.ProjectID]; made == id {
			stateful[true] = true // the default group, made in this transaction
			continue
		}
		g, ok := s.t.SecurityGroups.Require(a.Tx, id)
		if !ok || (p.ProjectID != "" && g.ProjectID != p.ProjectID && !g.Shared && !who.HasRole("service")) {
			missing = append(missing, id)
			continue
		}
		stateful[g.Stateful] = true
	}
	if len(missing) > 0 {
		return fault.SecurityGroupNotFound(strings.Join(missing, ", "))
	}
	if len(stateful) > 1 {
		return fault.SecurityGroupConflict("Cannot apply both stateful and stateless security groups on the same port at the same time")
	}
	for _, id := range p.SecurityGroups {
		if !slices.Contains(had, id) {
			a.take(claimGroup, groupKey(id, p.ID), p.ID)
		}
	}
	return nil
}

// checkPairs validates and completes the allowed address pairs: a pair without a MAC gets
// the port's.
func (s *Service) checkPairs(p *model.Port) error {
	if len(p.AllowedAddressPairs) > s.o.MaxAddressPairs {
		return fault.AddressPairLimit(s.o.MaxAddressPairs)
	}
	seen := make(map[model.AddressPair]bool, len(p.AllowedAddressPairs))
	for i := range p.AllowedAddressPairs {
		pair := &p.AllowedAddressPairs[i]
		if pair.IP == "" {
			return fault.AddressPairWithoutIP()
		}
		if pair.MAC == "" {
			pair.MAC = p.MAC
		}
		key := model.AddressPair{IP: pair.IP, MAC: model.CanonicalMAC(pair.MAC)}
		if seen[key] {
			return fault.DuplicateAddressPair(pair.MAC, pair.IP)
		}
		seen[key] = true
	}
	return nil
}

// changeRules settles port security, address pairs and security groups of a changed port.
// To turn port security off, a request has to take pairs and groups away with it.
func (s *Service) changeRules(a *attempt, who model.Actor, old, p *model.Port, given map[string]bool) error {
	if given["allowed_address_pairs"] {
		if err := s.checkPairs(p); err != nil {
			return err
		}
	}
	if !p.PortSecurity {
		if len(p.AllowedAddressPairs) > 0 {
			return fault.AddressPairNeedsPortSecurity()
		}
		if len(p.SecurityGroups) > 0 && given["security_groups"] {
			return fault.GroupsNeedPortSecurity()
		}
		if len(p.SecurityGroups) > 0 {
			return fault.PortSecurityHasGroups()
		}
	}
	if !given["security_groups"] {
		return nil
	}
	if err := s.takeGroups(a, who, p, old.SecurityGroups); err != nil {
		return err
	}
	for _, id := range old.SecurityGroups {
		if !slices.Contains(p.SecurityGroups, id) {
			a.drop(claimGroup, groupKey(id, p.ID), p.ID)
		}
	}
	return nil
}

// mergeOptions returns a port's extra DHCP options after a request: an option is known by
// its name and family; what the request does not name stays.
func mergeOptions(have []model.DHCPOpt, changes []DHCPOptChange) []model.DHCPOpt {
	out := slices.Clone(have)
	for _, c := range changes {
		if c.IPVersion == 0 {
			c.IPVersion = 4
		}
		i := slices.IndexFunc(out, func(o model.DHCPOpt) bool { return o.Name == c.Name && o.IPVersion == c.IPVersion })
		switch {
		case i >= 0 && c.Remove:
			out = slices.Delete(out, i, i+1)
		case i >= 0:
			out[i] = c.DHCPOpt
		case !c.Remove:
			out = append(out, c.DHCPOpt)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// optionChanges are the changes that a request makes: those named in Extra, or every
// option in the applied value.
func optionChanges(extra map[string]any, applied []model.DHCPOpt) []DHCPOptChange {
	if changes, ok := extra["extra_dhcp_opts"].([]DHCPOptChange); ok {
		return changes
	}
	changes := make([]DHCPOptChange, len(applied))
	for i, o := range applied {
		changes[i].DHCPOpt = o
	}
	return changes
}

// changeMAC moves the port's claim to a new MAC. A bound port keeps its MAC.
func (s *Service) changeMAC(a *attempt, old, p *model.Port) error {
	if p.MAC != "" && model.CanonicalMAC(p.MAC) == model.CanonicalMAC(old.MAC) {
		return nil
	}
	if old.Binding.Bound() {
		return fault.PortBound(p.ID, old.Binding.VIFType, old.MAC, p.MAC)
	}
	return s.swapMAC(a, old, p)
}

// swapMAC claims p's MAC (a new one when it is empty), gives back old's, and recomputes
// what follows from it: the addresses that the host forms itself, and pairs that had it.
func (s *Service) swapMAC(a *attempt, old, p *model.Port) error {
	a.drop(claimMAC, macKey(p.NetworkID, old.MAC), p.ID)
	if err := s.takeMAC(a, p); err != nil {
		return err
	}
	fixed, err := ipam.FollowMAC(p.FixedIPs, p.MAC, p.DeviceOwner, s.subnetsOf(a, p.NetworkID), a.heldAddress)
	if err != nil {
		return err
	}
	p.FixedIPs = notNil(fixed)
	return nil
}
