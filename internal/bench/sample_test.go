package bench

import (
	"math/rand/v2"
	"time"
)

// sampleLatencies is a distribution with a tail: around ns, one in a hundred ten times as long.
func sampleLatencies(rnd *rand.Rand, ns float64) *Histogram {
	h := NewHistogram()
	for range 3000 {
		v := ns * (0.9 + rnd.ExpFloat64()*0.1)
		if rnd.IntN(100) == 0 {
			v *= 10 * rnd.Float64()
		}
		_ = h.RecordValue(max(1, int64(v)))
	}
	return h
}

// sampleResult has udp and tcp round trips and a stream on these paths, each slower than the one before by step.
func sampleResult(seed uint64, step float64, runs int, paths ...string) *Result {
	rnd := rand.New(rand.NewPCG(seed, 1))
	r := New()
	node := 0
	r.Started = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	r.Command = []string{"neutrino", "bench", "run", "10.0.0.2"}
	r.Local = Environment{
		Host: "compute1", OS: "Debian GNU/Linux 13", Kernel: "6.12.1", CPU: "Sample <CPU>", CPUs: 16, Nodes: 2, Governor: "performance", Profile: "latency", Congestion: "cubic",
		NIC: &NIC{Name: "eth6", Driver: "mlx4_en", Version: "4.0-0", Firmware: "2.42.5000", Slot: "0000:03:00.0", Node: &node, MTU: 1500, Speed: 10000, Queues: 8},
	}
	r.Interleaved = len(paths) > 1
	factor := 1.0
	for _, p := range paths {
		for _, m := range []Measurement{{Test: "udp", Size: 64, Flows: 1}, {Test: "tcp", Size: 64, Flows: 1}, {Test: "stream", Size: 131072, Flows: 1}, {Test: "pps", Size: 64, Flows: 2}} {
			s := Series{Measurement: m, Path: p, PathTitle: p}
			for i := range runs {
				x := Run{
					Start: r.Started.Add(time.Duration(i) * time.Second), Window: time.Second,
					LocalUsage: Usage{Wall: time.Second, Busy: 900 * time.Millisecond, Process: 800 * time.Millisecond, Processors: 16},
				}
				noise := factor * (0.99 + 0.02*rnd.Float64())
				switch m.Test {
				case "stream":
					x.Bytes = int64(9e9 / 8 / noise)
				case "pps":
					x.Messages, x.Lost = int64(9e5/noise), int64(9e3*noise)
					x.Bytes = x.Messages * 64
				default:
					x.Latency = sampleLatencies(rnd, 10_000*noise)
					x.Messages = x.Latency.TotalCount()
					x.Bytes = x.Messages * 128
				}
				s.Runs = append(s.Runs, x)
			}
			r.Series = append(r.Series, s)
		}
		factor *= step
	}
	return r
}
