package agent

import (
	"context"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"neutrino/internal/model"
)

// Plugs is the host's plug engine as the loop sees it. Its methods are safe for
// concurrent use and answer at once, but for User.
type Plugs interface {
	// Plugged lists what is plugged, or about to be, by PCI slot; ports of bridges by the name
	// of their interface. The map is not changed once returned.
	Plugged() map[string]Plugged
	// Release has VFs, and interfaces of bridges, unplugged whose ports are gone. It returns at once; the engine
	// tries until it is done, and says Changed.
	Release(slots []string)
	// User says in words which process, namespace or device uses a VF; "" = none.
	User(ctx context.Context, slot string) (string, error)
	// Changed receives after Plugged has changed.
	Changed() <-chan struct{}
	// Run works until ctx ends.
	Run(ctx context.Context)
}

// Ports is what a plug engine asks of the agent. It is safe for concurrent use.
type Ports interface {
	// Port says how a port of this host stands; ok is false for one that is not asked
	// for here.
	Port(id string) (PortState, bool)
	// All lists the ports of this host in order of their ids.
	All() []PortState
	// Next returns a channel that is closed when any port's state may have changed.
	Next() <-chan struct{}
}

// PortState is one port of this host.
type PortState struct {
	Attachment *model.Attachment
	// Assigned: VF is the port's. Of a port of a bridge: the bridge is there, so that an
	// interface can be plugged into it; VF is then the bridge, with index -1, and Netdev the
	// interface, "" = there is none yet.
	Assigned bool
	VF       VF
	Up       bool   // every attribute was read back as asked
	Reason   string // why not, in words
}

// WithPlugs provides the plug engine. start is called once, before the loop runs, with
// the state file's database, in which the engine keeps its journal and records.
func WithPlugs(start func(db *bbolt.DB, ports Ports) (Plugs, error)) Option {
	return func(o *options) { o.plugs = start }
}

// Port implements Ports.
func (l *loop) Port(id string) (PortState, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.states[id]
	if !ok {
		s, ok = l.bridged[id]
	}
	return s, ok
}

// All implements Ports.
func (l *loop) All() []PortState {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := maps.Clone(l.states)
	maps.Copy(all, l.bridged)
	out := make([]PortState, 0, len(all))
	for _, id := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[id])
	}
	return out
}

// Next implements Ports.
func (l *loop) Next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// portStates is what the pass found, for Ports.
func (p *pass) portStates(reports map[string]model.PortReport) map[string]PortState {
	out := make(map[string]PortState, len(p.vfs))
	for id, att := range p.vfs {
		a, held := p.assigned[id]
		r := reports[id]
		s := PortState{Attachment: att, Assigned: held, Up: r.Up, Reason: r.Reason}
		if held {
			s.VF = VF{PF: a.PF, Index: a.Index, PCISlot: a.PCISlot, Netdev: a.Netdev, Generation: a.Generation}
		}
		out[id] = s
	}
	return out
}

// usage is who was found to use a VF.
type usage struct {
	by   string
	seen time.Time
}

// usageHolds is how long somebody who was found to use a VF is believed to go on. That
// nobody uses it is never remembered.
const usageHolds = 10 * time.Second

// user says who uses a VF that is not known to be ours.
func (l *loop) user(ctx context.Context, slot string) string {
	if u, ok := l.users[slot]; ok && time.Since(u.seen) < usageHolds {
		return u.by
	}
	by, err := l.plugs.User(ctx, slot)
	if err != nil {
		by = "somebody unknown: " + err.Error()
	}
	delete(l.users, slot)
	if by != "" {
		l.users[slot] = usage{by, time.Now()}
		l.log.Warn("VF is used by somebody else and is left alone", "pci_slot", slot, "by", by)
	}
	return by
}
