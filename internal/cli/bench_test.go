package cli

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
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

// The lab from end to end: built, measured, saved, drawn, compared, and gone.
func TestBenchLab(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	dir := t.TempDir()
	save, page := filepath.Join(dir, "lab.json"), filepath.Join(dir, "lab.html")
	var out, said bytes.Buffer
	must := func(args ...string) {
		t.Helper()
		out.Reset()
		if code := run(t.Context(), args, strings.NewReader(""), &out, &said, stand); code != exitDone {
			t.Fatalf("neutrino %s: %d\n%s%s", strings.Join(args, " "), code, out.String(), said.String())
		}
	}
	state := filepath.Join(dir, "state")
	must("bench", "lab", "--paths", "veb,bridge,ovs", "--tests", "udp,stream", "--time", "150ms", "--warmup", "20ms", "--rounds", "6",
		"--state-dir", state, "--save", save, "--report", page)
	for _, want := range []string{"udp, 64 bytes", "direct wire (veth pair)", "X WIRE", "Linux bridge, one host"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if !strings.Contains(said.String(), "24/24 ") && !strings.Contains(said.String(), "18/18 ") {
		t.Errorf("no progress: %s", said.String())
	}
	must("bench", "compare", save, "-o", "json")
	var all []bench.Comparison
	if err := json.Unmarshal(out.Bytes(), &all); err != nil || len(all) < 2 || !all[0].Lines[0].Ratio.Enough() {
		t.Errorf("%v\n%s", err, out.String())
	}
	if text, err := os.ReadFile(page); err != nil || !bytes.Contains(text, []byte("<svg")) {
		t.Errorf("no page (%v)", err)
	}
	must("bench", "lab", "--clean", "--state-dir", state)
	if out.String() != "0 namespaces removed\n" {
		t.Error(out.String())
	}
}
