package neutron_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"neutrino/internal/fault"
	"neutrino/internal/ml2"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// admin may do everything.
var admin = model.Actor{UserID: "root", ProjectID: "p0", Roles: []string{"admin"}, Admin: true}

func member(project string) model.Actor {
	return model.Actor{UserID: "u-" + project, ProjectID: project, Roles: []string{"member"}}
}

// clock is one that tests move by hand.
type clock struct{ now atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.now.Store(1_700_000_000)
	return c
}

func (c *clock) Now() time.Time      { return time.Unix(c.now.Load(), 0).UTC() }
func (c *clock) Add(d time.Duration) { c.now.Add(int64(d / time.Second)) }

// rig is a Service on a real embedded store.
type rig struct {
	t     testing.TB
	s     *neutron.Service
	tab   *neutron.Tables
	db    *store.DB
	clock *clock
}

func drivers(t testing.TB) *ml2.ML2 {
	t.Helper()
	c := ml2.Defaults()
	c.TypeDrivers = []string{"vlan", "flat", "local", "vxlan"}
	c.TenantNetworkTypes = []string{"vlan"}
	c.MechanismDrivers = []string{"openvswitch", "sriovnicswitch"}
	c.VLANRanges = []string{"default:100:199"}
	c.VNIRanges = []string{"1:1000"}
	m, err := ml2.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// unlimited takes the quotas out of the way.
var unlimited = map[string]int{
	"network": -1, "subnet": -1, "port": -1, "subnetpool": -1, "security_group": -1, "security_group_rule": -1,
}

func open(t testing.TB, cfg store.Config, o neutron.Options) *rig {
	t.Helper()
	r := &rig{t: t, tab: neutron.NewTables(), clock: newClock()}
	if o.Clock == nil {
		o.Clock = r.clock.Now
	}
	cfg.Log = slog.New(slog.DiscardHandler)
	db, err := store.Open(context.Background(), cfg, r.tab.All()...)
	if err != nil {
		t.Fatal(err)
	}
	r.db = db
	r.s = neutron.New(db, r.tab, drivers(t), o, slog.New(slog.DiscardHandler))
	return r
}

func (r *rig) close() {
	r.t.Helper()
	r.s.Close()
	if err := r.db.Close(); err != nil {
		r.t.Error(err)
	}
}

// newRig opens a store of its own for the test.
func newRig(t testing.TB, o neutron.Options) *rig {
	t.Helper()
	r := open(t, store.Config{DataDir: filepath.Join(tempDir(t), "etcd")}, o)
	t.Cleanup(r.close)
	return r
}

// tempDir is on a memory file system where there is one, so that tests do not wait for disks.
func tempDir(t testing.TB) string {
	t.Helper()
	if dir, err := os.MkdirTemp("/dev/shm", "neutron-test"); err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

func draft[T any](v *T, given ...string) neutron.Draft[T] {
	d := neutron.Draft[T]{Value: v, Given: map[string]bool{}}
	for _, name := range given {
		d.Given[name] = true
	}
	return d
}

func change[T any](apply func(*T), given ...string) neutron.Change[T] {
	c := neutron.Change[T]{Apply: apply, Given: map[string]bool{}}
	for _, name := range given {
		c.Given[name] = true
	}
	return c
}

// one unwraps what a create of one thing returns.
func one[T any](t testing.TB) func([]*T, error) *T {
	return func(rows []*T, err error) *T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) != 1 {
			t.Fatalf("got %d rows, want 1", len(rows))
		}
		return rows[0]
	}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func network(project string) *model.Network {
	return &model.Network{Meta: model.Meta{ProjectID: project}, AdminStateUp: true, PortSecurity: true}
}

func (r *rig) network(project string) *model.Network {
	r.t.Helper()
	return one[model.Network](r.t)(r.s.CreateNetworks(ctx, admin, []neutron.Draft[model.Network]{draft(network(project))}))
}

func subnet(n *model.Network, cidr string) *model.Subnet {
	prefix := netip.MustParsePrefix(cidr)
	version := 4
	if prefix.Addr().Is6() {
		version = 6
	}
	return &model.Subnet{
		Meta: model.Meta{ProjectID: n.ProjectID}, NetworkID: n.ID, IPVersion: version, CIDR: prefix, EnableDHCP: true,
	}
}

func (r *rig) subnet(n *model.Network, cidr string) *model.Subnet {
	r.t.Helper()
	return r.addSubnet(subnet(n, cidr), "cidr")
}

func (r *rig) addSubnet(sub *model.Subnet, given ...string) *model.Subnet {
	r.t.Helper()
	return one[model.Subnet](r.t)(r.s.CreateSubnets(ctx, admin, []neutron.Draft[model.Subnet]{draft(sub, given...)}))
}

func port(n *model.Network) *model.Port {
	return &model.Port{
		Meta: model.Meta{ProjectID: n.ProjectID}, NetworkID: n.ID, AdminStateUp: true, PropagateUplinkStatus: true,
	}
}

func (r *rig) port(p *model.Port, given ...string) *model.Port {
	r.t.Helper()
	return one[model.Port](r.t)(r.s.CreatePorts(ctx, admin, []neutron.Draft[model.Port]{draft(p, given...)}))
}

func (r *rig) getPort(id string) *model.Port {
	p, _ := r.tab.Ports.Get(r.db.Snapshot(), id)
	return p
}

func (r *rig) getNetwork(id string) *model.Network {
	n, _ := r.tab.Networks.Get(r.db.Snapshot(), id)
	return n
}

// agentUp brings an agent up on a lease of its own.
func (r *rig) agentUp(a model.Agent) (*model.Agent, store.Lease) {
	r.t.Helper()
	lease, err := r.db.NewLease(ctx, time.Minute)
	if err != nil {
		r.t.Fatal(err)
	}
	return must[*model.Agent](r.t)(r.s.AgentUp(ctx, a, lease)), lease
}

func nicAgent(host string) model.Agent {
	return model.Agent{
		Type: model.AgentNICSwitch, Binary: model.BinaryNICSwitch, Host: host,
		Configurations: map[string]any{"device_mappings": map[string]any{"default": []any{"eth6"}}},
	}
}

func dhcpAgent(host string) model.Agent {
	return model.Agent{Type: model.AgentDHCP, Binary: model.BinaryDHCP, Host: host}
}

var ctx = context.Background()

// wantFault checks type, status and message of a fault.
func wantFault(t testing.TB, err error, typ string, status int, message string) {
	t.Helper()
	var f *fault.Fault
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want %s", err, typ)
	}
	if f.Type != typ || f.Status != status || (message != "" && f.Message != message) {
		t.Fatalf("got %d %s %q\nwant %d %s %q", f.Status, f.Type, f.Message, status, typ, message)
	}
}
