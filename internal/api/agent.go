package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
)

// agents declares /agents.
func agents() resource[model.Agent] {
	return resource[model.Agent]{
		Single: "agent", Plural: "agents",
		Attrs:    agentAttrs(),
		ID:       func(a *model.Agent) string { return a.ID },
		Owners:   func(*view, *model.Agent) owners { return owners{} },
		NotFound: fault.AgentNotFound,
		Table:    func(t *neutron.Tables) *store.Table[model.Agent] { return t.Agents },
		Indexes:  []index{{Attr: "host", Name: neutron.ByHost}},
		See:      adminOnly, Update: adminOnly, Delete: adminOnly,
		Change: (*neutron.Service).UpdateAgent,
		Remove: func(svc *neutron.Service, ctx context.Context, who model.Actor, id string, _ *int64) error {
			return svc.DeleteAgent(ctx, who, id)
		},
		Actions: map[string]action[model.Agent]{
			"dhcp-networks": {Method: http.MethodGet, May: adminOnly, Do: dhcpNetworksOf},
		},
		Nested: map[string]nested[model.Agent]{"l3-routers": {May: adminOnly, Do: l3RoutersOf}},
	}
}

// agentTime is how Neutron writes an agent's times: no T, no Z.
const agentTime = "2006-01-02 15:04:05"

func agentAttrs() []attr[model.Agent] {
	type row = model.Agent
	when := func(name string, get func(*row) time.Time) attr[row] {
		return attr[row]{Name: name, Get: func(_ *view, a *row) value { return textValue(get(a).UTC().Format(agentTime)) }}
	}
	plain := func(name string, field func(*row) *string) attr[row] {
		return textAttr(name, filters|sorts, nil, nil, field)
	}
	return []attr[row]{
		plain("id", func(a *row) *string { return &a.ID }),
		plain("agent_type", func(a *row) *string { return &a.Type }),
		plain("binary", func(a *row) *string { return &a.Binary }),
		plain("topic", func(a *row) *string { return &a.Topic }),
		plain("host", func(a *row) *string { return &a.Host }),
		boolAttr("admin_state_up", inPut|filters|sorts, nil, func(a *row) *bool { return &a.AdminStateUp }),
		when("created_at", func(a *row) time.Time { return a.CreatedAt }),
		when("started_at", func(a *row) time.Time { return a.StartedAt }),
		when("heartbeat_timestamp", func(a *row) time.Time { return a.Heartbeat }),
		{
			Name: "alive", Use: filters, Kind: kindBool,
			Get: func(v *view, a *row) value { return boolValue(v.svc.Alive(v.snap, a.ID)) },
		},
		{Name: "configurations", Get: func(_ *view, a *row) value { return documentValue(&a.Configurations) }},
		{
			Name: "description", Use: inPut | filters, Parse: orNull(text(255)),
			Get: func(_ *view, a *row) value { return textOrNull(a.Description) },
			Set: set(func(a *row, x string) { a.Description = x }),
		},
		{Name: "resources_synced", Get: func(_ *view, a *row) value {
			if a.ResourcesSynced == nil {
				return value{}
			}
			return boolValue(*a.ResourcesSynced)
		}},
		{
			Name: "availability_zone", Use: filters,
			Get: func(_ *view, a *row) value { return textOrNull(a.AvailabilityZone) },
		},
	}
}

// dhcpNetworksOf is GET /agents/{id}/dhcp-networks.
func dhcpNetworksOf(rq *request, v *view, a *model.Agent) error {
	var rows []*model.Network
	for b := range v.t.DHCPBindings.By(v.snap, neutron.ByAgent, a.ID) {
		if n := v.network(b.NetworkID); n != nil {
			rows = append(rows, n)
		}
	}
	return replyRows(rq, v, newCollection(networks()), rows)
}

// dhcpAgentsOf is GET /networks/{id}/dhcp-agents.
func dhcpAgentsOf(rq *request, v *view, n *model.Network) error {
	var rows []*model.Agent
	if b, ok := v.t.DHCPBindings.Get(v.snap, n.ID); ok {
		for _, id := range slices.Sorted(slices.Values(b.AgentIDs)) {
			if a, known := v.t.Agents.Get(v.snap, id); known {
				rows = append(rows, a)
			}
		}
	}
	return replyRows(rq, v, newCollection(agents()), rows)
}

// replyRows sends rows of another collection.
func replyRows[T any](rq *request, v *view, c *collection[T], rows []*T) error {
	q, err := rq.query()
	if err != nil {
		return err
	}
	return c.writeList(rq, v, page{fields: fieldsOf(q)}, rows)
}
