package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"neutrino/internal/model"
)

// Bridges are the host's Open vSwitch bridges.
type Bridges interface {
	// Set makes the bridges carry exactly these ports, and says how each stands. It is given
	// the full list each time, in the order of ids, is idempotent, and is never called twice
	// at once. An error says that the bridges as a whole are not as asked; what is said of
	// ports counts all the same.
	Set(ctx context.Context, want []*model.Attachment) (map[string]BridgePort, error)
	// Events wakes the caller when something may not be as Set left it. It never closes.
	Events() <-chan struct{}
}

// BridgePort is how one port stands.
type BridgePort struct {
	Interface string // name of its interface; "" = nobody has made it yet
	OFPort    int    // OpenFlow port number; 0 = none yet
	Ifindex   int    // in the host's namespace; 0 = it is elsewhere; another one = it was made anew
	Ready     bool   // the bridge is there: an interface can be plugged into it
	Err       error  // why the port is not as asked
}

// Filters enforce port security and security groups on bridges' ports.
type Filters interface {
	// Set is given all the ports of a bridge that are plugged, in the order of ids, none for
	// one that has none, and returns those that it could not do as asked. It is idempotent, and
	// never called twice at once for a bridge.
	Set(ctx context.Context, bridge string, ports []FilterPort) map[string]error
	// Events wakes the caller when something may not be as Set left it; nil = never.
	Events() <-chan struct{}
}

// FilterPort is one plugged port of a bridge.
type FilterPort struct {
	Attachment *model.Attachment
	OFPort     int
}

// WithBridges provides the host's bridges.
func WithBridges(b Bridges) Option { return func(o *options) { o.bridges = b } }

// WithFilters provides the filters of the bridges' ports.
func WithFilters(f Filters) Option { return func(o *options) { o.filters = f } }

// bridgeWorker keeps the bridges at the desired ports. One goroutine runs it.
type bridgeWorker struct {
	*loop
	bridges Bridges
	filters Filters
	mapped  []string // names of the bridges
	log     *slog.Logger
	known   map[string]model.PortReport
	fails   int
}

func newBridgeWorker(b Bridges, f Filters, mapped []string, l *loop) *bridgeWorker {
	return &bridgeWorker{loop: l, bridges: b, filters: f, mapped: mapped, log: l.log, known: map[string]model.PortReport{}}
}

func (w *bridgeWorker) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var filtered <-chan struct{}
	if w.filters != nil {
		filtered = w.filters.Events()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.table.bridged:
		case <-w.bridges.Events():
		case <-filtered:
		case <-timer.C:
		}
		timer.Reset(w.round(ctx))
	}
}

// round brings the bridges to the desired state and reports. It returns how long to wait for
// the next one if nothing else happens.
func (w *bridgeWorker) round(ctx context.Context) time.Duration {
	view := w.table.get()
	if !view.Known {
		return w.audit
	}
	want := view.of(model.AttachOVS)
	ports, err := w.bridges.Set(ctx, sorted(want))
	if ctx.Err() != nil {
		return w.audit
	}
	now := model.MomentOf(time.Now())
	bad := w.filter(ctx, want, ports)
	reports := make(map[string]model.PortReport, len(want))
	for id, att := range want {
		r := bridgeReport(att, ports[id], err, bad[id])
		r.Moments = bridgeMoments(r, w.known[id], view.arrived[id], now)
		reports[id] = r
	}
	for id, r := range view.refused {
		if rep, ours := reports[id]; ours {
			rep.Revision, rep.Up, rep.Reason = r.revision, false, r.reason
			reports[id] = rep
		}
	}
	w.publish(want, reports, ports)
	w.release(want)
	if err == nil && len(bad) == 0 {
		w.fails = 0
		return w.audit
	}
	w.fails++
	if err != nil {
		w.log.Warn("Open vSwitch is not as asked", "ports", len(want), "error", err, "tries", w.fails)
	}
	return backoff(w.fails, firstRetry, lastRetry)
}

// release has unplugged what is plugged for ports that are not to be here any more.
func (w *bridgeWorker) release(want map[string]*model.Attachment) {
	if w.plugs == nil {
		return
	}
	var gone []string
	for name, p := range w.plugs.Plugged() {
		if p.Bridge && want[p.PortID] == nil {
			gone = append(gone, name)
		}
	}
	if len(gone) > 0 {
		slices.Sort(gone)
		w.plugs.Release(gone)
	}
}

func sorted(want map[string]*model.Attachment) []*model.Attachment {
	return slices.SortedFunc(maps.Values(want), func(a, b *model.Attachment) int { return strings.Compare(a.PortID, b.PortID) })
}

// filter hands each bridge's plugged ports to the filters.
func (w *bridgeWorker) filter(ctx context.Context, want map[string]*model.Attachment, ports map[string]BridgePort) map[string]error {
	if w.filters == nil {
		return nil
	}
	by := map[string][]FilterPort{}
	for _, b := range w.mapped {
		by[b] = nil // one without ports has flows of ours still, if it had some
	}
	for _, att := range sorted(want) {
		if p := ports[att.PortID]; p.OFPort > 0 && p.Err == nil {
			by[att.Bridge] = append(by[att.Bridge], FilterPort{Attachment: att, OFPort: p.OFPort})
		}
	}
	bad := map[string]error{}
	for _, b := range slices.Sorted(maps.Keys(by)) {
		maps.Copy(bad, w.filters.Set(ctx, b, by[b]))
	}
	return bad
}

// adminDown is the reason of a port that somebody has set down.
const adminDown = "the port's administrative state is down"

// downLevel is how loud a port or router that is down is told of: what is waited for comes by
// itself, or somebody else's doing, and is nothing to act on.
func downLevel(reason string) slog.Level {
	if reason == adminDown || strings.HasPrefix(reason, "waiting for ") {
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

// bridgeReport is what the controller is told of one port.
func bridgeReport(att *model.Attachment, p BridgePort, all, filter error) model.PortReport {
	r := model.PortReport{PortID: att.PortID, Revision: att.Revision, PF: att.Bridge, VF: -1}
	switch {
	case p.Err != nil:
		r.Reason = p.Err.Error()
	case p.Interface == "" && all != nil:
		r.Reason = all.Error()
	case p.Interface == "":
		r.Reason = fmt.Sprintf("waiting for its interface: nothing with iface-id %s is plugged into %s yet", att.PortID, att.Bridge)
	case p.OFPort <= 0:
		r.Reason = fmt.Sprintf("waiting for Open vSwitch to take interface %s", p.Interface)
	case filter != nil:
		r.Reason = filter.Error()
	case att.LinkState == model.LinkDisable:
		r.Reason = adminDown
	default:
		r.Up = true
	}
	return r
}

// bridgeMoments is moments for a port of a bridge: what is in place was recorded, programmed
// and read back by one transaction.
func bridgeMoments(r, old model.PortReport, arrived, now model.Moment) model.Moments {
	m := model.Moments{Received: arrived}
	if old.PortID != "" && old.Revision == r.Revision && old.Moments.Received == arrived {
		m = old.Moments
	}
	if r.Up && (!old.Up || m.ReadBack == 0) {
		m.Programmed, m.ReadBack = now, now
	}
	return m
}

// publish hands the outcome to the controller, to those who look for netdevs, and to the
// plug engine.
func (w *bridgeWorker) publish(want map[string]*model.Attachment, reports map[string]model.PortReport, ports map[string]BridgePort) {
	for id, r := range reports {
		if old, ok := w.known[id]; !ok || old.Up != r.Up || old.Reason != r.Reason {
			if r.Up {
				w.log.Info("port is up", "port", id, "bridge", r.PF, "interface", ports[id].Interface)
			} else {
				w.log.Log(context.Background(), downLevel(r.Reason), "port is down", "port", id, "bridge", r.PF, "reason", r.Reason)
			}
		}
	}
	w.known = reports
	w.outbox.replaceBridged(reports)
	w.metrics.bridgeGauges(reports)
	states := make(map[string]PortState, len(want))
	for id, att := range want {
		p := ports[id]
		states[id] = PortState{
			Attachment: att, Assigned: p.Ready, VF: VF{PF: att.Bridge, Index: -1, Netdev: p.Interface, Ifindex: p.Ifindex}, Up: reports[id].Up, Reason: reports[id].Reason,
		}
	}
	w.mu.Lock()
	moved := !maps.EqualFunc(states, w.bridged, func(a, b PortState) bool { return a.VF == b.VF && a.Up == b.Up })
	changed := moved || !maps.EqualFunc(states, w.bridged, func(a, b PortState) bool { return a == b })
	w.bridged = states
	if changed {
		close(w.next)
		w.next = make(chan struct{})
	}
	w.mu.Unlock()
	if moved {
		for _, c := range w.foundWakes {
			wake(c)
		}
	}
}
