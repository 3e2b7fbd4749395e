package veb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"neutrino/internal/eswitch"
)

// What State says of the drivers.
const (
	Driver   = "veb"
	VFDriver = "veth"
)

// Switch is one open NIC or several. It implements [eswitch.Switch] and is safe for
// concurrent use. While it is open it makes dead VFs again and lets the link state
// "auto" follow the uplink; without one, traffic goes on as it was.
type Switch struct {
	nics   []*nic
	events chan struct{}
	stop   context.CancelFunc
	wg     sync.WaitGroup
	close  sync.Once
}

var _ eswitch.Switch = (*Switch)(nil)

// Open takes hold of the NIC name under pinDir, exchanges its programs if this binary
// carries others, and watches its devices. A NIC made with an empty Spec.Netns is
// looked for in the calling thread's namespace.
//
// Errors: ErrNotFound, ErrIncomplete, ErrLayout, and what the kernel says.
func Open(name, pinDir string) (*Switch, error) { return open(pinDir, name) }

// OpenAll opens every NIC under pinDir as one Switch.
func OpenAll(pinDir string) (*Switch, error) {
	all, err := List(pinDir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, i := range all {
		if !i.Trunk {
			names = append(names, i.Name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("NICs under %s: %w", pinDir, ErrNotFound)
	}
	return open(pinDir, names...)
}

func open(pinDir string, names ...string) (*Switch, error) {
	ctx, stop := context.WithCancel(context.Background())
	s := &Switch{events: make(chan struct{}, 1), stop: stop}
	for _, name := range names {
		n, err := openNIC(home{pinDir: pinDir, name: name})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open NIC %s: %w", name, err), s.Close())
		}
		s.nics = append(s.nics, n)
	}
	for _, n := range s.nics {
		if err := s.watch(ctx, n); err != nil {
			return nil, errors.Join(fmt.Errorf("watch NIC %s: %w", n.spec.Name, err), s.Close())
		}
	}
	return s, nil
}

// openNIC opens one NIC and brings it to this binary's programs.
func openNIC(h home) (*nic, error) {
	r, err := h.read()
	if err != nil {
		return nil, err
	}
	if r.Kind != kindNIC {
		return nil, fmt.Errorf("it is a %s: %w", r.Kind, ErrNotFound)
	}
	if !r.Complete {
		return nil, ErrIncomplete
	}
	ns, err := openNetns(r.Spec.Netns)
	if err != nil {
		return nil, err
	}
	if ns.inode != r.Inode {
		return nil, errors.Join(fmt.Errorf("it is in another network namespace: %w", ErrNotFound), ns.Close())
	}
	o, err := loadPinned(h)
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	l, err := openLinks(ns)
	if err != nil {
		return nil, errors.Join(err, o.Close(), ns.Close())
	}
	n := &nic{home: h, rec: r, spec: r.Spec, ns: ns, links: l, o: o}
	if err := n.ready(); err != nil {
		n.release()
		return nil, errors.Join(err, ns.Close())
	}
	return n, nil
}

// ready upgrades the NIC and makes dead VFs again.
func (n *nic) ready() error {
	if err := n.upgrade(build()); err != nil {
		return err
	}
	ctx := context.Background()
	p, err := n.look(ctx)
	if err != nil {
		return err
	}
	if n.stale(&p) {
		if p, err = n.settle(ctx); err != nil {
			return err
		}
	}
	n.notice(&p)
	return nil
}

// upgrade exchanges the programs of a NIC whose build is not want. Each port goes from
// the old to the new program between two frames; the maps stay.
func (n *nic) upgrade(want [16]byte) error {
	k, err := n.card()
	if err != nil {
		return err
	}
	if k.Layout != layout {
		return fmt.Errorf("maps of layout %d, not %d: %w", k.Layout, layout, ErrLayout)
	}
	if k.Build == want {
		return nil
	}
	unlock, err := lockDir(n.home.pinDir)
	if err != nil {
		return err
	}
	defer unlock()
	p, err := loadReplacement(n.spec.VFs, &n.o.swMaps)
	if err != nil {
		return err
	}
	for name, prog := range programsOf(p) {
		if err = repin(n.home, name, *prog); err != nil {
			return errors.Join(err, p.Close())
		}
	}
	old := n.o.swPrograms
	n.o.swPrograms = *p
	if err = old.Close(); err != nil {
		return err
	}
	if err = n.reattach(); err != nil {
		return err
	}
	if k, err = n.card(); err != nil {
		return err
	}
	k.Build = want
	return n.putNIC(k)
}

// reattach puts the programs on every port.
func (n *nic) reattach() error {
	d, err := n.links.dump(context.Background())
	if err != nil {
		return err
	}
	return n.ns.do(func() error {
		for _, one := range []struct {
			name string
			prog string
		}{{n.spec.Name, pinUplink}, {n.spec.shapeOut(), pinShaped}} {
			dev, ok := d.byName[one.name]
			if !ok {
				return fmt.Errorf("device %s: %w", one.name, ErrIncomplete)
			}
			if err := attach(n.home, n.rec.Attached, one.name, dev.index, *programsOf(&n.o.swPrograms)[one.prog]); err != nil {
				return err
			}
		}
		for i := range n.spec.VFs {
			dev, ok := d.byName[n.spec.repName(i)]
			if !ok {
				continue // dead; made again with the new programs
			}
			if err := attach(n.home, n.rec.Attached, dev.name, dev.index, n.o.VebVf); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Switch) nic(name string) *nic {
	for _, n := range s.nics {
		if n.spec.Name == name {
			return n
		}
	}
	return nil
}

// Observe implements [eswitch.Switch]. A VF found dead is made again first.
func (s *Switch) Observe(ctx context.Context) (eswitch.State, error) {
	var st eswitch.State
	for _, n := range s.nics {
		pf, err := n.observe(ctx)
		if err != nil {
			return eswitch.State{}, fmt.Errorf("observe %s: %w", n.spec.Name, err)
		}
		st.PFs = append(st.PFs, pf)
	}
	return st, nil
}

// Apply implements [eswitch.Switch]. Changes of one VF are carried out in their order;
// changes of several VFs together, so that two may exchange their MACs. A MAC set on a
// VF whose netdev is in the NIC's namespace becomes the netdev's, and an MTU likewise.
func (s *Switch) Apply(ctx context.Context, changes []eswitch.Change) []eswitch.Result {
	out := make([]eswitch.Result, len(changes))
	type group struct {
		changes []eswitch.Change
		at      []int
	}
	var rounds []map[*nic]*group
	times := map[eswitch.VFID]int{}
	for x, c := range changes {
		out[x].VF = c.VF
		n := s.nic(c.VF.PF)
		if n == nil {
			out[x].Err = fmt.Errorf("NIC %q: %w", c.VF.PF, eswitch.ErrNoVF)
			continue
		}
		round := times[c.VF]
		times[c.VF]++
		if round == len(rounds) {
			rounds = append(rounds, map[*nic]*group{})
		}
		g := rounds[round][n]
		if g == nil {
			g = &group{}
			rounds[round][n] = g
		}
		g.changes, g.at = append(g.changes, c), append(g.at, x)
	}
	for _, round := range rounds {
		for n, g := range round {
			for x, err := range n.apply(ctx, g.changes) {
				out[g.at[x]].Err = err
			}
		}
	}
	return out
}

// Events implements [eswitch.Switch]: links of the NIC that somebody else changed,
// VFs that died and were made again, the uplink's carrier.
func (s *Switch) Events() <-chan struct{} { return s.events }

// Capabilities implements [eswitch.Switch].
func (s *Switch) Capabilities(pf string) eswitch.Capabilities {
	if s.nic(pf) == nil {
		return eswitch.Capabilities{}
	}
	return eswitch.Capabilities{
		MAC: true, VLAN: true, SpoofCheck: true, Trust: true, LinkState: true,
		MinTxRate: true, MaxTxRate: true, MTU: true, Allowed: true,
	}
}

// Close implements [eswitch.Switch]. Nothing may be called after it.
func (s *Switch) Close() error {
	var err error
	s.close.Do(func() {
		s.stop()
		s.wg.Wait()
		for _, n := range s.nics {
			n.release()
			err = errors.Join(err, n.ns.Close())
		}
	})
	return err
}

func (s *Switch) raise() {
	select {
	case s.events <- struct{}{}:
	default:
	}
}

func logger(n *nic) *slog.Logger { return slog.With("nic", n.spec.Name) }
