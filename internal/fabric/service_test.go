package fabric

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"neutrino/internal/agent"
	"neutrino/internal/agent/switchtest"
	"neutrino/internal/eswitch"
	"neutrino/internal/ml2"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
)

var admin = model.Actor{UserID: "root", ProjectID: "p0", Roles: []string{"admin"}, Admin: true}

// plant is a controller without its API: a store with etcd inside, the service, the
// fabric.
type plant struct {
	t   testing.TB
	db  *store.DB
	svc *neutron.Service
	fab *Fabric
	end func()
}

func newPlant(t testing.TB, dir, address string, down time.Duration) *plant {
	t.Helper()
	cfg := ml2.Defaults()
	cfg.TypeDrivers, cfg.TenantNetworkTypes = []string{"vlan"}, []string{"vlan"}
	cfg.MechanismDrivers, cfg.VLANRanges = []string{"sriovnicswitch"}, []string{"default:100:199"}
	drivers, err := ml2.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	tables := neutron.NewTables()
	db, err := store.Open(context.Background(), store.Config{DataDir: filepath.Join(dir, "etcd"), Log: quiet}, tables.All()...)
	if err != nil {
		t.Fatal(err)
	}
	svc := neutron.New(db, tables, drivers, neutron.Options{AgentDownTime: down, DefaultQuotas: map[string]int{"port": -1}}, quiet)
	fab, err := New(svc, Options{Listen: []string{address}, AgentDownTime: down, Log: quiet, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if rerr := fab.Run(ctx); rerr != nil {
			t.Error(rerr)
		}
	})
	wg.Go(func() {
		if rerr := svc.RunScheduler(ctx); rerr != nil && ctx.Err() == nil {
			t.Error(rerr)
		}
	})
	p := &plant{t: t, db: db, svc: svc, fab: fab}
	p.end = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		svc.Close()
		if cerr := db.Close(); cerr != nil {
			t.Error(cerr)
		}
	})
	t.Cleanup(p.end)
	return p
}

func (p *plant) network() *model.Network {
	p.t.Helper()
	out, err := p.svc.CreateNetworks(context.Background(), admin, []neutron.Draft[model.Network]{{
		Value: &model.Network{Meta: model.Meta{ProjectID: "p0", Name: "n"}, AdminStateUp: true, PortSecurity: true, MTU: 1500}, Given: map[string]bool{"name": true},
	}})
	if err != nil {
		p.t.Fatal(err)
	}
	return out[0]
}

func (p *plant) port(n *model.Network, host string) *model.Port {
	p.t.Helper()
	v := &model.Port{
		Meta: model.Meta{ProjectID: "p0"}, NetworkID: n.ID, AdminStateUp: true, PortSecurity: true,
		DeviceOwner: "compute:nova", DeviceID: "vm", Binding: model.Binding{Host: host, VnicType: model.VnicDirect},
	}
	out, err := p.svc.CreatePorts(context.Background(), admin, []neutron.Draft[model.Port]{{
		Value: v, Given: map[string]bool{"binding:host_id": true, "binding:vnic_type": true, "device_id": true, "device_owner": true},
	}})
	if err != nil {
		p.t.Fatal(err)
	}
	return out[0]
}

func (p *plant) rebind(id, host string) {
	p.t.Helper()
	_, err := p.svc.UpdatePort(context.Background(), admin, id, neutron.Change[model.Port]{
		Apply: func(v *model.Port) { v.Binding.Host = host }, Given: map[string]bool{"binding:host_id": true},
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *plant) row(id string) *model.Port {
	row, ok := p.svc.Tables().Ports.Get(p.db.Snapshot(), id)
	if !ok {
		return &model.Port{}
	}
	return row
}

func (p *plant) alive() int { return p.svc.Tables().Liveness.Len(p.db.Snapshot()) }

// await returns when the port is ACTIVE; it watches the table and does not poll.
func (p *plant) await(id string) {
	p.t.Helper()
	late := time.After(15 * time.Second)
	for {
		row, ok, changed := p.svc.Tables().Ports.WatchGet(p.db.Snapshot(), id)
		if ok && row.Status == model.StatusActive {
			return
		}
		select {
		case <-changed:
		case <-late:
			p.t.Fatalf("port %s is %s (%s, %s)", id, row.Status, row.Binding.VIFType, row.StatusReason)
		}
	}
}

func TestWithTheRealService(t *testing.T) {
	dir, address := t.TempDir(), socket(t, "s")
	p := newPlant(t, dir, address, 75*time.Second)
	n := p.network()
	early := p.port(n, "h1") // before there is an agent: binding fails
	if early.Binding.VIFType != model.VIFBindingFailed {
		t.Errorf("without an agent: %s", early.Binding.VIFType)
	}
	sw := nic(32)
	cfg := agent.Config{Host: "h1", Controllers: []string{address}, StateFile: filepath.Join(dir, "agent.db")}
	stop := startAgent(t, sw, cfg)
	p.await(early.ID)
	if row := p.row(early.ID); row.Binding.VIFType != model.VIFHWVEB || row.Binding.VIFDetails["pci_slot"] == nil {
		t.Errorf("binding %+v", row.Binding)
	}
	var took []time.Duration
	var ids []string
	for range 20 {
		start := time.Now()
		id := p.port(n, "h1").ID
		p.await(id)
		took, ids = append(took, time.Since(start)), append(ids, id)
	}
	slices.Sort(took)
	t.Logf("created, bound, programmed, ACTIVE: p50 %s, slowest %s", took[len(took)/2], took[len(took)-1])

	// Unbound and bound again: a VF is given back, and the port comes up again.
	p.rebind(ids[0], "")
	if s := p.row(ids[0]).Status; s != model.StatusDown {
		t.Errorf("unbound port is %s", s)
	}
	p.rebind(ids[0], "h1")
	p.await(ids[0])

	// The agent restarts: nothing flaps, nothing moves.
	before := map[string]int64{}
	for _, id := range ids {
		before[id] = p.row(id).Revision
	}
	applied, _ := sw.Counts()
	stop()
	eventually(t, "left", func() bool { return p.fab.Hosts() == 0 })
	stop = startAgent(t, sw, cfg)
	p.await(p.port(n, "h1").ID)
	for _, id := range ids {
		if now := p.row(id).Revision; now != before[id] {
			t.Errorf("port %s was changed %d times by a restart of its agent", id, now-before[id])
		}
	}
	if a, _ := sw.Counts(); a-applied != 1 {
		t.Errorf("%d changes of VFs for one new port", a-applied)
	}

	// The controller restarts with what it had; the agent finds it again.
	p.end()
	p = newPlant(t, dir, address, 75*time.Second)
	p.await(p.port(n, "h1").ID)
	for _, id := range ids {
		if now := p.row(id).Revision; now != before[id] {
			t.Errorf("port %s was changed %d times by a restart of the controller", id, now-before[id])
		}
	}
	if _, err := p.svc.UpdatePort(t.Context(), admin, ids[1], neutron.Change[model.Port]{
		Apply: func(v *model.Port) { v.AdminStateUp = false }, Given: map[string]bool{"admin_state_up": true},
	}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the VF is switched off", func() bool { return linkOf(sw, p.row(ids[1]).MAC) == model.LinkDisable })
	if err := p.svc.DeletePort(t.Context(), admin, ids[2], nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "22 VFs in use", func() bool { return used(sw) == 22 })
	stop()
}

func linkOf(sw *switchtest.Switch, mac string) model.LinkState {
	for _, v := range sw.State().PFs[0].VFs {
		if m, _ := v.Attrs.MAC.Get(); m == model.CanonicalMAC(mac) {
			l, _ := v.Attrs.LinkState.Get()
			return l
		}
	}
	return -1
}

func used(sw *switchtest.Switch) int {
	n := 0
	for _, v := range sw.State().PFs[0].VFs {
		if todo, _ := eswitch.Diff(eswitch.Baseline(), v.Attrs); !todo.Empty() {
			n++
		}
	}
	return n
}

// An agent that is gone is dead when its lease is, and alive again when it is back.
func TestLivenessFollowsTheLease(t *testing.T) {
	dir, address := t.TempDir(), socket(t, "s")
	p := newPlant(t, dir, address, time.Second)
	cfg := agent.Config{Host: "h1", Controllers: []string{address}, StateFile: filepath.Join(dir, "agent.db")}
	stop := startAgent(t, nic(2), cfg)
	eventually(t, "alive", func() bool { return p.alive() == 1 })
	time.Sleep(3 * time.Second) // several times the lease: heartbeats keep it
	if p.alive() != 1 {
		t.Error("an agent that is there is dead")
	}
	stop()
	eventually(t, "dead", func() bool { return p.alive() == 0 })
	startAgent(t, nic(2), cfg)
	eventually(t, "alive again", func() bool { return p.alive() == 1 })
}

// BenchmarkBoundToActive measures what a port takes from its creation, bound to a host,
// to ACTIVE: store, fabric, agent with its state file, a switch in memory, and back.
func BenchmarkBoundToActive(b *testing.B) {
	dir := b.TempDir()
	address := "unix://" + filepath.Join(dir, "s")
	p := newPlant(b, dir, address, 75*time.Second)
	n := p.network()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		cfg := agent.Config{
			Host: "h1", Controllers: []string{address}, StateFile: filepath.Join(dir, "agent.db"),
			PhysicalDeviceMappings: map[string][]string{"default": {"eth6"}},
		}
		if err := agent.Run(ctx, cfg, nic(64), agent.WithLogger(quiet)); err != nil {
			b.Error(err)
		}
	})
	defer wg.Wait()
	defer cancel()
	var took []time.Duration
	warm := p.port(n, "h1").ID
	p.await(warm)
	for b.Loop() {
		start := time.Now()
		id := p.port(n, "h1").ID
		p.await(id)
		took = append(took, time.Since(start))
		if err := p.svc.DeletePort(ctx, admin, id, nil); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(took)
	for _, q := range []int{50, 99} {
		b.ReportMetric(float64(took[len(took)*q/100].Microseconds())/1000, fmt.Sprintf("p%d-ms", q))
	}
}
