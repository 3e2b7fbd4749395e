package agent

import (
	"maps"
	"slices"
	"sync"

	"neutrino/internal/model"
	"neutrino/internal/rpc"
)

// outbox holds the latest report of each port until the controller has committed it.
// It never holds more than one per port, so it is bounded by the ports of the host.
type outbox struct {
	mu    sync.Mutex
	items map[string]*letter
	seq   uint64
	ready chan struct{} // capacity 1: something may be to send
}

type letter struct {
	report model.PortReport
	sent   uint64 // sequence number it went out with on this stream; 0 = not yet
	acked  bool
}

func newOutbox() *outbox {
	return &outbox{items: map[string]*letter{}, ready: make(chan struct{}, 1)}
}

// replace makes these the reports, one per port. Those that say nothing new keep their
// place; ports that are not mentioned are dropped.
func (o *outbox) replace(reports map[string]model.PortReport) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id := range o.items {
		if _, ok := reports[id]; !ok {
			delete(o.items, id)
		}
	}
	for id, r := range reports {
		if l := o.items[id]; l == nil || l.report != r {
			o.items[id] = &letter{report: r}
			wake(o.ready)
		}
	}
}

// retell forgets the reports of ports for which gone is true: the host is not asked for
// them any more, and if it is again, their reports are news, whatever they say.
func (o *outbox) retell(gone func(portID string) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.items, func(id string, _ *letter) bool { return gone(id) })
}

// restart forgets what was sent: a new stream is told everything.
func (o *outbox) restart() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seq = 0
	for _, l := range o.items {
		l.sent, l.acked = 0, false
	}
	if len(o.items) > 0 {
		wake(o.ready)
	}
}

// take returns what has not been sent on this stream, and its sequence number.
func (o *outbox) take() (uint64, []model.PortReport) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []model.PortReport
	for _, id := range slices.Sorted(maps.Keys(o.items)) {
		l := o.items[id]
		if l.sent != 0 || l.acked {
			continue
		}
		if len(out) == rpc.MaxReports {
			wake(o.ready)
			break
		}
		l.sent = o.seq + 1
		out = append(out, l.report)
	}
	if len(out) == 0 {
		return 0, nil
	}
	o.seq++
	return o.seq, out
}

// ack marks reports up to seq as committed.
func (o *outbox) ack(seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range o.items {
		if l.sent != 0 && l.sent <= seq {
			l.acked = true
		}
	}
}

// pending counts the reports that are not committed.
func (o *outbox) pending() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, l := range o.items {
		if !l.acked {
			n++
		}
	}
	return n
}
