package api

import (
	"context"
	"net/http"
	"net/netip"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
)

// subnetPools declares /subnetpools.
func subnetPools() resource[model.SubnetPool] {
	return resource[model.SubnetPool]{
		Single: "subnetpool", Plural: "subnetpools",
		Attrs: slices.Concat(identity(attr[model.SubnetPool]{Use: required, Parse: someText(255)}),
			subnetPoolAttrs(), standard[model.SubnetPool](), tagged[model.SubnetPool]()),
		ID: rowID[model.SubnetPool],
		Owners: func(_ *view, p *model.SubnetPool) owners {
			return owners{project: p.ProjectID, shared: p.Shared}
		},
		NotFound: fault.SubnetPoolNotFound,
		Table:    func(t *neutron.Tables) *store.Table[model.SubnetPool] { return t.SubnetPools },
		Indexes:  []index{{Attr: "project_id", Name: neutron.ByProject}, {Attr: "tenant_id", Name: neutron.ByProject}},
		See:      adminOrReader | toShared,
		Create:   adminOrMember, Update: adminOrMember, Delete: adminOrMember,
		Make:   (*neutron.Service).CreateSubnetPools,
		Change: (*neutron.Service).UpdateSubnetPool,
		Remove: (*neutron.Service).DeleteSubnetPool,
		Tagged: true,
		Actions: map[string]action[model.SubnetPool]{
			"add_prefixes":    {Method: http.MethodPut, May: adminOrMember, Do: prefixAction((*neutron.Service).AddPrefixes)},
			"remove_prefixes": {Method: http.MethodPut, May: adminOrMember, Do: prefixAction((*neutron.Service).RemovePrefixes)},
		},
	}
}

func subnetPoolAttrs() []attr[model.SubnetPool] {
	type row = model.SubnetPool
	length := func(name string, field func(*row) *int) attr[row] {
		return intAttr(name, inPost|inPut|filters|sorts, nonNegative, nil, field)
	}
	return []attr[row]{
		{
			Name: "prefixes", Use: inPost | inPut | required, Parse: subnetList,
			Get: func(_ *view, p *row) value { return jsonValue((*prefixList)(&p.Prefixes)) },
			Set: set(func(p *row, x []netip.Prefix) { p.Prefixes = x }),
		},
		{
			Name: "default_quota", Use: inPost | inPut | filters | sorts, Parse: orNull(nonNegative), Kind: kindInt,
			Get: func(_ *view, p *row) value { return intOrNull(p.DefaultQuota) },
			Set: func(p *row, x any) {
				p.DefaultQuota = nil
				if n, ok := x.(int); ok {
					p.DefaultQuota = &n
				}
			},
		},
		intAttr("ip_version", filters|sorts, nil, nil, func(p *row) *int { return &p.IPVersion }),
		length("default_prefixlen", func(p *row) *int { return &p.DefaultPrefixLen }),
		length("min_prefixlen", func(p *row) *int { return &p.MinPrefixLen }),
		length("max_prefixlen", func(p *row) *int { return &p.MaxPrefixLen }),
		boolAttr("is_default", inPost|inPut|filters|sorts, false, func(p *row) *bool { return &p.IsDefault }).by(adminOnly, adminOnly, 0),
		boolAttr("shared", inPost|filters|sorts, false, func(p *row) *bool { return &p.Shared }).by(adminOnly, 0, 0),
		{Name: "address_scope_id", Get: func(*view, *row) value { return value{} }},
	}
}

// prefixOperation is one of the Service's operations on a pool's prefixes.
type prefixOperation = func(svc *neutron.Service, ctx context.Context, who model.Actor, id string, prefixes []string) (*model.SubnetPool, error)

// prefixAction is PUT /subnetpools/{id}/add_prefixes or remove_prefixes.
func prefixAction(do prefixOperation) func(*request, *view, *model.SubnetPool) error {
	return func(rq *request, _ *view, p *model.SubnetPool) error {
		list, err := rq.onlyList("prefixes", subnetList)
		if err != nil {
			return err
		}
		prefixes, _ := list.([]netip.Prefix)
		texts := make([]string, len(prefixes))
		for i, x := range prefixes {
			texts[i] = x.String()
		}
		changed, err := do(rq.srv.svc, rq.ctx(), rq.who.Actor, p.ID, texts)
		if err != nil {
			return err
		}
		return rq.reply(http.StatusOK, func(b []byte) []byte {
			return append((*prefixList)(&changed.Prefixes).appendJSON(append(b, `{"prefixes":`...)), '}')
		})
	}
}

// onlyList reads a body that is one list.
func (rq *request) onlyList(key string, read check) (any, error) {
	body, err := rq.object()
	if err != nil {
		return nil, err
	}
	raw, ok := body[key]
	if !ok {
		return nil, fault.HTTPBadRequest("Unable to find '%s' in request body", key)
	}
	var unknown []string
	for k := range body {
		if k != key {
			unknown = append(unknown, k)
		}
	}
	if err = unrecognized(unknown); err != nil {
		return nil, err
	}
	list, err := read(raw)
	if err != nil {
		return nil, checkedAs(key, err)
	}
	return list, nil
}
