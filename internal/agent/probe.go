package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"neutrino/internal/rpc"
	"neutrino/internal/rpc/fabricv1"
	"neutrino/internal/trunk"
)

// Prober takes part in verifications of the trunk. It is called from any goroutine, for
// several runs at once; internal/probe has the real one.
type Prober interface {
	// Probe takes part in a run that began elapsed ago, and returns when the run or ctx ends.
	Probe(ctx context.Context, run *trunk.Run, elapsed time.Duration) *trunk.Result
}

// WithProber lets the host take part in verifications of the trunk. Without it the
// agent answers that it cannot.
func WithProber(p Prober) Option { return func(o *options) { o.prober = p } }

const (
	mostProbes = 4               // at once: a host has few physical networks
	keepProbe  = 2 * time.Minute // how long a result is sent to each new controller
)

// probeDesk takes orders to probe, and holds results until they are old.
type probeDesk struct {
	host   string
	prober Prober
	log    *slog.Logger
	orders chan *fabricv1.Probe
	ready  chan struct{} // capacity 1: a result may be to send

	mu      sync.Mutex
	running map[trunk.ID]context.CancelFunc
	results []*probeLetter
}

type probeLetter struct {
	result *trunk.Result
	at     time.Time
	sent   bool // on this stream
}

func newProbeDesk(host string, p Prober, log *slog.Logger) *probeDesk {
	return &probeDesk{
		host: host, prober: p, log: log, orders: make(chan *fabricv1.Probe, mostProbes), ready: make(chan struct{}, 1),
		running: map[trunk.ID]context.CancelFunc{},
	}
}

// order takes an order from the stream without waiting for anything; one too many is
// dropped, and the run will say that this host did not answer.
func (d *probeDesk) order(m *fabricv1.Probe) {
	select {
	case d.orders <- m:
	default:
		d.log.Warn("too many orders to probe at once; one is dropped")
	}
}

// run carries orders out until ctx ends, and waits for those under way.
func (d *probeDesk) run(ctx context.Context) {
	var workers sync.WaitGroup
	defer workers.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-d.orders:
			run, elapsed, cancel, err := rpc.DecodeProbe(m)
			switch {
			case err != nil:
				d.refuse(m, err)
			case cancel:
				d.cancel(run.ID)
			default:
				d.start(ctx, &workers, run, elapsed)
			}
		}
	}
}

// refuse answers an order that cannot be followed, if it says which run it is of.
func (d *probeDesk) refuse(m *fabricv1.Probe, why error) {
	d.log.Warn("an order to probe cannot be followed", "error", why)
	if len(m.GetRunId()) == len(trunk.ID{}) {
		d.keep(&trunk.Result{Run: trunk.ID(m.GetRunId()), Host: d.host, Error: why.Error()})
	}
}

func (d *probeDesk) cancel(id trunk.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if stop := d.running[id]; stop != nil {
		stop()
	}
}

func (d *probeDesk) start(ctx context.Context, workers *sync.WaitGroup, run *trunk.Run, elapsed time.Duration) {
	if d.prober == nil {
		d.keep(&trunk.Result{Run: run.ID, Host: d.host, Error: "this host's agent cannot probe"})
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	known := slices.ContainsFunc(d.results, func(l *probeLetter) bool { return l.result.Run == run.ID })
	if known || d.running[run.ID] != nil {
		return // told again by another controller
	}
	if len(d.running) >= mostProbes {
		d.results = append(d.results, &probeLetter{at: time.Now(), result: &trunk.Result{
			Run: run.ID, Host: d.host, Error: fmt.Sprintf("%d other runs are under way on this host", len(d.running)),
		}})
		wake(d.ready)
		return
	}
	ctx, stop := context.WithTimeout(ctx, run.Duration-elapsed+trunk.Margin)
	d.running[run.ID] = stop
	workers.Go(func() {
		defer stop()
		result := d.prober.Probe(ctx, run, elapsed)
		d.keep(result)
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.running, run.ID)
	})
}

// keep holds a result for the controller.
func (d *probeDesk) keep(r *trunk.Result) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.results = append(d.results, &probeLetter{result: r, at: time.Now()})
	wake(d.ready)
}

// restart has all that is held sent again, on a new stream.
func (d *probeDesk) restart() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.results = slices.DeleteFunc(d.results, func(l *probeLetter) bool { return time.Since(l.at) > keepProbe })
	for _, l := range d.results {
		l.sent = false
	}
	if len(d.results) > 0 {
		wake(d.ready)
	}
}

// take returns a result that was not sent on this stream, or nil.
func (d *probeDesk) take() *trunk.Result {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.results = slices.DeleteFunc(d.results, func(l *probeLetter) bool { return l.sent && time.Since(l.at) > keepProbe })
	for _, l := range d.results {
		if !l.sent {
			l.sent = true
			wake(d.ready)
			return l.result
		}
	}
	return nil
}
