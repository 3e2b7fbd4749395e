package agent

import (
	"maps"
	"slices"
	"sync"

	"neutrino/internal/model"
	"neutrino/internal/rpc"
)

// outbox holds the latest report of each port and router until the controller has
// committed it. It never holds more than one of each, so it is bounded by what the host has.
type outbox struct {
	mu      sync.Mutex
	items   shelf[model.PortReport]   // by port, of those on VFs
	bridged shelf[model.PortReport]   // by port, of those on bridges
	routers shelf[model.RouterReport] // by router
	seq     uint64
	ready   chan struct{} // capacity 1: something may be to send
}

// shelf holds one letter per id.
type shelf[R comparable] map[string]*letter[R]

type letter[R comparable] struct {
	report R
	sent   uint64 // sequence number it went out with on this stream; 0 = not yet
	acked  bool
}

func newOutbox() *outbox {
	return &outbox{
		items: shelf[model.PortReport]{}, bridged: shelf[model.PortReport]{}, routers: shelf[model.RouterReport]{}, ready: make(chan struct{}, 1),
	}
}

// replace makes these the reports, one per port. Those that say nothing new keep their
// place; ports that are not mentioned are dropped.
func (o *outbox) replace(reports map[string]model.PortReport) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.items.replace(reports) {
		wake(o.ready)
	}
}

// replaceBridged does the same for ports on bridges.
func (o *outbox) replaceBridged(reports map[string]model.PortReport) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bridged.replace(reports) {
		wake(o.ready)
	}
}

// replaceRouters does the same for routers.
func (o *outbox) replaceRouters(reports map[string]model.RouterReport) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.routers.replace(reports) {
		wake(o.ready)
	}
}

// replace reports whether there is something new.
func (s shelf[R]) replace(reports map[string]R) (news bool) {
	for id := range s {
		if _, ok := reports[id]; !ok {
			delete(s, id)
		}
	}
	for id, r := range reports {
		if l := s[id]; l == nil || l.report != r {
			s[id] = &letter[R]{report: r}
			news = true
		}
	}
	return news
}

// retell forgets the reports of ports for which gone is true: the host is not asked for
// them any more, and if it is again, their reports are news, whatever they say.
func (o *outbox) retell(gone func(portID string) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, ports := range []shelf[model.PortReport]{o.items, o.bridged} {
		maps.DeleteFunc(ports, func(id string, _ *letter[model.PortReport]) bool { return gone(id) })
	}
}

// retellRouters does the same for routers.
func (o *outbox) retellRouters(gone func(routerID string) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.routers, func(id string, _ *letter[model.RouterReport]) bool { return gone(id) })
}

// restart forgets what was sent: a new stream is told everything.
func (o *outbox) restart() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seq = 0
	o.items.restart()
	o.bridged.restart()
	o.routers.restart()
	if len(o.items)+len(o.bridged)+len(o.routers) > 0 {
		wake(o.ready)
	}
}

func (s shelf[R]) restart() {
	for _, l := range s {
		l.sent, l.acked = 0, false
	}
}

// take returns what has not been sent on this stream, and its sequence number.
func (o *outbox) take() (seq uint64, ports []model.PortReport, routers []model.RouterReport) {
	o.mu.Lock()
	defer o.mu.Unlock()
	ports, morePorts := o.items.take(o.seq+1, rpc.MaxReports)
	bridged, moreBridged := o.bridged.take(o.seq+1, rpc.MaxReports-len(ports))
	ports = append(ports, bridged...)
	routers, moreRouters := o.routers.take(o.seq+1, rpc.MaxReports)
	if morePorts || moreBridged || moreRouters {
		wake(o.ready)
	}
	if len(ports)+len(routers) == 0 {
		return 0, nil, nil
	}
	o.seq++
	return o.seq, ports, routers
}

// take marks and returns what was not sent, most of it; more says that there is more of it.
func (s shelf[R]) take(seq uint64, most int) (out []R, more bool) {
	for _, id := range slices.Sorted(maps.Keys(s)) {
		l := s[id]
		if l.sent != 0 || l.acked {
			continue
		}
		if len(out) == most {
			return out, true
		}
		l.sent = seq
		out = append(out, l.report)
	}
	return out, false
}

// ack marks reports up to seq as committed.
func (o *outbox) ack(seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.items.ack(seq)
	o.bridged.ack(seq)
	o.routers.ack(seq)
}

func (s shelf[R]) ack(seq uint64) {
	for _, l := range s {
		if l.sent != 0 && l.sent <= seq {
			l.acked = true
		}
	}
}

// pending counts the reports that are not committed.
func (o *outbox) pending() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.items.pending() + o.bridged.pending() + o.routers.pending()
}

func (s shelf[R]) pending() int {
	n := 0
	for _, l := range s {
		if !l.acked {
			n++
		}
	}
	return n
}
