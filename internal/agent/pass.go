package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

// hold keeps a VF that failed from being tried again at once. It is for one purpose: a
// changed wish is tried without waiting.
type hold struct {
	purpose string
	until   time.Time
	tries   int
	err     error
}

const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// backoff is the time to wait after the nth failure in a row, n from 1, with jitter.
func backoff(n int, first, last time.Duration) time.Duration {
	d := first
	for i := 1; i < n && d < last; i++ {
		d *= 2
	}
	d = min(d, last)
	return d*3/4 + rand.N(d/2+1)
}

// pass is one run from the desired state to the reports.
type pass struct {
	*loop
	desired Desired
	vfs     map[string]*model.Attachment // those of the desired ones that VFs carry
	plan    Plan
	tried   map[eswitch.VFID]attempt
	foreign map[string]string // PCI slot -> who uses it, "" = looked, nobody
	lookErr error
	fileErr error

	looked     model.Moment            // the last look, once it was over
	recorded   model.Moment            // what is asked for was on disk; 0 = it could not be written
	programmed map[string]model.Moment // port -> the switch had accepted its attributes
}

// attempt is what was done to a VF in this pass.
type attempt struct {
	kind    Kind
	purpose string
}

func newPass(l *loop, d Desired) *pass {
	return &pass{loop: l, desired: d, vfs: d.of(model.AttachVF), tried: map[eswitch.VFID]attempt{}, programmed: map[string]model.Moment{}}
}

// rounds observes, plans and applies until nothing is left to do now. It reports
// whether the last thing it did was to observe.
func (p *pass) rounds(ctx context.Context) bool {
	for round := range maxRounds {
		state, err := p.observe(ctx)
		if err != nil {
			p.lookErr = err
			p.blind++
			p.retry(time.Now().Add(backoff(p.blind, firstRetry, lastRetry/3)))
			p.log.Error("cannot read the embedded switch", "error", err)
			return false
		}
		p.plan = p.compute(ctx, state)
		if p.afterPlan != nil {
			p.afterPlan(p.plan)
		}
		if round == 0 {
			p.countDrift()
		}
		p.record()
		steps := p.runnable(slices.Concat(p.plan.Returns, p.plan.Programs))
		p.remember(state)
		if len(steps) == 0 {
			return true
		}
		if round == maxRounds-1 {
			p.retry(time.Now().Add(firstRetry))
			return true
		}
		p.run(ctx, steps)
	}
	return true
}

// compute plans, and looks who uses the VFs about which the plan would else only assume
// that nobody does. What belongs to somebody without our doing is left alone.
func (p *pass) compute(ctx context.Context, state eswitch.State) Plan {
	w := World{
		Desired: p.vfs, Observed: state, Assigned: p.assigned, Mappings: p.mappings, Excluded: p.excluded,
		Returning: p.returning, Generation: p.generation, Foreign: p.foreign,
	}
	if p.plugs == nil {
		return Compute(w)
	}
	w.Plugged = map[string]Plugged{}
	for slot, held := range p.plugs.Plugged() {
		if !held.Bridge {
			w.Plugged[slot] = held
		}
	}
	for {
		plan := Compute(w)
		news := false
		for _, slot := range plan.Strangers {
			if _, looked := p.foreign[slot]; looked {
				continue
			}
			user := p.user(ctx, slot)
			if p.foreign == nil {
				p.foreign = map[string]string{}
			}
			p.foreign[slot] = user
			news = news || user != ""
		}
		if !news {
			return plan
		}
		w.Foreign = p.foreign
	}
}

func (p *pass) observe(ctx context.Context) (eswitch.State, error) {
	ctx, cancel := context.WithTimeout(ctx, deviceDeadline)
	defer cancel()
	start := time.Now()
	s, err := p.sw.Observe(ctx)
	p.metrics.deviceSeconds.WithLabelValues("observe").Observe(time.Since(start).Seconds())
	if err == nil {
		p.looked = model.MomentOf(time.Now())
	}
	return s, err
}

// record writes what the plan rests on before anything is changed. When the disk
// refuses, VFs are still taken from those who must not have them, and ports the file
// knows are still kept right.
func (p *pass) record() {
	next := holdings{assigned: p.plan.Assigned, returning: p.plan.Returning, generation: p.plan.Generation}
	if p.holdings.equal(next) && maps.Equal(p.written, p.desired.Attachments) {
		p.noteRecorded()
		return
	}
	start := time.Now()
	p.fileErr = p.state.record(p.written, p.desired.Attachments, p.holdings, next)
	p.metrics.stateSeconds.Observe(time.Since(start).Seconds())
	if p.fileErr != nil {
		p.log.Error("cannot record what is about to be done", "error", p.fileErr)
		p.retry(time.Now().Add(time.Second))
		return
	}
	p.written, p.holdings = p.desired.Attachments, next
	p.noteRecorded()
}

func (p *pass) retry(at time.Time) {
	if p.retryAt.IsZero() || at.Before(p.retryAt) {
		p.retryAt = at
	}
}

// purpose is what a step is for: the port and what is asked for it.
func (p *pass) purpose(s Step) string {
	if att := p.vfs[s.PortID]; att != nil {
		return fmt.Sprintf("%s %d", s.PortID, att.Revision)
	}
	return ""
}

// runnable leaves out what failed a moment ago, and notices what the driver accepted
// and did not do.
func (p *pass) runnable(steps []Step) []Step {
	var out []Step
	now := time.Now()
	wanted := map[eswitch.VFID]bool{}
	for _, s := range steps {
		vf := s.Do.VF
		wanted[vf] = true
		done, tried := p.tried[vf]
		h := p.holds[vf]
		if h != nil && h.purpose != p.purpose(s) && !tried {
			delete(p.holds, vf)
			h = nil
		}
		waits := h != nil && h.until.After(now)
		switch {
		case tried && !waits && done == (attempt{s.Kind, p.purpose(s)}):
			p.fail(s, errors.New("the driver accepted it, but it does not read back"))
		case waits:
			p.retry(h.until)
		case p.fileErr != nil && s.Kind == Program && p.assigned[s.PortID] != p.plan.Assigned[s.PortID]:
		default:
			out = append(out, s)
		}
	}
	for vf, h := range p.holds {
		if wanted[vf] {
			continue
		}
		if _, tried := p.tried[vf]; tried {
			p.retry(h.until) // it failed, yet nothing is left to do: look again
		} else {
			delete(p.holds, vf)
		}
	}
	return out
}

func (p *pass) fail(s Step, err error) {
	h := p.holds[s.Do.VF]
	purpose := p.purpose(s)
	if h == nil || h.purpose != purpose {
		h = &hold{purpose: purpose}
		p.holds[s.Do.VF] = h
	}
	h.tries++
	h.err = fmt.Errorf("%s: %w", s.Describe, err)
	h.until = time.Now().Add(backoff(h.tries, firstRetry, lastRetry))
	p.retry(h.until)
	p.metrics.failures.Inc()
	level := slog.LevelWarn
	if h.tries == 1 && errors.Is(err, eswitch.ErrUnsupported) {
		level = slog.LevelInfo // what a driver lacks is learned by trying, and the next step asks for what it has
	}
	p.log.Log(context.Background(), level, "step failed", "step", s.Describe, "error", err, "tries", h.tries)
}

// run carries steps out, each for itself.
func (p *pass) run(ctx context.Context, steps []Step) {
	changes := make([]eswitch.Change, len(steps))
	for i, s := range steps {
		changes[i] = s.Do
		p.tried[s.Do.VF] = attempt{s.Kind, p.purpose(s)}
		p.log.Debug("step", "do", s.Describe)
	}
	results := p.apply(ctx, changes)
	now := model.MomentOf(time.Now())
	var undo []Step
	for i, s := range steps {
		p.metrics.steps.Inc()
		var err error
		if i >= len(results) {
			err = errors.New("the switch gave no result")
		} else {
			err = results[i].Err
		}
		if err == nil {
			if s.Kind == Program {
				p.programmed[s.PortID] = now
			}
			continue
		}
		p.fail(s, err)
		if !s.Undo.Attrs.Empty() {
			undo = append(undo, s)
		}
	}
	if len(undo) > 0 && ctx.Err() == nil {
		p.rollBack(ctx, undo)
	}
}

func (p *pass) apply(ctx context.Context, changes []eswitch.Change) []eswitch.Result {
	ctx, cancel := context.WithTimeout(ctx, deviceDeadline)
	defer cancel()
	start := time.Now()
	defer func() { p.metrics.deviceSeconds.WithLabelValues("apply").Observe(time.Since(start).Seconds()) }()
	return p.sw.Apply(ctx, changes)
}

// rollBack takes back what half-done steps achieved on VFs that were clean. What cannot
// be taken back is seen, and dealt with, by the next plan.
func (p *pass) rollBack(ctx context.Context, steps []Step) {
	state, err := p.observe(ctx)
	if err != nil {
		return
	}
	have := map[eswitch.VFID]eswitch.Attrs{}
	for _, pf := range state.PFs {
		for _, v := range pf.VFs {
			have[v.ID] = v.Attrs
		}
	}
	var changes []eswitch.Change
	for _, s := range steps {
		if attrs, ok := have[s.Undo.VF]; ok {
			if todo, _ := eswitch.Diff(s.Undo.Attrs, attrs); !todo.Empty() {
				changes = append(changes, eswitch.Change{VF: s.Undo.VF, Attrs: todo})
			}
		}
	}
	if len(changes) == 0 {
		return
	}
	for _, r := range p.apply(ctx, changes) {
		if r.Err != nil {
			p.log.Warn("half-done step cannot be taken back", "pf", r.VF.PF, "vf", r.VF.Index, "error", r.Err)
		}
	}
}

// countDrift counts attributes that were right when last read and are not any more,
// although nothing else was asked for meanwhile.
func (p *pass) countDrift() {
	for _, s := range slices.Concat(p.plan.Returns, p.plan.Programs) {
		port, seen := p.carries[s.Do.VF]
		if !seen {
			continue
		}
		if port != "" {
			att := p.vfs[port]
			old := p.known[port]
			if att == nil || !old.Up || old.Revision != att.Revision || p.plan.Assigned[port] != p.assigned[port] {
				continue
			}
		} else if s.Kind != Return || s.PortID != "" {
			continue
		}
		for _, n := range attributes(s.Do.Attrs) {
			p.metrics.drift.WithLabelValues(n.name).Inc()
		}
		p.log.Warn("VF was changed by somebody else; putting it back", "step", s.Describe, "port", port)
	}
}

// remember notes what each VF was read back as.
func (p *pass) remember(state eswitch.State) {
	clear(p.carries)
	owner := make(map[string]string, len(p.plan.Assigned))
	for port, a := range p.plan.Assigned {
		owner[a.PCISlot] = port
	}
	for i := range state.PFs {
		pf := &state.PFs[i]
		for _, v := range pf.VFs {
			if port := owner[v.PCISlot]; port != "" && p.plan.Verdicts[port].Up {
				p.carries[v.ID] = port
			} else if port == "" && clean(vf{v, pf}) {
				p.carries[v.ID] = ""
			}
		}
	}
}

// report is what the controller is told of one port.
func (p *pass) report(att *model.Attachment, observed bool) model.PortReport {
	if !observed {
		old, ok := p.known[att.PortID]
		if ok && old.Up && old.Revision == att.Revision {
			return old // what was read back stands until something else is read
		}
		old.PortID, old.Revision, old.Up = att.PortID, att.Revision, false
		old.Reason = fmt.Sprintf("the embedded switch cannot be read: %v", p.lookErr)
		return old
	}
	v := p.plan.Verdicts[att.PortID]
	r := model.PortReport{PortID: att.PortID, Revision: att.Revision, Up: v.Up, Reason: v.Reason}
	if !v.Held {
		return r
	}
	r.PF, r.VF, r.PCISlot = v.VF.PF, v.VF.Index, v.VF.PCISlot
	switch h := p.holds[eswitch.VFID{PF: v.VF.PF, Index: v.VF.Index}]; {
	case v.Up:
	case h != nil:
		r.Reason = h.err.Error()
	case p.fileErr != nil:
		r.Reason = p.fileErr.Error()
	}
	return r
}
