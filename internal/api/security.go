package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
)

// defaultGroup is the name that no other group may have.
const defaultGroup = "default"

// securityGroups declares /security-groups.
func securityGroups() resource[model.SecurityGroup] {
	return resource[model.SecurityGroup]{
		Single: "security_group", Plural: "security_groups",
		Attrs: slices.Concat(identity(attr[model.SecurityGroup]{Parse: groupName, Default: ""}),
			groupAttrs(), standard[model.SecurityGroup](), tagged[model.SecurityGroup]()),
		ID: rowID[model.SecurityGroup],
		Owners: func(_ *view, g *model.SecurityGroup) owners {
			return owners{project: g.ProjectID, shared: g.Shared}
		},
		NotFound: fault.SecurityGroupNotFound,
		Table:    func(t *neutron.Tables) *store.Table[model.SecurityGroup] { return t.SecurityGroups },
		Indexes:  []index{{Attr: "project_id", Name: neutron.ByProject}, {Attr: "tenant_id", Name: neutron.ByProject}},
		See:      adminOrReader | toShared,
		Create:   adminOrMember, Update: adminOrMember, Delete: adminOrMember,
		Before: ensureDefaultGroup,
		Make:   (*neutron.Service).CreateSecurityGroups,
		Change: (*neutron.Service).UpdateSecurityGroup,
		Remove: (*neutron.Service).DeleteSecurityGroup,
		Tagged: true,
	}
}

// ensureDefaultGroup makes the caller's default group before groups are read, as Neutron does.
func ensureDefaultGroup(ctx context.Context, svc *neutron.Service, who model.Actor) error {
	if who.ProjectID == "" {
		return nil
	}
	for range svc.Tables().SecurityGroups.By(svc.DB().Snapshot(), neutron.ByDefault, who.ProjectID) {
		return nil
	}
	_, err := svc.EnsureDefaultGroup(ctx, who.ProjectID)
	return err
}

func groupName(x any) (any, error) {
	s, err := text(255)(x)
	if err == nil && strings.EqualFold(s.(string), defaultGroup) {
		return nil, fault.SecurityGroupDefaultExists()
	}
	return s, err
}

func groupAttrs() []attr[model.SecurityGroup] {
	type row = model.SecurityGroup
	rules := newCollection(securityGroupRules())
	return []attr[row]{
		boolAttr("stateful", inPost|inPut, true, func(g *row) *bool { return &g.Stateful }),
		boolAttr("shared", filters, nil, func(g *row) *bool { return &g.Shared }),
		{Name: "security_group_rules", Get: func(v *view, g *row) value {
			b := rawJSON("[")
			for r := range v.t.SecurityGroupRules.By(v.snap, neutron.ByGroup, g.ID) {
				if len(b) > 1 {
					b = append(b, ',')
				}
				b = appendRow(b, v, r, rules.columns)
			}
			b = append(b, ']')
			return jsonValue(&b)
		}},
	}
}

const ruleOwner = toAdmin | toParentMember

// securityGroupRules declares /security-group-rules.
func securityGroupRules() resource[model.SecurityGroupRule] {
	return resource[model.SecurityGroupRule]{
		Single: "security_group_rule", Plural: "security_group_rules",
		Attrs: slices.Concat(ruleIdentity(), ruleAttrs(), standard[model.SecurityGroupRule]()),
		ID:    rowID[model.SecurityGroupRule],
		Owners: func(v *view, r *model.SecurityGroupRule) owners {
			o := owners{project: r.ProjectID}
			if g, ok := v.t.SecurityGroups.Get(v.snap, r.SecurityGroupID); ok {
				o.parent = g.ProjectID
			}
			return o
		},
		NotFound: fault.SecurityGroupRuleNotFound,
		Table:    func(t *neutron.Tables) *store.Table[model.SecurityGroupRule] { return t.SecurityGroupRules },
		Indexes: []index{
			{Attr: "security_group_id", Name: neutron.ByGroup},
			{Attr: "remote_group_id", Name: neutron.ByRemoteGroup},
			{Attr: "remote_address_group_id", Name: neutron.ByRemoteAddressGroup},
			{Attr: "project_id", Name: neutron.ByProject},
			{Attr: "tenant_id", Name: neutron.ByProject},
		},
		See:    toAdmin | toParentReader | toReader,
		Create: ruleOwner, Delete: ruleOwner,
		Parent: func(v *view, r *model.SecurityGroupRule) error {
			g, ok := v.t.SecurityGroups.Get(v.snap, r.SecurityGroupID)
			if !ok || !v.who.may(adminOrReader|toShared, owners{project: g.ProjectID, shared: g.Shared}) {
				return fault.SecurityGroupNotFound(r.SecurityGroupID)
			}
			return nil
		},
		Make:   (*neutron.Service).CreateSecurityGroupRules,
		Remove: (*neutron.Service).DeleteSecurityGroupRule,
	}
}

// ruleIdentity is identity without a name.
func ruleIdentity() []attr[model.SecurityGroupRule] {
	return slices.DeleteFunc(identity(plainName[model.SecurityGroupRule]()), func(a attr[model.SecurityGroupRule]) bool { return a.Name == "name" })
}

func ruleAttrs() []attr[model.SecurityGroupRule] {
	type row = model.SecurityGroupRule
	const u = inPost | filters | sorts
	port := func(name string, field func(*row) **int) attr[row] {
		return attr[row]{
			Name: name, Use: u, Parse: orNull(parsePort), Kind: kindInt,
			Get: func(_ *view, r *row) value { return intOrNull(*field(r)) },
			Set: func(r *row, x any) {
				*field(r) = nil
				if n, ok := x.(int); ok {
					*field(r) = &n
				}
			},
		}
	}
	return []attr[row]{
		textAttr("security_group_id", u|required, text(36), nil, func(r *row) *string { return &r.SecurityGroupID }),
		textAttr("direction", u|required, oneOf("ingress", "egress"), nil, func(r *row) *string { return &r.Direction }),
		textAttr("ethertype", u, parseEtherType, "IPv4", func(r *row) *string { return &r.EtherType }),
		nullAttr("protocol", u, parseProtocol, func(r *row) *string { return &r.Protocol }),
		port("port_range_min", func(r *row) **int { return &r.PortRangeMin }),
		port("port_range_max", func(r *row) **int { return &r.PortRangeMax }),
		nullAttr("remote_ip_prefix", u, parseRemotePrefix, func(r *row) *string { return &r.RemoteIPPrefix }),
		{Name: "normalized_cidr", Use: filters | sorts, Get: func(_ *view, r *row) value {
			return textOrNull(canonicalCIDR(r.RemoteIPPrefix))
		}},
		nullAttr("remote_group_id", u, text(36), func(r *row) *string { return &r.RemoteGroupID }),
		nullAttr("remote_address_group_id", u, text(36), func(r *row) *string { return &r.RemoteAddressGroupID }),
		{Name: "belongs_to_default_sg", Use: filters, Kind: kindBool, Get: func(v *view, r *row) value {
			g, ok := v.t.SecurityGroups.Get(v.snap, r.SecurityGroupID)
			return boolValue(ok && g.Name == defaultGroup)
		}},
	}
}

func parseEtherType(x any) (any, error) {
	s, _ := x.(string)
	for _, known := range []string{"IPv4", "IPv6"} {
		if strings.EqualFold(s, known) {
			return known, nil
		}
	}
	return nil, fault.New("SecurityGroupRuleInvalidEtherType", http.StatusBadRequest,
		"Security group rule for ethertype '%s' not supported. Allowed values are ['IPv4', 'IPv6'].", spell(x))
}

// parseProtocol takes names in lower case and numbers as text; which are known is for
// the rule's own checks.
func parseProtocol(x any) (any, error) {
	switch v := x.(type) {
	case string:
		return strings.ToLower(v), nil
	case json.Number:
		return v.String(), nil
	}
	return nil, whyf("'%s' is not a valid string", spell(x))
}

func parsePort(x any) (any, error) {
	n, err := parseInt(x)
	if err != nil || n.(int) < 0 || n.(int) > 65535 {
		return nil, fault.New("SecurityGroupInvalidPortValue", http.StatusBadRequest, "Invalid value for port %s", spell(x))
	}
	return n, nil
}

// parseRemotePrefix keeps a prefix as it was sent; a bare address is a prefix of one.
func parseRemotePrefix(x any) (any, error) {
	s, _ := x.(string)
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()).String(), nil
	}
	if _, err := netip.ParsePrefix(s); err != nil {
		return nil, fault.New("InvalidCIDR", http.StatusBadRequest, "Invalid CIDR %s given as IP prefix.", spell(x))
	}
	return s, nil
}
