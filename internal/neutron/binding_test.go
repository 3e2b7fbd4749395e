package neutron_test

import (
	"testing"
	"time"

	"neutrino/internal/model"
	"neutrino/internal/neutron"
)

func direct(n *model.Network, host string) *model.Port {
	p := port(n)
	p.Binding.Host, p.Binding.VnicType = host, "direct"
	p.DeviceOwner = "compute:nova"
	return p
}

func toHost(host string) neutron.Change[model.Port] {
	return change(func(p *model.Port) { p.Binding.Host = host }, "binding:host_id")
}

func TestBinding(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	r.subnet(n, "10.0.0.0/24")
	p := r.port(direct(n, "h1"))
	if p.Binding.VIFType != model.VIFBindingFailed || p.Status != model.StatusDown || p.StatusReason == "" {
		t.Errorf("port on a host without agents %+v", p.Binding)
	}
	// The agent comes: the port is bound without anybody asking.
	_, lease := r.agentUp(nicAgent("h1"))
	p = r.getPort(p.ID)
	if p.Binding.VIFType != model.VIFHWVEB || p.Binding.Driver != "sriovnicswitch" || p.Status != model.StatusDown || p.StatusReason != "" {
		t.Errorf("port after the agent came %+v", p)
	}
	if p.Binding.VIFDetails["port_filter"] != false || p.Binding.VIFDetails["vlan"] != itoa(n.Segments[0].SegmentationID) {
		t.Errorf("vif_details %v", p.Binding.VIFDetails)
	}
	r.report("h1", p.ID, true, "")
	if got := r.getPort(p.ID); got.Status != model.StatusActive {
		t.Errorf("status %s after a good report", got.Status)
	}
	// A name is no reason to bind again; a host is.
	p = must[*model.Port](t)(r.s.UpdatePort(ctx, admin, p.ID, change(func(p *model.Port) { p.Name = "x" }, "name")))
	if p.Status != model.StatusActive {
		t.Errorf("status %s after a new name", p.Status)
	}
	p = must[*model.Port](t)(r.s.UpdatePort(ctx, admin, p.ID, toHost("h2")))
	if p.Status != model.StatusDown || p.Binding.VIFType != model.VIFBindingFailed || p.Binding.SegmentID != "" {
		t.Errorf("port on a host without agents: %s %+v", p.Status, p.Binding)
	}
	p = must[*model.Port](t)(r.s.UpdatePort(ctx, admin, p.ID, toHost("")))
	if p.Binding.VIFType != model.VIFUnbound || p.Binding.VIFDetails != nil {
		t.Errorf("port without host %+v", p.Binding)
	}
	// A dead agent is never bound to, and its ports stay as they are.
	held := r.port(direct(n, "h1"))
	r.report("h1", held.ID, true, "")
	if err := lease.Revoke(ctx); err != nil {
		t.Fatal(err)
	}
	r.eventually("the agent is dead", func() bool { return r.tab.Liveness.Len(r.db.Snapshot()) == 0 })
	late := r.port(direct(n, "h1"))
	if late.Binding.VIFType != model.VIFBindingFailed {
		t.Errorf("bound to a dead agent: %+v", late.Binding)
	}
	if got := r.getPort(held.ID); got.Status != model.StatusActive || got.Binding.VIFType != model.VIFHWVEB {
		t.Errorf("the port of a dead agent is %s %s", got.Status, got.Binding.VIFType)
	}
}

// eventually waits on the tables' own channels, not on time.
func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		snap := r.db.Snapshot()
		_, liveness := r.tab.Liveness.WatchAll(snap)
		_, ports := r.tab.Ports.WatchAll(snap)
		_, bindings := r.tab.DHCPBindings.WatchAll(snap)
		_, routers := r.tab.RouterBindings.WatchAll(snap)
		_, floating := r.tab.FloatingIPs.WatchAll(snap)
		if ok() {
			return
		}
		select {
		case <-liveness:
		case <-ports:
		case <-bindings:
		case <-routers:
		case <-floating:
		case <-deadline:
			r.t.Fatal("not in time: " + what)
		}
	}
}

// report says of a port what its host would.
func (r *rig) report(host, id string, up bool, reason string) {
	r.t.Helper()
	all, _ := r.s.Attachments(r.db.Snapshot(), host)
	for _, a := range all {
		if a.PortID == id {
			err := r.s.ReportPorts(ctx, host, []model.PortReport{{PortID: id, Revision: a.Revision, Up: up, Reason: reason, PCISlot: "fffe:06:00.1"}})
			if err != nil {
				r.t.Fatal(err)
			}
			return
		}
	}
	r.t.Fatalf("host %s is not asked for port %s", host, id)
}

func TestReports(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	r.subnet(n, "10.0.0.0/24")
	r.agentUp(nicAgent("h1"))
	p := r.port(direct(n, "h1"))
	atts, changed := r.s.Attachments(r.db.Snapshot(), "h1")
	if len(atts) != 1 {
		t.Fatalf("%d attachments", len(atts))
	}
	old := atts[0].Revision
	must[*model.Port](t)(r.s.UpdatePort(ctx, admin, p.ID, change(func(p *model.Port) { p.PortSecurity, p.SecurityGroups = false, nil }, "port_security_enabled", "security_groups")))
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatal("a change of the port did not wake the host's watch")
	}
	report := func(host string, rep model.PortReport) *model.Port {
		t.Helper()
		if err := r.s.ReportPorts(ctx, host, []model.PortReport{rep}); err != nil {
			t.Fatal(err)
		}
		return r.getPort(p.ID)
	}
	if got := report("h1", model.PortReport{PortID: p.ID, Revision: old, Up: true}); got.Status != model.StatusDown {
		t.Error("a report of old content was believed")
	}
	atts, _ = r.s.Attachments(r.db.Snapshot(), "h1")
	now := atts[0].Revision
	if got := report("h2", model.PortReport{PortID: p.ID, Revision: now, Up: true}); got.Status != model.StatusDown {
		t.Error("another host's report was believed")
	}
	if got := report("h1", model.PortReport{PortID: "gone", Revision: now, Up: true}); got.Status != model.StatusDown {
		t.Error("a report of a port that is gone changed another")
	}
	got := report("h1", model.PortReport{PortID: p.ID, Revision: now, Up: true, PCISlot: "fffe:06:00.1"})
	if got.Status != model.StatusActive || got.Binding.VIFDetails["pci_slot"] != "fffe:06:00.1" {
		t.Errorf("after a good report %s %v", got.Status, got.Binding.VIFDetails)
	}
	atts, _ = r.s.Attachments(r.db.Snapshot(), "h1")
	if atts[0].Revision != now {
		t.Error("the status changed the attachment's revision")
	}
	revision := got.Revision
	if got = report("h1", model.PortReport{PortID: p.ID, Revision: now, Up: true, PCISlot: "fffe:06:00.1"}); got.Revision != revision {
		t.Error("the same report again wrote the port")
	}
	if got = report("h1", model.PortReport{PortID: p.ID, Revision: now, Reason: "no VF is free"}); got.Status != model.StatusDown || got.StatusReason != "no VF is free" {
		t.Errorf("after a bad report %s %q", got.Status, got.StatusReason)
	}
	// Administratively down: carried out, but not ACTIVE.
	must[*model.Port](t)(r.s.UpdatePort(ctx, admin, p.ID, change(func(p *model.Port) { p.AdminStateUp = false }, "admin_state_up")))
	r.report("h1", p.ID, true, "")
	if got = r.getPort(p.ID); got.Status != model.StatusDown || got.StatusReason != "" {
		t.Errorf("administratively down: %s %q", got.Status, got.StatusReason)
	}
}

func TestDirectPhysical(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	r.subnet(n, "10.0.0.0/24")
	pf := port(n)
	pf.Binding = model.Binding{Host: "anywhere", VnicType: "direct-physical", Profile: map[string]any{"device_mac_address": "3c:fd:fe:00:00:01"}}
	p := r.port(pf)
	if p.Status != model.StatusActive || p.Binding.VIFType != model.VIFHostdevPhysical || p.MAC != "3c:fd:fe:00:00:01" {
		t.Errorf("port %s %s %s", p.Status, p.Binding.VIFType, p.MAC)
	}
	if atts, _ := r.s.Attachments(r.db.Snapshot(), "anywhere"); len(atts) != 0 {
		t.Error("a physical function is no attachment")
	}
	p = must[*model.Port](t)(r.s.UpdatePort(ctx, admin, p.ID, toHost("")))
	if p.MAC == "3c:fd:fe:00:00:01" || p.MAC == "" {
		t.Errorf("the function's MAC stayed with the port: %s", p.MAC)
	}
	if err := r.s.DeletePort(ctx, admin, p.ID, nil); err != nil {
		t.Fatal(err)
	}
	r.wantNoClaims("mac")
	r.wantNoClaims("ip")
}

func TestAgents(t *testing.T) {
	r := newRig(t, neutron.Options{})
	a, lease := r.agentUp(nicAgent("h1"))
	if !a.AdminStateUp || a.AvailabilityZone != "nova" || !r.s.Alive(r.db.Snapshot(), a.ID) {
		t.Errorf("agent %+v", a)
	}
	must[*model.Agent](t)(r.s.UpdateAgent(ctx, admin, a.ID, change(func(a *model.Agent) { a.AdminStateUp, a.Description, a.Host = false, "old", "h9" })))
	r.clock.Add(time.Hour)
	again, _ := r.agentUp(nicAgent("h1"))
	if again.ID != a.ID || again.AdminStateUp || again.Description != "old" || !again.CreatedAt.Equal(a.CreatedAt) || again.StartedAt.Equal(a.StartedAt) {
		t.Errorf("agent that came again %+v", again)
	}
	if err := lease.Revoke(ctx); err != nil { // of the first life: the second's lease counts
		t.Fatal(err)
	}
	if !r.s.Alive(r.db.Snapshot(), a.ID) {
		t.Error("the agent died with the lease of its first life")
	}
	beat := func() time.Time {
		if err := r.s.AgentBeat(ctx, a.ID); err != nil {
			t.Fatal(err)
		}
		row, _ := r.tab.Agents.Get(r.db.Snapshot(), a.ID)
		return row.Heartbeat
	}
	r.clock.Add(10 * time.Second)
	if got := beat(); !got.Equal(again.Heartbeat) {
		t.Error("a heartbeat was written too early")
	}
	r.clock.Add(20 * time.Second)
	if got := beat(); !got.Equal(r.clock.Now()) {
		t.Errorf("heartbeat at %s, now is %s", got, r.clock.Now())
	}
	if err := r.s.DeleteAgent(ctx, admin, a.ID); err != nil {
		t.Fatal(err)
	}
	wantFault(t, r.s.AgentBeat(ctx, a.ID), "AgentNotFound", 404, "Agent "+a.ID+" could not be found.")
	r.wantNoClaims("agent")
	if r.tab.Liveness.Len(r.db.Snapshot()) != 0 {
		t.Error("the liveness of a deleted agent is left")
	}
}
