package neutron

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// CreateAddressGroups makes all of d or none. Addresses are kept as masked prefixes.
func (s *Service) CreateAddressGroups(ctx context.Context, who model.Actor, d []Draft[model.AddressGroup]) ([]*model.AddressGroup, error) {
	out := make([]*model.AddressGroup, len(d))
	for i := range d {
		g := d[i].Value.Clone()
		addresses, err := prefixesOf(g.Addresses)
		if err != nil {
			return nil, err
		}
		g.ID, g.Addresses = newID(), addresses
		out[i] = g
	}
	err := s.update(ctx, "creating address groups", func(tx *store.Tx) error {
		for _, g := range out {
			s.stamp(&g.Meta)
			s.t.AddressGroups.Put(tx, g)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// prefixesOf parses, masks, sorts and dedupes addresses and prefixes.
func prefixesOf(addresses []string) ([]string, error) {
	out := make([]string, 0, len(addresses))
	for _, text := range addresses {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, err := netip.ParseAddr(text)
			if err != nil || addr.Zone() != "" {
				return nil, fault.InvalidInput("'%s' is not a valid IP subnet", text)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		out = append(out, prefix.Masked().String())
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func quoteList(items []string) string { return "['" + strings.Join(items, "', '") + "']" }

// UpdateAddressGroup changes a group's name and description.
func (s *Service) UpdateAddressGroup(ctx context.Context, who model.Actor, id string, c Change[model.AddressGroup]) (*model.AddressGroup, error) {
	return s.editAddressGroup(ctx, id, c.IfMatch, func(g *model.AddressGroup) error {
		addresses := g.Addresses
		c.Apply(g)
		g.Addresses = addresses
		return nil
	})
}

// AddAddresses adds to a group what is not in it yet.
func (s *Service) AddAddresses(ctx context.Context, who model.Actor, id string, addresses []string) (*model.AddressGroup, error) {
	more, err := prefixesOf(addresses)
	if err != nil {
		return nil, err
	}
	return s.editAddressGroup(ctx, id, nil, func(g *model.AddressGroup) error {
		if have := split(more, g.Addresses, true); len(have) > 0 {
			return fault.AddressesExist(quoteList(have), id)
		}
		g.Addresses = append(slices.Clone(g.Addresses), more...)
		slices.Sort(g.Addresses)
		return nil
	})
}

// RemoveAddresses takes from a group what is in it.
func (s *Service) RemoveAddresses(ctx context.Context, who model.Actor, id string, addresses []string) (*model.AddressGroup, error) {
	less, err := prefixesOf(addresses)
	if err != nil {
		return nil, err
	}
	return s.editAddressGroup(ctx, id, nil, func(g *model.AddressGroup) error {
		if missing := split(less, g.Addresses, false); len(missing) > 0 {
			return fault.AddressesNotFound(quoteList(missing), id)
		}
		g.Addresses = split(g.Addresses, less, false)
		return nil
	})
}

// split returns those of list that are (or are not) in set.
func split(list, set []string, in bool) []string {
	var out []string
	for _, item := range list {
		if slices.Contains(set, item) == in {
			out = append(out, item)
		}
	}
	return out
}

func (s *Service) editAddressGroup(ctx context.Context, id string, ifMatch *int64, edit func(*model.AddressGroup) error) (*model.AddressGroup, error) {
	var out *model.AddressGroup
	err := s.update(ctx, "updating address group "+id, func(tx *store.Tx) error {
		old, ok := s.t.AddressGroups.Read(tx, id)
		if !ok {
			return fault.AddressGroupNotFound(id)
		}
		if err := checkMatch(ifMatch, old.Revision); err != nil {
			return err
		}
		g := old.Clone()
		if err := edit(g); err != nil {
			return err
		}
		if out = old; same(old, g) {
			return nil
		}
		s.bump(&g.Meta)
		s.t.AddressGroups.Put(tx, g)
		out = g
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteAddressGroup deletes a group that no rule names.
func (s *Service) DeleteAddressGroup(ctx context.Context, who model.Actor, id string, ifMatch *int64) error {
	return s.update(ctx, "deleting address group "+id, func(tx *store.Tx) error {
		g, ok := s.t.AddressGroups.Read(tx, id)
		if !ok {
			return fault.AddressGroupNotFound(id)
		}
		if err := checkMatch(ifMatch, g.Revision); err != nil {
			return err
		}
		// A rule that names the group writes it, so the view of rules cannot be stale here.
		for range s.t.SecurityGroupRules.By(tx.Snapshot(), ByRemoteAddressGroup, id) {
			return fault.AddressGroupInUse(id)
		}
		s.t.AddressGroups.Delete(tx, id)
		return nil
	})
}
