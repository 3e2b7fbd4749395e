package neutron_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"neutrino/internal/model"
	"neutrino/internal/neutron"
)

func TestCreatePort(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	sub := r.subnet(n, "10.0.0.0/24")
	p := r.port(port(n))
	if p.Status != model.StatusDown || p.Binding.VnicType != "normal" || p.Binding.VIFType != "unbound" || p.IPAllocation != "immediate" {
		t.Errorf("port %+v", p)
	}
	if !strings.HasPrefix(p.MAC, "fa:16:3e:") || len(p.FixedIPs) != 1 || !sub.CIDR.Contains(p.FixedIPs[0].IP) {
		t.Errorf("port has MAC %s and %v", p.MAC, p.FixedIPs)
	}
	own := must[*model.SecurityGroup](t)(r.s.EnsureDefaultGroup(ctx, "p1"))
	if !p.PortSecurity || !slices.Equal(p.SecurityGroups, []string{own.ID}) {
		t.Errorf("port security %v, groups %v", p.PortSecurity, p.SecurityGroups)
	}
	dhcp := port(n)
	dhcp.DeviceOwner = model.OwnerDHCP
	if d := r.port(dhcp); d.PortSecurity || len(d.SecurityGroups) != 0 || d.FixedIPs[0].IP != netip.MustParseAddr("10.0.0.2") {
		t.Errorf("DHCP port %+v", d)
	}
	bare := port(n)
	if b := r.port(bare, "fixed_ips"); len(b.FixedIPs) != 0 || b.IPAllocation != "none" {
		t.Errorf("port without address %+v", b)
	}
}

func TestCreatePortFaults(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	sub := r.subnet(n, "10.0.0.0/24")
	taken := r.port(port(n))
	mine := r.addGroup("p1", "mine", true)
	stateless := r.addGroup("p1", "stateless", false)
	theirs := r.addGroup("p2", "theirs", true)
	mac := strings.ToUpper(strings.ReplaceAll(taken.MAC, ":", "-"))
	pair := model.AddressPair{IP: "10.1.0.0/24"}
	for name, c := range map[string]struct {
		edit   func(p *model.Port)
		given  []string
		typ    string
		status int
		text   string
	}{
		"no network": {
			edit: func(p *model.Port) { p.NetworkID = "x" }, typ: "NetworkNotFound", status: 404, text: "Network x could not be found.",
		},
		"MAC in use, written otherwise": {
			edit: func(p *model.Port) { p.MAC = mac }, given: []string{"mac_address"}, typ: "MacAddressInUse", status: 409,
			text: "Unable to complete operation for network " + n.ID + ". The mac address " + mac + " is in use.",
		},
		"address in use": {
			edit: func(p *model.Port) { p.FixedIPs = taken.FixedIPs }, given: []string{"fixed_ips"}, typ: "IpAddressAlreadyAllocated", status: 409,
			text: "IP address " + taken.FixedIPs[0].IP.String() + " already allocated in subnet " + sub.ID,
		},
		"address elsewhere": {
			edit:  func(p *model.Port) { p.FixedIPs = []model.FixedIP{{IP: netip.MustParseAddr("192.0.2.1")}} },
			given: []string{"fixed_ips"}, typ: "InvalidIpForNetwork", status: 400,
		},
		"unknown group": {
			edit: func(p *model.Port) { p.SecurityGroups = []string{"nope"} }, given: []string{"security_groups"},
			typ: "SecurityGroupNotFound", status: 404, text: "Security group nope does not exist",
		},
		"group of another project": {
			edit: func(p *model.Port) { p.SecurityGroups = []string{theirs.ID} }, given: []string{"security_groups"},
			typ: "SecurityGroupNotFound", status: 404,
		},
		"stateful with stateless": {
			edit:  func(p *model.Port) { p.SecurityGroups = []string{mine.ID, stateless.ID} },
			given: []string{"security_groups"}, typ: "SecurityGroupConflict", status: 409,
		},
		"groups without port security": {
			edit:  func(p *model.Port) { p.PortSecurity = false; p.SecurityGroups = []string{mine.ID} },
			given: []string{"security_groups", "port_security_enabled"}, typ: "PortSecurityAndIPRequiredForSecurityGroups", status: 400,
		},
		"pairs without port security": {
			edit:  func(p *model.Port) { p.PortSecurity = false; p.AllowedAddressPairs = []model.AddressPair{pair} },
			given: []string{"allowed_address_pairs", "port_security_enabled"}, typ: "AddressPairAndPortSecurityRequired", status: 409,
		},
		"pair without address": {
			edit:  func(p *model.Port) { p.AllowedAddressPairs = []model.AddressPair{{MAC: "fa:16:3e:00:00:01"}} },
			given: []string{"allowed_address_pairs"}, typ: "AllowedAddressPairsMissingIP", status: 400,
		},
		"pair twice": {
			edit:  func(p *model.Port) { p.AllowedAddressPairs = []model.AddressPair{pair, pair} },
			given: []string{"allowed_address_pairs"}, typ: "DuplicateAddressPairInRequest", status: 400,
		},
		"too many pairs": {
			edit:  func(p *model.Port) { p.AllowedAddressPairs = make([]model.AddressPair, 11) },
			given: []string{"allowed_address_pairs"}, typ: "AllowedAddressPairExhausted", status: 400,
			text: "The number of allowed address pair exceeds the maximum 10.",
		},
		"bad profile": {
			edit:  func(p *model.Port) { p.Binding.Profile = map[string]any{"pci_slot": "nonsense"} },
			given: []string{"binding:profile"}, typ: "InvalidInput", status: 400,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := port(n)
			c.edit(p)
			before := r.tab.Ports.Len(r.db.Snapshot())
			_, err := r.s.CreatePorts(ctx, member("p1"), []neutron.Draft[model.Port]{draft(port(n)), draft(p, c.given...)})
			wantFault(t, err, c.typ, c.status, c.text)
			if after := r.tab.Ports.Len(r.db.Snapshot()); after != before {
				t.Errorf("%d ports were made", after-before)
			}
		})
	}
}

func TestPortOnExternalNetwork(t *testing.T) {
	r := newRig(t, neutron.Options{})
	ext := network("p1")
	ext.External = true
	n := one[model.Network](t)(r.s.CreateNetworks(ctx, admin, []neutron.Draft[model.Network]{draft(ext)}))
	p := port(n)
	p.ProjectID = "p2"
	_, err := r.s.CreatePorts(ctx, member("p2"), []neutron.Draft[model.Port]{draft(p)})
	wantFault(t, err, "HTTPForbidden", 403, "Tenant p2 not allowed to create port on this network")
	hidden := r.network("p3")
	p.NetworkID = hidden.ID
	_, err = r.s.CreatePorts(ctx, member("p2"), []neutron.Draft[model.Port]{draft(p)})
	wantFault(t, err, "NetworkNotFound", 404, "")
}

func TestUpdatePortAddresses(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	sub := r.subnet(n, "10.0.0.0/24")
	p := r.port(port(n))
	other := r.port(port(n))
	fixed := func(f ...model.FixedIP) (*model.Port, error) {
		return r.s.UpdatePort(ctx, admin, p.ID, change(func(p *model.Port) { p.FixedIPs = f }, "fixed_ips"))
	}
	kept := must[*model.Port](t)(fixed(model.FixedIP{SubnetID: sub.ID}))
	if !slices.Equal(kept.FixedIPs, p.FixedIPs) || kept.Revision != p.Revision {
		t.Errorf("asking for an address of the subnet moved the port from %v to %v", p.FixedIPs, kept.FixedIPs)
	}
	_, err := fixed(other.FixedIPs...)
	wantFault(t, err, "IpAddressAlreadyAllocated", 409, "")
	want := model.FixedIP{SubnetID: sub.ID, IP: netip.MustParseAddr("10.0.0.77")}
	moved := must[*model.Port](t)(fixed(want))
	if !slices.Equal(moved.FixedIPs, []model.FixedIP{want}) {
		t.Errorf("moved to %v", moved.FixedIPs)
	}
	if _, held := r.db.ClaimOwner(r.db.Snapshot(), "ip", sub.ID+"/"+p.FixedIPs[0].IP.String()); held {
		t.Error("the old address is still claimed")
	}
	none := must[*model.Port](t)(fixed())
	if len(none.FixedIPs) != 0 || none.IPAllocation != "none" {
		t.Errorf("without addresses: %+v", none)
	}
}

func TestUpdatePortMAC(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	slaac := subnet(n, "2001:db8::/64")
	slaac.IPv6RAMode, slaac.IPv6AddressMode = model.ModeSLAAC, model.ModeSLAAC
	r.addSubnet(slaac, "cidr", "ipv6_ra_mode", "ipv6_address_mode")
	r.agentUp(nicAgent("h1"))
	p, other := r.port(port(n)), r.port(port(n))
	mac := func(mac string) (*model.Port, error) {
		return r.s.UpdatePort(ctx, admin, p.ID, change(func(p *model.Port) { p.MAC = mac }, "mac_address"))
	}
	_, err := mac(other.MAC)
	wantFault(t, err, "MacAddressInUse", 409, "")
	moved := must[*model.Port](t)(mac("FA-16-3E-00-00-01"))
	if moved.MAC != "FA-16-3E-00-00-01" || moved.FixedIPs[0].IP != netip.MustParseAddr("2001:db8::f816:3eff:fe00:1") {
		t.Errorf("port %s %v", moved.MAC, moved.FixedIPs)
	}
	if again := must[*model.Port](t)(mac("")); again.MAC == "" || again.MAC == moved.MAC {
		t.Errorf("a MAC of null gave %q", again.MAC)
	}
	bound := must[*model.Port](t)(r.s.UpdatePort(ctx, admin, p.ID, change(func(p *model.Port) {
		p.Binding.Host, p.Binding.VnicType = "h1", "direct"
	}, "binding:host_id", "binding:vnic_type")))
	_, err = mac("fa:16:3e:00:00:02")
	wantFault(t, err, "PortBound", 409, "Unable to complete operation on port "+p.ID+
		", port is already bound, port type: hw_veb, old_mac "+bound.MAC+", new_mac fa:16:3e:00:00:02.")
}

func TestPortSecurityRules(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	r.subnet(n, "10.0.0.0/24")
	p := r.port(port(n))
	update := func(edit func(*model.Port), given ...string) error {
		_, err := r.s.UpdatePort(ctx, admin, p.ID, change(edit, given...))
		return err
	}
	wantFault(t, update(func(p *model.Port) { p.PortSecurity = false }, "port_security_enabled"), "PortSecurityPortHasSecurityGroup", 409,
		"Port has security group associated. Cannot disable port security or IP address until security group is removed.")
	if err := update(func(p *model.Port) {
		p.AllowedAddressPairs = []model.AddressPair{{IP: "10.1.0.1"}}
	}, "allowed_address_pairs"); err != nil {
		t.Fatal(err)
	}
	if got := r.getPort(p.ID).AllowedAddressPairs; got[0].MAC != p.MAC {
		t.Errorf("pairs %v", got)
	}
	off := func(p *model.Port) { p.PortSecurity, p.SecurityGroups = false, nil }
	wantFault(t, update(off, "port_security_enabled", "security_groups"), "AddressPairAndPortSecurityRequired", 409, "")
	if err := update(func(p *model.Port) { off(p); p.AllowedAddressPairs = nil }, "port_security_enabled", "security_groups", "allowed_address_pairs"); err != nil {
		t.Fatal(err)
	}
	if got := r.getPort(p.ID); got.PortSecurity || len(got.SecurityGroups) != 0 {
		t.Errorf("port %+v", got)
	}
	r.wantNoClaims("sg")
	g := r.addGroup("p1", "web", true)
	wantFault(t, update(func(p *model.Port) { p.SecurityGroups = []string{g.ID} }, "security_groups"), "PortSecurityAndIPRequiredForSecurityGroups", 400, "")
	if err := update(func(p *model.Port) { p.PortSecurity, p.SecurityGroups = true, []string{g.ID, g.ID} }, "port_security_enabled", "security_groups"); err != nil {
		t.Fatal(err)
	}
	wantFault(t, r.s.DeleteSecurityGroup(ctx, admin, g.ID, nil), "SecurityGroupInUse", 409, "Security Group "+g.ID+" in use.")
}

func (r *rig) wantNoClaims(kind string) {
	r.t.Helper()
	for key := range r.db.ClaimsUnder(r.db.Snapshot(), kind, "") {
		r.t.Errorf("claim %s %s is left", kind, key)
	}
}

func TestExtraDHCPOptions(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	draftPort := port(n)
	draftPort.ExtraDHCPOpts = []model.DHCPOpt{{Name: "tftp-server", Value: "1.1.1.1", IPVersion: 4}, {Name: "ntp", Value: "x", IPVersion: 4}}
	p := r.port(draftPort)
	c := change(func(*model.Port) {}, "extra_dhcp_opts")
	c.Extra = map[string]any{"extra_dhcp_opts": []neutron.DHCPOptChange{
		{DHCPOpt: model.DHCPOpt{Name: "ntp", IPVersion: 4}, Remove: true},
		{DHCPOpt: model.DHCPOpt{Name: "tftp-server", Value: "2.2.2.2", IPVersion: 4}},
		{DHCPOpt: model.DHCPOpt{Name: "tftp-server", Value: "fd00::1", IPVersion: 6}},
	}}
	got := must[*model.Port](t)(r.s.UpdatePort(ctx, admin, p.ID, c)).ExtraDHCPOpts
	want := []model.DHCPOpt{{Name: "tftp-server", Value: "2.2.2.2", IPVersion: 4}, {Name: "tftp-server", Value: "fd00::1", IPVersion: 6}}
	if !slices.Equal(got, want) {
		t.Errorf("options %v", got)
	}
}

func TestDeletePort(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	r.subnet(n, "10.0.0.0/24")
	p := r.port(port(n))
	stale := p.Revision + 5
	wantFault(t, r.s.DeletePort(ctx, admin, p.ID, &stale), "RevisionNumberConstraintFailed", 412, "Constrained to 6, but current revision is 1")
	if err := r.s.DeletePort(ctx, admin, p.ID, &p.Revision); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"mac", "ip", "sg"} {
		r.wantNoClaims(kind)
	}
	wantFault(t, r.s.DeletePort(ctx, admin, p.ID, nil), "PortNotFound", 404, "Port "+p.ID+" could not be found.")
}
