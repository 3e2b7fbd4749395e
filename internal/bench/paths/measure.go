package paths

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"neutrino/internal/bench"
	"neutrino/internal/bench/wire"
	"neutrino/internal/machine"
	"neutrino/internal/netspace"
)

// Effort says what is measured, how long and how often.
type Effort struct {
	Specs  []wire.Spec // of one visit, one after the other
	Rounds int         // each visits every path once, in an order drawn by lot
	// CPUs of the loops: of both ends if it is one, else of the nearer end and of the further one.
	CPUs machine.CPUList
	// How long the noise is looked at before each measurement; 0 = as wire does.
	Listen time.Duration
}

// tries is how often a visit is tried. On a machine with much else to do a short one may pass before its loops
// have had their turn.
const tries = 3

// port that servers listen on, each in its namespace.
const port = wire.DefaultPort

// Measure visits all paths in turn, so that what else the machine does meets all of them alike. A path that fails is
// measured no more, and the others go on. Tell hears before each turn which one of how many it is.
func Measure(ctx context.Context, all []Path, e Effort, tell func(n, of int, what string)) ([]bench.Series, error) {
	near, far := ends(e.CPUs)
	out := make([][]bench.Series, len(all))
	failed := make([]error, len(all))
	for i, p := range all {
		for _, s := range e.Specs {
			out[i] = append(out[i], bench.Series{Measurement: s.Measurement(), Path: p.Key, PathTitle: p.Title})
		}
		stop, err := serve(ctx, p, far)
		if err != nil {
			failed[i] = err
			continue
		}
		defer stop()
		failed[i] = errors.Join(pace(p.A.Namespace), pace(p.B.Namespace))
	}
	turn, turns := 0, e.Rounds*len(all)
	for range e.Rounds {
		for _, i := range rand.Perm(len(all)) {
			turn++
			if failed[i] != nil {
				continue
			}
			tell(turn, turns, all[i].Title)
			runs, err := visit(ctx, all[i], near, e)
			for again := 1; err != nil && again < tries && ctx.Err() == nil; again++ {
				runs, err = visit(ctx, all[i], near, e)
			}
			if ctx.Err() != nil {
				return nil, fmt.Errorf("measure: %w", ctx.Err())
			}
			failed[i] = err
			for k := range runs {
				if err == nil {
					out[i][k].Runs = append(out[i][k].Runs, *runs[k])
				}
			}
		}
	}
	return join(out, failed), nil
}

// ends splits the processors between both ends.
func ends(cpus machine.CPUList) (near, far machine.CPUList) {
	if len(cpus) < 2 {
		return cpus, cpus
	}
	return cpus[:1], cpus[1:2]
}

// join puts all series in one row, with what went wrong.
func join(all [][]bench.Series, failed []error) (out []bench.Series) {
	for i, list := range all {
		for _, s := range list {
			if failed[i] != nil {
				s.Err = failed[i].Error()
			}
			out = append(out, s)
		}
	}
	return out
}

// serve runs a server at the further end until the returned function is called.
func serve(ctx context.Context, p Path, cpus machine.CPUList) (stop func(), err error) {
	within := func(fn func() error) error { return netspace.Do(p.B.Namespace, fn) }
	var l *net.TCPListener
	err = within(func() (err error) {
		l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.B.Addr, port)))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", p.Key, err)
	}
	s := &wire.Server{
		Limits: wire.DefaultLimits, Allow: []netip.Prefix{netip.PrefixFrom(p.A.Addr, p.A.Addr.BitLen())}, Sessions: 2, // the last one may still be hanging up
		CPUs: cpus, Log: slog.New(slog.DiscardHandler), Within: within,
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ctx, l) // it ends when it is told to, or the clients say that nobody answers
	}()
	return func() { cancel(); <-done }, nil
}

// visit does all measurements on one path once.
func visit(ctx context.Context, p Path, cpus machine.CPUList, e Effort) ([]*bench.Run, error) {
	c := &wire.Client{CPUs: cpus, Listen: e.Listen, Within: func(fn func() error) error { return netspace.Do(p.A.Namespace, fn) }}
	if err := c.Dial(ctx, netip.AddrPortFrom(p.B.Addr, port)); err != nil {
		return nil, fmt.Errorf("%s: %w", p.Key, err)
	}
	defer c.Close()
	var out []*bench.Run
	for _, s := range e.Specs {
		r, err := c.Measure(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Key, err)
		}
		r.RemoteUsage = nil // both ends are this process on this machine: it is in LocalUsage
		out = append(out, r)
	}
	return out, nil
}

// Missing are the series of a path that could not be built.
func (e Effort) Missing(p Path, why error) (out []bench.Series) {
	for _, s := range e.Specs {
		out = append(out, bench.Series{Measurement: s.Measurement(), Path: p.Key, PathTitle: p.Title, Err: why.Error()})
	}
	return out
}

// Took is about how long measuring takes.
func (e Effort) Took(paths int) time.Duration {
	var once time.Duration
	for _, s := range e.Specs {
		once += s.Warmup + s.Duration + cmp.Or(e.Listen, 300*time.Millisecond) + 100*time.Millisecond
	}
	return once * time.Duration(paths*e.Rounds)
}

// LastCPU is the last one that this process may use; the first ones serve most interrupts.
func LastCPU() machine.CPUList {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return nil
	}
	for cpu := len(allowed)*64 - 1; cpu >= 0; cpu-- {
		if allowed.IsSet(cpu) {
			return machine.NewCPUList(cpu)
		}
	}
	return nil
}
