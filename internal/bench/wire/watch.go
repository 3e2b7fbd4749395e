package wire

import (
	"context"
	"fmt"
	"time"

	"neutrino/internal/bench"
	"neutrino/internal/machine"
)

// How often the loops are looked at, how long a message may be on its way before it counts as lost, and how
// long nothing at all may pass before the measurement is given up.
const (
	look    = 50 * time.Millisecond
	tooLong = 4 // looks
	silence = 5 * time.Second
)

// measure runs the loops of this end, watches them, and puts what they count into a run.
func (r *run) measure(ctx context.Context, cpus machine.CPUList, sample *bench.Run, server *remote) error {
	loud, err := quiet(cpus, len(r.lines))
	if err != nil {
		return err
	}
	defer loud()
	m := startMeter()
	over := make(chan outcome, 1)
	go func() { over <- runLoops(r.lines, cpus, r.loop) }()
	result, err := r.watch(ctx, over, server)
	sample.LocalUsage = m.stop()
	if err != nil {
		return err
	}
	if result.err != nil {
		return result.err
	}
	if r.spec.Test.Latency() || r.spec.Reverse {
		result.tally.into(sample)
	}
	for _, l := range r.lines {
		if t := r.trips[l]; t != nil {
			t.into(sample)
		}
	}
	if r.spec.Test == ICMP && sample.Messages == 0 {
		return fmt.Errorf("no echo reply within %s: %w", r.spec.Warmup+r.spec.Duration, ErrSilent)
	}
	return nil
}

// into merges a flow's histograms into a run's.
func (t *trips) into(s *bench.Run) {
	if s.Latency == nil {
		s.Latency, s.Late = t.latency, t.late
		return
	}
	s.Latency.Merge(t.latency.Histogram)
	if s.Late != nil {
		s.Late.Merge(t.late.Histogram)
	}
}

// loop is the client's part in a test.
func (r *run) loop(l *line) (tally, error) {
	if t := r.trips[l]; t != nil {
		err := t.run()
		l.endSend()
		return t.tally, err
	}
	if r.spec.Reverse {
		return receiver(l, r.spec)
	}
	return tally{}, sender(l, r.spec)
}

// watch waits for the loops. It gives up messages that are lost, ends what is cancelled or silent, and
// ends the receivers of datagrams, which have no end of their own, once the server has sent all.
// It never returns before the loops have ended.
func (r *run) watch(ctx context.Context, over chan outcome, server *remote) (outcome, error) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	var served chan struct{}
	if server != nil {
		served = server.done
	}
	w := newWatcher(r)
	for {
		select {
		case result := <-over:
			return result, nil
		case <-ctx.Done():
			r.end()
			<-over
			return outcome{}, ctx.Err()
		case <-served:
			served = nil // loops of connections see the end by themselves, or are silent
			if r.spec.Reverse && !r.spec.Test.stream() || server.err != nil {
				r.end()
			}
			if server.err != nil {
				<-over
				return outcome{}, server.err
			}
		case <-tick.C:
			if w.silent(time.Now()) {
				r.end()
				<-over
				return outcome{}, fmt.Errorf("nothing passed for %s: %w", silence, ErrSilent)
			}
		}
	}
}

// watcher sees whether the loops get on.
type watcher struct {
	r     *run
	last  []int64
	stuck []int
	at    time.Time // of the last time that something passed
}

func newWatcher(r *run) *watcher {
	return &watcher{r: r, last: make([]int64, len(r.lines)), stuck: make([]int, len(r.lines)), at: time.Now()}
}

// silent looks at all lines once. Nothing must have passed on any, for too long, for silence.
func (w *watcher) silent(now time.Time) bool {
	for i, l := range w.r.lines {
		n := l.passed.Load()
		if n != w.last[i] {
			w.last[i], w.stuck[i], w.at = n, 0, now
			continue
		}
		w.stuck[i]++
		t := w.r.trips[l]
		if t != nil && l.index >= 0 && w.r.spec.Rate == 0 && w.stuck[i]%tooLong == 0 && l.awaited.Load() > 0 {
			t.giveUp()
		}
	}
	return now.Sub(w.at) > silence
}
