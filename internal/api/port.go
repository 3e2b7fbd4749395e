package api

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
)

// What Neutron's policy says of ports.
const (
	portNetMember  = adminOrService | toParentMember
	portNetOrShare = portNetMember | toSharedMember
	portOwner      = adminOrService | toMember
)

// ports declares /ports.
func ports() resource[model.Port] {
	return resource[model.Port]{
		Single: "port", Plural: "ports",
		Attrs: slices.Concat(identity(plainName[model.Port]()), portAttrs(), bindingAttrs(), standard[model.Port](), tagged[model.Port]()),
		ID:    rowID[model.Port],
		Owners: func(v *view, p *model.Port) owners {
			o := owners{project: p.ProjectID}
			if n := v.network(p.NetworkID); n != nil {
				o.parent, o.shared = n.ProjectID, n.Shared
			}
			return o
		},
		NotFound: fault.PortNotFound,
		Table:    func(t *neutron.Tables) *store.Table[model.Port] { return t.Ports },
		Indexes: []index{
			{Attr: "device_id", Name: neutron.ByDevice},
			{Attr: "mac_address", Name: neutron.ByMAC, Keys: canonicalMACs},
			{Attr: "security_groups", Name: neutron.ByGroup},
			{Attr: "fixed_ips", Name: neutron.BySubnet, Keys: subnetsOfFilter},
			{Attr: "binding:host_id", Name: neutron.ByHost},
			{Attr: "network_id", Name: neutron.ByNetwork},
			{Attr: "project_id", Name: neutron.ByProject},
			{Attr: "tenant_id", Name: neutron.ByProject},
		},
		See:    adminOrService | toParentReader | toReader,
		Create: portNetOrShare, Update: portOwner, Delete: portOwner | toParentMember,
		Parent:  portParent,
		Changed: removeOptions,
		Make:    (*neutron.Service).CreatePorts,
		Change:  (*neutron.Service).UpdatePort,
		Remove:  (*neutron.Service).DeletePort,
		Tagged:  true,
		Actions: map[string]action[model.Port]{"trace": tracePath()},
	}
}

// portParent refuses ports on networks that the caller cannot see, and on external
// networks of others.
func portParent(v *view, p *model.Port) error {
	n, err := parentNetwork(v, p.NetworkID)
	if err != nil {
		return err
	}
	o := owners{project: p.ProjectID, parent: n.ProjectID, shared: n.Shared}
	if n.External && !v.who.may(portNetOrShare, o) {
		return fault.New("HTTPForbidden", http.StatusForbidden, "Tenant %s not allowed to create port on this network", v.who.ProjectID)
	}
	return nil
}

func portAttrs() []attr[model.Port] {
	type row = model.Port
	return []attr[row]{
		textAttr("network_id", inPost|required|filters|sorts, parseUUID, nil, func(p *row) *string { return &p.NetworkID }),
		boolAttr("admin_state_up", inPost|inPut|filters|sorts, true, func(p *row) *bool { return &p.AdminStateUp }),
		{
			Name: "mac_address", Use: inPost | inPut | filters | sorts, Parse: orNull(parseMAC),
			Create: portNetMember, Update: adminOrService | toParentManager,
			Get: func(_ *view, p *row) value { return textValue(p.MAC) },
			Set: set(func(p *row, x string) { p.MAC = x }),
			Match: func(_ *view, values []string) (func(*row) bool, error) {
				want := canonicalMACs(values)
				return func(p *row) bool { return slices.Contains(want, model.CanonicalMAC(p.MAC)) }, nil
			},
		},
		{
			Name: "fixed_ips", Use: inPost | inPut | filters, Parse: parseFixedIPs, Match: matchFixedIPs,
			Create: portNetOrShare, Update: portNetMember,
			Get: func(_ *view, p *row) value { return jsonValue((*fixedIPList)(&p.FixedIPs)) },
			Set: set(func(p *row, x []model.FixedIP) { p.FixedIPs = x }),
			Sub: []subRule{
				{Name: "ip_address", Create: portNetMember, Update: portNetMember, Present: anyFixed(func(f model.FixedIP) bool { return f.IP.IsValid() })},
				{Name: "subnet_id", Create: portNetOrShare, Update: portNetOrShare, Present: anyFixed(func(f model.FixedIP) bool { return f.SubnetID != "" })},
			},
		},
		textAttr("device_id", inPost|inPut|filters|sorts, text(255), "", func(p *row) *string { return &p.DeviceID }).by(portOwner, portOwner, 0),
		{
			Name: "device_owner", Use: inPost | inPut | filters | sorts, Parse: text(255), Default: "",
			Create: portNetMember, Update: portNetMember,
			Guarded: func(x any) bool { s, _ := x.(string); return strings.HasPrefix(s, model.OwnerNetworkPrefix) },
			Get:     func(_ *view, p *row) value { return textValue(p.DeviceOwner) },
			Set:     set(func(p *row, x string) { p.DeviceOwner = x }),
		},
		textAttr("status", filters|sorts, nil, nil, func(p *row) *string { return &p.Status }),
		{
			Name: "allowed_address_pairs", Use: inPost | inPut, Parse: parseAddressPairs,
			Create: portNetMember, Update: portNetMember,
			Get: func(_ *view, p *row) value { return jsonValue((*pairList)(&p.AllowedAddressPairs)) },
			Set: set(func(p *row, x []model.AddressPair) { p.AllowedAddressPairs = x }),
		},
		{
			Name: "extra_dhcp_opts", Use: inPost | inPut, Parse: parseDHCPOpts,
			Get: func(_ *view, p *row) value { return jsonValue((*optionList)(&p.ExtraDHCPOpts)) },
			Set: set(setOptions),
		},
		textAttr("ip_allocation", filters|sorts, nil, nil, func(p *row) *string { return &p.IPAllocation }),
		{
			Name: "port_security_enabled", Use: inPost | inPut, Parse: parseBool, Create: portNetMember, Update: portNetMember,
			Get: func(_ *view, p *row) value { return boolValue(p.PortSecurity) },
			Set: set(func(p *row, x bool) { p.PortSecurity = x }),
		},
		boolAttr("propagate_uplink_status", inPost, true, func(p *row) *bool { return &p.PropagateUplinkStatus }),
		{
			Name: "security_groups", Use: inPost | inPut | filters, Parse: uniqueTexts(parseUUID),
			Get: func(_ *view, p *row) value { return textsValue(&p.SecurityGroups) },
			Set: set(func(p *row, x []string) { p.SecurityGroups = x }),
			Match: func(_ *view, values []string) (func(*row) bool, error) {
				return func(p *row) bool { return hasSome(p.SecurityGroups, values) }, nil
			},
		},
		{
			Name: "trusted", Use: inPost | inPut, Parse: parseBool, Create: adminOnly, Update: adminOnly, See: adminOnly,
			Get: func(_ *view, p *row) value {
				if p.Trusted == nil {
					return value{}
				}
				return boolValue(*p.Trusted)
			},
			Set: set(func(p *row, x bool) { p.Trusted = &x }),
		},
	}
}

// vnicTypes are all that Neutron knows; which can be bound is for the drivers to say.
var vnicTypes = []string{
	"normal", "direct", "macvtap", "baremetal", "direct-physical", "virtio-forwarder", "smart-nic", "vdpa",
	"accelerator-direct", "accelerator-direct-physical", "remote-managed",
}

// maxProfile is how large binding:profile may be as JSON, in bytes.
const maxProfile = 4095

// bindingAttrs say where a port is and how it is plugged. binding:status_reason is ours:
// the host's words when a port is not ACTIVE. It is an attribute of its own, for admins
// and services, and not a part of binding:vif_details, because Nova keeps those and would
// take every change of the words for a change of the binding; clients that do not know
// the attribute ignore it.
func bindingAttrs() []attr[model.Port] {
	type row = model.Port
	return []attr[row]{
		textAttr("binding:vnic_type", inPost|inPut, oneOf(vnicTypes...), model.VnicNormal, func(p *row) *string { return &p.Binding.VnicType }).by(portOwner, portOwner, 0),
		{
			Name: "binding:host_id", Use: inPost | inPut | filters, Parse: orNull(text(255)),
			Create: adminOrService, Update: adminOrService, See: adminOrService,
			Get: func(_ *view, p *row) value { return textValue(p.Binding.Host) },
			Set: set(func(p *row, x string) { p.Binding.Host = x }),
		},
		{
			// Neutron's master lets only the service role write it; operators of machines
			// without Nova need it too, so admins may.
			Name: "binding:profile", Use: inPost | inPut, Parse: orNull(parseProfile),
			Create: adminOrService, Update: adminOrService, See: adminOrService,
			Get: func(_ *view, p *row) value { return documentValue(&p.Binding.Profile) },
			Set: set(func(p *row, x map[string]any) { p.Binding.Profile = x }),
		},
		{
			Name: "binding:vif_type", See: adminOrService,
			Get: func(_ *view, p *row) value {
				if p.Binding.VIFType == "" {
					return textValue(model.VIFUnbound)
				}
				return textValue(p.Binding.VIFType)
			},
		},
		{
			Name: "binding:vif_details", See: adminOrService,
			Get: func(_ *view, p *row) value { return documentValue(&p.Binding.VIFDetails) },
		},
		{
			Name: "binding:status_reason", See: adminOrService,
			Get: func(_ *view, p *row) value { return textValue(p.StatusReason) },
		},
	}
}

func parseProfile(x any) (any, error) {
	if _, err := parseObjectValue(x); err != nil {
		return nil, err
	}
	m, _ := plainNumbers(x).(map[string]any)
	rest := m
	if _, ok := m["instance"]; ok { // it has limits of its own (ml2.ReadInstance)
		rest = maps.Clone(m)
		delete(rest, "instance")
	}
	if len(appendObject(nil, rest)) > maxProfile {
		return nil, fault.InvalidInput("binding:profile value too large")
	}
	return m, nil
}

// setOptions puts the options that stay into the row.
func setOptions(p *model.Port, x []neutron.DHCPOptChange) {
	p.ExtraDHCPOpts = nil
	for _, o := range x {
		if !o.Remove {
			p.ExtraDHCPOpts = append(p.ExtraDHCPOpts, o.DHCPOpt)
		}
	}
}

// removeOptions hands over which DHCP options a change sets and removes.
func removeOptions(c *neutron.Change[model.Port], sent map[string]any) {
	if opts, ok := sent["extra_dhcp_opts"].([]neutron.DHCPOptChange); ok {
		c.Extra["extra_dhcp_opts"] = opts
	}
}
