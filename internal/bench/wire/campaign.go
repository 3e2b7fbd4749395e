package wire

import (
	"context"
	"time"

	"neutrino/internal/bench"
)

// Campaign is what a person asks for: tests with all they are done with, several times.
type Campaign struct {
	Tests []Test
	// Sizes of the messages; empty = each test's own.
	Sizes    []int
	Flows    int
	Time     time.Duration
	Warmup   time.Duration
	Rate     float64
	Runs     int
	Reverse  bool // throughput: the server sends
	BothWays bool // throughput: one after the other
}

// Specs are the measurements of one round, in their order.
func (c Campaign) Specs() []Spec {
	var out []Spec
	for _, t := range c.Tests {
		sizes := c.Sizes
		if len(sizes) == 0 {
			sizes = []int{t.DefaultSize()}
		}
		for _, size := range sizes {
			s := Spec{Test: t, Size: size, Flows: c.Flows, Warmup: c.Warmup, Duration: c.Time, Rate: c.Rate}
			if t == Stream {
				s.Rate = 0
			}
			if t.Latency() {
				out = append(out, s)
				continue
			}
			s.Reverse = c.Reverse && !c.BothWays
			out = append(out, s)
			if c.BothWays {
				s.Reverse = true
				out = append(out, s)
			}
		}
	}
	return out
}

// Measurement is what a spec measures, as results say it.
func (s Spec) Measurement() bench.Measurement {
	return bench.Measurement{Test: string(s.Test), Size: s.Size, Flows: s.Flows, Rate: s.Rate, Reverse: s.Reverse}
}

// Measure runs all measurements round by round: what changes on the machines meanwhile
// meets each of them. It tells before each measurement which one of how many it is.
func (c Campaign) Measure(ctx context.Context, with *Client, tell func(n, of int, s Spec)) ([]bench.Series, error) {
	specs := c.Specs()
	out := make([]bench.Series, len(specs))
	for i, s := range specs {
		out[i].Measurement = s.Measurement()
	}
	for round := range c.Runs {
		for i, s := range specs {
			tell(round*len(specs)+i+1, c.Runs*len(specs), s)
			run, err := with.Measure(ctx, s)
			if err != nil {
				return nil, err
			}
			out[i].Runs = append(out[i].Runs, *run)
		}
	}
	return out, nil
}
