package fabric

import (
	"sync"
	"time"

	"neutrino/internal/model"
)

// inbox gathers reports until they are committed: the latest per port and router, so it is
// bounded by what one host may have.
type inbox struct {
	mu      sync.Mutex
	pending map[string]model.PortReport
	routers map[string]model.RouterReport
	seq     uint64 // highest sequence number gathered
	first   time.Time
	ready   chan struct{} // capacity 1
}

func newInbox() *inbox {
	return &inbox{pending: map[string]model.PortReport{}, routers: map[string]model.RouterReport{}, ready: make(chan struct{}, 1)}
}

// add gathers reports that came under seq; 0 = they did not come from the agent, and
// give way to any that did.
func (b *inbox) add(seq uint64, reports []model.PortReport) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.pending) == 0 {
		b.first = time.Now()
	}
	for _, r := range reports {
		if _, have := b.pending[r.PortID]; have && seq == 0 {
			continue
		}
		b.pending[r.PortID] = r
	}
	b.seq = max(b.seq, seq)
	wake(b.ready)
}

// addRouters does the same for routers. Those that are put forward again give way to any
// that are there. An agent's are to be added before the ports of the same message, whose
// sequence number stands for both.
func (b *inbox) addRouters(again bool, reports []model.RouterReport) {
	if len(reports) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range reports {
		if _, have := b.routers[r.RouterID]; have && again {
			continue
		}
		b.routers[r.RouterID] = r
	}
	wake(b.ready)
}

// takeRouters empties the inbox of routers. Called after take, it returns those of every
// sequence number that take returned.
func (b *inbox) takeRouters() (reports []model.RouterReport) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.routers {
		reports = append(reports, r)
	}
	clear(b.routers)
	return reports
}

// take empties the inbox.
func (b *inbox) take() (reports []model.PortReport, seq uint64, first time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.pending {
		reports = append(reports, r)
	}
	clear(b.pending)
	return reports, b.seq, b.first
}

// giveBack returns what could not be committed, except where something newer came in.
func (b *inbox) giveBack(reports []model.PortReport, first time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range reports {
		if _, newer := b.pending[r.PortID]; !newer {
			b.pending[r.PortID] = r
		}
	}
	b.first = first
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
