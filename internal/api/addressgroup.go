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

// addressGroups declares /address-groups.
func addressGroups() resource[model.AddressGroup] {
	type row = model.AddressGroup
	addresses := textsAttr("addresses", inPost, parseAddresses, func(g *row) *[]string { return &g.Addresses })
	return resource[row]{
		Single: "address_group", Plural: "address_groups",
		Attrs:    slices.Concat(identity(plainName[row]()), []attr[row]{addresses}, standard[row]()),
		ID:       rowID[row],
		Owners:   func(_ *view, g *row) owners { return owners{project: g.ProjectID} },
		NotFound: fault.AddressGroupNotFound,
		Table:    func(t *neutron.Tables) *store.Table[row] { return t.AddressGroups },
		Indexes:  []index{{Attr: "project_id", Name: neutron.ByProject}, {Attr: "tenant_id", Name: neutron.ByProject}},
		See:      adminOrReader, Create: adminOrMember, Update: adminOrMember, Delete: adminOrMember,
		Make:   (*neutron.Service).CreateAddressGroups,
		Change: (*neutron.Service).UpdateAddressGroup,
		Remove: (*neutron.Service).DeleteAddressGroup,
		Actions: map[string]action[row]{
			"add_addresses":    {Method: http.MethodPut, May: adminOrMember, Do: addressAction((*neutron.Service).AddAddresses)},
			"remove_addresses": {Method: http.MethodPut, May: adminOrMember, Do: addressAction((*neutron.Service).RemoveAddresses)},
		},
	}
}

// parseAddresses reads addresses and prefixes; an address is a prefix of one.
func parseAddresses(x any) (any, error) {
	if x == nil {
		return []string{}, nil
	}
	list, ok := x.([]any)
	if !ok {
		return nil, whyf("'%s' is not a list", spell(x))
	}
	out := make([]string, 0, len(list))
	for _, e := range list {
		s, _ := e.(string)
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, errAddr := netip.ParseAddr(s)
			if errAddr != nil || a.Zone() != "" {
				return nil, whyf("'%s' is not a valid IP subnet", spell(e))
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if text := p.Masked().String(); !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out, nil
}

// addressOperation is one of the Service's operations on a group's addresses.
type addressOperation = func(svc *neutron.Service, ctx context.Context, who model.Actor, id string, addresses []string) (*model.AddressGroup, error)

// addressAction is PUT /address-groups/{id}/add_addresses or remove_addresses.
func addressAction(do addressOperation) func(*request, *view, *model.AddressGroup) error {
	return func(rq *request, _ *view, g *model.AddressGroup) error {
		list, err := rq.onlyList("addresses", parseAddresses)
		if err != nil {
			return err
		}
		texts, _ := list.([]string)
		changed, err := do(rq.srv.svc, rq.ctx(), rq.who.Actor, g.ID, texts)
		if err != nil {
			return err
		}
		v := rq.view()
		c := newCollection(addressGroups())
		return rq.reply(http.StatusOK, func(b []byte) []byte { return c.appendOne(b, v, changed, c.columns) })
	}
}
