package mgmt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"

	"neutrino/internal/openflow"
)

// ErrNotThere: the bridge took the flows and has not all of them.
var ErrNotThere = errors.New("flows are not as they were set")

// Switch keeps the flows of the bridges of one Open vSwitch. It is safe for concurrent use,
// one Set of a bridge at a time.
type Switch struct {
	dir    string
	log    *slog.Logger
	events chan struct{}
	wg     sync.WaitGroup

	mu      sync.Mutex
	bridges map[string]*bridge
	closed  bool
}

// bridge is what is known of one.
type bridge struct {
	mu        sync.Mutex // one exchange at a time
	conn, old *conn      // OpenFlow 1.4, 1.0; nil = not connected
	conntrack bool       // of this connection
}

// New returns a Switch whose bridges' sockets are in dir, /run/openvswitch in most places.
func New(dir string, log *slog.Logger) *Switch {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Switch{dir: dir, log: log, events: make(chan struct{}, 1), bridges: map[string]*bridge{}}
}

// Events receives after a bridge's flows may have been lost. It never closes.
func (s *Switch) Events() <-chan struct{} { return s.events }

// Close ends the connections. Flows stay.
func (s *Switch) Close() {
	s.mu.Lock()
	s.closed = true
	list := s.bridges
	s.bridges = map[string]*bridge{}
	s.mu.Unlock()
	for _, b := range list {
		b.mu.Lock()
		b.drop()
		b.mu.Unlock()
	}
	s.wg.Wait()
}

func (b *bridge) drop() {
	for _, c := range []**conn{&b.conn, &b.old} {
		if *c != nil {
			(*c).close()
			*c = nil
		}
	}
}

// bridge returns a bridge that is connected, locked.
func (s *Switch) bridge(ctx context.Context, name string) (*bridge, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, fmt.Errorf("%w: closed", ErrUnavailable)
	}
	b := s.bridges[name]
	if b == nil {
		b = &bridge{}
		s.bridges[name] = b
	}
	s.mu.Unlock()
	b.mu.Lock()
	if b.conn != nil && !b.conn.ended() && !b.old.ended() {
		return b, nil
	}
	b.drop()
	err := b.connect(ctx, filepath.Join(s.dir, name+".mgmt"))
	if err != nil {
		b.drop()
		b.mu.Unlock()
		return nil, err
	}
	c := b.conn
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		b.drop()
		b.mu.Unlock()
		return nil, fmt.Errorf("%w: closed", ErrUnavailable)
	}
	s.wg.Go(func() {
		<-c.done
		select {
		case s.events <- struct{}{}:
		default:
		}
	})
	return b, nil
}

func (b *bridge) connect(ctx context.Context, socket string) (err error) {
	if b.conn, err = dial(ctx, socket, version14); err != nil {
		return err
	}
	if b.old, err = dial(ctx, socket, version10); err != nil {
		return err
	}
	b.conntrack, err = b.probe(ctx)
	return err
}

// probe tries whether the datapath takes what conntrack needs. The flow matches nothing that
// is, and goes with the step that it comes in.
func (b *bridge) probe(ctx context.Context) (bool, error) {
	f := openflow.Probe()
	add, err := addFlow(f)
	if err != nil {
		return false, err
	}
	err = b.conn.bundle(ctx, [][]byte{add, deleteFlow(idOf(f))})
	var refused *SwitchError
	if errors.As(err, &refused) && refused.unsupported() {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("try conntrack: %w", err)
	}
	return true, nil
}

// Conntrack reports whether the bridge's datapath has conntrack, with zones and marks.
func (s *Switch) Conntrack(ctx context.Context, name string) (bool, error) {
	b, err := s.bridge(ctx, name)
	if err != nil {
		return false, fmt.Errorf("bridge %s: %w", name, err)
	}
	defer b.mu.Unlock()
	return b.conntrack, nil
}

// Set makes the bridge have exactly this program of ours, and reads it back. What is there
// already is not touched.
func (s *Switch) Set(ctx context.Context, name string, p *openflow.Program) error {
	b, err := s.bridge(ctx, name)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", name, err)
	}
	defer b.mu.Unlock()
	added, removed, err := b.set(ctx, p)
	if err != nil {
		return fmt.Errorf("bridge %s: set %d flows: %w", name, len(p.Flows), err)
	}
	if added+removed > 0 {
		s.log.Info("flows changed", "bridge", name, "added", added, "removed", removed, "flows", len(p.Flows))
	}
	return nil
}

// set stops floods before flows rely on it, and lets them go on once none do.
func (b *bridge) set(ctx context.Context, p *openflow.Program) (added, removed int, err error) {
	if err = b.flooding(ctx, p.NoFlood, true); err != nil {
		return 0, 0, err
	}
	mods, added, removed, err := b.difference(ctx, p)
	if err != nil {
		return 0, 0, err
	}
	if len(mods) > 0 {
		if err = b.conn.bundle(ctx, mods); err != nil {
			return 0, 0, err
		}
		left, _, _, err := b.difference(ctx, p)
		if err != nil {
			return 0, 0, err
		}
		if len(left) > 0 {
			return 0, 0, fmt.Errorf("%w: %d differ", ErrNotThere, len(left))
		}
	}
	return added, removed, b.flooding(ctx, p.Flood, false)
}

// difference is what leads from what the bridge has to the program.
func (b *bridge) difference(ctx context.Context, p *openflow.Program) (mods [][]byte, added, removed int, err error) {
	have, err := b.conn.flows(ctx)
	if err != nil {
		return nil, 0, 0, err
	}
	var fresh [][]byte
	for _, f := range p.Flows {
		id := idOf(f)
		if have[id] == 1 {
			delete(have, id)
			continue
		}
		body, err := addFlow(f)
		if err != nil {
			return nil, 0, 0, fmt.Errorf("%s: %w", f, err)
		}
		fresh = append(fresh, body)
		added++
	}
	stale := make([]flowID, 0, len(have))
	for id := range have {
		stale = append(stale, id)
	}
	slices.SortFunc(stale, func(x, y flowID) int { return cmp.Or(cmp.Compare(x.table, y.table), cmp.Compare(x.cookie, y.cookie)) })
	for _, id := range stale {
		mods = append(mods, deleteFlow(id))
	}
	return append(mods, fresh...), added, len(stale), nil
}
