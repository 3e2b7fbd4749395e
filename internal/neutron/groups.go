package neutron

import (
	"context"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// EnsureDefaultGroup returns the default security group of a project and makes it if this
// is the first that is heard of the project.
func (s *Service) EnsureDefaultGroup(ctx context.Context, project string) (*model.SecurityGroup, error) {
	if g := s.findDefault(s.db.Snapshot(), project); g != nil {
		return g, nil
	}
	var id string
	err := s.update(ctx, "making the default security group of project "+project, func(tx *store.Tx) error {
		id = s.defaultGroupOf(s.begin(tx), project)
		return nil
	})
	if err != nil {
		return nil, err
	}
	g, ok := s.t.SecurityGroups.Get(s.db.Snapshot(), id)
	if !ok {
		return nil, fault.SecurityGroupNotFound(id)
	}
	return g, nil
}

func (s *Service) findDefault(snap store.Snapshot, project string) *model.SecurityGroup {
	for g := range s.t.SecurityGroups.By(snap, ByDefault, project) {
		return g
	}
	return nil
}

// defaultGroupOf returns the id of a project's default group, making it within the
// transaction if there is none. A project without a name has none.
func (s *Service) defaultGroupOf(a *attempt, project string) string {
	if project == "" {
		return ""
	}
	if g := s.findDefault(a.snap, project); g != nil {
		return g.ID
	}
	if id := a.groups[project]; id != "" {
		return id
	}
	if owner, ok := a.Claimed(claimDefault, project); ok {
		return owner
	}
	g := &model.SecurityGroup{Stateful: true}
	s.stamp(&g.Meta)
	g.ID, g.ProjectID, g.Name, g.Description = newID(), project, defaultGroupName, "Default security group"
	a.take(claimDefault, project, g.ID)
	if a.groups == nil {
		a.groups = make(map[string]string)
	}
	a.groups[project] = g.ID
	s.t.SecurityGroups.Put(a.Tx, g)
	s.putFirstRules(a, g, true)
	return g.ID
}

// putFirstRules gives a new group its rules: all egress, and for the default group all
// ingress from the group itself, for both families.
func (s *Service) putFirstRules(a *attempt, g *model.SecurityGroup, fromSelf bool) {
	put := func(direction, ethertype, remote string) {
		r := &model.SecurityGroupRule{SecurityGroupID: g.ID, Direction: direction, EtherType: ethertype, RemoteGroupID: remote}
		s.stamp(&r.Meta)
		r.ID, r.ProjectID = newID(), g.ProjectID
		s.t.SecurityGroupRules.Put(a.Tx, r)
	}
	for _, ethertype := range []string{"IPv4", "IPv6"} {
		put("egress", ethertype, "")
		if fromSelf {
			put("ingress", ethertype, g.ID)
		}
	}
}

// CreateSecurityGroups makes all of d or none, each with its two egress rules.
func (s *Service) CreateSecurityGroups(ctx context.Context, who model.Actor, d []Draft[model.SecurityGroup]) ([]*model.SecurityGroup, error) {
	ids, release, err := reserve(s, quotaGroup, d)
	if err != nil {
		return nil, err
	}
	defer release()
	out := make([]*model.SecurityGroup, len(d))
	err = s.update(ctx, "creating security groups", func(tx *store.Tx) error {
		a := s.begin(tx)
		for i := range d {
			g := d[i].Value.Clone()
			if g.Name == defaultGroupName {
				return fault.SecurityGroupDefaultExists()
			}
			s.stamp(&g.Meta)
			g.ID = ids[i]
			s.defaultGroupOf(a, g.ProjectID)
			s.t.SecurityGroups.Put(tx, g)
			s.putFirstRules(a, g, false)
			out[i] = g
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// UpdateSecurityGroup changes a group. The default group keeps its name.
func (s *Service) UpdateSecurityGroup(ctx context.Context, who model.Actor, id string, c Change[model.SecurityGroup]) (*model.SecurityGroup, error) {
	var out *model.SecurityGroup
	err := s.update(ctx, "updating security group "+id, func(tx *store.Tx) error {
		old, ok := s.t.SecurityGroups.Read(tx, id)
		if !ok {
			return fault.SecurityGroupNotFound(id)
		}
		if err := checkMatch(c.IfMatch, old.Revision); err != nil {
			return err
		}
		g := old.Clone()
		c.Apply(g)
		switch {
		case old.Name == defaultGroupName && g.Name != old.Name:
			return fault.SecurityGroupCannotUpdateDefault()
		case old.Name != defaultGroupName && g.Name == defaultGroupName:
			return fault.SecurityGroupDefaultExists()
		}
		if g.Stateful != old.Stateful {
			for range s.t.Ports.By(tx.Snapshot(), ByGroup, id) {
				return fault.SecurityGroupInUse(id)
			}
		}
		if out = old; same(old, g) {
			return nil
		}
		s.bump(&g.Meta)
		s.t.SecurityGroups.Put(tx, g)
		out = g
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteSecurityGroup deletes a group that no port uses, its rules, and the rules of other
// groups that name it as their remote group. Only an admin may delete a default group.
func (s *Service) DeleteSecurityGroup(ctx context.Context, who model.Actor, id string, ifMatch *int64) error {
	return s.update(ctx, "deleting security group "+id, func(tx *store.Tx) error {
		a := s.begin(tx)
		g, ok := s.t.SecurityGroups.Read(tx, id)
		if !ok {
			return fault.SecurityGroupNotFound(id)
		}
		if err := checkMatch(ifMatch, g.Revision); err != nil {
			return err
		}
		if !a.NoneUnder(claimGroup, id+"/") {
			return fault.SecurityGroupInUse(id)
		}
		if g.Name == defaultGroupName {
			if !who.Admin {
				return fault.SecurityGroupCannotRemoveDefault()
			}
			a.drop(claimDefault, g.ProjectID, id)
		}
		for r := range s.t.SecurityGroupRules.By(a.snap, ByGroup, id) {
			s.t.SecurityGroupRules.Delete(tx, r.ID)
		}
		for r := range s.t.SecurityGroupRules.By(a.snap, ByRemoteGroup, id) {
			if r.SecurityGroupID != id {
				s.t.SecurityGroupRules.Delete(tx, r.ID)
				s.bumpGroup(a, r.SecurityGroupID)
			}
		}
		s.t.SecurityGroups.Delete(tx, id)
		return nil
	})
}

// bumpGroup marks a group as changed because one of its rules did. Every change of a
// group's rules writes the group, so they never race with its delete or with each other.
func (s *Service) bumpGroup(a *attempt, id string) bool {
	old, ok := s.t.SecurityGroups.Read(a.Tx, id)
	if !ok {
		return false
	}
	g := old.Clone()
	s.bump(&g.Meta)
	s.t.SecurityGroups.Put(a.Tx, g)
	return true
}
