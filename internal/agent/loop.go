package agent

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

const (
	defaultAudit = time.Minute
	// deviceDeadline bounds one Observe or Apply: a driver that hangs must not hang the agent.
	deviceDeadline = 15 * time.Second
	// eventGap is the least time between two looks that events alone cause.
	eventGap = 50 * time.Millisecond
	// maxRounds of plan, apply and observe in one pass. A VF that changes hands needs
	// three: to the baseline, to its new attributes, and the look that finds it done.
	maxRounds = 6
)

// loop is the reconciler. One goroutine runs it; find and devices may be called from
// any.
type loop struct {
	host     string
	mappings map[string][]string
	excluded map[string]bool
	audit    time.Duration
	sw       eswitch.Switch
	state    *stateFile
	table    *table
	outbox   *outbox
	log      *slog.Logger
	metrics  *metrics

	// Of the goroutine that runs the loop.
	written    map[string]*model.Attachment // as in the file
	holdings                                // as in the file
	holds      map[eswitch.VFID]*hold
	known      map[string]model.PortReport // last verdict per port
	carries    map[eswitch.VFID]string     // what each VF was last read back as: a port, or "" = clean
	blind      int                         // observations failed in a row
	retryAt    time.Time                   // zero = nothing to retry
	lastLook   time.Time
	afterPlan  func(Plan) // tests
	plugs      Plugs      // nil = there is no plug engine
	users      map[string]usage
	mu         sync.Mutex
	found      map[string]VF
	foundWakes []chan struct{}      // each of capacity 1; made before run
	states     map[string]PortState // of ports on VFs
	bridged    map[string]PortState // of ports on bridges
	next       chan struct{}        // closed, and made anew, when states change
	deviceUsed atomic.Int64
}

func newLoop(cfg Config, sw eswitch.Switch, state *stateFile, s saved, t *table, o *outbox, log *slog.Logger, m *metrics) *loop {
	l := &loop{
		host: cfg.Host, mappings: cfg.PhysicalDeviceMappings, excluded: map[string]bool{}, audit: cfg.AuditInterval,
		sw: sw, state: state, table: t, outbox: o, log: log, metrics: m,
		written: maps.Clone(t.get().Attachments), holdings: s.holdings,
		holds: map[eswitch.VFID]*hold{}, known: map[string]model.PortReport{}, carries: map[eswitch.VFID]string{},
		found:  map[string]VF{},
		states: map[string]PortState{}, next: make(chan struct{}), users: map[string]usage{},
	}
	if l.assigned == nil {
		l.assigned = Assignments{}
	}
	if l.audit <= 0 {
		l.audit = defaultAudit
	}
	for _, slots := range cfg.ExcludeDevices {
		for _, s := range slots {
			l.excluded[s] = true
		}
	}
	l.deviceUsed.Store(int64(len(l.assigned)))
	return l
}

// run reconciles until ctx ends: at once when the desired state changes, soon after an
// event, when a retry is due, and at the latest after the audit interval.
func (l *loop) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var eventDue time.Time
	var plugged <-chan struct{}
	if l.plugs != nil {
		plugged = l.plugs.Changed()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.table.ports:
			l.metrics.passes.WithLabelValues("desired").Inc()
		case <-l.sw.Events():
			if wait := eventGap - time.Since(l.lastLook); wait > 0 {
				eventDue = time.Now().Add(wait)
				l.rearm(timer, eventDue)
				continue
			}
			l.metrics.passes.WithLabelValues("event").Inc()
		case <-plugged:
			l.metrics.passes.WithLabelValues("plug").Inc()
		case <-timer.C:
			l.metrics.passes.WithLabelValues("timer").Inc()
		}
		eventDue = time.Time{}
		l.pass(ctx)
		l.rearm(timer, eventDue)
	}
}

func (l *loop) rearm(timer *time.Timer, eventDue time.Time) {
	next := l.lastLook.Add(l.audit)
	for _, t := range []time.Time{l.retryAt, eventDue} {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	timer.Reset(max(time.Until(next), 0))
}

// pass brings the host to the desired state as far as it goes now, and reports.
func (l *loop) pass(ctx context.Context) {
	start := time.Now()
	l.lastLook, l.retryAt = start, time.Time{}
	desired := l.table.get()
	if !desired.Known {
		return
	}
	p := newPass(l, desired)
	ok := p.rounds(ctx)
	if ctx.Err() != nil {
		return
	}
	if ok {
		l.blind = 0
	}
	l.publish(p, ok)
	if ok && l.plugs != nil && len(p.plan.Release) > 0 && p.fileErr == nil {
		l.plugs.Release(p.plan.Release)
	}
	l.lastLook = time.Now()
	l.metrics.passSeconds.Observe(time.Since(start).Seconds())
}

// publish hands the verdicts of a pass to those who wait for them.
func (l *loop) publish(p *pass, observed bool) {
	reports := make(map[string]model.PortReport, len(p.vfs)+len(p.desired.refused))
	for id, att := range p.vfs {
		reports[id] = p.report(att, observed)
	}
	for id, r := range p.desired.refused {
		if old := p.desired.Attachments[id]; old != nil && old.Kind != model.AttachVF {
			continue // the bridges' worker says it
		}
		rep := reports[id]
		rep.PortID, rep.Revision, rep.Up, rep.Reason = id, r.revision, false, r.reason
		reports[id] = rep
	}
	for id, r := range reports {
		r.Moments = p.moments(r, l.known[id])
		reports[id] = r
	}
	for id, r := range reports {
		if old, ok := l.known[id]; !ok || old.Up != r.Up || old.Reason != r.Reason {
			if r.Up {
				l.log.Info("port is up", "port", id, "pf", r.PF, "vf", r.VF, "pci_slot", r.PCISlot)
			} else {
				l.log.Log(context.Background(), downLevel(r.Reason), "port is down", "port", id, "reason", r.Reason)
			}
		}
	}
	l.known = reports
	l.outbox.replace(reports)
	l.metrics.gauges(reports)
	l.deviceUsed.Store(int64(len(l.assigned)))
	states := p.portStates(reports)
	l.mu.Lock()
	l.states = states
	close(l.next)
	l.next = make(chan struct{})
	l.mu.Unlock()
	if !observed {
		return
	}
	found := make(map[string]VF, len(reports))
	for id, r := range reports {
		if a := p.plan.Verdicts[id].VF; r.Up && a.Netdev != "" {
			found[id] = VF{PF: a.PF, Index: a.Index, PCISlot: a.PCISlot, Netdev: a.Netdev}
		}
	}
	l.mu.Lock()
	changed := !maps.Equal(found, l.found)
	l.found = found
	l.mu.Unlock()
	if changed {
		for _, c := range l.foundWakes {
			wake(c)
		}
	}
}

// find is the FindVF of this host.
func (l *loop) find(portID string) (VF, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v, ok := l.found[portID]; ok {
		return v, true
	}
	if s, ok := l.bridged[portID]; ok && s.Up && s.VF.Netdev != "" {
		return s.VF, true
	}
	return VF{}, false
}

// watchFound returns a channel that wakes when find has new answers. It is to be called
// before run.
func (l *loop) watchFound() <-chan struct{} {
	c := make(chan struct{}, 1)
	l.foundWakes = append(l.foundWakes, c)
	return c
}

// devices counts the VFs in use.
func (l *loop) devices() int { return int(l.deviceUsed.Load()) }
