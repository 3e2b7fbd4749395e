package neutron_test

import (
	"context"
	"testing"
	"time"

	"neutrino/internal/model"
	"neutrino/internal/neutron"
)

func l3Agent(host string) model.Agent {
	return model.Agent{Type: model.AgentL3, Binary: model.BinaryL3, Host: host}
}

// scheduleRouters runs the router schedulers of the services until the test ends.
func scheduleRouters(t *testing.T, services ...*neutron.Service) {
	t.Helper()
	running, cancel := context.WithCancel(context.Background())
	done := make(chan error, len(services))
	for _, s := range services {
		go func() { done <- s.RunRouterScheduler(running) }()
	}
	t.Cleanup(func() {
		cancel()
		for range services {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

func (r *rig) bindingOf(router string) string {
	if b, ok := r.tab.RouterBindings.Get(r.db.Snapshot(), router); ok {
		return b.AgentID
	}
	return ""
}

// carried reports whether every port of the router is bound on the host.
func (r *rig) carried(router, host string) bool {
	n := 0
	for p := range r.tab.Ports.By(r.db.Snapshot(), neutron.ByDevice, router) {
		if n++; p.Binding.Host != host || !p.Binding.Bound() {
			return false
		}
	}
	return n > 0
}

func TestRouterScheduler(t *testing.T) {
	r := newRig(t, neutron.Options{})
	scheduleRouters(t, r.s)
	ext := r.external("203.0.113.0/24")
	n := r.network("p1")
	sub := r.subnet(n, "10.0.0.0/24")
	rt := r.router("p1", ext)
	must[*neutron.RouterInterface](t)(r.s.AddInterface(ctx, member("p1"), rt.ID, sub.ID, ""))
	vm := r.port(&model.Port{Meta: model.Meta{ProjectID: "p1"}, NetworkID: n.ID, AdminStateUp: true, DeviceID: "vm", DeviceOwner: "compute:nova"})
	f := must[*model.FloatingIP](t)(r.floating("p1", ext, vm.ID))

	first, lease := r.agentUp(l3Agent("net1"))
	r.agentUp(nicAgent("net1"))
	r.eventually("the router on its agent", func() bool { return r.bindingOf(rt.ID) == first.ID && r.carried(rt.ID, "net1") })
	specs, _ := r.s.RouterSpecs(r.db.Snapshot(), first.ID)
	if len(specs) != 1 || len(specs[0].Interfaces) != 1 || specs[0].Gateway == nil || !specs[0].EnableSNAT || len(specs[0].Floating) != 1 || len(specs[0].Metadata) != 1 {
		t.Fatalf("specs: %+v", specs)
	}
	if m := specs[0].Metadata[0]; m.PortID != vm.ID || m.Device != "vm" || m.ProjectID != "p1" {
		t.Errorf("metadata: %+v", m)
	}
	if atts, _ := r.s.Attachments(r.db.Snapshot(), "net1"); len(atts) != 2 {
		t.Errorf("%d attachments of the router's two ports", len(atts))
	}

	// The host's word makes the floating IP ACTIVE; a word of something else does not.
	said := model.RouterReport{RouterID: rt.ID, Revision: specs[0].Revision + 1, Up: true}
	report := func(host string) {
		must[struct{}](t)(struct{}{}, r.s.ReportRouters(ctx, host, []model.RouterReport{said}))
	}
	report("net1")
	said.Revision--
	report("net2")
	if s := r.getFloating(f.ID).Status; s != model.StatusDown {
		t.Errorf("status %s by a stale or foreign report", s)
	}
	report("net1")
	if s := r.getFloating(f.ID).Status; s != model.StatusActive || !r.s.RouterSettled(specs[0], said) {
		t.Errorf("status %s", s)
	}
	said.Up, said.Reason = false, "no nftables"
	report("net1")
	if b, _ := r.tab.RouterBindings.Get(r.db.Snapshot(), rt.ID); r.getFloating(f.ID).Status != model.StatusDown || b.Reason != "no nftables" {
		t.Errorf("down: %+v", b)
	}

	// Another instance changes the metadata, and not the revision.
	r.port(&model.Port{Meta: model.Meta{ProjectID: "p1"}, NetworkID: n.ID, AdminStateUp: true, DeviceID: "vm2", DeviceOwner: "compute:nova"})
	if now, _ := r.s.RouterSpecs(r.db.Snapshot(), first.ID); now[0].Revision != specs[0].Revision || len(now[0].Metadata) != 2 {
		t.Errorf("after another instance: %+v", now[0])
	}

	// The agent dies: the router and its ports go to the other one.
	second, _ := r.agentUp(l3Agent("net2"))
	r.agentUp(nicAgent("net2"))
	if err := lease.Revoke(ctx); err != nil {
		t.Fatal(err)
	}
	r.eventually("the router on the other agent", func() bool { return r.bindingOf(rt.ID) == second.ID && r.carried(rt.ID, "net2") })
	if old, _ := r.s.RouterSpecs(r.db.Snapshot(), first.ID); len(old) != 0 {
		t.Errorf("the dead agent has %d routers", len(old))
	}
	// It comes back: nothing moves. The other is shut: it does.
	third, _ := r.agentUp(l3Agent("net1"))
	r.agentUp(nicAgent("net1"))
	must[*model.Agent](t)(r.s.UpdateAgent(ctx, admin, second.ID, change(func(a *model.Agent) { a.AdminStateUp = false })))
	r.eventually("the router back", func() bool { return r.bindingOf(rt.ID) == third.ID && r.carried(rt.ID, "net1") })

	// A new interface is bound where the router is.
	i := must[*neutron.RouterInterface](t)(r.s.AddInterface(ctx, member("p1"), rt.ID, r.subnet(r.network("p1"), "10.1.0.0/24").ID, ""))
	if p := r.getPort(i.PortID); p.Binding.Host != "net1" || !p.Binding.Bound() {
		t.Errorf("new interface: %+v", p.Binding)
	}

	// A router that is administratively down is not carried.
	must[*model.Router](t)(r.s.UpdateRouter(ctx, admin, rt.ID, change(func(r *model.Router) { r.AdminStateUp = false }, "admin_state_up")))
	if now, _ := r.s.RouterSpecs(r.db.Snapshot(), third.ID); len(now) != 0 {
		t.Errorf("down, yet asked for: %+v", now)
	}
}

func TestRouterSchedulerSpreadsAndObeys(t *testing.T) {
	r := newRig(t, neutron.Options{})
	one, _ := r.agentUp(l3Agent("net1"))
	zoned := l3Agent("net2")
	zoned.AvailabilityZone = "az2"
	two, _ := r.agentUp(zoned)
	nic, _ := r.agentUp(nicAgent("net1"))
	var all []*model.Router
	for range 4 {
		all = append(all, r.router("p1", nil))
	}
	hinted := router("p1")
	hinted.AvailabilityZoneHints = []string{"az2"}
	all = append(all, must[[]*model.Router](t)(r.s.CreateRouters(ctx, admin, []neutron.Draft[model.Router]{draft(hinted)}))...)
	hinted.AvailabilityZoneHints = []string{"nowhere"}
	_, err := r.s.CreateRouters(ctx, admin, []neutron.Draft[model.Router]{draft(hinted)})
	wantFault(t, err, "AvailabilityZoneNotFound", 404, "")
	scheduleRouters(t, r.s)
	r.eventually("all routers have an agent", func() bool { return r.tab.RouterBindings.Len(r.db.Snapshot()) == 5 })
	if r.bindingOf(all[4].ID) != two.ID {
		t.Error("the hint was not followed")
	}
	count := map[string]int{}
	for _, x := range all {
		count[r.bindingOf(x.ID)]++
	}
	if count[one.ID] != 2 && count[one.ID] != 3 {
		t.Errorf("spread: %v", count)
	}

	x := all[0].ID
	have := r.bindingOf(x)
	other := one.ID
	if have == one.ID {
		other = two.ID
	}
	wantFault(t, r.s.ScheduleRouter(ctx, admin, other, x), "RouterHostedByL3Agent", 409, "")
	wantFault(t, r.s.ScheduleRouter(ctx, admin, nic.ID, x), "InvalidL3Agent", 409, "")
	wantFault(t, r.s.UnscheduleRouter(ctx, admin, other, x), "RouterNotHostedByL3Agent", 409, "")
	if err = r.s.UnscheduleRouter(ctx, admin, have, x); err != nil {
		t.Fatal(err)
	}
	// It stays off while others are placed, until its ports change.
	r.eventually("another router is placed", func() func() bool {
		id := r.router("p1", nil).ID
		return func() bool { return r.bindingOf(id) != "" }
	}())
	if r.bindingOf(x) != "" {
		t.Fatal("a router that was taken off came back by itself")
	}
	if err = r.s.ScheduleRouter(ctx, admin, other, x); err != nil {
		t.Fatal(err)
	}
	if r.bindingOf(x) != other {
		t.Error("the operator's choice was not followed")
	}
	if err = r.s.UnscheduleRouter(ctx, admin, other, x); err != nil {
		t.Fatal(err)
	}
	must[*neutron.RouterInterface](t)(r.s.AddInterface(ctx, member("p1"), x, r.subnet(r.network("p1"), "10.1.0.0/24").ID, ""))
	r.eventually("a changed router is placed again", func() bool { return r.bindingOf(x) != "" })
}

func TestRoutersStayWhileAgentsComeBack(t *testing.T) {
	r := newRig(t, neutron.Options{AgentDownTime: 6 * time.Second})
	one, lease := r.agentUp(l3Agent("net1"))
	rt := r.router("p1", nil)
	if err := r.s.ScheduleRouter(ctx, admin, one.ID, rt.ID); err != nil {
		t.Fatal(err)
	}
	if err := lease.Revoke(ctx); err != nil {
		t.Fatal(err)
	}
	// All controllers were away, and the other agent is quicker to come back.
	two, lease := r.agentUp(l3Agent("net2"))
	scheduleRouters(t, r.s)
	other := r.router("p1", nil)
	r.eventually("a new router is placed", func() bool { return r.bindingOf(other.ID) == two.ID })
	if r.bindingOf(rt.ID) != one.ID {
		t.Fatal("a router moved before its agent had time to come back")
	}
	// One that was seen and dies is dead.
	third, _ := r.agentUp(l3Agent("net3"))
	if err := lease.Revoke(ctx); err != nil {
		t.Fatal(err)
	}
	r.eventually("the router of an agent that was seen moves", func() bool { return r.bindingOf(other.ID) == third.ID })
	if r.bindingOf(rt.ID) != one.ID {
		t.Fatal("a router moved before its agent had time to come back")
	}
	r.eventually("an agent that did not come back loses its router", func() bool { return r.bindingOf(rt.ID) == third.ID })
}
