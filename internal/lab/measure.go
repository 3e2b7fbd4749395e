package lab

import (
	"context"
	"fmt"
	"slices"
	"time"

	"neutrino/internal/bench"
	"neutrino/internal/bench/paths"
	"neutrino/internal/bench/wire"
)

// Effort says how long is measured.
type Effort struct {
	Rounds int           // each visits every path once, in random order
	RTT    time.Duration // of one slice of round trips
	Stream time.Duration // of one slice of throughput
}

// DefaultEffort takes about twenty seconds for five paths.
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

// calm is how long the machine is listened to before each slice.
const calm = 20 * time.Millisecond

// measure visits the paths in slices, round by round in random order, so that whatever
// else the machine does hits all of them alike. Both ends of a path run on one CPU:
// without wake-ups across CPUs the path's own cost shows. A path that fails is reported
// and the others go on. The first round, which warms up, is left out.
func measure(ctx context.Context, all []paths.Path, e Effort, tell func(round int)) ([]Measured, error) {
	effort := paths.Effort{Rounds: e.Rounds + 1, Listen: calm, CPUs: paths.LastCPU(), Specs: []wire.Spec{
		{Test: wire.TCP, Size: pingSize, Flows: 1, Warmup: e.RTT / 4, Duration: e.RTT},
		{Test: wire.Stream, Size: wire.Stream.DefaultSize(), Flows: 1, Warmup: e.Stream / 4, Duration: e.Stream},
	}}
	series, err := paths.Measure(ctx, all, effort, func(n, _ int, _ string) { tell((n - 1) / len(all)) })
	if err != nil {
		return nil, err
	}
	out := make([]Measured, len(all))
	for i, p := range all {
		out[i] = measured(p, series[2*i], series[2*i+1])
	}
	relate(out)
	return out, nil
}

// pingSize is that of a round trip's messages.
const pingSize = 64

// measured is what the series of a path say.
func measured(p paths.Path, trips, stream bench.Series) Measured {
	m := Measured{Key: p.Key, Title: p.Title}
	if trips.Err != "" {
		m.Err = fmt.Sprintf("measure %s: %s", p.Title, trips.Err)
		return m
	}
	trips.Runs, stream.Runs = trips.Runs[1:], stream.Runs[1:]
	us := func(v int64) float64 { return float64(v) / 1000 }
	for _, r := range trips.Runs {
		m.RTTSlices = append(m.RTTSlices, us(r.Latency.ValueAtQuantile(50)))
	}
	for _, r := range stream.Runs {
		m.GbitSlices = append(m.GbitSlices, r.Bits()/1e9)
	}
	h := trips.Together()
	m.RTT = Quantiles{us(h.Min()), us(h.ValueAtQuantile(50)), us(h.ValueAtQuantile(99)), us(h.Max()), h.TotalCount()}
	for _, q := range []float64{1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9} {
		m.Histogram = append(m.Histogram, Percent{q, us(h.ValueAtQuantile(q))})
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
