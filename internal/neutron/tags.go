package neutron

import (
	"context"
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// SetTags edits the tags of a resource and returns them. kind is its collection as in the
// URL ("networks", "security-groups", ...); "security_groups" is understood too. edit may
// run several times and must not keep its argument.
func (s *Service) SetTags(ctx context.Context, who model.Actor, kind, id string, edit func([]string) []string) ([]string, error) {
	switch strings.ReplaceAll(kind, "-", "_") {
	case "networks":
		return setTags(ctx, s, s.t.Networks, kind, id, edit, (*model.Network).Clone)
	case "subnets":
		return setTags(ctx, s, s.t.Subnets, kind, id, edit, (*model.Subnet).Clone)
	case "ports":
		return setTags(ctx, s, s.t.Ports, kind, id, edit, (*model.Port).Clone)
	case "subnetpools":
		return setTags(ctx, s, s.t.SubnetPools, kind, id, edit, (*model.SubnetPool).Clone)
	case "security_groups":
		return setTags(ctx, s, s.t.SecurityGroups, kind, id, edit, (*model.SecurityGroup).Clone)
	case "routers":
		return setTags(ctx, s, s.t.Routers, kind, id, edit, (*model.Router).Clone)
	case "floatingips":
		return setTags(ctx, s, s.t.FloatingIPs, kind, id, edit, (*model.FloatingIP).Clone)
	case "security_group_rules":
		return setTags(ctx, s, s.t.SecurityGroupRules, kind, id, edit, (*model.SecurityGroupRule).Clone)
	}
	return nil, fault.TagResourceNotFound(kind, id)
}

func setTags[T any, R resource[T]](ctx context.Context, s *Service, t *store.Table[T], kind, id string,
	edit func([]string) []string, clone func(*T) *T,
) ([]string, error) {
	var out []string
	err := s.update(ctx, "setting the tags of "+kind+" "+id, func(tx *store.Tx) error {
		old, ok := t.Read(tx, id)
		if !ok {
			return fault.TagResourceNotFound(strings.TrimSuffix(strings.ReplaceAll(kind, "-", "_"), "s"), id)
		}
		row := clone(old)
		m := R(row).Standard()
		tags := uniqueTags(edit(slices.Clone(m.Tags)))
		out = tags
		if slices.Equal(tags, m.Tags) {
			return nil
		}
		m.Tags = tags
		s.bump(m)
		t.Put(tx, row)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// uniqueTags drops repeated tags and keeps the order.
func uniqueTags(tags []string) []string {
	var out []string
	for _, tag := range tags {
		if !slices.Contains(out, tag) {
			out = append(out, tag)
		}
	}
	return out
}
