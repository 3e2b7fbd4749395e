package fabric

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"neutrino/internal/agent"
	"neutrino/internal/trunk"
)

// prober says what it was asked for, and waits for its run to end when it is slow.
type prober struct {
	asked chan *trunk.Run
	ended chan error
	slow  bool
}

func (p *prober) Probe(ctx context.Context, run *trunk.Run, _ time.Duration) *trunk.Result {
	p.asked <- run
	if p.slow {
		<-ctx.Done()
		p.ended <- ctx.Err()
	}
	return &trunk.Result{Run: run.ID, Uplinks: []trunk.Uplink{{Name: "eth6", MTU: 1500, Sent: 4}}}
}

func probeRun(t *testing.T, id byte, hosts ...string) *trunk.Run {
	t.Helper()
	v, err := trunk.ParseVLANs("100")
	if err != nil {
		t.Fatal(err)
	}
	r := &trunk.Run{ID: trunk.ID{id}, Key: make([]byte, 32), PhysicalNetwork: "default", VLANs: v, Sizes: []int{64, 1500}, Rounds: 2, Rate: 100}
	for _, h := range hosts {
		r.Hosts = append(r.Hosts, trunk.Host{Host: h, Uplinks: 1})
	}
	if err = r.Plan(trunk.DefaultLimit); err != nil {
		t.Fatal(err)
	}
	r.CreatedAt = time.Now()
	return r
}

func (p *fakePlane) resultOf(id byte) *trunk.Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.results {
		if r.Run == (trunk.ID{id}) {
			return r
		}
	}
	return nil
}

func TestOrdersToProbeReachTheHostAndResultsComeBack(t *testing.T) {
	p, pr := newPlane(), &prober{asked: make(chan *trunk.Run, 8), ended: make(chan error, 8)}
	c := startController(t, p, socket(t, "f.sock"), Options{})
	cfg := agent.Config{Host: "h1", Controllers: []string{c.address}, StateFile: filepath.Join(t.TempDir(), "state.db")}
	cfg.PhysicalDeviceMappings = map[string][]string{"default": {"eth6"}}
	stop := startAgent(t, nic(2), cfg, agent.WithProber(pr))
	defer stop()
	p.bind("h1", 1, 1)
	p.edit(func() { p.runs = append(p.runs, probeRun(t, 1, "h1", "h2"), probeRun(t, 2, "h2", "h3")) })
	if run := <-pr.asked; run.ID != (trunk.ID{1}) || run.Place("h1") != 0 {
		t.Errorf("%+v", run)
	}
	eventually(t, "the result comes back", func() bool { r := p.resultOf(1); return r != nil && len(r.Uplinks) == 1 })
	if p.resultOf(2) != nil {
		t.Error("the run of other hosts was given to this one")
	}

	// Too old to be joined: said in the host's place.
	old := probeRun(t, 3, "h1", "h2")
	old.CreatedAt = time.Now().Add(-trunk.Margin)
	p.edit(func() { p.runs = append(p.runs, old) })
	eventually(t, "the late order is told of", func() bool { r := p.resultOf(3); return r != nil && r.Error != "" && len(r.Uplinks) == 0 })

	// Taken back: the host stops.
	pr.slow = true
	p.edit(func() { p.runs = append(p.runs, probeRun(t, 4, "h1", "h2")) })
	<-pr.asked
	p.edit(func() { p.runs = nil })
	if err := <-pr.ended; err == nil {
		t.Error("the run was not ended")
	}
	if len(pr.asked) > 0 {
		t.Error("an order was carried out twice")
	}
}

// TestAgentWithoutProberSaysSo: silence would look like a host that is gone.
func TestAgentWithoutProberSaysSo(t *testing.T) {
	p := newPlane()
	c := startController(t, p, socket(t, "f.sock"), Options{})
	cfg := agent.Config{Host: "h1", Controllers: []string{c.address}, StateFile: filepath.Join(t.TempDir(), "state.db")}
	cfg.PhysicalDeviceMappings = map[string][]string{"default": {"eth6"}}
	defer startAgent(t, nic(2), cfg)()
	p.edit(func() { p.runs = append(p.runs, probeRun(t, 1, "h1", "h2")) })
	eventually(t, "the host says that it cannot", func() bool { r := p.resultOf(1); return r != nil && r.Error != "" })
}
