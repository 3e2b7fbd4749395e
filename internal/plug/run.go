package plug

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"neutrino/internal/journal"
)

const (
	firstRetry = 500 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Release implements agent.Plugs: the ports of these VFs are gone.
func (e *Engine) Release(slots []string) {
	for {
		select {
		case e.release <- slots:
			return
		default:
		}
		select {
		case more := <-e.release: // not read yet: hand over both at once
			slots = append(slices.Clone(more), slots...)
			slices.Sort(slots)
			slots = slices.Compact(slots)
		default:
		}
	}
}

// Run finishes what a crash left, unplugs what is released and what lost its domain,
// and retries what is stuck, until ctx ends. It returns when nothing of it runs any
// more.
func (e *Engine) Run(ctx context.Context) {
	r := runner{e: e, ctx: ctx, wanted: map[string]bool{}, running: map[string]bool{}, ended: make(chan outcome), ports: e.ports.Next(), homes: true, fails: map[string]int{}}
	r.retry = time.NewTimer(0)
	defer r.retry.Stop()
	for ctx.Err() == nil {
		r.turn()
	}
	for len(r.running) > 0 { // their context has ended as well
		delete(r.running, (<-r.ended).name)
	}
}

// runner is the state of Run: one goroutine decides, others do what takes time. Each of
// them has a name, and there is one of a name at a time.
type runner struct {
	e       *Engine
	ctx     context.Context
	wanted  map[string]bool // PCI slots to be unplugged
	running map[string]bool
	ended   chan outcome
	retry   *time.Timer
	fails   map[string]int  // per name, in a row
	domains chan struct{}   // capacity 1: domains may have changed; nil = not watched yet
	look    bool            // domains changed while they were looked at
	ports   <-chan struct{} // closed when ports have changed
	homes   bool            // ports changed, or the last look failed
}

// outcome of one piece of work: what is to be unplugged because of it.
type outcome struct {
	name  string
	slots []string
	again bool // it is to be tried again
}

// Names of pieces of work that are not an unplug; a PCI slot is never one of them.
const (
	domainWork  = "domains"
	recoverWork = "recover"
	homeWork    = "homeless"
	watchWork   = "watch"
)

func (r *runner) turn() {
	if r.domains == nil && r.e.doms != nil && r.e.hasDomains() {
		r.domains = make(chan struct{}, 1)
		r.start(watchWork, func() outcome {
			r.e.doms.Watch(r.ctx, func() {
				select {
				case r.domains <- struct{}{}:
				default:
				}
			})
			return outcome{}
		})
	}
	select {
	case <-r.ctx.Done():
		return
	case slots := <-r.e.release:
		r.want(slots)
	case <-r.domains:
		r.look = true
	case <-r.ports:
		r.ports, r.homes = r.e.ports.Next(), true
	case <-r.e.poke:
		r.retry.Reset(firstRetry)
	case <-r.retry.C:
		r.start(recoverWork, func() outcome { r.e.recover(r.ctx); return outcome{again: r.e.hangs()} })
		r.homes = true
	case o := <-r.ended:
		r.end(o)
	}
	if r.look && r.start(domainWork, func() outcome { return outcome{slots: r.e.orphans(r.ctx)} }) {
		r.look = false
	}
	if r.homes && r.start(homeWork, func() outcome { return r.e.homeless(r.ctx) }) {
		r.homes = false
	}
	r.unplug()
}

func (r *runner) want(slots []string) {
	for _, s := range slots {
		r.wanted[s] = true
	}
}

// start runs f beside, unless something of that name runs already.
func (r *runner) start(name string, f func() outcome) bool {
	if r.running[name] {
		return false
	}
	r.running[name] = true
	go func() { // Run waits for it
		o := f()
		o.name = name
		r.ended <- o
	}()
	return true
}

func (r *runner) end(o outcome) {
	delete(r.running, o.name)
	r.want(o.slots)
	if !o.again {
		delete(r.fails, o.name)
		return
	}
	r.fails[o.name]++
	r.retry.Reset(min(firstRetry<<min(r.fails[o.name], 10), lastRetry))
}

// unplug starts what is wanted and not under way.
func (r *runner) unplug() {
	r.e.forgetDone(r.wanted)
	for slot := range r.wanted {
		if r.start(slot, func() outcome { r.e.giveUp(r.ctx, slot); return outcome{} }) {
			delete(r.wanted, slot)
		}
	}
}

func (e *Engine) hasDomains() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range e.vifs {
		if v.Target.Domain != "" {
			return true
		}
	}
	return false
}

// recover brings intents to an end that are on disk and not under way.
func (e *Engine) recover(ctx context.Context) {
	var seen []string
	err := e.journal.Recover(ctx, func(in journal.Intent) (journal.Work, error) {
		v, err := decode(in)
		if err != nil {
			return journal.Work{}, err
		}
		seen = append(seen, in.Key)
		if v.Target.Domain != "" && e.doms == nil {
			return journal.Work{}, errors.New("its domain is libvirt's, which this agent was not told to use: set [libvirt] uri")
		}
		return e.workOf(in.Kind, v), nil
	})
	if err != nil && ctx.Err() == nil {
		e.log.Warn("change of a VF hangs; it is tried again", "error", err)
	}
	left, perr := e.journal.Pending()
	if perr != nil {
		e.log.Error("cannot read the journal", "error", perr)
		return
	}
	for _, slot := range seen {
		if slices.ContainsFunc(left, func(in journal.Intent) bool { return in.Key == slot }) {
			e.settle(slot, fmt.Errorf("%w: %w", journal.ErrStuck, err))
			continue
		}
		e.log.Info("half-done change of a VF has come to its end", "pci_slot", slot)
		e.settle(slot, nil)
	}
}

// hangs reports whether something half done is waiting for a retry.
func (e *Engine) hangs() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.stuck) > 0
}

// forgetDone drops slots that nothing is plugged at.
func (e *Engine) forgetDone(wanted map[string]bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.DeleteFunc(wanted, func(slot string, _ bool) bool {
		_, held := e.view[slot]
		_, pending := e.pending[slot]
		return !held || pending
	})
}

// giveUp unplugs the VF of a port that has it no longer.
func (e *Engine) giveUp(ctx context.Context, slot string) {
	e.mu.Lock()
	var v VIF
	for _, f := range e.vifs {
		if f.PCISlot == slot {
			v = f
		}
	}
	e.mu.Unlock()
	if v.PortID == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, guestDeadline)
	defer cancel()
	if err := e.Unplug(ctx, v.PortID, v.Generation); err != nil && !errors.Is(err, ErrNotPlugged) {
		e.log.Warn("VF of a port that is gone cannot be unplugged yet", "port", v.PortID, "pci_slot", slot, "error", err)
	}
}

// orphans lists VFs whose domain has gone, or has them neither running nor configured.
func (e *Engine) orphans(ctx context.Context) []string {
	var out []string
	for _, v := range e.List() { // before libvirt is asked: what is plugged later is not missed
		if v.Target.Domain == "" {
			continue
		}
		has, err := e.doms.Has(ctx, v)
		if err != nil {
			if ctx.Err() == nil {
				e.log.Warn("cannot see whether a domain still has its VF", "domain", v.Target.Domain, "port", v.PortID, "error", err)
			}
			continue
		}
		if !has {
			e.log.Info("domain is gone, or has given up its VF", "domain", v.Target.Domain, "port", v.PortID, "pci_slot", v.PCISlot)
			out = append(out, v.PCISlot)
		}
	}
	return out
}
