package fabric

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"neutrino/internal/agent"
	"neutrino/internal/agent/switchtest"
	"neutrino/internal/model"
	"neutrino/internal/trunk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// fakePlane is a control plane in memory that follows neutron's rules for reports.
type fakePlane struct {
	mu      sync.Mutex
	atts    map[string]*model.Attachment // by port; Device holds the host
	nets    map[string]*model.DHCPNetwork
	ports   map[string]*model.Port
	routers map[string]*model.RouterSpec
	router  map[string]model.RouterReport // what the rows say of each
	changed chan struct{}
	agents  map[string]model.Agent
	leases  int
	beats   int
	kept    int
	calls   int // of ReportPorts
	derived int
	failing error
	gone    bool // leases are gone
	runs    []*trunk.Run
	results []*trunk.Result
	slow    chan struct{} // what a host has to carry is not known before it is closed; nil = at once
}

func newPlane() *fakePlane {
	return &fakePlane{
		atts: map[string]*model.Attachment{}, nets: map[string]*model.DHCPNetwork{}, ports: map[string]*model.Port{},
		routers: map[string]*model.RouterSpec{}, router: map[string]model.RouterReport{},
		changed: make(chan struct{}), agents: map[string]model.Agent{},
	}
}

type fakeLease struct{ p *fakePlane }

func (l fakeLease) KeepAlive(context.Context) error {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if l.p.gone {
		l.p.gone = false
		return errors.New("lease is gone")
	}
	l.p.kept++
	return l.p.failing
}

func (p *fakePlane) NewLease(context.Context, time.Duration) (lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leases++
	return fakeLease{p}, p.failing
}

func (p *fakePlane) AgentUp(_ context.Context, a model.Agent, _ lease) (*model.Agent, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failing != nil {
		return nil, p.failing
	}
	a.ID = a.Type + "@" + a.Host
	p.agents[a.ID] = a
	return &a, nil
}

func (p *fakePlane) AgentBeat(_ context.Context, id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.beats++
	if _, ok := p.agents[id]; !ok {
		return errors.New("agent not found")
	}
	return p.failing
}

func (p *fakePlane) ReportPorts(_ context.Context, host string, reports []model.PortReport) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	if p.failing != nil {
		return p.failing
	}
	for _, r := range reports {
		a, port := p.atts[r.PortID], p.ports[r.PortID]
		if a == nil || a.Device != host || a.Revision != r.Revision {
			continue
		}
		status := model.StatusDown
		if r.Up {
			status = model.StatusActive
		}
		if port.Status != status || port.StatusReason != r.Reason {
			next := *port
			next.Status, next.StatusReason, next.Revision = status, r.Reason, port.Revision+1
			p.ports[r.PortID] = &next
			p.fire()
		}
	}
	return nil
}

func (p *fakePlane) fire() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *fakePlane) Attachments(host string) ([]*model.Attachment, <-chan struct{}) {
	if p.slow != nil {
		<-p.slow
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.derived++
	var out []*model.Attachment
	for _, id := range slices.Sorted(maps.Keys(p.atts)) {
		if p.atts[id].Device == host {
			out = append(out, p.atts[id])
		}
	}
	return out, p.changed
}

func (p *fakePlane) DHCPNetworks(string) ([]*model.DHCPNetwork, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.nets)), p.changed
}

func (p *fakePlane) Port(id string) (*model.Port, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	port, ok := p.ports[id]
	return port, ok
}

func (p *fakePlane) Probes() ([]*trunk.Run, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.runs), p.changed
}

func (p *fakePlane) RecordProbe(_ context.Context, _ string, r *trunk.Result) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failing == nil {
		p.results = append(p.results, r)
	}
	return p.failing
}

func (p *fakePlane) RouterSpecs(string) ([]*model.RouterSpec, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*model.RouterSpec
	for _, id := range slices.Sorted(maps.Keys(p.routers)) {
		out = append(out, p.routers[id])
	}
	return out, p.changed
}

func (p *fakePlane) ReportRouters(_ context.Context, _ string, reports []model.RouterReport) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failing != nil {
		return p.failing
	}
	for _, r := range reports {
		if want := p.routers[r.RouterID]; want != nil && want.Revision == r.Revision && p.router[r.RouterID] != r {
			p.router[r.RouterID] = r
			p.fire()
		}
	}
	return nil
}

func (p *fakePlane) RouterSettled(_ *model.RouterSpec, r model.RouterReport) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.router[r.RouterID] == r
}

func (p *fakePlane) wantRouter(t *testing.T, want model.RouterReport) {
	t.Helper()
	eventually(t, fmt.Sprintf("the report %+v", want), func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.router[want.RouterID] == want
	})
}

// bind asks a host to carry a port.
func (p *fakePlane) bind(host string, n int, revision int64) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := fmt.Sprintf("port-%03d", n)
	p.atts[id] = &model.Attachment{
		PortID: id, Revision: revision, NetworkID: "net", Device: host, VnicType: model.VnicDirect, PhysicalNetwork: "default",
		VLAN: 100, MAC: fmt.Sprintf("fa:16:3e:00:%02x:%02x", n/256, n%256), MTU: 1500, SpoofCheck: true, LinkState: model.LinkEnable,
	}
	was := p.ports[id]
	p.ports[id] = &model.Port{Meta: model.Meta{ID: id, Revision: 1}, Status: model.StatusDown}
	if was != nil {
		p.ports[id].Revision = was.Revision + 1
	}
	p.fire()
	return id
}

func (p *fakePlane) edit(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.fire()
}

func (p *fakePlane) status(id string) (status, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if port := p.ports[id]; port != nil {
		return port.Status, port.StatusReason
	}
	return "", ""
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	end := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func (p *fakePlane) wantStatus(t *testing.T, id, status string) {
	t.Helper()
	eventually(t, id+" is "+status, func() bool { s, _ := p.status(id); return s == status })
}

// controller is a Fabric that serves one unix socket.
type controller struct {
	*Fabric
	address string
	stop    func()
}

func startController(t *testing.T, p plane, address string, o Options) *controller {
	t.Helper()
	o.Log = quiet
	f, err := newFabric(p, o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(t.Context(), address, o.TLS)
	if err != nil {
		t.Fatal(err)
	}
	f.listen = []net.Listener{l}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if rerr := f.Run(ctx); rerr != nil {
			t.Error(rerr)
		}
	})
	c := &controller{Fabric: f, address: address}
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		c.address = a.String()
	}
	c.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(c.stop)
	return c
}

func socket(t *testing.T, name string) string {
	return "unix://" + filepath.Join(t.TempDir(), name)
}

// startAgent runs a real agent on a switch in memory.
func startAgent(t *testing.T, sw *switchtest.Switch, cfg agent.Config, opts ...agent.Option) (stop func()) {
	t.Helper()
	cfg.PhysicalDeviceMappings = map[string][]string{"default": {"eth6"}}
	if cfg.StateFile == "" {
		cfg.StateFile = filepath.Join(t.TempDir(), "state.db")
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := agent.Run(ctx, cfg, sw, append([]agent.Option{agent.WithLogger(quiet)}, opts...)...); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

func nic(vfs int) *switchtest.Switch {
	return switchtest.New(switchtest.Spec{PF: "eth6", Number: 1, VFs: vfs})
}

// words is a log that can be searched.
type words struct {
	mu   sync.Mutex
	text []byte
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	return len(p), nil
}

func (w *words) contain(s string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Contains(string(w.text), s)
}
