package sriov

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"neutrino/internal/eswitch"
	"neutrino/internal/pci"
	"neutrino/internal/vfnl"
)

// Options of Open.
type Options struct {
	// PFs are the netdev names of the physical functions to manage. No other is touched.
	PFs []string
	// Exclude are PCI slots of VFs per PF that are read and never written.
	Exclude map[string][]string
	// Sys is where PCI functions are read and bound; nil = the machine's own.
	Sys *pci.Sys
	// Dial opens an rtnetlink socket; nil = vfnl.Dial. Called once per PF.
	Dial func() (*vfnl.Conn, error)
	// Monitor subscribes to link changes; nil = vfnl.OpenMonitor.
	Monitor func() (*vfnl.Monitor, error)
	// Uevents subscribes to the kernel's device events; nil = OpenUevents, or none when
	// Sys has a root of its own.
	Uevents func() (Uevents, error)
	// Patience bounds what one PF may take in one Observe, and its sixfold in one Apply;
	// 0 = 2 s.
	Patience time.Duration
	Log      *slog.Logger // nil = slog.Default()
}

// Errors beside eswitch's.
var (
	// ErrExcluded: the VF is excluded from use by configuration.
	ErrExcluded = errors.New("VF is excluded from use")
	errClosed   = errors.New("the switch is closed")
)

const defaultPatience = 2 * time.Second

// Switch is the NICs of one host. It is safe for concurrent use.
type Switch struct {
	pfs      []*pf
	fs       sysfs
	patience time.Duration
	log      *slog.Logger
	events   chan struct{}
	down     chan struct{} // capacity 1: a PF may have gone down
	stop     context.CancelFunc
	wg       sync.WaitGroup
	once     sync.Once
}

var (
	_ eswitch.Switch   = (*Switch)(nil)
	_ eswitch.Counting = (*Switch)(nil)
)

// Open takes hold of the PFs. Each has to be named once; it may come and go later, and
// need not be there yet.
func Open(ctx context.Context, o Options) (*Switch, error) {
	s := &Switch{
		fs: sysfs{o.Sys}, patience: cmp.Or(o.Patience, defaultPatience), log: o.Log,
		events: make(chan struct{}, 1), down: make(chan struct{}, 1),
	}
	if o.Sys == nil {
		s.fs.Sys = &pci.Sys{}
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if o.Dial == nil {
		o.Dial = vfnl.Dial
	}
	if o.Monitor == nil {
		o.Monitor = vfnl.OpenMonitor
	}
	if o.Uevents == nil && (s.fs.Root == "" || s.fs.Root == "/") {
		o.Uevents = OpenUevents
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	for _, name := range o.PFs {
		if s.pf(name) != nil {
			return nil, errors.Join(fmt.Errorf("PF %s is named twice", name), s.Close())
		}
		c, err := o.Dial()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open PF %s: %w", name, err), s.Close())
		}
		p := &pf{name: name, fs: s.fs, conn: c, worker: startWorker(), log: s.log.With("pf", name), raise: s.raise, exclude: map[string]bool{}}
		for _, slot := range o.Exclude[name] {
			p.exclude[slot] = true
		}
		s.pfs = append(s.pfs, p)
	}
	if err := s.watch(run, o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Switch) pf(name string) *pf {
	i := slices.IndexFunc(s.pfs, func(p *pf) bool { return p.name == name })
	if i < 0 {
		return nil
	}
	return s.pfs[i]
}

// Observe implements [eswitch.Switch]. A PF that is not there, or that cannot be read, is
// left out of the state and logged; an error is returned only if that goes for all.
func (s *Switch) Observe(ctx context.Context) (eswitch.State, error) {
	type seen struct {
		pf  eswitch.PF
		err error
	}
	all := make([]seen, len(s.pfs))
	var wg sync.WaitGroup
	for i, p := range s.pfs {
		wg.Go(func() {
			got, err := do(ctx, p.worker, s.patience, func(ctx context.Context) seen {
				state, again, err := p.observe(ctx)
				p.lookAgain(again)
				return seen{state, err}
			})
			if err == nil {
				err = got.err
			}
			all[i] = seen{got.pf, err}
		})
	}
	wg.Wait()
	s.mindDown()
	var st eswitch.State
	var errs []error
	for i, one := range all {
		s.pfs[i].tell(one.err)
		if one.err != nil {
			errs = append(errs, fmt.Errorf("PF %s: %w", s.pfs[i].name, one.err))
			continue
		}
		st.PFs = append(st.PFs, one.pf)
	}
	if err := ctx.Err(); err != nil && len(errs) > 0 {
		return eswitch.State{}, errors.Join(errs...)
	}
	if len(s.pfs) > 0 && len(errs) == len(s.pfs) {
		return eswitch.State{}, errors.Join(errs...)
	}
	return st, nil
}

// Apply implements [eswitch.Switch]. The PFs are changed side by side, the VFs of one PF
// one after the other.
func (s *Switch) Apply(ctx context.Context, changes []eswitch.Change) []eswitch.Result {
	out := make([]eswitch.Result, len(changes))
	at := map[*pf][]int{}
	for x, c := range changes {
		out[x].VF = c.VF
		p := s.pf(c.VF.PF)
		if p == nil {
			out[x].Err = fmt.Errorf("PF %q is not managed: %w", c.VF.PF, eswitch.ErrNoVF)
			continue
		}
		at[p] = append(at[p], x)
	}
	var wg sync.WaitGroup
	for p, places := range at {
		mine := make([]eswitch.Change, len(places))
		for i, x := range places {
			mine[i] = changes[x]
		}
		wg.Go(func() {
			errs, err := do(ctx, p.worker, 6*s.patience, func(ctx context.Context) []error { return p.apply(ctx, mine) })
			for i, x := range places {
				switch {
				case err != nil:
					out[x].Err = fmt.Errorf("PF %s: %w", p.name, err)
				case errs[i] != nil:
					out[x].Err = fmt.Errorf("VF %d of %s: %w", mine[i].VF.Index, p.name, errs[i])
				}
			}
		})
	}
	wg.Wait()
	return out
}

// Counters implements [eswitch.Counting]: one RTM_GETLINK with statistics per PF.
func (s *Switch) Counters(ctx context.Context) (map[eswitch.VFID]eswitch.Counters, error) {
	var mu sync.Mutex
	out := map[eswitch.VFID]eswitch.Counters{}
	var errs []error
	var wg sync.WaitGroup
	for _, p := range s.pfs {
		wg.Go(func() {
			type read struct {
				pf  vfnl.PF
				err error
			}
			got, err := do(ctx, p.worker, s.patience, func(ctx context.Context) read {
				state, err := p.counters(ctx)
				return read{state, err}
			})
			mu.Lock()
			defer mu.Unlock()
			if err = cmp.Or(err, got.err); err != nil {
				errs = append(errs, fmt.Errorf("counters of PF %s: %w", p.name, err))
				return
			}
			for _, v := range got.pf.VFs {
				if c, ok := v.Stats.Get(); ok {
					out[eswitch.VFID{PF: p.name, Index: v.Index}] = eswitch.Counters{
						RxPackets: c.RxPackets, RxBytes: c.RxBytes, RxBroadcast: c.Broadcast, RxMulticast: c.Multicast, RxDropped: c.RxDropped,
						TxPackets: c.TxPackets, TxBytes: c.TxBytes, TxDropped: c.TxDropped,
					}
				}
			}
		})
	}
	wg.Wait()
	return out, errors.Join(errs...)
}

// Events implements [eswitch.Switch].
func (s *Switch) Events() <-chan struct{} { return s.events }

// Capabilities implements [eswitch.Switch]: what was not found missing. Before the first
// Observe that is nothing.
func (s *Switch) Capabilities(name string) eswitch.Capabilities {
	p := s.pf(name)
	if p == nil {
		return eswitch.Capabilities{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.caps
}

// Close implements [eswitch.Switch]. VFs stay as they are.
func (s *Switch) Close() error {
	s.once.Do(func() {
		s.stop()
		s.wg.Wait()
		for _, p := range s.pfs {
			p.worker.stop(s.patience)
			p.close()
		}
	})
	return nil
}

func (s *Switch) raise() {
	select {
	case s.events <- struct{}{}:
	default:
	}
}
