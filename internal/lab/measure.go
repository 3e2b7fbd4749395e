package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Effort says how long is measured.
type Effort struct {
	Rounds int           // each visits every path once, in random order
	RTT    time.Duration // of one slice of round trips
	Stream time.Duration // of one slice of throughput
}

// DefaultEffort takes about ten seconds for five paths.
var DefaultEffort = Effort{Rounds: 12, RTT: 40 * time.Millisecond, Stream: 100 * time.Millisecond}

// Measured is what one path showed.
type Measured struct {
	Key   string `json:"key"`
	Title string `json:"title"`
	// Round trips of 64 bytes over TCP, in microseconds.
	RTT Quantiles `json:"rtt_us"`
	// Medians of the slices, in microseconds, and Gbit/s of the slices, in the order
	// of the rounds; the first round, which warms up, is left out.
	RTTSlices  []float64 `json:"rtt_slices_us"`
	GbitSlices []float64 `json:"gbit_slices"`
	Gbit       Spread    `json:"gbit"`
	// Against the direct pair: the median over rounds of the ratio within the round.
	RTTRatio  float64   `json:"rtt_ratio"`
	GbitRatio float64   `json:"gbit_ratio"`
	Histogram []Percent `json:"percentiles"`
	Err       string    `json:"error,omitempty"`
}

// Quantiles of a latency.
type Quantiles struct {
	Min   float64 `json:"min"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
	Count int64   `json:"count"`
}

// Spread of slices.
type Spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// Percent is one point of a latency's distribution.
type Percent struct {
	Percent float64 `json:"percent"`
	Value   float64 `json:"us"`
}

// probe is a path under measurement.
type probe struct {
	path
	rtt, stream duplex
	hist        *hdrhistogram.Histogram
	out         Measured
}

// measure visits the paths in slices, round by round in random order, so that whatever
// else the machine does hits all of them alike. Both ends of a path run on one CPU:
// without wake-ups across CPUs the path's own cost shows. A path that fails is reported
// and the others go on.
func measure(ctx context.Context, paths []path, e Effort, tell func(round int)) ([]Measured, error) {
	var probes []*probe
	defer func() {
		for _, p := range probes {
			if p.out.Err == "" || p.rtt != (duplex{}) {
				p.rtt.close()
				p.stream.close()
			}
		}
	}()
	for _, w := range paths {
		probes = append(probes, newProbe(w))
	}
	pair, err := newPair()
	if err != nil {
		return nil, err
	}
	defer pair.close()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU() + 4)) // nobody's syscall waits for a turn
	for round := range e.Rounds + 1 {
		tell(round)
		for _, i := range rand.Perm(len(probes)) {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			probes[i].slice(pair, e, round > 0)
		}
	}
	out := make([]Measured, len(probes))
	for i, p := range probes {
		out[i] = p.finish()
	}
	relate(out)
	return out, nil
}

func newProbe(w path) *probe {
	p := &probe{path: w, hist: hdrhistogram.New(100, int64(10*time.Second), 3), out: Measured{Key: w.key, Title: w.title}}
	var err error
	if p.rtt, err = connect(w); err != nil {
		p.out.Err = err.Error()
		return p
	}
	if p.stream, err = connect(w); err != nil {
		p.rtt.close()
		p.rtt = duplex{}
		p.out.Err = err.Error()
	}
	return p
}

func (p *probe) slice(pair *pair, e Effort, keep bool) {
	if p.out.Err != "" {
		return
	}
	h := hdrhistogram.New(100, int64(10*time.Second), 3)
	err := pingPong(pair, p.rtt, e.RTT, h)
	var gbit float64
	if err == nil {
		gbit, err = stream(pair, p.stream, e.Stream)
	}
	if err != nil {
		p.out.Err = fmt.Sprintf("measure %s: %v", p.title, err)
		return
	}
	if keep {
		p.hist.Merge(h)
		p.out.RTTSlices = append(p.out.RTTSlices, float64(h.ValueAtQuantile(50))/1000)
		p.out.GbitSlices = append(p.out.GbitSlices, gbit)
	}
}

const pingSize = 64

// pingPong sends 64 bytes to and fro for d. The first byte 0 asks for an echo, 1 ends.
func pingPong(pair *pair, c duplex, d time.Duration, h *hdrhistogram.Histogram) error {
	return pair.run(func() error {
		msg := make([]byte, pingSize)
		for end := time.Now().Add(d); ; {
			at := time.Now()
			if err := errors.Join(writeFull(c.a, msg), readFull(c.a, msg)); err != nil {
				return err
			}
			took := time.Since(at)
			if err := h.RecordValue(took.Nanoseconds()); err != nil {
				return err
			}
			if at.After(end) {
				msg[0] = 1
				return writeFull(c.a, msg)
			}
		}
	}, func() error {
		msg := make([]byte, pingSize)
		for {
			if err := readFull(c.b, msg); err != nil {
				return err
			}
			if msg[0] == 1 {
				return nil
			}
			if err := writeFull(c.b, msg); err != nil {
				return err
			}
		}
	})
}

// chunk is what the stream's writer hands over at once. The first byte of the last one
// is 1.
const chunk = 128 << 10

// stream sends as much as goes for d and returns Gbit/s, by the receiver's count.
func stream(pair *pair, c duplex, d time.Duration) (float64, error) {
	start := time.Now()
	var end time.Time
	var sum int64
	err := pair.run(func() error {
		buf := make([]byte, chunk)
		for at := start.Add(d); time.Now().Before(at); {
			if err := writeFull(c.a, buf); err != nil {
				return err
			}
		}
		buf[0] = 1
		return writeFull(c.a, buf)
	}, func() error {
		buf := make([]byte, chunk)
		for {
			if err := readFull(c.b, buf); err != nil {
				return err
			}
			sum += chunk
			if buf[0] == 1 {
				end = time.Now()
				return nil
			}
		}
	})
	if err != nil {
		return 0, err
	}
	return float64(sum) * 8 / float64(end.Sub(start).Nanoseconds()), nil
}

func (p *probe) finish() Measured {
	m := p.out
	if m.Err != "" {
		return m
	}
	us := func(v int64) float64 { return float64(v) / 1000 }
	m.RTT = Quantiles{us(p.hist.Min()), us(p.hist.ValueAtQuantile(50)), us(p.hist.ValueAtQuantile(99)), us(p.hist.Max()), p.hist.TotalCount()}
	for _, q := range []float64{1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9} {
		m.Histogram = append(m.Histogram, Percent{q, us(p.hist.ValueAtQuantile(q))})
	}
	m.Gbit = Spread{slices.Min(m.GbitSlices), median(m.GbitSlices), slices.Max(m.GbitSlices)}
	return m
}

// relate fills in the ratios to the direct pair.
func relate(all []Measured) {
	i := slices.IndexFunc(all, func(m Measured) bool { return m.Key == PathDirect && m.Err == "" })
	if i < 0 {
		return
	}
	direct := all[i]
	for k := range all {
		if all[k].Err == "" {
			all[k].RTTRatio = ratio(all[k].RTTSlices, direct.RTTSlices)
			all[k].GbitRatio = ratio(all[k].GbitSlices, direct.GbitSlices)
		}
	}
}

func ratio(x, y []float64) float64 {
	var r []float64
	for i := range min(len(x), len(y)) {
		if y[i] > 0 {
			r = append(r, x[i]/y[i])
		}
	}
	return median(r)
}

func median(in []float64) float64 {
	if len(in) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(in))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
