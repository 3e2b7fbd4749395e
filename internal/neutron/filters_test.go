package neutron_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"neutrino/internal/model"
	"neutrino/internal/neutron"
)

func ovsHost(host string) model.Agent {
	return model.Agent{
		Type: model.AgentOpenVSwitch, Binary: model.BinaryOpenVSwitch, Host: host,
		Configurations: map[string]any{"bridge_mappings": map[string]any{"default": "br-eth6"}, "direct_bridges": true, "port_filter": true},
	}
}

// onBridge makes a port of these groups on a host's bridge.
func (r *rig) onBridge(n *model.Network, host string, groups ...string) *model.Port {
	r.t.Helper()
	p := port(n)
	p.Binding = model.Binding{Host: host, VnicType: model.VnicNormal}
	p.SecurityGroups = groups
	p.DeviceOwner = "compute:nova"
	return r.port(p, "security_groups")
}

func (r *rig) filterOf(host, id string) (*model.Attachment, <-chan struct{}) {
	r.t.Helper()
	list, changed := r.s.Attachments(r.db.Snapshot(), host)
	for _, a := range list {
		if a.PortID == id {
			return a, changed
		}
	}
	r.t.Fatalf("port %s is not on host %s: %v", id, host, list)
	return nil, nil
}

func (r *rig) addRule(group string, edit func(*model.SecurityGroupRule)) {
	r.t.Helper()
	x := &model.SecurityGroupRule{Meta: model.Meta{ProjectID: "p1"}, SecurityGroupID: group, Direction: "ingress", EtherType: "IPv4"}
	edit(x)
	one[model.SecurityGroupRule](r.t)(r.s.CreateSecurityGroupRules(ctx, admin, []neutron.Draft[model.SecurityGroupRule]{draft(x)}))
}

// fires reports whether a watch fires, which it does a moment after the write has returned.
func fires(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-time.After(30 * time.Second):
		return false
	}
}

func TestFilters(t *testing.T) {
	r := newRig(t, neutron.Options{DefaultQuotas: unlimited})
	_, _ = r.agentUp(ovsHost("h1"))
	n := r.network("p1")
	r.subnet(n, "10.0.0.0/24")
	own := must[*model.SecurityGroup](t)(r.s.EnsureDefaultGroup(ctx, "p1"))
	p := r.onBridge(n, "h1", own.ID)
	if p.Binding.VIFDetails["port_filter"] != true {
		t.Errorf("vif_details = %v", p.Binding.VIFDetails)
	}
	a, changed := r.filterOf("h1", p.ID)
	self := netip.PrefixFrom(p.FixedIPs[0].IP, 32)
	want := []model.FilterRule{
		{Protocol: -1, Remotes: []netip.Prefix{self}},
		{IPv6: true, Protocol: -1, Remotes: []netip.Prefix{}},
		{Egress: true, Protocol: -1},
		{Egress: true, IPv6: true, Protocol: -1},
	}
	if a.Filter == nil || !reflect.DeepEqual(a.Filter.Rules, want) {
		t.Fatalf("default group: %+v", a.Filter)
	}

	// A member elsewhere: the filter changes, the attachment's revision does not.
	other := port(n)
	other.SecurityGroups, other.AllowedAddressPairs = []string{own.ID}, []model.AddressPair{{IP: "10.9.0.0/16"}, {IP: "0.0.0.0/0"}}
	member := r.port(other, "security_groups", "allowed_address_pairs")
	if !fires(changed) {
		t.Error("a new member wakes nobody")
	}
	b, changed := r.filterOf("h1", p.ID)
	if got := b.Filter.Rules[0].Remotes; len(got) != 3 || got[2] != netip.MustParsePrefix("10.9.0.0/16") {
		t.Errorf("members = %v, want two addresses and the pair that is not all addresses", got)
	}
	if b.Revision != a.Revision || b.Filter.Equal(a.Filter) {
		t.Errorf("revision %d became %d; filters equal: %v", a.Revision, b.Revision, b.Filter.Equal(a.Filter))
	}

	if err := r.s.DeletePort(ctx, admin, member.ID, nil); err != nil {
		t.Fatal(err)
	}
	if !fires(changed) {
		t.Error("a member that goes wakes nobody")
	}
	if c, _ := r.filterOf("h1", p.ID); !c.Filter.Equal(a.Filter) {
		t.Errorf("after the member went: %+v", c.Filter)
	}
}

func TestFiltersOfManyKinds(t *testing.T) {
	r := newRig(t, neutron.Options{DefaultQuotas: unlimited})
	_, _ = r.agentUp(ovsHost("h1"))
	n := r.network("p1")
	r.subnet(n, "10.0.0.0/24")
	web, raw := r.addGroup("p1", "web", true), r.addGroup("p1", "raw", false)
	ag := one[model.AddressGroup](t)(r.s.CreateAddressGroups(ctx, admin, []neutron.Draft[model.AddressGroup]{draft(&model.AddressGroup{
		Meta: model.Meta{ProjectID: "p1", Name: "bastions"}, Addresses: []string{"192.0.2.1/32", "192.0.2.128/25", "2001:db8::/64"},
	})}))
	r.addRule(web.ID, func(x *model.SecurityGroupRule) {
		x.Protocol, x.PortRangeMin, x.PortRangeMax, x.RemoteAddressGroupID = "tcp", num(22), num(22), ag.ID
	})
	r.addRule(web.ID, func(x *model.SecurityGroupRule) { x.EtherType, x.Protocol = "IPv6", "icmp" })
	r.addRule(raw.ID, func(x *model.SecurityGroupRule) { x.Protocol, x.RemoteIPPrefix = "udp", "198.51.100.0/24" })
	p, bare := r.onBridge(n, "h1", web.ID), r.onBridge(n, "h1", raw.ID)
	a, changed := r.filterOf("h1", p.ID)
	text := fmt.Sprint(len(a.Filter.Rules))
	has := func(want model.FilterRule) {
		t.Helper()
		for _, x := range a.Filter.Rules {
			if (&model.Filter{Rules: []model.FilterRule{x}}).Equal(&model.Filter{Rules: []model.FilterRule{want}}) {
				return
			}
		}
		t.Errorf("no rule %+v in %s: %+v", want, text, a.Filter.Rules)
	}
	pfx := netip.MustParsePrefix
	has(model.FilterRule{Protocol: 6, PortMin: num(22), PortMax: num(22), Remotes: []netip.Prefix{pfx("192.0.2.1/32"), pfx("192.0.2.128/25")}})
	has(model.FilterRule{IPv6: true, Protocol: 58})
	has(model.FilterRule{Egress: true, Protocol: -1})
	a, _ = r.filterOf("h1", bare.ID)
	has(model.FilterRule{Protocol: 17, Stateless: true, Remotes: []netip.Prefix{pfx("198.51.100.0/24")}})
	has(model.FilterRule{Egress: true, Protocol: -1, Stateless: true})

	must[*model.AddressGroup](t)(r.s.AddAddresses(ctx, admin, ag.ID, []string{"203.0.113.1/32"}))
	if !fires(changed) {
		t.Error("an address group that grows wakes nobody")
	}
	a, changed = r.filterOf("h1", p.ID)
	has(model.FilterRule{Protocol: 6, PortMin: num(22), PortMax: num(22), Remotes: []netip.Prefix{pfx("192.0.2.1/32"), pfx("192.0.2.128/25"), pfx("203.0.113.1/32")}})
	r.addRule(raw.ID, func(x *model.SecurityGroupRule) { x.Protocol = "vrrp" })
	if !fires(changed) {
		t.Error("a new rule wakes nobody")
	}

	// No port security, no filter; a port of no group lets nothing in.
	must[*model.Port](t)(r.s.UpdatePort(ctx, admin, p.ID, change(func(x *model.Port) { x.PortSecurity, x.SecurityGroups = false, nil }, "port_security_enabled", "security_groups")))
	if a, _ = r.filterOf("h1", p.ID); a.Filter != nil || a.SpoofCheck {
		t.Errorf("without port security: %+v", a)
	}
	closed := r.onBridge(n, "h1")
	if a, _ = r.filterOf("h1", closed.ID); a.Filter == nil || len(a.Filter.Rules) != 0 {
		t.Errorf("without a group: %+v", a.Filter)
	}
}

func TestNoFiltersWhereGroupsAreNotEnforced(t *testing.T) {
	r := newRig(t, neutron.Options{DefaultQuotas: unlimited, NoFilters: true})
	_, _ = r.agentUp(ovsHost("h1"))
	n := r.network("p1")
	r.subnet(n, "10.0.0.0/24")
	p := r.onBridge(n, "h1", must[*model.SecurityGroup](t)(r.s.EnsureDefaultGroup(ctx, "p1")).ID)
	if a, _ := r.filterOf("h1", p.ID); a.Filter != nil {
		t.Errorf("Filter = %+v", a.Filter)
	}
}
