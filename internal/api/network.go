package api

import (
	"slices"
	"strconv"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
)

// networks declares /networks.
func networks() resource[model.Network] {
	return resource[model.Network]{
		Single: "network", Plural: "networks",
		Attrs: slices.Concat(identity(plainName[model.Network]()), networkAttrs(), providerAttrs(), standard[model.Network](), tagged[model.Network]()),
		ID:    rowID[model.Network],
		Owners: func(_ *view, n *model.Network) owners {
			return owners{project: n.ProjectID, shared: n.Shared, external: n.External}
		},
		NotFound: fault.NetworkNotFound,
		Table:    func(t *neutron.Tables) *store.Table[model.Network] { return t.Networks },
		Indexes:  []index{{Attr: "project_id", Name: neutron.ByProject}, {Attr: "tenant_id", Name: neutron.ByProject}},
		See:      adminOrReader | toService | toShared | toExternal | toAdvsvc,
		Create:   adminOrMember, Update: adminOrMember, Delete: adminOrMember,
		Make:   (*neutron.Service).CreateNetworks,
		Change: (*neutron.Service).UpdateNetwork,
		Remove: (*neutron.Service).DeleteNetwork,
		Tagged: true,
		Actions: map[string]action[model.Network]{
			"dhcp-agents": {Method: "GET", May: adminOnly, Do: dhcpAgentsOf},
		},
	}
}

func networkAttrs() []attr[model.Network] {
	type row = model.Network
	return []attr[row]{
		boolAttr("admin_state_up", inPost|inPut|filters|sorts, true, func(n *row) *bool { return &n.AdminStateUp }),
		textAttr("status", filters|sorts, nil, nil, func(n *row) *string { return &n.Status }),
		boolAttr("shared", inPost|inPut|filters, false, func(n *row) *bool { return &n.Shared }).by(adminOnly, adminOnly, 0),
		boolAttr("router:external", inPost|inPut|filters, false, func(n *row) *bool { return &n.External }).by(adminOnly, adminOnly, 0),
		boolAttr("is_default", inPost|inPut|filters, false, func(n *row) *bool { return &n.IsDefault }).by(adminOnly, adminOnly, 0),
		intAttr("mtu", inPost|inPut|filters|sorts, nonNegative, 0, func(n *row) *int { return &n.MTU }),
		boolAttr("port_security_enabled", inPost|inPut, true, func(n *row) *bool { return &n.PortSecurity }).by(adminOrMember, adminOrMember, 0),
		textsAttr("availability_zone_hints", inPost|sorts, notNull(uniqueTexts(text(255))), func(n *row) *[]string { return &n.AvailabilityZoneHints }),
		{Name: "availability_zones", Get: func(v *view, n *row) value {
			zones := v.svc.NetworkZones(v.snap, n.ID)
			return textsValue(&zones)
		}},
		{Name: "subnets", Get: func(v *view, n *row) value {
			ids := []string{}
			for s := range v.t.Subnets.By(v.snap, neutron.ByNetwork, n.ID) {
				ids = append(ids, s.ID)
			}
			return textsValue(&ids)
		}},
		{Name: "ipv4_address_scope", Get: func(*view, *row) value { return value{} }},
		{Name: "ipv6_address_scope", Get: func(*view, *row) value { return value{} }},
		{Name: "l2_adjacency", Get: func(*view, *row) value { return boolValue(true) }},
	}
}

// Keys of one segment in a body.
const (
	keyType     = "provider:network_type"
	keyPhysical = "provider:physical_network"
	keyID       = "provider:segmentation_id"
)

// providerAttrs show a network's one segment as provider:*, or several as segments.
func providerAttrs() []attr[model.Network] {
	type row = model.Network
	provider := func(name string, parse check, get func(*model.Segment) value, put func(*model.Segment, any)) attr[row] {
		return attr[row]{
			Name: name, Use: inPost | inPut | filters, Parse: parse,
			Create: adminOnly, Update: adminOnly, See: adminOnly,
			Get: func(_ *view, n *row) value {
				if len(n.Segments) != 1 {
					return value{kind: kindAbsent}
				}
				return get(&n.Segments[0])
			},
			Set: func(n *row, x any) {
				if len(n.Segments) == 0 {
					n.Segments = make([]model.Segment, 1)
				}
				put(&n.Segments[0], x)
			},
			Match: func(_ *view, values []string) (func(*row) bool, error) {
				return matchSegments(values, get), nil
			},
		}
	}
	return []attr[row]{
		provider(keyType, text(32),
			func(s *model.Segment) value { return textOrNull(s.NetworkType) },
			set(func(s *model.Segment, x string) { s.NetworkType = x })),
		provider(keyPhysical, text(64),
			func(s *model.Segment) value { return textOrNull(s.PhysicalNetwork) },
			set(func(s *model.Segment, x string) { s.PhysicalNetwork = x })),
		provider(keyID, parseInt,
			func(s *model.Segment) value {
				if s.SegmentationID == 0 {
					return value{}
				}
				return intValue(int64(s.SegmentationID))
			},
			set(func(s *model.Segment, x int) { s.SegmentationID = x })),
		{
			Name: "segments", Use: inPost | inPut, Parse: parseSegments,
			Create: adminOnly, Update: adminOnly, See: adminOnly,
			Get: func(_ *view, n *row) value {
				if len(n.Segments) == 1 {
					return value{kind: kindAbsent}
				}
				return jsonValue((*segmentList)(&n.Segments))
			},
			Set: set(func(n *row, x []model.Segment) { n.Segments = x }),
		},
	}
}

// matchSegments finds networks by any of their segments.
func matchSegments(values []string, get func(*model.Segment) value) func(*model.Network) bool {
	return func(n *model.Network) bool {
		for i := range n.Segments {
			x := get(&n.Segments[i])
			have := x.text
			if x.kind == kindInt {
				have = strconv.FormatInt(x.num, 10)
			}
			if slices.Contains(values, have) {
				return true
			}
		}
		return false
	}
}

// parseSegments reads the list of a multi-provider network.
func parseSegments(x any) (any, error) {
	list, ok := x.([]any)
	if !ok || len(list) == 0 {
		return nil, whyf("'%s' is not a list of segments", spell(x))
	}
	out := make([]model.Segment, 0, len(list))
	for _, e := range list {
		m, isObject := e.(map[string]any)
		if !isObject {
			return nil, whyf("'%s' is not a dictionary", spell(e))
		}
		s, err := parseSegment(m)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func parseSegment(m map[string]any) (model.Segment, error) {
	var s model.Segment
	var unknown []string
	for key, raw := range m {
		if raw == nil {
			continue
		}
		var x any
		var err error
		switch key {
		case keyType:
			if x, err = text(32)(raw); err == nil {
				s.NetworkType, _ = x.(string)
			}
		case keyPhysical:
			if x, err = text(64)(raw); err == nil {
				s.PhysicalNetwork, _ = x.(string)
			}
		case keyID:
			if x, err = parseInt(raw); err == nil {
				s.SegmentationID, _ = x.(int)
			}
		default:
			unknown = append(unknown, key)
		}
		if err != nil {
			return s, checkedAs(key, err)
		}
	}
	return s, unrecognized(unknown)
}

// segmentList writes segments.
type segmentList []model.Segment

func (l *segmentList) appendJSON(b []byte) []byte {
	b = append(b, '[')
	for i, s := range *l {
		if i > 0 {
			b = append(b, ',')
		}
		b = textOrNull(s.NetworkType).appendTo(append(b, `{"provider:network_type":`...))
		b = textOrNull(s.PhysicalNetwork).appendTo(append(b, `,"provider:physical_network":`...))
		b = append(b, `,"provider:segmentation_id":`...)
		if s.SegmentationID == 0 {
			b = append(b, "null}"...)
		} else {
			b = append(strconv.AppendInt(b, int64(s.SegmentationID), 10), '}')
		}
	}
	return append(b, ']')
}

// parentNetwork is the 404 for something new on a network that the caller cannot see.
func parentNetwork(v *view, id string) (*model.Network, error) {
	n := v.network(id)
	if n == nil {
		return nil, fault.NetworkNotFound(id)
	}
	see := adminOrReader | toService | toShared | toExternal | toAdvsvc
	if !v.who.may(see, owners{project: n.ProjectID, shared: n.Shared, external: n.External}) {
		return nil, fault.NetworkNotFound(id)
	}
	return n, nil
}
