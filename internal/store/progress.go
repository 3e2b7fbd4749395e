package store

import (
	"slices"
	"sync"
	"sync/atomic"
)

// progress is the revision that the in-memory tables have reached, and who waits for it.
type progress struct {
	revision atomic.Int64

	mu      sync.Mutex
	waiters []waiter // by revision, ascending
}

type waiter struct {
	revision int64
	reached  chan struct{}
}

func (p *progress) at() int64 { return p.revision.Load() }

// wait returns a channel that closes when the tables have reached the revision, or nil
// when they have.
func (p *progress) wait(revision int64) <-chan struct{} {
	if p.revision.Load() >= revision {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.revision.Load() >= revision {
		return nil
	}
	at, _ := slices.BinarySearchFunc(p.waiters, revision+1, func(w waiter, r int64) int {
		return int(w.revision - r)
	})
	w := waiter{revision: revision, reached: make(chan struct{})}
	p.waiters = slices.Insert(p.waiters, at, w)
	return w.reached
}

// forget drops a waiter that gave up.
func (p *progress) forget(reached <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiters = slices.DeleteFunc(p.waiters, func(w waiter) bool { return w.reached == reached })
}

// reach wakes everybody who waits for the revision or an earlier one. The tables must
// have been changed before.
func (p *progress) reach(revision int64) {
	p.revision.Store(revision)
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < len(p.waiters) && p.waiters[n].revision <= revision {
		close(p.waiters[n].reached)
		n++
	}
	p.waiters = slices.Delete(p.waiters, 0, n)
}
