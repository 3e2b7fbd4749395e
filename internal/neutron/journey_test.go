package neutron_test

import (
	"testing"
	"time"

	"neutrino/internal/model"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
)

// revisionOf is that of the attachment which a host is asked for now.
func (r *rig) revisionOf(host, id string) int64 {
	r.t.Helper()
	all, _ := r.s.Attachments(r.db.Snapshot(), host)
	for _, a := range all {
		if a.PortID == id {
			return a.Revision
		}
	}
	r.t.Fatalf("host %s is not asked for port %s", host, id)
	return 0
}

func TestJourneyNotesTheWayAndIsNoChangeOfThePort(t *testing.T) {
	r := newRig(t, neutron.Options{})
	now := func() model.Moment { return model.MomentOf(r.clock.Now()) }
	update := func(id string, c neutron.Change[model.Port]) *model.Port {
		t.Helper()
		return must[*model.Port](t)(r.s.UpdatePort(ctx, admin, id, c))
	}
	n := r.network("p1")
	r.subnet(n, "10.0.0.0/24")
	created := now()
	p := r.port(direct(n, ""))
	if p.Journey != (model.Journey{Created: created}) {
		t.Fatalf("new port: %+v", p.Journey)
	}
	id := p.ID

	// No agent is there. Trying again in vain is no news.
	r.clock.Add(time.Minute)
	asked := now()
	p = update(id, toHost("h1"))
	failed := model.Journey{Created: created, Bind: asked}
	if p.Journey != failed || p.Binding.Bound() {
		t.Fatalf("without an agent: %+v", p.Journey)
	}
	r.clock.Add(time.Minute)
	p = update(id, change(func(p *model.Port) { p.Name = "x" }, "name"))
	if p.Journey != failed {
		t.Errorf("tried again in vain: %+v", p.Journey)
	}
	if again := update(id, change(func(p *model.Port) { p.Name = "x" }, "name")); again.Revision != p.Revision {
		t.Error("a try in vain was counted as a change")
	}

	r.clock.Add(time.Minute)
	bound := now()
	r.agentUp(nicAgent("h1"))
	if p = r.getPort(id); p.Journey != (model.Journey{Created: created, Bind: bound}) || !p.Binding.Bound() {
		t.Fatalf("bound: %+v", p.Journey)
	}

	// The host's report: one write, one revision.
	r.clock.Add(time.Minute)
	active := now()
	report := model.PortReport{
		PortID: id, Revision: r.revisionOf("h1", id), Up: true, PF: "eth6", VF: 3, PCISlot: "fffe:06:00.3",
		Moments: model.Moments{Told: bound + 1, Received: bound + 2, Recorded: bound + 3, Programmed: bound + 4, ReadBack: bound + 5, Heard: bound + 6},
	}
	say := func() *model.Port {
		t.Helper()
		if err := r.s.ReportPorts(ctx, "h1", []model.PortReport{report}); err != nil {
			t.Fatal(err)
		}
		return r.getPort(id)
	}
	before := p.Revision
	want := model.Journey{
		Created: created, Bind: bound, Attachment: report.Revision, Moments: report.Moments,
		Settled: active, PF: "eth6", VF: 3, PCISlot: "fffe:06:00.3", Active: active,
	}
	if p = say(); p.Journey != want || p.Revision != before+1 || p.Status != model.StatusActive {
		t.Fatalf("reported: %s, revision %d after %d, %+v, want %+v", p.Status, p.Revision, before, p.Journey, want)
	}
	r.clock.Add(time.Minute)
	report.Moments.Heard += 99
	if again := say(); again != p {
		t.Errorf("the same report was written again: %+v", again.Journey)
	}

	// A change that the port goes through under way: it is noted, and is no change of the port.
	p = update(id, change(func(p *model.Port) { p.DeviceID = "vm" }, "device_id"))
	changed, settled := p.Revision, now()
	report.Revision = r.revisionOf("h1", id)
	report.Moments = model.Moments{Told: settled + 1, Received: settled + 2, ReadBack: settled + 3, Heard: settled + 4}
	want.Attachment, want.Moments, want.Settled = report.Revision, report.Moments, settled
	if p = say(); p.Journey != want || p.Revision != changed || p.Status != model.StatusActive {
		t.Fatalf("changed: %s, revision %d after %d, %+v, want %+v", p.Status, p.Revision, changed, p.Journey, want)
	}

	// The agent was restarted and lost the VF: what it does not know any more stays, and of
	// what a second controller tells again the first time counts.
	r.clock.Add(time.Minute)
	report.Up, report.Reason, report.Moments = false, "vlan reads 7", model.Moments{Told: now(), Heard: now() + 1}
	want.Moments.Heard, want.Settled, want.Active = now()+1, now(), 0
	if p = say(); p.Journey != want || p.StatusReason != "vlan reads 7" {
		t.Fatalf("lost: %+v, want %+v", p.Journey, want)
	}

	// Bound anew, it begins anew.
	r.clock.Add(time.Minute)
	if p = update(id, toHost("h2")); p.Journey != (model.Journey{Created: created, Bind: now()}) {
		t.Errorf("on another host: %+v", p.Journey)
	}
	if p = update(id, toHost("")); p.Journey != (model.Journey{Created: created}) {
		t.Errorf("unbound: %+v", p.Journey)
	}
}

// Rows that were there before journeys are not written for their sake.
func TestReportOfARowWithoutJourneyWritesNothing(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	r.subnet(n, "10.0.0.0/24")
	r.agentUp(nicAgent("h1"))
	p := r.port(direct(n, "h1"))
	r.report("h1", p.ID, true, "")
	old := r.getPort(p.ID).Clone()
	old.Journey = model.Journey{}
	if err := r.db.Update(ctx, func(tx *store.Tx) error {
		r.tab.Ports.Put(tx, old)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	p = r.getPort(p.ID)
	r.report("h1", p.ID, true, "")
	if now := r.getPort(p.ID); now != p {
		t.Errorf("written: %+v", now.Journey)
	}
}

// Administratively down, the report changes nothing of the port: it is noted once.
func TestJourneyOfAPortThatIsDown(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	r.subnet(n, "10.0.0.0/24")
	r.agentUp(nicAgent("h1"))
	draft := direct(n, "h1")
	draft.AdminStateUp = false
	draft.Binding.Profile = map[string]any{"pci_slot": "fffe:06:00.1"}
	p := r.port(draft)
	r.report("h1", p.ID, true, "")
	noted := r.getPort(p.ID)
	if noted.Journey.Settled == 0 || noted.Journey.Active != 0 || noted.Revision != p.Revision || noted.Status != model.StatusDown {
		t.Errorf("%s, revision %d, was %d: %+v", noted.Status, noted.Revision, p.Revision, noted.Journey)
	}
	r.report("h1", p.ID, true, "")
	if again := r.getPort(p.ID); again != noted {
		t.Error("the same report was written again")
	}
}
