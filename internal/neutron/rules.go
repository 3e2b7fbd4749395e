package neutron

import (
	"context"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// CreateSecurityGroupRules makes all of d or none. A bulk request stays within one group
// and one project.
func (s *Service) CreateSecurityGroupRules(ctx context.Context, who model.Actor, d []Draft[model.SecurityGroupRule]) ([]*model.SecurityGroupRule, error) {
	for i := range d {
		if d[i].Value.SecurityGroupID != d[0].Value.SecurityGroupID {
			return nil, fault.RulesNotSingleGroup()
		}
		if d[i].Value.ProjectID != d[0].Value.ProjectID {
			return nil, fault.RulesNotSingleProject()
		}
	}
	rules := make([]*model.SecurityGroupRule, len(d))
	for i := range d {
		r := d[i].Value.Clone()
		if err := completeRule(r); err != nil {
			return nil, err
		}
		for _, earlier := range rules[:i] {
			if sameRule(earlier, r) {
				return nil, fault.DuplicateRuleInPost()
			}
		}
		rules[i] = r
	}
	ids, release, err := reserve(s, quotaRule, d)
	if err != nil {
		return nil, err
	}
	defer release()
	err = s.update(ctx, "creating security group rules", func(tx *store.Tx) error {
		a := s.begin(tx)
		for i, r := range rules {
			s.stamp(&r.Meta)
			r.ID = ids[i]
			if draftErr := s.createRule(a, who, r); draftErr != nil {
				return draftErr
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rules, nil
}

func (s *Service) createRule(a *attempt, who model.Actor, r *model.SecurityGroupRule) error {
	group, ok := s.t.SecurityGroups.Read(a.Tx, r.SecurityGroupID)
	if !ok || !seesGroup(who, group) {
		return fault.SecurityGroupNotFound(r.SecurityGroupID)
	}
	for other := range s.t.SecurityGroupRules.By(a.snap, ByGroup, r.SecurityGroupID) {
		if sameRule(other, r) {
			return fault.SecurityGroupRuleExists(other.ID)
		}
	}
	if r.RemoteGroupID != "" && r.RemoteGroupID != r.SecurityGroupID {
		remote, ok := s.t.SecurityGroups.Read(a.Tx, r.RemoteGroupID)
		if !ok || !seesGroup(who, remote) {
			return fault.SecurityGroupNotFound(r.RemoteGroupID)
		}
		// Written unchanged, so that its delete cannot miss this rule.
		s.t.SecurityGroups.Put(a.Tx, remote.Clone())
	}
	if r.RemoteAddressGroupID != "" {
		remote, ok := s.t.AddressGroups.Read(a.Tx, r.RemoteAddressGroupID)
		if !ok {
			return fault.AddressGroupNotFound(r.RemoteAddressGroupID)
		}
		s.t.AddressGroups.Put(a.Tx, remote.Clone())
	}
	s.bumpGroup(a, r.SecurityGroupID)
	s.t.SecurityGroupRules.Put(a.Tx, r)
	return nil
}

func seesGroup(who model.Actor, g *model.SecurityGroup) bool {
	return who.HasRole("service") || who.ProjectID == g.ProjectID || g.Shared
}

// DeleteSecurityGroupRule deletes a rule.
func (s *Service) DeleteSecurityGroupRule(ctx context.Context, who model.Actor, id string, ifMatch *int64) error {
	return s.update(ctx, "deleting security group rule "+id, func(tx *store.Tx) error {
		a := s.begin(tx)
		r, ok := s.t.SecurityGroupRules.Read(tx, id)
		if !ok {
			return fault.SecurityGroupRuleNotFound(id)
		}
		if err := checkMatch(ifMatch, r.Revision); err != nil {
			return err
		}
		s.bumpGroup(a, r.SecurityGroupID)
		s.t.SecurityGroupRules.Delete(tx, id)
		return nil
	})
}
