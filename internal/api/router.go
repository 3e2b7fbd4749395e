package api

import (
	"context"
	"net/http"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
)

// routers declares /routers.
func routers() resource[model.Router] {
	type row = model.Router
	return resource[row]{
		Single: "router", Plural: "routers",
		Attrs:    slices.Concat(identity(plainName[row]()), routerAttrs(), standard[row](), tagged[row]()),
		ID:       rowID[row],
		Owners:   func(_ *view, r *row) owners { return owners{project: r.ProjectID} },
		NotFound: fault.RouterNotFound,
		Table:    func(t *neutron.Tables) *store.Table[row] { return t.Routers },
		Indexes:  []index{{Attr: "project_id", Name: neutron.ByProject}, {Attr: "tenant_id", Name: neutron.ByProject}},
		See:      adminOrReader, Create: adminOrMember, Update: adminOrMember, Delete: adminOrMember,
		Make:   (*neutron.Service).CreateRouters,
		Change: (*neutron.Service).UpdateRouter,
		Remove: (*neutron.Service).DeleteRouter,
		Tagged: true,
		Actions: map[string]action[row]{
			"add_router_interface":    {Method: http.MethodPut, May: adminOrMember, Do: interfaceAction(false, (*neutron.Service).AddInterface)},
			"remove_router_interface": {Method: http.MethodPut, May: adminOrMember, Do: interfaceAction(true, (*neutron.Service).RemoveInterface)},
			"add_extraroutes":         {Method: http.MethodPut, May: adminOrMember, Do: routesAction((*neutron.Service).AddRoutes)},
			"remove_extraroutes":      {Method: http.MethodPut, May: adminOrMember, Do: routesAction((*neutron.Service).RemoveRoutes)},
			"l3-agents":               {Method: http.MethodGet, May: adminOnly, Do: l3AgentsOf},
		},
	}
}

func routerAttrs() []attr[model.Router] {
	type row = model.Router
	// never is an attribute of what neutrino does not have: always false, and shown to admins
	// as Neutron shows it.
	never := func(name string) attr[row] {
		return attr[row]{
			Name: name, Use: inPost | inPut, Kind: kindBool, Default: false, Parse: orNull(onlyFalse),
			Create: adminOnly, Update: adminOnly, See: adminOnly,
			Get: func(*view, *row) value { return boolValue(false) },
			Set: func(*row, any) {},
		}
	}
	return []attr[row]{
		boolAttr("admin_state_up", inPost|inPut|filters|sorts, true, func(r *row) *bool { return &r.AdminStateUp }),
		textAttr("status", sorts, nil, nil, func(r *row) *string { return &r.Status }),
		{
			Name: "external_gateway_info", Use: inPost | inPut, Parse: parseGateway, Extra: true,
			Create: adminOrMember, Update: adminOrMember,
			Get: gatewayOf,
			Sub: []subRule{
				{Name: "network_id", Create: adminOrMember, Update: adminOrMember, Present: gatewayHas(func(g *neutron.GatewayInfo) bool { return g.NetworkID != "" })},
				{Name: "enable_snat", Create: adminOnly, Update: adminOnly, Present: gatewayHas(func(g *neutron.GatewayInfo) bool { return g.EnableSNAT != nil })},
				{Name: "external_fixed_ips", Create: adminOnly, Update: adminOnly, Present: gatewayHas(func(g *neutron.GatewayInfo) bool { return g.FixedIPs != nil })},
			},
		},
		never("ha"),
		never("distributed"),
		textsAttr("availability_zone_hints", inPost, notNull(uniqueTexts(text(255))), func(r *row) *[]string { return &r.AvailabilityZoneHints }),
		{Name: "availability_zones", Get: func(v *view, r *row) value {
			zones := v.svc.RouterZones(v.snap, r.ID)
			return textsValue(&zones)
		}},
		{
			Name: "routes", Use: inPut, Parse: parseRoutes,
			Get: func(_ *view, r *row) value { return jsonValue((*routeList)(&r.Routes)) },
			Set: set(func(r *row, x []model.Route) { r.Routes = x }),
		},
		{
			// Ours, as binding:status_reason of a port: what its agent says when a router is not
			// carried out.
			Name: "status_reason", See: adminOrService,
			Get: func(v *view, r *row) value {
				b, ok := v.t.RouterBindings.Get(v.snap, r.ID)
				if !ok {
					return textValue("")
				}
				return textValue(b.Reason)
			},
		},
	}
}

func onlyFalse(x any) (any, error) {
	b, err := parseBool(x)
	if err == nil && b == true {
		return nil, whyf("'%s' is not supported", spell(x))
	}
	return b, err
}

// parseGateway is Neutron's dict_or_nodata: null and {} take the gateway away.
func parseGateway(x any) (any, error) {
	if x == nil {
		return &neutron.GatewayInfo{}, nil
	}
	m, ok := x.(map[string]any)
	if !ok {
		return nil, whyf("'%s' is not a dictionary", spell(x))
	}
	if len(m) == 0 {
		return &neutron.GatewayInfo{}, nil
	}
	g := &neutron.GatewayInfo{}
	if _, given := m["network_id"]; !given {
		return nil, why("Validation of dictionary's keys failed. Expected keys: {'network_id'}")
	}
	var unknown []string
	for key, raw := range m {
		var err error
		switch key {
		case "network_id":
			var id any
			if id, err = parseUUID(raw); err == nil {
				g.NetworkID, _ = id.(string)
			}
		case "enable_snat":
			var b any
			if b, err = parseBool(raw); err == nil {
				snat, _ := b.(bool)
				g.EnableSNAT = &snat
			}
		case "external_fixed_ips":
			var fixed any
			if fixed, err = parseFixedIPs(raw); err == nil {
				g.FixedIPs, _ = fixed.([]model.FixedIP)
			}
		default:
			unknown = append(unknown, key)
		}
		if err != nil {
			return nil, err
		}
	}
	return g, unrecognized(unknown)
}

func gatewayHas(is func(*neutron.GatewayInfo) bool) func(any) bool {
	return func(x any) bool {
		g, _ := x.(*neutron.GatewayInfo)
		return g != nil && is(g)
	}
}

// gateway is external_gateway_info as it is shown.
type gateway struct {
	*model.RouterGateway
	fixed []model.FixedIP
}

func gatewayOf(v *view, r *model.Router) value {
	if r.Gateway == nil {
		return value{}
	}
	g := &gateway{RouterGateway: r.Gateway}
	if p, ok := v.t.Ports.Get(v.snap, r.Gateway.PortID); ok {
		g.fixed = p.FixedIPs
	}
	return jsonValue(g)
}

func (g *gateway) appendJSON(b []byte) []byte {
	b = appendText(append(b, `{"network_id":`...), g.NetworkID)
	b = (*fixedIPList)(&g.fixed).appendJSON(append(b, `,"external_fixed_ips":`...))
	return append(boolValue(g.EnableSNAT).appendTo(append(b, `,"enable_snat":`...)), '}')
}

// interfaceOperation adds or removes an interface.
type interfaceOperation = func(svc *neutron.Service, ctx context.Context, who model.Actor, router, subnet, port string) (*neutron.RouterInterface, error)

// interfaceAction is PUT /routers/{id}/add_router_interface or remove_router_interface. Its
// body and its reply are bare objects.
func interfaceAction(removal bool, do interfaceOperation) func(*request, *view, *model.Router) error {
	return func(rq *request, _ *view, r *model.Router) error {
		body, err := rq.object()
		if err != nil {
			return err
		}
		subnet, port, err := parseInterface(body, removal)
		if err != nil {
			return err
		}
		got, err := do(rq.srv.svc, rq.ctx(), rq.who.Actor, r.ID, subnet, port)
		if err != nil {
			return err
		}
		return rq.reply(http.StatusOK, func(b []byte) []byte {
			b = appendText(append(b, `{"id":`...), got.Router.ID)
			b = appendText(append(b, `,"tenant_id":`...), got.Router.ProjectID)
			b = appendText(append(b, `,"project_id":`...), got.Router.ProjectID)
			b = appendText(append(b, `,"port_id":`...), got.PortID)
			b = appendText(append(b, `,"network_id":`...), got.NetworkID)
			shown := got.SubnetIDs[len(got.SubnetIDs)-1]
			if removal {
				shown = got.SubnetIDs[0]
			}
			b = appendText(append(b, `,"subnet_id":`...), shown)
			return append((*texts)(&got.SubnetIDs).appendJSON(append(b, `,"subnet_ids":`...)), '}')
		})
	}
}

// parseInterface reads which interface is meant: a subnet or a port, and for a removal
// perhaps both.
func parseInterface(body map[string]any, removal bool) (subnet, port string, err error) {
	rawSubnet, bySubnet := body["subnet_id"]
	rawPort, byPort := body["port_id"]
	if !bySubnet && !byPort {
		return "", "", fault.BadRequest("router", "Either subnet_id or port_id must be specified")
	}
	read := func(raw any) (string, error) {
		id, badID := parseUUID(raw)
		if badID != nil {
			return "", fault.BadRequest("router", "%s", badID.Error())
		}
		s, _ := id.(string)
		return s, nil
	}
	if byPort {
		if port, err = read(rawPort); err != nil {
			return "", "", err
		}
	}
	if bySubnet {
		if subnet, err = read(rawSubnet); err != nil {
			return "", "", err
		}
	}
	if bySubnet && byPort && !removal {
		return "", "", fault.BadRequest("router", "Cannot specify both subnet-id and port-id")
	}
	return subnet, port, nil
}

// routesOperation adds or removes extra routes.
type routesOperation = func(svc *neutron.Service, ctx context.Context, who model.Actor, router string, routes []model.Route) (*model.Router, error)

// routesAction is PUT /routers/{id}/add_extraroutes or remove_extraroutes: a router with its
// routes in, the whole router out.
func routesAction(do routesOperation) func(*request, *view, *model.Router) error {
	return func(rq *request, _ *view, r *model.Router) error {
		body, err := rq.object()
		if err != nil {
			return err
		}
		items, _, err := unwrap(body, "router", "", false)
		if err != nil {
			return err
		}
		raw, ok := items[0]["routes"]
		if !ok || len(items[0]) != 1 {
			return fault.HTTPBadRequest("Unable to find 'routes' in request body")
		}
		list, err := parseRoutes(raw)
		if err != nil {
			return checkedAs("routes", err)
		}
		routes, _ := list.([]model.Route)
		changed, err := do(rq.srv.svc, rq.ctx(), rq.who.Actor, r.ID, routes)
		if err != nil {
			return err
		}
		v := rq.view()
		c := newCollection(routers())
		return rq.reply(http.StatusOK, func(b []byte) []byte { return c.appendOne(b, v, changed, c.columnsFor(v.who, nil)) })
	}
}

// l3AgentsOf is GET /routers/{id}/l3-agents.
func l3AgentsOf(rq *request, v *view, r *model.Router) error {
	var rows []*model.Agent
	if b, ok := v.t.RouterBindings.Get(v.snap, r.ID); ok {
		if a, known := v.t.Agents.Get(v.snap, b.AgentID); known {
			rows = append(rows, a)
		}
	}
	return replyRows(rq, v, newCollection(agents()), rows)
}

// l3RoutersOf is everything under /agents/{id}/l3-routers.
func l3RoutersOf(rq *request, v *view, a *model.Agent, path []string) error {
	switch method := rq.r.Method; {
	case len(path) == 0 && method == http.MethodGet:
		var rows []*model.Router
		for b := range v.t.RouterBindings.By(v.snap, neutron.ByAgent, a.ID) {
			if r, ok := v.t.Routers.Get(v.snap, b.RouterID); ok {
				rows = append(rows, r)
			}
		}
		return replyRows(rq, v, newCollection(routers()), rows)
	case len(path) == 0 && method == http.MethodPost:
		body, err := rq.object()
		if err != nil {
			return err
		}
		id, err := parseUUID(body["router_id"])
		if err != nil {
			return checkedAs("router_id", err)
		}
		router, _ := id.(string)
		if err = rq.srv.svc.ScheduleRouter(rq.ctx(), rq.who.Actor, a.ID, router); err != nil {
			return err
		}
		return rq.reply(http.StatusCreated, func(b []byte) []byte { return append(b, "null"...) })
	case len(path) == 1 && method == http.MethodDelete:
		if err := rq.srv.svc.UnscheduleRouter(rq.ctx(), rq.who.Actor, a.ID, path[0]); err != nil {
			return err
		}
		rq.status(http.StatusNoContent)
		return nil
	case len(path) > 1:
		return fault.HTTPNotFound()
	default:
		return errMethod(method)
	}
}
