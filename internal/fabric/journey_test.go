package fabric

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"neutrino/internal/agent"
	"neutrino/internal/model"
)

// The way of a port is noted with its status, in one write, and outlives a restart of the
// agent and of the controller, though both are told and say everything again.
func TestJourneyIsNotedWithTheStatusAndStays(t *testing.T) {
	dir, address := t.TempDir(), socket(t, "s")
	p := newPlant(t, dir, address, 75*time.Second)
	n := p.network()
	cfg := agent.Config{Host: "h1", Controllers: []string{address}, StateFile: filepath.Join(dir, "agent.db")}
	sw := nic(8)
	stop := startAgent(t, sw, cfg)
	p.await(p.port(n, "h1").ID) // the agent is there, and its stream is up

	start := model.MomentOf(time.Now())
	id := p.port(n, "h1").ID
	p.await(id)
	row := p.row(id)
	j := row.Journey
	m := j.Moments
	way := []model.Moment{start, j.Created, j.Bind, m.Told, m.Received, m.Recorded, m.Programmed, m.ReadBack, m.Heard, j.Settled, model.MomentOf(time.Now())}
	if !slices.IsSorted(way) || j.Active != j.Settled {
		t.Errorf("moments %v, ACTIVE since %d", way, j.Active)
	}
	if row.Revision != 2 || j.PF != "eth6" || j.PCISlot != row.Binding.VIFDetails["pci_slot"] {
		t.Errorf("revision %d, %+v", row.Revision, j)
	}

	stop()
	eventually(t, "left", func() bool { return p.fab.Hosts() == 0 })
	stop = startAgent(t, sw, cfg)
	p.await(p.port(n, "h1").ID) // its reports are committed in order, those of older ports before
	p.end()
	p = newPlant(t, dir, address, 75*time.Second)
	p.await(p.port(n, "h1").ID)
	if now := p.row(id); now.Journey != j || now.Revision != row.Revision {
		t.Errorf("after restarts: revision %d, %+v, was %+v", now.Revision, now.Journey, j)
	}

	// Unbound and bound again it begins anew.
	p.rebind(id, "")
	if now := p.row(id).Journey; now != (model.Journey{Created: j.Created}) {
		t.Errorf("unbound: %+v", now)
	}
	p.rebind(id, "h1")
	p.await(id)
	if now := p.row(id).Journey; now.Bind <= j.Settled || now.Settled < now.Bind || now.Moments.ReadBack == 0 {
		t.Errorf("bound again: %+v", now)
	}
	stop()
}
