package neutron_test

import (
	"testing"

	"neutrino/internal/model"
	"neutrino/internal/neutron"
)

func (r *rig) addGroup(project, name string, stateful bool) *model.SecurityGroup {
	r.t.Helper()
	g := &model.SecurityGroup{Meta: model.Meta{ProjectID: project, Name: name}, Stateful: stateful}
	return one[model.SecurityGroup](r.t)(r.s.CreateSecurityGroups(ctx, admin, []neutron.Draft[model.SecurityGroup]{draft(g)}))
}

func num(n int) *int { return &n }

func TestSecurityGroups(t *testing.T) {
	r := newRig(t, neutron.Options{})
	own := must[*model.SecurityGroup](t)(r.s.EnsureDefaultGroup(ctx, "p1"))
	again := must[*model.SecurityGroup](t)(r.s.EnsureDefaultGroup(ctx, "p1"))
	if own.ID != again.ID {
		t.Error("two default groups")
	}
	_, err := r.s.CreateSecurityGroups(ctx, admin, []neutron.Draft[model.SecurityGroup]{
		draft(&model.SecurityGroup{Meta: model.Meta{ProjectID: "p1", Name: "default"}}),
	})
	wantFault(t, err, "SecurityGroupDefaultAlreadyExists", 409, "Default security group already exists.")
	_, err = r.s.UpdateSecurityGroup(ctx, admin, own.ID, change(func(g *model.SecurityGroup) { g.Name = "x" }, "name"))
	wantFault(t, err, "SecurityGroupCannotUpdateDefault", 409, "Updating default security group not allowed.")
	wantFault(t, r.s.DeleteSecurityGroup(ctx, member("p1"), own.ID, nil), "SecurityGroupCannotRemoveDefault", 409,
		"Insufficient rights for removing default security group.")
	wantFault(t, r.s.DeleteSecurityGroup(ctx, admin, "nope", nil), "SecurityGroupNotFound", 404, "Security group nope does not exist")

	web, db := r.addGroup("p1", "web", true), r.addGroup("p1", "db", true)
	rules := 0
	for range r.tab.SecurityGroupRules.By(r.db.Snapshot(), neutron.ByGroup, web.ID) {
		rules++
	}
	if rules != 2 {
		t.Errorf("a new group has %d rules", rules)
	}
	from := one[model.SecurityGroupRule](t)(r.s.CreateSecurityGroupRules(ctx, admin, []neutron.Draft[model.SecurityGroupRule]{draft(&model.SecurityGroupRule{
		Meta: model.Meta{ProjectID: "p1"}, SecurityGroupID: db.ID, Direction: "ingress", RemoteGroupID: web.ID,
	})}))
	if g, _ := r.tab.SecurityGroups.Get(r.db.Snapshot(), db.ID); g.Revision != 2 {
		t.Errorf("a new rule made the group's revision %d", g.Revision)
	}
	if err = r.s.DeleteSecurityGroup(ctx, admin, web.ID, nil); err != nil {
		t.Fatal(err)
	}
	if _, left := r.tab.SecurityGroupRules.Get(r.db.Snapshot(), from.ID); left {
		t.Error("a rule names a group that is gone")
	}
	if err = r.s.DeleteSecurityGroup(ctx, admin, own.ID, nil); err != nil {
		t.Fatal(err)
	}
	if err = r.s.DeleteSecurityGroup(ctx, admin, db.ID, nil); err != nil {
		t.Fatal(err)
	}
	if n := r.tab.SecurityGroupRules.Len(r.db.Snapshot()); n != 0 {
		t.Errorf("%d rules are left", n)
	}
}

func TestSecurityGroupRules(t *testing.T) {
	r := newRig(t, neutron.Options{})
	g := r.addGroup("p1", "web", true)
	rule := func(edit func(*model.SecurityGroupRule)) *model.SecurityGroupRule {
		x := &model.SecurityGroupRule{Meta: model.Meta{ProjectID: "p1"}, SecurityGroupID: g.ID, Direction: "ingress", EtherType: "IPv4"}
		edit(x)
		return x
	}
	create := func(rules ...*model.SecurityGroupRule) error {
		var d []neutron.Draft[model.SecurityGroupRule]
		for _, x := range rules {
			d = append(d, draft(x))
		}
		_, err := r.s.CreateSecurityGroupRules(ctx, admin, d)
		return err
	}
	tcp := func(lo, hi *int) func(*model.SecurityGroupRule) {
		return func(x *model.SecurityGroupRule) { x.Protocol, x.PortRangeMin, x.PortRangeMax = "tcp", lo, hi }
	}
	ssh := one[model.SecurityGroupRule](t)(r.s.CreateSecurityGroupRules(ctx, admin, []neutron.Draft[model.SecurityGroupRule]{draft(rule(tcp(num(22), num(22))))}))
	for name, c := range map[string]struct {
		edit   func(*model.SecurityGroupRule)
		typ    string
		status int
		text   string
	}{
		"the same again, by number": {
			func(x *model.SecurityGroupRule) {
				tcp(num(22), num(22))(x)
				x.Protocol = "6"
				x.RemoteIPPrefix = "0.0.0.0/0"
			},
			"SecurityGroupRuleExists", 409, "Security group rule already exists. Rule id is " + ssh.ID + ".",
		},
		"range backwards": {tcp(num(2), num(1)), "SecurityGroupInvalidPortRange", 400, "For TCP/UDP protocols, port_range_min must be <= port_range_max"},
		"half a range":    {tcp(num(2), nil), "SecurityGroupInvalidPortRange", 400, ""},
		"port 0":          {tcp(num(0), num(1)), "SecurityGroupInvalidPortValue", 400, "Invalid value for port 0"},
		"ports without protocol": {
			func(x *model.SecurityGroupRule) { x.PortRangeMin, x.PortRangeMax = num(1), num(2) },
			"SecurityGroupProtocolRequiredWithPorts", 400, "Must also specify protocol if port range is given.",
		},
		"ports of a protocol without": {
			func(x *model.SecurityGroupRule) { x.Protocol, x.PortRangeMin, x.PortRangeMax = "gre", num(1), num(2) },
			"SecurityGroupInvalidProtocolForPort", 400,
			"Ports cannot be specified for protocol 47. Ports are only supported for DCCP, SCTP, TCP, UDP, UDPLITE.",
		},
		"ICMP type": {
			func(x *model.SecurityGroupRule) { x.Protocol, x.PortRangeMin = "icmp", num(256) },
			"SecurityGroupInvalidIcmpValue", 400, "Invalid value for ICMP type (port_range_min) 256. It must be 0 to 255.",
		},
		"ICMP code alone": {
			func(x *model.SecurityGroupRule) { x.Protocol, x.PortRangeMax = "icmp", num(6) },
			"SecurityGroupMissingIcmpType", 400, "ICMP code (port-range-max) 6 is provided but ICMP type (port-range-min) is missing.",
		},
		"IPv6 protocol on IPv4": {
			func(x *model.SecurityGroupRule) { x.Protocol = "ipv6-icmp" },
			"SecurityGroupEthertypeConflictWithProtocol", 400, "Invalid ethertype IPv4 for protocol ipv6-icmp.",
		},
		"prefix of the other family": {
			func(x *model.SecurityGroupRule) { x.RemoteIPPrefix = "fd00::/8" },
			"SecurityGroupRuleParameterConflict", 400, "Conflicting value ethertype IPv4 for CIDR fd00::/8",
		},
		"not a prefix": {
			func(x *model.SecurityGroupRule) { x.RemoteIPPrefix = "10.0.0.0/33" },
			"InvalidCIDR", 400, "Invalid CIDR 10.0.0.0/33 given as IP prefix.",
		},
		"two remotes": {
			func(x *model.SecurityGroupRule) { x.RemoteIPPrefix, x.RemoteGroupID = "10.0.0.0/8", "g" },
			"SecurityGroupMultipleRemoteEntites", 400, "",
		},
		"unknown protocol": {func(x *model.SecurityGroupRule) { x.Protocol = "ipx" }, "SecurityGroupRuleInvalidProtocol", 400, ""},
		"unknown group":    {func(x *model.SecurityGroupRule) { x.SecurityGroupID = "g" }, "SecurityGroupNotFound", 404, "Security group g does not exist"},
		"unknown remote":   {func(x *model.SecurityGroupRule) { x.RemoteGroupID = "g" }, "SecurityGroupNotFound", 404, ""},
		"unknown addresses": {
			func(x *model.SecurityGroupRule) { x.RemoteAddressGroupID = "a" },
			"AddressGroupNotFound", 404, "Address group a could not be found.",
		},
	} {
		t.Run(name, func(t *testing.T) { wantFault(t, create(rule(c.edit)), c.typ, c.status, c.text) })
	}
	http := tcp(num(80), num(80))
	wantFault(t, create(rule(http), rule(http)), "DuplicateSecurityGroupRuleInPost", 409, "Duplicate Security Group Rule in POST.")
	wantFault(t, create(rule(http), rule(func(x *model.SecurityGroupRule) { x.SecurityGroupID = "g" })), "SecurityGroupNotSingleGroupRules", 400, "")

	all := one[model.SecurityGroupRule](t)(r.s.CreateSecurityGroupRules(ctx, admin, []neutron.Draft[model.SecurityGroupRule]{draft(rule(func(x *model.SecurityGroupRule) {
		tcp(num(1), num(65535))(x)
		x.RemoteIPPrefix = "10.2.0.5"
	}))}))
	if all.PortRangeMin != nil || all.PortRangeMax != nil || all.RemoteIPPrefix != "10.2.0.5/32" {
		t.Errorf("rule %+v", all)
	}
	if err := r.s.DeleteSecurityGroupRule(ctx, admin, ssh.ID, nil); err != nil {
		t.Fatal(err)
	}
	wantFault(t, r.s.DeleteSecurityGroupRule(ctx, admin, ssh.ID, nil), "SecurityGroupRuleNotFound", 404, "Security group rule "+ssh.ID+" does not exist")
}

func TestAddressGroups(t *testing.T) {
	r := newRig(t, neutron.Options{})
	g := one[model.AddressGroup](t)(r.s.CreateAddressGroups(ctx, admin, []neutron.Draft[model.AddressGroup]{
		draft(&model.AddressGroup{Meta: model.Meta{ProjectID: "p1"}, Addresses: []string{"10.0.0.1", "10.0.0.7/24"}}),
	}))
	if len(g.Addresses) != 2 || g.Addresses[0] != "10.0.0.0/24" || g.Addresses[1] != "10.0.0.1/32" {
		t.Errorf("addresses %v", g.Addresses)
	}
	_, err := r.s.AddAddresses(ctx, admin, g.ID, []string{"10.0.0.1"})
	wantFault(t, err, "AddressesAlreadyExist", 400, "Addresses ['10.0.0.1/32'] already exist in the address group "+g.ID+".")
	_, err = r.s.RemoveAddresses(ctx, admin, g.ID, []string{"10.0.0.2"})
	wantFault(t, err, "AddressesNotFound", 404, "Addresses ['10.0.0.2/32'] not found in the address group "+g.ID+".")
	less := must[*model.AddressGroup](t)(r.s.RemoveAddresses(ctx, admin, g.ID, []string{"10.0.0.1/32"}))
	if len(less.Addresses) != 1 {
		t.Errorf("addresses %v", less.Addresses)
	}
	sg := r.addGroup("p1", "web", true)
	one[model.SecurityGroupRule](t)(r.s.CreateSecurityGroupRules(ctx, admin, []neutron.Draft[model.SecurityGroupRule]{draft(&model.SecurityGroupRule{
		Meta: model.Meta{ProjectID: "p1"}, SecurityGroupID: sg.ID, Direction: "ingress", RemoteAddressGroupID: g.ID,
	})}))
	wantFault(t, r.s.DeleteAddressGroup(ctx, admin, g.ID, nil), "AddressGroupInUse", 409,
		"Address group "+g.ID+" is in use on one or more security group rules.")
	if err = r.s.DeleteSecurityGroup(ctx, admin, sg.ID, nil); err != nil {
		t.Fatal(err)
	}
	if err = r.s.DeleteAddressGroup(ctx, admin, g.ID, nil); err != nil {
		t.Fatal(err)
	}
}
