package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"neutrino/internal/model"
	"neutrino/internal/rpc"
	"neutrino/internal/rpc/fabricv1"
)

// RouterServer carries out routers.
type RouterServer interface {
	// Set is given the full list each time, in the order of ids, is idempotent, and is never
	// called twice at once. It returns a report for each router, also when it fails; a router
	// that it says nothing of counts as down, with the error as its reason.
	Set(ctx context.Context, want []*model.RouterSpec) ([]model.RouterReport, error)
	// Events wakes the caller when something may not be as Set left it. It never closes.
	Events() <-chan struct{}
}

// WithRouters provides the server of the L3 role. start is called once, before anything
// else is done. FindVF finds the netdevs of the routers' ports.
func WithRouters(start func(FindVF) (RouterServer, error)) Option {
	return func(o *options) { o.routers = start }
}

// routerWorker keeps the router server and the file at the desired routers, and hands on
// what it reports. One goroutine runs it.
type routerWorker struct {
	server  RouterServer
	table   *table
	state   *stateFile
	outbox  *outbox
	moved   <-chan struct{} // a port's netdev came or went
	log     *slog.Logger
	written map[string]*model.RouterSpec
	served  map[string]*model.RouterSpec
	known   map[string]model.RouterReport
	fails   int
}

func (w *routerWorker) run(ctx context.Context) {
	retry, save := time.NewTimer(0), time.NewTimer(saveGap)
	defer retry.Stop()
	defer save.Stop()
	for {
		force := true
		select {
		case <-ctx.Done():
			w.save()
			return
		case <-w.table.routers:
			force = false
		case <-w.moved:
		case <-w.server.Events():
		case <-retry.C:
		case <-save.C:
			if !w.save() {
				save.Reset(10 * saveGap)
			}
			continue
		}
		view := w.table.get()
		if !view.Known || (!force && w.fails == 0 && w.served != nil && maps.Equal(w.served, view.Routers)) {
			continue
		}
		if !maps.Equal(w.written, view.Routers) {
			save.Reset(saveGap)
		}
		if wait := w.set(ctx, view); wait > 0 {
			retry.Reset(wait)
		}
	}
}

// set brings the server to the view and publishes its reports; it returns how long to wait
// before trying again, 0 = nothing failed.
func (w *routerWorker) set(ctx context.Context, view Desired) time.Duration {
	reports, err := w.server.Set(ctx, view.routerList())
	if ctx.Err() != nil {
		return 0
	}
	w.publish(view, reports, err)
	if err == nil {
		w.fails, w.served = 0, view.Routers
		return 0
	}
	w.fails++
	w.log.Warn("routers are not as asked", "routers", len(view.Routers), "error", err, "tries", w.fails)
	return backoff(w.fails, firstRetry, lastRetry)
}

// publish makes one report per desired router of what the server said.
func (w *routerWorker) publish(view Desired, said []model.RouterReport, err error) {
	reports := make(map[string]model.RouterReport, len(view.Routers))
	for id, r := range view.Routers {
		why := "the router was not carried out"
		if err != nil {
			why = err.Error()
		}
		reports[id] = model.RouterReport{RouterID: id, Revision: r.Revision, Reason: why}
	}
	for _, r := range said {
		if want := view.Routers[r.RouterID]; want != nil {
			reports[r.RouterID] = r
		}
	}
	for id, r := range view.refusedRouters {
		reports[id] = model.RouterReport{RouterID: id, Revision: r.revision, Reason: r.reason}
	}
	for id, r := range reports {
		if old, ok := w.known[id]; !ok || old.Up != r.Up || old.Reason != r.Reason {
			switch {
			case r.Up && r.Reason == "":
				w.log.Info("router is up", "router", id)
			case r.Up:
				w.log.Warn("router is up, but not all that belongs to it", "router", id, "reason", r.Reason)
			default:
				w.log.Log(context.Background(), downLevel(r.Reason), "router is down", "router", id, "reason", r.Reason)
			}
		}
	}
	w.known = reports
	w.outbox.replaceRouters(reports)
}

// save writes what changed; it reports whether the file is current.
func (w *routerWorker) save() bool {
	view := w.table.get()
	if !view.Known || maps.Equal(w.written, view.Routers) {
		return true
	}
	if err := w.state.recordRouters(w.written, view.Routers); err != nil {
		w.log.Error("cannot record the routers", "error", err)
		return false
	}
	w.written = view.Routers
	return true
}

// putRouters adds routers. One that is not acceptable is refused by itself: it is reported,
// what the host had before stays, and the others are not held up.
func (d *Desired) putRouters(in []*fabricv1.Router, before Desired) error {
	for _, m := range in {
		id := m.GetRouterId()
		if !rpc.IdentifiesPort(id) {
			return fmt.Errorf("%w: router: router_id %.80q is not an id", rpc.ErrInvalid, id)
		}
		r, err := rpc.DecodeRouter(m)
		old := before.Routers[id]
		if err != nil {
			d.refusedRouters[id] = refused{revision: m.GetRevision(), reason: "the host cannot accept the router: " + err.Error()}
			if old != nil {
				d.Routers[id] = old
			}
			continue
		}
		delete(d.refusedRouters, id)
		if d.Routers[id] = r; old != nil && proto.Equal(rpc.EncodeRouter(old), rpc.EncodeRouter(r)) {
			d.Routers[id] = old // so that it need not be written again
		}
	}
	if len(d.Routers) > rpc.MaxRouters {
		return fmt.Errorf("%w: more than %d routers", rpc.ErrInvalid, rpc.MaxRouters)
	}
	return nil
}

// changeRouters is what a delta says of routers.
func (d *Desired) changeRouters(m *fabricv1.Delta, before Desired) error {
	if len(m.GetRouters())+len(m.GetRemovedRouters()) == 0 {
		return nil
	}
	d.Routers, d.refusedRouters = maps.Clone(d.Routers), maps.Clone(d.refusedRouters)
	for _, id := range m.GetRemovedRouters() {
		delete(d.Routers, id)
		delete(d.refusedRouters, id)
	}
	return d.putRouters(m.GetRouters(), before)
}

// routerList is the view's routers in a stable order.
func (d *Desired) routerList() []*model.RouterSpec {
	return slices.SortedFunc(maps.Values(d.Routers), func(a, b *model.RouterSpec) int {
		return strings.Compare(a.RouterID, b.RouterID)
	})
}
