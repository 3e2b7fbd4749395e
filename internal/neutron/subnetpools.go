package neutron

import (
	"context"
	"net/netip"
	"slices"
	"strconv"

	"neutrino/internal/fault"
	"neutrino/internal/ipam"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// CreateSubnetPools makes all of d or none.
func (s *Service) CreateSubnetPools(ctx context.Context, who model.Actor, d []Draft[model.SubnetPool]) ([]*model.SubnetPool, error) {
	ids, release, err := reserve(s, quotaPool, d)
	if err != nil {
		return nil, err
	}
	defer release()
	out := make([]*model.SubnetPool, len(d))
	for i := range d {
		p := d[i].Value.Clone()
		if err = ipam.CompleteSubnetPool(p, d[i].Given); err != nil {
			return nil, err
		}
		p.ID = ids[i]
		out[i] = p
	}
	err = s.update(ctx, "creating subnet pools", func(tx *store.Tx) error {
		a := s.begin(tx)
		for _, p := range out {
			s.stamp(&p.Meta)
			if draftErr := s.setDefaultPool(a, p, false); draftErr != nil {
				return draftErr
			}
			s.t.SubnetPools.Put(tx, p)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// setDefaultPool claims or gives back being the default pool of the family.
func (s *Service) setDefaultPool(a *attempt, p *model.SubnetPool, was bool) error {
	key := strconv.Itoa(p.IPVersion)
	if p.IsDefault == was {
		return nil
	}
	if !p.IsDefault {
		a.drop(claimDefaultPool, key, p.ID)
		return nil
	}
	if !a.take(claimDefaultPool, key, p.ID) {
		return fault.InvalidInput("A default subnetpool for this IP family has already been set. Only one default may exist per IP family")
	}
	return nil
}

func (s *Service) defaultPool(snap store.Snapshot, ipVersion int) string {
	for p := range s.t.SubnetPools.All(snap) {
		if p.IsDefault && p.IPVersion == ipVersion {
			return p.ID
		}
	}
	return ""
}

// UpdateSubnetPool changes a pool. Its prefixes can only grow this way.
func (s *Service) UpdateSubnetPool(ctx context.Context, who model.Actor, id string, c Change[model.SubnetPool]) (*model.SubnetPool, error) {
	return s.editPool(ctx, id, c.IfMatch, func(old, p *model.SubnetPool) error {
		c.Apply(p)
		return ipam.UpdateSubnetPool(old, p, c.Given)
	})
}

func (s *Service) editPool(ctx context.Context, id string, ifMatch *int64, edit func(old, p *model.SubnetPool) error) (*model.SubnetPool, error) {
	var out *model.SubnetPool
	err := s.update(ctx, "updating subnet pool "+id, func(tx *store.Tx) error {
		a := s.begin(tx)
		old, ok := s.t.SubnetPools.Read(tx, id)
		if !ok {
			return fault.SubnetPoolNotFound(id)
		}
		if err := checkMatch(ifMatch, old.Revision); err != nil {
			return err
		}
		p := old.Clone()
		if err := edit(old, p); err != nil {
			return err
		}
		if err := s.setDefaultPool(a, p, old.IsDefault); err != nil {
			return err
		}
		if out = old; same(old, p) {
			return nil
		}
		s.bump(&p.Meta)
		s.t.SubnetPools.Put(tx, p)
		out = p
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// AddPrefixes adds prefixes to a pool.
func (s *Service) AddPrefixes(ctx context.Context, who model.Actor, id string, prefixes []string) (*model.SubnetPool, error) {
	more, err := parsePrefixes(prefixes)
	if err != nil {
		return nil, err
	}
	return s.editPool(ctx, id, nil, func(old, p *model.SubnetPool) error {
		p.Prefixes = append(p.Prefixes, more...)
		return ipam.UpdateSubnetPool(old, p, map[string]bool{"prefixes": true})
	})
}

// RemovePrefixes takes whole prefixes from a pool, none of which a subnet may use.
func (s *Service) RemovePrefixes(ctx context.Context, who model.Actor, id string, prefixes []string) (*model.SubnetPool, error) {
	less, err := parsePrefixes(prefixes)
	if err != nil {
		return nil, err
	}
	return s.editPool(ctx, id, nil, func(_, p *model.SubnetPool) error {
		for sub := range s.t.Subnets.By(s.db.Snapshot(), ByPool, id) {
			if slices.ContainsFunc(less, sub.CIDR.Overlaps) {
				return illegalPrefixUpdate("One or more prefixes to be removed is in use by a subnet")
			}
		}
		for _, prefix := range less {
			rest := slices.DeleteFunc(slices.Clone(p.Prefixes), func(have netip.Prefix) bool { return have == prefix })
			if len(rest) == len(p.Prefixes) {
				return illegalPrefixUpdate("One or more prefixes to be removed is not in the pool")
			}
			p.Prefixes = rest
		}
		if len(p.Prefixes) == 0 {
			return fault.EmptySubnetPoolPrefixList()
		}
		return nil
	})
}

func illegalPrefixUpdate(text string) error { return fault.IllegalSubnetPoolPrefixUpdate("%s", text) }

func parsePrefixes(texts []string) ([]netip.Prefix, error) {
	prefixes := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		prefix, err := ipam.ParseCIDR(text)
		if err != nil {
			return nil, fault.InvalidInput("'%s' is not a valid IP subnet", text)
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}

// DeleteSubnetPool deletes a pool that no subnet was cut from.
func (s *Service) DeleteSubnetPool(ctx context.Context, who model.Actor, id string, ifMatch *int64) error {
	return s.update(ctx, "deleting subnet pool "+id, func(tx *store.Tx) error {
		a := s.begin(tx)
		p, ok := s.t.SubnetPools.Read(tx, id)
		if !ok {
			return fault.SubnetPoolNotFound(id)
		}
		if err := checkMatch(ifMatch, p.Revision); err != nil {
			return err
		}
		// Cutting a subnet writes the pool, so the view of subnets cannot be stale here.
		for range s.t.Subnets.By(a.snap, ByPool, id) {
			return fault.SubnetPoolDeleteError("Subnet pool has existing allocations")
		}
		if p.IsDefault {
			a.drop(claimDefaultPool, strconv.Itoa(p.IPVersion), id)
		}
		s.t.SubnetPools.Delete(tx, id)
		return nil
	})
}
