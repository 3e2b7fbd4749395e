package fabric

import (
	"sync"
	"time"

	"neutrino/internal/model"
)

// inbox gathers reports until they are committed: the latest per port, so it is bounded
// by what one host may have.
type inbox struct {
	mu      sync.Mutex
	pending map[string]model.PortReport
	seq     uint64 // highest sequence number gathered
	first   time.Time
	ready   chan struct{} // capacity 1
}

func newInbox() *inbox {
	return &inbox{pending: map[string]model.PortReport{}, ready: make(chan struct{}, 1)}
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
