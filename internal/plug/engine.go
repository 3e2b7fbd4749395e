package plug

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"neutrino/internal/agent"
	"neutrino/internal/journal"
	"neutrino/internal/model"
)

const (
	kindPlug   = "plug"
	kindUnplug = "unplug"
)

// Engine plugs and unplugs. It is safe for concurrent use; changes of different VFs run
// side by side, a second change of the same VF is refused with journal.ErrBusy.
type Engine struct {
	ports   agent.Ports
	dev     Devices
	doms    Domains // nil = no libvirt on this host
	bridges Bridges // nil = no Open vSwitch on this host
	work    worker
	journal *journal.Journal
	log     *slog.Logger
	changed chan struct{} // capacity 1
	release chan []string // read by Run
	poke    chan struct{} // capacity 1: have Run look

	mu      sync.Mutex
	vifs    map[string]VIF // by port, as recorded
	pending map[string]VIF // by PCI slot: a change is under way or half done
	view    map[string]agent.Plugged
	stuck   map[string]string // PCI slot -> why it hangs
}

// Options of an Engine.
type Options struct {
	Devices Devices
	Domains Domains // nil = no libvirt on this host
	Bridges Bridges // nil = no Open vSwitch on this host
	Log     *slog.Logger
	Journal []journal.Option
}

// New opens the records and the journal in db. What a crash left half done is held until
// Run has brought it to an end.
func New(db *bbolt.DB, ports agent.Ports, o Options) (*Engine, error) {
	j, err := journal.New(db, o.Journal...)
	if err != nil {
		return nil, err
	}
	vifs, err := openRecords(db)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		ports: ports, dev: o.Devices, doms: o.Domains, bridges: o.Bridges, work: worker{o.Devices, o.Domains, o.Bridges}, journal: j, log: o.Log,
		changed: make(chan struct{}, 1), release: make(chan []string, 1), poke: make(chan struct{}, 1),
		vifs: vifs, pending: map[string]VIF{}, stuck: map[string]string{},
	}
	intents, err := j.Pending()
	if err != nil {
		return nil, err
	}
	for _, in := range intents {
		v, derr := decode(in)
		if derr != nil {
			return nil, derr
		}
		e.pending[in.Key] = v
	}
	e.publish()
	return e, nil
}

func decode(in journal.Intent) (VIF, error) {
	var v VIF
	if err := json.Unmarshal(in.Data, &v); err != nil {
		return VIF{}, fmt.Errorf("intent to %s %s: %w", in.Kind, in.Key, err)
	}
	return v, nil
}

// publish makes the view that the agent sees. The caller holds mu, or is New.
func (e *Engine) publish() {
	view := make(map[string]agent.Plugged, len(e.vifs)+len(e.pending))
	for _, v := range e.vifs {
		view[v.PCISlot] = agent.Plugged{Bridge: v.Bridge != "", PortID: v.PortID, Generation: v.Generation, By: v.Target.String()}
	}
	for slot, v := range e.pending {
		view[slot] = agent.Plugged{Bridge: v.Bridge != "", PortID: v.PortID, Generation: v.Generation, By: v.Target.String()}
	}
	if maps.Equal(view, e.view) {
		return
	}
	e.view = view
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// Plugged implements agent.Plugs.
func (e *Engine) Plugged() map[string]agent.Plugged {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.view
}

// Changed implements agent.Plugs.
func (e *Engine) Changed() <-chan struct{} { return e.changed }

// User implements agent.Plugs.
func (e *Engine) User(ctx context.Context, slot string) (string, error) {
	return e.dev.User(ctx, slot)
}

// List returns the VIFs in order of their ports.
func (e *Engine) List() []VIF {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := slices.Collect(maps.Values(e.vifs))
	slices.SortFunc(out, func(a, b VIF) int { return strings.Compare(a.PortID, b.PortID) })
	return out
}

// Stuck says what hangs half done, by PCI slot.
func (e *Engine) Stuck() map[string]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.stuck)
}

// Plug brings a port to its target. It waits, as long as ctx allows, for the agent to
// have the port's VF as asked. Plugged there already, it changes nothing.
func (e *Engine) Plug(ctx context.Context, portID string, t Target) (VIF, error) {
	if err := t.check(); err != nil {
		return VIF{}, err
	}
	if t.Domain != "" && e.doms == nil {
		return VIF{}, fmt.Errorf("plug port %s into %s: %w: this agent has no libvirt: set [libvirt] uri", portID, t, ErrRefused)
	}
	s, err := e.ready(ctx, portID)
	if err != nil {
		return VIF{}, fmt.Errorf("plug port %s into %s: %w", portID, t, err)
	}
	v, done, err := e.prepare(ctx, s, t)
	if err != nil || done {
		return v, err
	}
	if err = e.change(ctx, kindPlug, v); err != nil {
		return VIF{}, fmt.Errorf("plug port %s into %s: %w", portID, t, err)
	}
	e.log.Info("plugged", "port", portID, "pci_slot", v.PCISlot, "kind", string(v.Kind), "into", t.String())
	return v, nil
}

// ready waits until the agent has read the port's VF back as asked.
func (e *Engine) ready(ctx context.Context, portID string) (agent.PortState, error) {
	for {
		next := e.ports.Next()
		s, ok := e.ports.Port(portID)
		// A port of a bridge is up once it is plugged, not before.
		if ok && s.Assigned && (s.Up || s.Attachment.Kind == model.AttachOVS) {
			return s, nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			if !ok {
				return s, fmt.Errorf("%w: bind it first, e.g. with: neutrino port set %s --host $(hostname)", ErrNoPort, portID)
			}
			return s, fmt.Errorf("%w: %s", ErrNotReady, s.Reason)
		}
	}
}

// prepare makes the record of what is going to be done. done says that it stands
// already.
func (e *Engine) prepare(ctx context.Context, s agent.PortState, t Target) (v VIF, done bool, err error) {
	att := s.Attachment
	e.mu.Lock()
	old, plugged := e.vifs[att.PortID]
	e.mu.Unlock()
	v = VIF{
		PortID: att.PortID, NetworkID: att.NetworkID, PF: s.VF.PF, Index: s.VF.Index, PCISlot: s.VF.PCISlot,
		Generation: s.VF.Generation, Kind: kindOf(att, t), Target: t, MAC: att.MAC, VLAN: att.VLAN, MTU: att.MTU,
		Netdev: s.VF.Netdev, PluggedAt: time.Now().UTC(),
	}
	if t.Domain != "" {
		if v.DomainUUID, err = e.doms.Find(ctx, t.Domain); err != nil {
			return VIF{}, false, fmt.Errorf("plug port %s: %w", att.PortID, err)
		}
	}
	if plugged {
		if old.Target == t && old.DomainUUID == v.DomainUUID && old.Generation == v.Generation {
			return old, true, nil
		}
		return VIF{}, false, fmt.Errorf("plug port %s into %s: %w: into %s; unplug it there first", att.PortID, t, ErrPlugged, old.Target)
	}
	if att.Kind == model.AttachOVS {
		if e.bridges == nil {
			return VIF{}, false, fmt.Errorf("plug port %s: %w: this agent has no Open vSwitch: set [ovs] bridge_mappings", att.PortID, ErrRefused)
		}
		v.Bridge, v.Netdev = att.Bridge, e.bridges.Interface(att.PortID)
		v.PCISlot = v.Netdev
		return v, false, nil
	}
	if !e.dev.HasPCI(v.PCISlot) {
		if v.Kind != Netns {
			return VIF{}, false, fmt.Errorf("plug port %s: %w: VF %s of %s is a software NIC's: it has no PCI function to pass on; name a namespace",
				att.PortID, ErrRefused, v.PCISlot, v.PF)
		}
		return v, false, nil
	}
	if v.Driver, err = e.dev.Driver(v.PCISlot); err != nil {
		return VIF{}, false, fmt.Errorf("plug port %s: %w", att.PortID, err)
	}
	if user, uerr := e.dev.User(ctx, v.PCISlot); uerr != nil || user != "" {
		return VIF{}, false, fmt.Errorf("plug port %s: %w: VF %s is used by %s", att.PortID, ErrRefused, v.PCISlot, cmp.Or(user, fmt.Sprint(uerr)))
	}
	return v, false, nil
}

// Unplug takes a port from its target and makes the VF the host's again. generation
// fences: 0 = whatever is plugged. The port keeps its VF as long as it is bound here.
func (e *Engine) Unplug(ctx context.Context, portID string, generation uint64) error {
	e.mu.Lock()
	v, ok := e.vifs[portID]
	e.mu.Unlock()
	switch {
	case !ok:
		return fmt.Errorf("unplug port %s: %w", portID, ErrNotPlugged)
	case generation != 0 && generation != v.Generation:
		return fmt.Errorf("unplug port %s: %w: it names generation %d, plugged is generation %d", portID, ErrFenced, generation, v.Generation)
	}
	if err := e.change(ctx, kindUnplug, v); err != nil {
		return fmt.Errorf("unplug port %s from %s: %w", portID, v.Target, err)
	}
	e.log.Info("unplugged", "port", portID, "pci_slot", v.PCISlot, "from", v.Target.String())
	return nil
}

// change runs the work of one VIF through the journal. While it runs, and when it stays
// half done, the VF is held.
func (e *Engine) change(ctx context.Context, kind string, v VIF) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	e.mu.Lock()
	if _, busy := e.pending[v.PCISlot]; busy {
		e.mu.Unlock()
		return fmt.Errorf("VF %s: %w", v.PCISlot, journal.ErrBusy)
	}
	e.pending[v.PCISlot] = v
	e.publish()
	e.mu.Unlock()
	err = e.journal.Run(ctx, journal.Intent{Key: v.PCISlot, Kind: kind, Data: data}, e.workOf(kind, v))
	e.settle(v.PCISlot, err)
	if err == nil || errors.Is(err, journal.ErrStuck) {
		select { // there may be a domain to watch, or something to try again
		case e.poke <- struct{}{}:
		default:
		}
	}
	return err
}

// workOf makes the work of an intent, now or after a crash.
func (e *Engine) workOf(kind string, v VIF) journal.Work {
	if kind == kindUnplug {
		w := e.work.unplug(v)
		w.Commit = e.then(drop(v), func() { delete(e.vifs, v.PortID) })
		return w
	}
	w := e.work.plug(v)
	w.Commit = e.then(put(v), func() { e.vifs[v.PortID] = v })
	return w
}

// then records on disk and, when that transaction has been committed, in memory.
func (e *Engine) then(record func(*bbolt.Tx) error, remember func()) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		if err := record(tx); err != nil {
			return err
		}
		tx.OnCommit(func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			remember()
			e.publish()
		})
		return nil
	}
}

// settle notes how a change ended.
func (e *Engine) settle(slot string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil && errors.Is(err, journal.ErrStuck) {
		e.stuck[slot] = err.Error()
		return
	}
	delete(e.stuck, slot)
	delete(e.pending, slot)
	e.publish()
}
