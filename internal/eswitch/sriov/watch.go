package sriov

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"neutrino/internal/vfnl"
)

const (
	downGap    = 500 * time.Millisecond // between two readings of a PF that is down
	ownWait    = 20 * time.Millisecond  // for the events of what was set
	reopenWait = time.Second
)

// watch subscribes, and starts what turns the kernel's messages into events.
func (s *Switch) watch(ctx context.Context, o Options) error {
	m, err := o.Monitor()
	if err != nil {
		return fmt.Errorf("watch PFs: %w", err)
	}
	s.wg.Go(func() { s.links(ctx, m, o.Monitor) })
	s.wg.Go(func() { s.lookAtDown(ctx) })
	if o.Uevents == nil {
		return nil
	}
	u, err := o.Uevents()
	if err != nil {
		return fmt.Errorf("watch PFs: %w", err)
	}
	s.wg.Go(func() { s.uevents(ctx, u) })
	return nil
}

// links follows RTNLGRP_LINK, with a new socket when one fails.
func (s *Switch) links(ctx context.Context, m *vfnl.Monitor, open func() (*vfnl.Monitor, error)) {
	for {
		err := m.Run(ctx, s.link)
		for {
			if ctx.Err() != nil {
				return
			}
			s.log.Error("watching links stopped; it is begun again", "error", err)
			if !pause(ctx, reopenWait) {
				return
			}
			if m, err = open(); err == nil {
				break
			}
		}
		s.raise() // what happened meanwhile is not known
	}
}

// link decides whether an event is about the PFs.
func (s *Switch) link(e vfnl.Event) {
	if e.Kind == vfnl.Everything || slices.ContainsFunc(s.pfs, func(p *pf) bool { return p.concerns(e) }) {
		s.raise()
		return
	}
	if e.Kind != vfnl.Changed {
		return
	}
	// A netdev not known so far: is it a VF's, new or back from another namespace?
	for _, p := range s.pfs {
		if p.knows(e.Name) {
			return
		}
	}
	home := s.fs.home(e.Name)
	if home != "" && slices.ContainsFunc(s.pfs, func(p *pf) bool { return p.at(home) }) {
		s.raise()
	}
}

// concerns reports whether an event tells something new of the PF or of a VF's netdev.
// One that the PF's own Apply caused does not.
func (p *pf) concerns(e vfnl.Event) bool {
	p.mu.Lock()
	ifindex := p.ifindex
	address, vf := p.netdevs[e.Name]
	p.mu.Unlock()
	if e.Ifindex == ifindex || e.Name == p.name {
		return e.Kind == vfnl.Gone || e.Ifindex != ifindex || !p.own.arrived()
	}
	return vf && (e.Kind == vfnl.Gone || (address != "" && address != e.Address.String()))
}

func (p *pf) knows(netdev string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.netdevs[netdev]
	return ok
}

// at reports whether the PF is at this PCI slot.
func (p *pf) at(slot string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slot == slot
}

// uevents follows the kernel's device events.
func (s *Switch) uevents(ctx context.Context, u Uevents) {
	stop := context.AfterFunc(ctx, func() { u.Close() })
	defer stop()
	for {
		e, err := u.Next()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrLost):
			s.raise()
		case err != nil:
			s.log.Error("watching devices stopped; VFs that come and go are seen by netdev events and the audit only", "error", err)
			u.Close()
			return
		case s.about(e):
			s.raise()
		}
	}
}

// about reports whether a uevent is about a PF or one of its VFs.
func (s *Switch) about(e Uevent) bool {
	slot := e.Slot()
	if slot == "" {
		return false
	}
	home := s.fs.physfn(slot)
	return slices.ContainsFunc(s.pfs, func(p *pf) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.slot == slot || p.vfSlots[slot] || (home != "" && p.slot == home) || (e.Interface != "" && e.Interface == p.name)
	})
}

// mindDown wakes lookAtDown if a PF is down.
func (s *Switch) mindDown() {
	if slices.ContainsFunc(s.pfs, (*pf).isDown) {
		select {
		case s.down <- struct{}{}:
		default:
		}
	}
}

func (p *pf) isDown() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ifindex != 0 && !p.last.Up && p.last.NumVFs > 0
}

// lookAtDown reads PFs with VFs that are administratively down, of which the kernel
// tells nothing, and raises an event when one differs from what Observe saw. While there
// is none it sleeps.
func (s *Switch) lookAtDown(ctx context.Context) {
	for {
		if !slices.ContainsFunc(s.pfs, (*pf).isDown) {
			select {
			case <-s.down:
			case <-ctx.Done():
				return
			}
		}
		if !pause(ctx, downGap) {
			return
		}
		for _, p := range s.pfs {
			if !p.isDown() {
				continue
			}
			changed, err := do(ctx, p.worker, s.patience, p.differs)
			if err == nil && changed {
				s.raise()
			}
		}
	}
}

// differs reads the PF and compares it with what Observe saw.
func (p *pf) differs(ctx context.Context) bool {
	p.mu.Lock()
	last := p.last
	p.mu.Unlock()
	got, err := p.conn.PF(ctx, last.Ifindex, false)
	return err != nil || got.NumVFs != last.NumVFs || !slices.Equal(got.VFs, last.VFs)
}

// ownChanges tells the events that Apply caused from others. The kernel sends one for
// each request that changed something, before it acknowledges the request, and only
// while the PF is up.
type ownChanges struct {
	mu       sync.Mutex
	active   bool
	told     bool // the PF is up: requests cause events
	expected int
	possible int // requests that failed, perhaps half done
	came     int
	more     chan struct{} // capacity 1
}

func (o *ownChanges) begin(up bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.active, o.told, o.more = true, up, make(chan struct{}, 1)
	o.expected, o.possible, o.came = 0, 0, 0
}

// sent counts a request.
func (o *ownChanges) sent(done bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case !done:
		o.possible++
	case o.told:
		o.expected++
	}
}

// arrived counts an event, and reports whether it may be of Apply's own making.
func (o *ownChanges) arrived() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.active {
		return false
	}
	o.came++
	select {
	case o.more <- struct{}{}:
	default:
	}
	return true
}

// end waits a moment for the events that are still on their way, and reports whether
// more came than the requests account for.
func (o *ownChanges) end(ctx context.Context) (others bool) {
	ctx, cancel := context.WithTimeout(ctx, ownWait)
	defer cancel()
	for {
		o.mu.Lock()
		if o.came >= o.expected || ctx.Err() != nil {
			o.active = false
			others = o.came > o.expected+o.possible
			o.mu.Unlock()
			return others
		}
		more := o.more
		o.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
		}
	}
}
