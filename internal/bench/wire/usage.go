package wire

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"neutrino/internal/bench"
	"neutrino/internal/machine"
)

// meter reads what a measurement costs.
type meter struct {
	at      time.Time
	process time.Duration
	invol   int64
	machine ticks
}

func startMeter() meter {
	m := meter{at: time.Now(), machine: readTicks("/")}
	m.process, m.invol = processTime()
	return m
}

func (m meter) stop() bench.Usage {
	p, invol := processTime()
	now := readTicks("/")
	u := bench.Usage{Wall: time.Since(m.at), Process: p - m.process, Preempted: invol - m.invol, Processors: now.processors}
	u.Busy, u.Steal = now.busy-m.machine.busy, now.steal-m.machine.steal
	return u
}

func processTime() (time.Duration, int64) {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return 0, 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), r.Nivcsw
}

// ticks are the counters of a machine's processors.
type ticks struct {
	busy, steal time.Duration
	processors  int
}

// readTicks reads the first line of proc/stat, whose unit is USER_HZ: a hundredth of a second.
func readTicks(root string) ticks {
	text, _ := machine.Tree(root).Text("proc/stat")
	return parseTicks(text)
}

func parseTicks(text string) ticks {
	var t ticks
	var user, nice, system, idle, iowait, irq, softirq, steal int64
	if _, err := fmt.Sscanf(text, "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal); err != nil {
		return t
	}
	const tick = 10 * time.Millisecond
	t.busy = time.Duration(user+nice+system+irq+softirq) * tick
	t.steal = time.Duration(steal) * tick
	t.processors = processors(text)
	return t
}

// processors counts the lines of single processors.
func processors(text string) int {
	n := 0
	for i := 0; i+4 < len(text); i++ {
		if text[i] == '\n' && text[i+1:i+4] == "cpu" {
			n++
		}
	}
	return n
}

// share is a part of all processors' time.
func share(part, wall time.Duration, processors int) float64 {
	if wall <= 0 || processors <= 0 {
		return 0
	}
	return max(0, float64(part)/float64(wall)/float64(processors))
}

// listen is how long the noise before a measurement is looked at, unless the client says otherwise.
const listen = 300 * time.Millisecond

// quietness is how quiet this machine is while nothing is measured.
func quietness(ctx context.Context, span time.Duration) (bench.Noise, error) {
	m := startMeter()
	t := time.NewTimer(span)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return bench.Noise{}, ctx.Err()
	case <-t.C:
	}
	u := m.stop()
	return bench.Noise{
		BusyBefore: share(u.Busy, u.Wall, u.Processors), StealBefore: share(u.Steal, u.Wall, u.Processors), MHzBefore: bench.Clock("/"),
	}, nil
}

// during adds what a run says of others.
func during(n bench.Noise, u bench.Usage) bench.Noise {
	n.Others, n.Steal = share(u.Busy-u.Process, u.Wall, u.Processors), share(u.Steal, u.Wall, u.Processors)
	n.MHzAfter = bench.Clock("/")
	return n
}
