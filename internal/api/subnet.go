package api

import (
	"net/netip"
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
)

const ownerOrNetMember = toAdmin | toMember | toParentMember

// subnets declares /subnets.
func subnets() resource[model.Subnet] {
	return resource[model.Subnet]{
		Single: "subnet", Plural: "subnets",
		Attrs: slices.Concat(identity(plainName[model.Subnet]()), subnetAttrs(), standard[model.Subnet](), tagged[model.Subnet]()),
		ID:    rowID[model.Subnet],
		Owners: func(v *view, s *model.Subnet) owners {
			o := owners{project: s.ProjectID}
			if n := v.network(s.NetworkID); n != nil {
				o.parent, o.shared, o.external = n.ProjectID, n.Shared, n.External
			}
			return o
		},
		NotFound: fault.SubnetNotFound,
		Table:    func(t *neutron.Tables) *store.Table[model.Subnet] { return t.Subnets },
		Indexes: []index{
			{Attr: "network_id", Name: neutron.ByNetwork},
			{Attr: "subnetpool_id", Name: neutron.ByPool},
			{Attr: "project_id", Name: neutron.ByProject},
			{Attr: "tenant_id", Name: neutron.ByProject},
		},
		See:    adminOrReader | toParentReader | toService | toShared | toExternal,
		Create: toAdmin | toParentMember, Update: ownerOrNetMember, Delete: ownerOrNetMember,
		Parent: func(v *view, s *model.Subnet) error {
			_, err := parentNetwork(v, s.NetworkID)
			return err
		},
		Make:   (*neutron.Service).CreateSubnets,
		Change: (*neutron.Service).UpdateSubnet,
		Remove: (*neutron.Service).DeleteSubnet,
		Tagged: true,
	}
}

func subnetAttrs() []attr[model.Subnet] {
	type row = model.Subnet
	mode := oneOf(model.ModeStateful, model.ModeStateless, model.ModeSLAAC)
	return []attr[row]{
		textAttr("network_id", inPost|required|filters|sorts, parseUUID, nil, func(s *row) *string { return &s.NetworkID }),
		intAttr("ip_version", inPost|required|filters|sorts, ipVersion, nil, func(s *row) *int { return &s.IPVersion }),
		nullAttr("subnetpool_id", inPost|filters|sorts, parsePoolID, func(s *row) *string { return &s.SubnetPoolID }),
		{
			Name: "cidr", Use: inPost | filters | sorts, Parse: orNull(parseCIDR), Canon: canonicalCIDR,
			Get: func(_ *view, s *row) value { return textValue(s.CIDR.String()) },
			Set: set(func(s *row, x netip.Prefix) { s.CIDR = x }),
		},
		{Name: "prefixlen", Use: inPost | hidden, Parse: nonNegative, Extra: true},
		{Name: "use_default_subnetpool", Use: inPost | hidden, Parse: parseBool, Extra: true},
		{
			Name: "gateway_ip", Use: inPost | inPut | filters | sorts, Parse: orNull(parseAddr), Canon: canonicalAddr,
			Get: func(_ *view, s *row) value { return addrValue(s.GatewayIP) },
			Set: set(func(s *row, x netip.Addr) { s.GatewayIP = x }),
		},
		{
			Name: "allocation_pools", Use: inPost | inPut, Parse: parsePools,
			Get: func(_ *view, s *row) value { return jsonValue((*rangeList)(&s.AllocationPools)) },
			Set: set(func(s *row, x []model.IPRange) { s.AllocationPools = x }),
		},
		{
			Name: "dns_nameservers", Use: inPost | inPut, Parse: parseNameservers,
			Get: func(_ *view, s *row) value { return jsonValue((*addrList)(&s.DNSNameservers)) },
			Set: set(func(s *row, x []netip.Addr) { s.DNSNameservers = x }),
		},
		{
			Name: "host_routes", Use: inPost | inPut, Parse: parseRoutes,
			Get: func(_ *view, s *row) value { return jsonValue((*routeList)(&s.HostRoutes)) },
			Set: set(func(s *row, x []model.Route) { s.HostRoutes = x }),
		},
		boolAttr("enable_dhcp", inPost|inPut|filters|sorts, true, func(s *row) *bool { return &s.EnableDHCP }),
		modeAttr("ipv6_ra_mode", mode, func(s *row) *string { return &s.IPv6RAMode }),
		modeAttr("ipv6_address_mode", mode, func(s *row) *string { return &s.IPv6AddressMode }),
		textsAttr("service_types", inPost|inPut, parseServiceTypes, func(s *row) *[]string { return &s.ServiceTypes }).by(adminOnly, adminOnly, 0),
		{Name: "shared", Use: filters | hidden, Kind: kindBool, Get: func(v *view, s *row) value {
			n := v.network(s.NetworkID)
			return boolValue(n != nil && n.Shared)
		}},
		{Name: "router:external", Use: filters, Kind: kindBool, Get: func(v *view, s *row) value {
			n := v.network(s.NetworkID)
			return boolValue(n != nil && n.External)
		}},
	}
}

// modeAttr is an IPv6 mode: no null in requests, null in replies when there is none.
func modeAttr(name string, mode check, field func(*model.Subnet) *string) attr[model.Subnet] {
	a := nullAttr(name, inPost|filters|sorts, mode, field)
	a.Parse = mode
	return a
}

func canonicalCIDR(s string) string {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked().String()
	}
	return s
}

func canonicalAddr(s string) string {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().String()
	}
	return s
}

// parsePoolID accepts a UUID or the pool of prefix delegation.
func parsePoolID(x any) (any, error) {
	if x == "prefix_delegation" {
		return x, nil
	}
	return parseUUID(x)
}

func parsePools(x any) (any, error) {
	list, ok := x.([]any)
	if !ok {
		return nil, whyf("Invalid data format for IP pool: '%s'", spell(x))
	}
	out := make([]model.IPRange, 0, len(list))
	for _, e := range list {
		m, isObject := e.(map[string]any)
		if !isObject {
			return nil, whyf("Invalid input. '%s' must be a dictionary with keys: ['start', 'end'].", spell(e))
		}
		if err := keysAre(m, "end", "start"); err != nil {
			return nil, err
		}
		start, err := parseAddr(m["start"])
		if err != nil {
			return nil, err
		}
		end, err := parseAddr(m["end"])
		if err != nil {
			return nil, err
		}
		r := model.IPRange{}
		r.Start, _ = start.(netip.Addr)
		r.End, _ = end.(netip.Addr)
		out = append(out, r)
	}
	return out, nil
}

func parseNameservers(x any) (any, error) {
	if x == nil {
		return []netip.Addr{}, nil
	}
	list, ok := x.([]any)
	if !ok {
		return nil, whyf("Invalid data format for nameserver: '%s'", spell(x))
	}
	out := make([]netip.Addr, 0, len(list))
	for _, e := range list {
		got, err := parseAddr(e)
		if err != nil {
			return nil, whyf("'%s' is not a valid nameserver. %s", spell(e), err.Error())
		}
		a, _ := got.(netip.Addr)
		if slices.Contains(out, a) {
			return nil, whyf("Duplicate nameserver '%s'", a)
		}
		out = append(out, a)
	}
	return out, nil
}

func parseRoutes(x any) (any, error) {
	if x == nil {
		return []model.Route{}, nil
	}
	list, ok := x.([]any)
	if !ok {
		return nil, whyf("Invalid data format for hostroute: '%s'", spell(x))
	}
	out := make([]model.Route, 0, len(list))
	for _, e := range list {
		m, isObject := e.(map[string]any)
		if !isObject {
			return nil, whyf("Invalid input. '%s' must be a dictionary with keys: ['destination', 'nexthop'].", spell(e))
		}
		if err := keysAre(m, "destination", "nexthop"); err != nil {
			return nil, err
		}
		text, _ := m["destination"].(string)
		to, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, whyf("'%s' is not a valid CIDR", spell(m["destination"]))
		}
		if to != to.Masked() {
			return nil, whyf("'%s' is not a recognized CIDR, '%s' is recommended", text, to.Masked())
		}
		hop, err := parseAddr(m["nexthop"])
		if err != nil {
			return nil, err
		}
		r := model.Route{Destination: to}
		r.NextHop, _ = hop.(netip.Addr)
		if slices.Contains(out, r) {
			return nil, whyf("Duplicate hostroute '%s'", spell(e))
		}
		out = append(out, r)
	}
	return out, nil
}

// parseServiceTypes accepts prefixes of device owners.
func parseServiceTypes(x any) (any, error) {
	list, ok := x.([]any)
	if x != nil && !ok {
		return nil, fault.HTTPBadRequest("Subnet service types must be a list.")
	}
	out := make([]string, 0, len(list))
	for _, e := range list {
		s, isText := e.(string)
		if !isText {
			return nil, fault.New("InvalidInputSubnetServiceType", 400, "Subnet service type %s is not a string.", spell(e))
		}
		valid := slices.ContainsFunc([]string{"network:", "neutron:", "compute:", "baremetal:"}, func(p string) bool { return strings.HasPrefix(s, p) })
		if !valid {
			return nil, fault.InvalidSubnetServiceType(s)
		}
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out, nil
}

// rangeList writes allocation pools.
type rangeList []model.IPRange

func (l *rangeList) appendJSON(b []byte) []byte {
	b = append(b, '[')
	for i, r := range *l {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(r.Start.AppendTo(append(b, `{"start":"`...)), `","end":"`...)
		b = append(r.End.AppendTo(b), `"}`...)
	}
	return append(b, ']')
}

// addrList writes addresses.
type addrList []netip.Addr

func (l *addrList) appendJSON(b []byte) []byte {
	b = append(b, '[')
	for i, a := range *l {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(a.AppendTo(append(b, '"')), '"')
	}
	return append(b, ']')
}

// routeList writes host routes.
type routeList []model.Route

func (l *routeList) appendJSON(b []byte) []byte {
	b = append(b, '[')
	for i, r := range *l {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(r.Destination.AppendTo(append(b, `{"destination":"`...)), `","nexthop":"`...)
		b = append(r.NextHop.AppendTo(b), `"}`...)
	}
	return append(b, ']')
}

// prefixList writes prefixes.
type prefixList []netip.Prefix

func (l *prefixList) appendJSON(b []byte) []byte {
	b = append(b, '[')
	for i, p := range *l {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(p.AppendTo(append(b, '"')), '"')
	}
	return append(b, ']')
}
