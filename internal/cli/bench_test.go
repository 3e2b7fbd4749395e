package cli

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"neutrino/internal/bench"
)

// benchresult writes a result: benchresult FILE THROUGHPUT RUNS [PATH...]. Each path has
// nine tenths of the throughput of the one before it.
func benchresult(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: benchresult FILE THROUGHPUT RUNS [PATH...]")
	}
	gbit, err := strconv.ParseFloat(args[1], 64)
	ts.Check(err)
	runs, err := strconv.Atoi(args[2])
	ts.Check(err)
	paths := args[3:]
	r := bench.New()
	if r.Interleaved = len(paths) > 0; !r.Interleaved {
		paths = []string{""}
	}
	r.Started = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	rnd := rand.New(rand.NewPCG(uint64(gbit*1000), uint64(runs)))
	for _, p := range paths {
		s := bench.Series{Path: p, Measurement: bench.Measurement{Test: "stream", Size: 131072, Flows: 1}}
		for range runs {
			x := bench.Run{Start: r.Started, Window: time.Second, Bytes: int64(gbit * 1e9 / 8 * (0.998 + 0.004*rnd.Float64()))}
			x.LocalUsage = bench.Usage{Wall: time.Second, Busy: time.Second, Processors: 2}
			s.Runs = append(s.Runs, x)
		}
		r.Series = append(r.Series, s)
		gbit *= 0.9
	}
	ts.Check(r.Write(ts.MkAbs(args[0])))
}
