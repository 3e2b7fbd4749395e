package clients

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"

	"neutrino/internal/agent"
	"neutrino/internal/agent/switchtest"
	"neutrino/internal/model"
)

// willing carries out any router at once: clients are tested here, not routers.
type willing struct{ events chan struct{} }

func (willing) Set(_ context.Context, want []*model.RouterSpec) ([]model.RouterReport, error) {
	var out []model.RouterReport
	for _, r := range want {
		out = append(out, model.RouterReport{RouterID: r.RouterID, Revision: r.Revision, Up: true})
	}
	return out, nil
}

func (w willing) Events() <-chan struct{} { return w.events }

// joinL3 lets a host with the L3 role and VFs in memory join the lab's controller until the
// test ends.
func (r *running) joinL3(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	accepted := make(chan struct{})
	var once sync.Once
	cfg := agent.Config{
		Host: "router1", Controllers: []string{"unix://" + r.names.Socket()}, L3: true,
		PhysicalDeviceMappings: map[string][]string{"default": {"eth6"}}, StateFile: filepath.Join(t.TempDir(), "state.db"),
	}
	done := make(chan error, 1)
	go func() {
		done <- agent.Run(ctx, cfg, switchtest.New(switchtest.Spec{PF: "eth6", Number: 9, VFs: 64}),
			agent.WithLogger(slog.New(slog.DiscardHandler)),
			agent.WithRouters(func(agent.FindVF) (agent.RouterServer, error) { return willing{make(chan struct{})}, nil }),
			agent.WithConnection(func(err error) {
				if err == nil {
					once.Do(func() { close(accepted) })
				}
			}))
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-accepted:
	case err := <-done:
		done <- err
		t.Fatalf("the network node did not join: %v", err)
	case <-t.Context().Done():
		t.Fatal("the network node did not join in time")
	}
}
