package neutron_test

import (
	"testing"
	"time"

	"neutrino/internal/model"
	"neutrino/internal/neutron"
)

func vlan(physical string, id int) *model.Network {
	n := network("p1")
	n.Segments = []model.Segment{{NetworkType: "vlan", PhysicalNetwork: physical, SegmentationID: id}}
	return n
}

const (
	netType = "provider:network_type"
	netPhys = "provider:physical_network"
	netSeg  = "provider:segmentation_id"
)

func TestCreateNetwork(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	if n.Status != model.StatusActive || n.MTU != 1500 || n.Revision != 1 || n.ID == "" || !n.CreatedAt.Equal(r.clock.Now()) {
		t.Errorf("network %+v", n)
	}
	seg := n.Segments[0]
	if seg.NetworkType != "vlan" || seg.PhysicalNetwork != "default" || seg.SegmentationID < 100 || seg.SegmentationID > 199 || seg.ID == "" {
		t.Errorf("segment %+v", seg)
	}
	if owner, _ := r.db.ClaimOwner(r.db.Snapshot(), "vlan", "default/"+itoa(seg.SegmentationID)); owner != n.ID {
		t.Errorf("the VLAN is claimed by %q", owner)
	}
	// The first thing in a project brings its default group.
	groups := 0
	for g := range r.tab.SecurityGroups.By(r.db.Snapshot(), neutron.ByProject, "p1") {
		groups++
		rules := 0
		for range r.tab.SecurityGroupRules.By(r.db.Snapshot(), neutron.ByGroup, g.ID) {
			rules++
		}
		if g.Name != "default" || g.Description != "Default security group" || rules != 4 {
			t.Errorf("default group %+v with %d rules", g, rules)
		}
	}
	if groups != 1 {
		t.Errorf("%d default groups", groups)
	}
}

func TestCreateNetworkFaults(t *testing.T) {
	r := newRig(t, neutron.Options{})
	create := func(d ...neutron.Draft[model.Network]) error {
		_, err := r.s.CreateNetworks(ctx, admin, d)
		return err
	}
	if err := create(draft(vlan("default", 105), netType, netPhys, netSeg)); err != nil {
		t.Fatal(err)
	}
	wantFault(t, create(draft(vlan("default", 105), netType, netPhys, netSeg)), "VlanIdInUse", 409,
		"Unable to create the network. The VLAN 105 on physical network default is in use.")
	wantFault(t, create(draft(vlan("other", 5), netType, netPhys, netSeg)), "InvalidInput", 400,
		"Invalid input for operation: physical_network 'other' unknown for VLAN provider network.")
	both := draft(vlan("default", 106), netType, netPhys, netSeg)
	both.Extra = map[string]any{"segments": []model.Segment{{NetworkType: "vlan"}}}
	wantFault(t, create(both), "SegmentsSetInConjunctionWithProviders", 400, "Segments and provider values cannot both be set.")
	twice := draft(network("p1"), "segments")
	seg := model.Segment{NetworkType: "vlan", PhysicalNetwork: "default", SegmentationID: 107}
	twice.Extra = map[string]any{"segments": []model.Segment{seg, seg}}
	wantFault(t, create(twice), "SegmentsContainDuplicateEntry", 400, "Duplicate segment entry in request.")
	big := network("p1")
	big.MTU = 9000
	wantFault(t, create(draft(big, "mtu")), "InvalidInput", 400, "Invalid input for operation: Requested MTU is too big, maximum is 1500.")
	zone := network("p1")
	zone.AvailabilityZoneHints = []string{"nowhere"}
	wantFault(t, create(draft(zone)), "AvailabilityZoneNotFound", 404, "AvailabilityZone nowhere could not be found.")

	// Bulk is atomic: the second is refused, so the first is not there either.
	before := r.tab.Networks.Len(r.db.Snapshot())
	wantFault(t, create(draft(vlan("default", 150), netType, netPhys, netSeg), draft(vlan("default", 150), netType, netPhys, netSeg)), "VlanIdInUse", 409, "")
	if after := r.tab.Networks.Len(r.db.Snapshot()); after != before {
		t.Errorf("%d networks after a failed bulk create, want %d", after, before)
	}
	if err := create(draft(vlan("default", 150), netType, netPhys, netSeg)); err != nil {
		t.Errorf("a VLAN of a failed request is not free: %v", err)
	}
}

func TestDefaultExternalNetwork(t *testing.T) {
	r := newRig(t, neutron.Options{})
	ext := network("p1")
	ext.External, ext.IsDefault = true, true
	first := one[model.Network](t)(r.s.CreateNetworks(ctx, admin, []neutron.Draft[model.Network]{draft(ext)}))
	_, err := r.s.CreateNetworks(ctx, admin, []neutron.Draft[model.Network]{draft(ext)})
	wantFault(t, err, "DefaultExternalNetworkExists", 409, "A default external network already exists: "+first.ID+".")
	if err := r.s.DeleteNetwork(ctx, admin, first.ID, nil); err != nil {
		t.Fatal(err)
	}
	one[model.Network](t)(r.s.CreateNetworks(ctx, admin, []neutron.Draft[model.Network]{draft(ext)}))
}

func TestUpdateNetwork(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	r.clock.Add(time.Hour)
	stale := change(func(n *model.Network) { n.Name = "x" }, "name")
	ninetynine := int64(99)
	stale.IfMatch = &ninetynine
	_, err := r.s.UpdateNetwork(ctx, admin, n.ID, stale)
	wantFault(t, err, "RevisionNumberConstraintFailed", 412, "Constrained to 99, but current revision is 1")

	named := must[*model.Network](t)(r.s.UpdateNetwork(ctx, admin, n.ID, change(func(n *model.Network) { n.Name = "x" }, "name")))
	if named.Name != "x" || named.Revision != 2 || !named.UpdatedAt.Equal(r.clock.Now()) || named.CreatedAt.Equal(named.UpdatedAt) {
		t.Errorf("renamed network %+v", named)
	}
	again := must[*model.Network](t)(r.s.UpdateNetwork(ctx, admin, n.ID, change(func(n *model.Network) { n.Name = "x"; n.Tags = []string{} })))
	if again.Revision != 2 {
		t.Errorf("a change of nothing made revision %d", again.Revision)
	}
	_, err = r.s.UpdateNetwork(ctx, admin, n.ID, change(func(n *model.Network) { n.MTU = 1501 }, "mtu"))
	wantFault(t, err, "InvalidInput", 400, "")
	_, err = r.s.UpdateNetwork(ctx, admin, "nope", change(func(*model.Network) {}))
	wantFault(t, err, "NetworkNotFound", 404, "Network nope could not be found.")
}

func TestSharedNetworkInUse(t *testing.T) {
	r := newRig(t, neutron.Options{})
	shared := network("p1")
	shared.Shared = true
	n := one[model.Network](t)(r.s.CreateNetworks(ctx, admin, []neutron.Draft[model.Network]{draft(shared)}))
	p := port(n)
	p.ProjectID = "p2"
	r.port(p)
	_, err := r.s.UpdateNetwork(ctx, admin, n.ID, change(func(n *model.Network) { n.Shared = false }, "shared"))
	wantFault(t, err, "InvalidSharedSetting", 409, "")
}

func TestChangeSegmentationID(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	r.agentUp(nicAgent("h1"))
	to := func(id int) error {
		_, err := r.s.UpdateNetwork(ctx, admin, n.ID, change(func(n *model.Network) {
			n.Segments = []model.Segment{{SegmentationID: id}}
		}, netSeg))
		return err
	}
	p := r.port(port(n))
	if err := to(3000); err != nil {
		t.Fatal(err)
	}
	now := r.getNetwork(n.ID).Segments[0]
	if now.SegmentationID != 3000 || now.ID != n.Segments[0].ID || now.PhysicalNetwork != "default" {
		t.Errorf("segment %+v", now)
	}
	if _, held := r.db.ClaimOwner(r.db.Snapshot(), "vlan", "default/"+itoa(n.Segments[0].SegmentationID)); held {
		t.Error("the old VLAN is still claimed")
	}
	must[*model.Port](t)(r.s.UpdatePort(ctx, admin, p.ID, change(func(p *model.Port) {
		p.Binding.Host, p.Binding.VnicType = "h1", "direct"
	}, "binding:host_id", "binding:vnic_type")))
	if err := to(3001); err == nil {
		t.Error("the VLAN changed under a port on a VF")
	}
}

func TestDeleteNetwork(t *testing.T) {
	r := newRig(t, neutron.Options{DefaultQuotas: unlimited})
	n := r.network("p1")
	r.subnet(n, "10.0.0.0/24")
	r.subnet(n, "fd00::/64")
	p := r.port(port(n))
	err := r.s.DeleteNetwork(ctx, admin, n.ID, nil)
	wantFault(t, err, "NetworkInUse", 409, "Unable to complete operation on network "+n.ID+
		". There are one or more ports still in use on the network, id for these ports is: "+p.ID+".")
	if err = r.s.DeletePort(ctx, admin, p.ID, nil); err != nil {
		t.Fatal(err)
	}
	// More service ports than one transaction takes go with the network.
	for range 20 {
		dhcp := port(n)
		dhcp.DeviceOwner = model.OwnerDHCP
		r.port(dhcp)
	}
	if err = r.s.DeleteNetwork(ctx, admin, n.ID, nil); err != nil {
		t.Fatal(err)
	}
	r.wantEmpty("default-sg")
	wantFault(t, r.s.DeleteNetwork(ctx, admin, n.ID, nil), "NetworkNotFound", 404, "")
}

// wantEmpty checks that nothing is left: no network, subnet, port, layout or claim, but
// for claims of the kinds named.
func (r *rig) wantEmpty(but ...string) {
	r.t.Helper()
	snap := r.db.Snapshot()
	if n := r.tab.Networks.Len(snap) + r.tab.Subnets.Len(snap) + r.tab.Ports.Len(snap) + r.tab.Layouts.Len(snap) + r.tab.DHCPBindings.Len(snap); n != 0 {
		r.t.Errorf("%d rows are left", n)
	}
	for _, kind := range []string{"vlan", "flat", "vni", "mac", "ip", "sg", "default-sg", "agent", "default-net", "default-pool"} {
		if contains(but, kind) {
			continue
		}
		for key, owner := range r.db.ClaimsUnder(snap, kind, "") {
			r.t.Errorf("claim %s %s of %s is left", kind, key, owner)
		}
	}
}
