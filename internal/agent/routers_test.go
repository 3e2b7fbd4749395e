package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"neutrino/internal/model"
	"neutrino/internal/rpc"
	"neutrino/internal/rpc/fabricv1"
)

// routerFake remembers what it was asked and answers as told.
type routerFake struct {
	mu     sync.Mutex
	sets   int
	last   []*model.RouterSpec
	err    error
	silent bool // says nothing of any router
	events chan struct{}
}

func (f *routerFake) Set(_ context.Context, want []*model.RouterSpec) ([]model.RouterReport, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sets++
	f.last = slices.Clone(want)
	if f.silent || f.err != nil {
		return nil, f.err
	}
	var out []model.RouterReport
	for _, r := range want {
		out = append(out, model.RouterReport{RouterID: r.RouterID, Revision: r.Revision, Up: true})
	}
	return out, nil
}

func (f *routerFake) Events() <-chan struct{} { return f.events }

func (f *routerFake) asked() (sets int, ids []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.last {
		ids = append(ids, r.RouterID)
	}
	return f.sets, ids
}

func testRouter(id string, revision int64) *fabricv1.Router {
	sub := &model.Subnet{IPVersion: 4, CIDR: netip.MustParsePrefix("10.0.0.0/24")}
	sub.ID = "s"
	return rpc.EncodeRouter(&model.RouterSpec{RouterID: id, Revision: revision, Interfaces: []model.RouterPort{{
		PortID: "p-" + id, NetworkID: "n", MAC: "fa:16:3e:00:00:01",
		Addresses: []model.FixedIP{{SubnetID: "s", IP: netip.MustParseAddr("10.0.0.1")}}, Subnets: []*model.Subnet{sub},
	}}})
}

func (o *outbox) saidOfRouter(id string) model.RouterReport {
	o.mu.Lock()
	defer o.mu.Unlock()
	if l := o.routers[id]; l != nil {
		return l.report
	}
	return model.RouterReport{}
}

func TestRouterWorker(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.db")
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		state, s, err := openState(file, "host-1", log)
		if err != nil {
			t.Fatal(err)
		}
		fake, tb, box, moved := &routerFake{events: make(chan struct{}, 1)}, newTable(s), newOutbox(), make(chan struct{}, 1)
		w := &routerWorker{server: fake, table: tb, state: state, outbox: box, moved: moved, log: log, written: s.routers}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { w.run(ctx) })
		synctest.Wait()
		if sets, _ := fake.asked(); sets != 0 {
			t.Error("routers were touched before any was asked for")
		}
		bad := testRouter("bad", 3)
		bad.Interfaces[0].Mac = "no"
		snapshot := &fabricv1.Snapshot{Epoch: "e1", Revision: 1, Routers: []*fabricv1.Router{testRouter("r2", 1), testRouter("r1", 1), bad}}
		if err = tb.snapshot(snapshot); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, ids := fake.asked(); !slices.Equal(ids, []string{"r1", "r2"}) {
			t.Errorf("asked for %v", ids)
		}
		if r := box.saidOfRouter("r1"); !r.Up {
			t.Errorf("r1: %+v", r)
		}
		if r := box.saidOfRouter("bad"); r.Up || r.Revision != 3 || r.Reason == "" {
			t.Errorf("one that cannot be accepted: %+v", r)
		}

		// Nothing new: nothing is done. An event, or a netdev that came: a look.
		sets, _ := fake.asked()
		if err = tb.delta(&fabricv1.Delta{BaseRevision: 1, Revision: 2}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if now, _ := fake.asked(); now != sets {
			t.Errorf("%d calls while nothing changed", now-sets)
		}
		wake(moved)
		synctest.Wait()
		wake(fake.events)
		synctest.Wait()
		if now, _ := fake.asked(); now != sets+2 {
			t.Errorf("%d calls for two events", now-sets)
		}

		// A server that fails is asked again until it does not; one that is silent is not up.
		fake.mu.Lock()
		fake.err = errors.New("no nftables")
		fake.mu.Unlock()
		if err = tb.delta(&fabricv1.Delta{BaseRevision: 2, Revision: 3, Routers: []*fabricv1.Router{testRouter("r1", 2)}, RemovedRouters: []string{"bad", "r2"}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if r := box.saidOfRouter("r1"); r.Up || r.Reason != "no nftables" || r.Revision != 2 {
			t.Errorf("a failure: %+v", r)
		}
		if r := box.saidOfRouter("r2"); r != (model.RouterReport{}) {
			t.Errorf("a router that is gone: %+v", r)
		}
		fake.mu.Lock()
		fake.err, fake.silent = nil, true
		fake.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if r := box.saidOfRouter("r1"); r.Up || r.Reason == "" || r.Reason == "no nftables" {
			t.Errorf("a silent server: %+v", r)
		}
		cancel()
		wg.Wait()
		if err = state.close(); err != nil {
			t.Error(err)
		}
	})
	_, s, err := openState(file, "host-1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.routers) != 1 || s.routers["r1"].Revision != 2 {
		t.Errorf("the file holds %v", s.routers)
	}
}

func TestTooManyRoutersAreRefused(t *testing.T) {
	tb := newTable(saved{})
	m := &fabricv1.Snapshot{Epoch: "e1", Revision: 1}
	for i := range rpc.MaxRouters + 1 {
		m.Routers = append(m.Routers, testRouter("r"+string(rune('a'+i%26))+time.Duration(i).String(), 1))
	}
	if err := tb.snapshot(m); !errors.Is(err, rpc.ErrInvalid) {
		t.Errorf("too many: %v", err)
	}
	if err := tb.snapshot(&fabricv1.Snapshot{Epoch: "e1", Revision: 1, Routers: []*fabricv1.Router{{RouterId: "../x"}}}); !errors.Is(err, rpc.ErrInvalid) {
		t.Errorf("no id: %v", err)
	}
}
