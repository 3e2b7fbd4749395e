package api

import (
	"net/netip"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
)

// floatingIPs declares /floatingips.
func floatingIPs() resource[model.FloatingIP] {
	type row = model.FloatingIP
	own := identity(attr[row]{Parse: text(255), Default: ""})
	own = slices.DeleteFunc(own, func(a attr[row]) bool { return a.Name == "name" }) // a floating IP has no name
	return resource[row]{
		Single: "floatingip", Plural: "floatingips",
		Attrs:    slices.Concat(own, floatingIPAttrs(), standard[row](), tagged[row]()),
		ID:       rowID[row],
		Owners:   func(_ *view, f *row) owners { return owners{project: f.ProjectID} },
		NotFound: fault.FloatingIPNotFound,
		Table:    func(t *neutron.Tables) *store.Table[row] { return t.FloatingIPs },
		Indexes: []index{
			{Attr: "port_id", Name: neutron.ByPort},
			{Attr: "router_id", Name: neutron.ByRouter},
			{Attr: "project_id", Name: neutron.ByProject},
			{Attr: "tenant_id", Name: neutron.ByProject},
			{Attr: "floating_network_id", Name: neutron.ByNetwork},
		},
		See: adminOrReader, Create: adminOrMember, Update: adminOrMember, Delete: adminOrMember,
		Make:   (*neutron.Service).CreateFloatingIPs,
		Change: (*neutron.Service).UpdateFloatingIP,
		Remove: (*neutron.Service).DeleteFloatingIP,
		Tagged: true,
	}
}

func floatingIPAttrs() []attr[model.FloatingIP] {
	type row = model.FloatingIP
	return []attr[row]{
		textAttr("floating_network_id", inPost|required|filters|sorts, parseUUID, nil, func(f *row) *string { return &f.FloatingNetworkID }),
		{
			Name: "floating_ip_address", Use: inPost | filters | sorts, Parse: orNull(parseAddr), Canon: canonicalAddr,
			Create: toAdmin | toManager,
			Get:    func(_ *view, f *row) value { return addrValue(f.FloatingIP) },
			Set:    set(func(f *row, x netip.Addr) { f.FloatingIP = x }),
		},
		{Name: "subnet_id", Use: inPost | hidden, Parse: orNull(parseUUID), Extra: true},
		nullAttr("router_id", filters|sorts, parseUUID, func(f *row) *string { return &f.RouterID }),
		nullAttr("port_id", inPost|inPut|filters, parseUUID, func(f *row) *string { return &f.PortID }),
		{
			Name: "fixed_ip_address", Use: inPost | inPut | filters | sorts, Parse: orNull(parseAddr), Canon: canonicalAddr,
			Get: func(_ *view, f *row) value { return addrValue(f.FixedIP) },
			Set: set(func(f *row, x netip.Addr) { f.FixedIP = x }),
		},
		textAttr("status", filters|sorts, nil, nil, func(f *row) *string { return &f.Status }),
		{Name: "port_details", Get: portDetails},
	}
}

// portDetails say what the port is that a floating IP stands for.
func portDetails(v *view, f *model.FloatingIP) value {
	if f.PortID == "" {
		return value{}
	}
	p, ok := v.t.Ports.Get(v.snap, f.PortID)
	if !ok {
		return value{}
	}
	return jsonValue((*portDetail)(p))
}

// portDetail writes them.
type portDetail model.Port

func (p *portDetail) appendJSON(b []byte) []byte {
	b = appendText(append(b, `{"name":`...), p.Name)
	b = appendText(append(b, `,"network_id":`...), p.NetworkID)
	b = appendText(append(b, `,"mac_address":`...), p.MAC)
	b = boolValue(p.AdminStateUp).appendTo(append(b, `,"admin_state_up":`...))
	b = appendText(append(b, `,"status":`...), p.Status)
	b = appendText(append(b, `,"device_id":`...), p.DeviceID)
	return append(appendText(append(b, `,"device_owner":`...), p.DeviceOwner), '}')
}
