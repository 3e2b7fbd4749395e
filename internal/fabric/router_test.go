package fabric

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"neutrino/internal/agent"
	"neutrino/internal/model"
)

// routerServer carries routers out in memory.
type routerServer struct {
	mu     sync.Mutex
	want   []*model.RouterSpec
	broken map[string]string // router -> why it is down
	err    error
	sets   int
	events chan struct{}
}

func newRouterServer() *routerServer {
	return &routerServer{broken: map[string]string{}, events: make(chan struct{}, 1)}
}

func (s *routerServer) Set(_ context.Context, want []*model.RouterSpec) ([]model.RouterReport, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sets++
	s.want = slices.Clone(want)
	if s.err != nil {
		return nil, s.err
	}
	var out []model.RouterReport
	for _, r := range want {
		why := s.broken[r.RouterID]
		out = append(out, model.RouterReport{RouterID: r.RouterID, Revision: r.Revision, Up: why == "", Reason: why})
	}
	return out, nil
}

func (s *routerServer) Events() <-chan struct{} { return s.events }

// edit changes what the server does and says that something happened.
func (s *routerServer) edit(f func()) {
	s.mu.Lock()
	f()
	s.mu.Unlock()
	select {
	case s.events <- struct{}{}:
	default:
	}
}

func (s *routerServer) has(t *testing.T, ids ...string) {
	t.Helper()
	eventually(t, "the routers are there", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		var have []string
		for _, r := range s.want {
			have = append(have, r.RouterID)
		}
		return s.sets > 0 && slices.Equal(have, ids)
	})
}

func routerSpec(id string, revision int64) *model.RouterSpec {
	sub := &model.Subnet{IPVersion: 4, CIDR: netip.MustParsePrefix("10.0.0.0/24"), GatewayIP: netip.MustParseAddr("10.0.0.1")}
	sub.ID = "sub"
	return &model.RouterSpec{
		RouterID: id, Revision: revision, EnableSNAT: true,
		Interfaces: []model.RouterPort{{
			PortID: "if-" + id, NetworkID: "net", MAC: "fa:16:3e:00:00:01", MTU: 1500,
			Addresses: []model.FixedIP{{SubnetID: "sub", IP: sub.GatewayIP}}, Subnets: []*model.Subnet{sub},
		}},
	}
}

func TestRoutersReachTheHostAndItsWordComesBack(t *testing.T) {
	p, server := newPlane(), newRouterServer()
	c := startController(t, p, socket(t, "f.sock"), Options{})
	p.edit(func() { p.routers["r1"], p.routers["r2"] = routerSpec("r1", 1), routerSpec("r2", 1) })
	port := p.bind("h1", 1, 1)
	server.broken["r2"] = "no such device"
	cfg := agent.Config{Host: "h1", Controllers: []string{c.address}, L3: true, StateFile: filepath.Join(t.TempDir(), "state.db")}
	start := func() (stop func()) {
		return startAgent(t, nic(2), cfg, agent.WithRouters(func(agent.FindVF) (agent.RouterServer, error) { return server, nil }))
	}
	stop := start()
	server.has(t, "r1", "r2")
	p.wantRouter(t, model.RouterReport{RouterID: "r1", Revision: 1, Up: true})
	p.wantRouter(t, model.RouterReport{RouterID: "r2", Revision: 1, Reason: "no such device"})

	// What the host notices by itself is told.
	server.edit(func() { delete(server.broken, "r2") })
	p.wantRouter(t, model.RouterReport{RouterID: "r2", Revision: 1, Up: true})

	// A change of metadata goes out though the revision stays.
	p.edit(func() {
		r := *p.routers["r1"]
		r.Metadata = []model.DHCPHost{{PortID: "p1", MAC: "fa:16:3e:00:00:09", Device: "vm"}}
		p.routers["r1"] = &r
	})
	eventually(t, "metadata reaches the host", func() bool {
		server.mu.Lock()
		defer server.mu.Unlock()
		return len(server.want) == 2 && len(server.want[0].Metadata) == 1
	})

	// The rows forget what the host said: it is put forward again. The host has nothing new to
	// say, so it would not.
	p.edit(func() { delete(p.router, "r1") })
	p.wantRouter(t, model.RouterReport{RouterID: "r1", Revision: 1, Up: true})

	// A server that fails says so for each router.
	server.edit(func() { server.err = errors.New("no nftables here") })
	p.wantRouter(t, model.RouterReport{RouterID: "r1", Revision: 1, Reason: "no nftables here"})
	server.edit(func() { server.err = nil })
	p.wantRouter(t, model.RouterReport{RouterID: "r1", Revision: 1, Up: true})

	p.edit(func() { delete(p.routers, "r1"); p.routers["r2"] = routerSpec("r2", 2) })
	server.has(t, "r2")
	p.wantRouter(t, model.RouterReport{RouterID: "r2", Revision: 2, Up: true})

	// Without a controller the host comes up with what it had.
	p.wantStatus(t, port, model.StatusActive)
	stop()
	c.stop()
	server = newRouterServer()
	start()
	server.has(t, "r2")
}

func TestReportsOfRoutersSurviveAStoreThatFails(t *testing.T) {
	p, server := newPlane(), newRouterServer()
	c := startController(t, p, socket(t, "f.sock"), Options{})
	cfg := agent.Config{Host: "h1", Controllers: []string{c.address}, L3: true}
	startAgent(t, nic(2), cfg, agent.WithRouters(func(agent.FindVF) (agent.RouterServer, error) { return server, nil }))
	server.has(t)
	p.edit(func() { p.failing = errors.New("store is away"); p.routers["r1"] = routerSpec("r1", 1) })
	server.has(t, "r1")
	p.edit(func() { p.failing = nil })
	p.wantRouter(t, model.RouterReport{RouterID: "r1", Revision: 1, Up: true})
}

func TestARouterThatCannotBeSentHoldsUpNoOther(t *testing.T) {
	p, server := newPlane(), newRouterServer()
	c := startController(t, p, socket(t, "f.sock"), Options{})
	bad := routerSpec("bad", 7)
	bad.Interfaces[0].MAC = "nonsense"
	p.edit(func() { p.routers["bad"], p.routers["r1"] = bad, routerSpec("r1", 1) })
	cfg := agent.Config{Host: "h1", Controllers: []string{c.address}, L3: true}
	startAgent(t, nic(2), cfg, agent.WithRouters(func(agent.FindVF) (agent.RouterServer, error) { return server, nil }))
	server.has(t, "r1")
	eventually(t, "the operator is told why", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		r := p.router["bad"]
		return r.Revision == 7 && !r.Up && r.Reason != ""
	})
}
