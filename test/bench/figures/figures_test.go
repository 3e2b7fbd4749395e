package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const output = `goos: linux
pkg: neutrino/internal/neutron
BenchmarkCreatePort/1-2   	    3494	   2258760 ns/op	       876.3 ports/s	         0.7235 ratio	         1.215 ratio-high	         0.3305 ratio-low
BenchmarkCreatePort/1-2   	    3494	   2258760 ns/op	       676.3 ports/s	         0.4 ratio	         1.0 ratio-high	         0.35 ratio-low
BenchmarkCreatePort/1-2   	    3494	   2258760 ns/op	       776.3 ports/s	         0.6 ratio	         1.0 ratio-high	         0.35 ratio-low
PASS
pkg: neutrino/test/bench
BenchmarkList/10000Ports-2  	 34	  49418383 ns/op	 61.5 p50-ms
`

func TestTablesShowMedianSpreadAndAim(t *testing.T) {
	r := results{}
	if err := r.read(strings.NewReader(output)); err != nil {
		t.Fatal(err)
	}
	text := r.tables()
	for _, row := range []string{
		"| 1 at a time, of raw | **0.60**  | 0.33 to 1.22 | >= 0.5 | met |\n",
		"| 1 at a time | **776** ports/s | 676 to 876 |  |  |\n",
		"| all of 10,000 ports, median | **61.5** ms | 61.5 to 61.5 | < 60 ms | missed |\n",
		"| by `device_id`, median | not measured | | < 1 ms | |\n",
	} {
		if !strings.Contains(text, row) {
			t.Errorf("no row %q in\n%s", row, text)
		}
	}
}

// What the tables name has to be what the benchmarks say, letter by letter.
func TestEveryMetricIsReported(t *testing.T) {
	for _, table := range all {
		sources, err := filepath.Glob("../../../" + table.pkg + "/*_test.go")
		if err != nil || len(sources) == 0 {
			t.Fatalf("%s: %v", table.pkg, err)
		}
		var code strings.Builder
		for _, s := range sources {
			b, readErr := os.ReadFile(s)
			if readErr != nil {
				t.Fatal(readErr)
			}
			code.Write(b)
		}
		for _, f := range table.figures {
			name, _, _ := strings.Cut(f.metric, " ")
			top, sub, _ := strings.Cut(name, "/")
			if !strings.Contains(code.String(), "func Benchmark"+top+"(") {
				t.Errorf("%s has no Benchmark%s", table.pkg, top)
			}
			if sub != "" && !strings.Contains(code.String(), `"`+sub+`"`) && top != "CreatePort" {
				t.Errorf("%s has no Benchmark%s/%s", table.pkg, top, sub)
			}
		}
	}
}

func TestTablesGoBetweenTheMarks(t *testing.T) {
	dir := t.TempDir()
	doc, out, report := filepath.Join(dir, "doc.md"), filepath.Join(dir, "bench.txt"), filepath.Join(dir, "lab.json")
	lab := `{"effort": {"Rounds": 12}, "paths": [{"title": "neutrino, two hosts", "rtt_us": {"p50": 15.4, "p99": 17.7},
		"gbit": {"median": 22, "min": 13.4, "max": 22.5}, "rtt_ratio": 1.08, "gbit_ratio": 0.89}, {"title": "VXLAN", "error": "no"}]}`
	if err := os.WriteFile(report, []byte(lab), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(out, []byte(output), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(doc, report, []string{out}); err == nil {
		t.Error("a document that is not there was written")
	}
	if err := os.WriteFile(doc, []byte("head\n"+begin+"\nold\n"+end+"\ntail\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(doc, report, []string{out}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, row := range []string{"| neutrino, two hosts | 15.4 us | 17.7 us | **1.08** | 22.0 Gbit/s | 13.4 to 22.5 | **0.89** |", "| VXLAN | not measured |"} {
		if !strings.Contains(text, row) {
			t.Errorf("no row %q in\n%s", row, text)
		}
	}
	if !strings.HasPrefix(text, "head\n"+begin) || !strings.HasSuffix(text, end+"\ntail\n") || strings.Contains(text, "old") || !strings.Contains(text, "**61.5** ms") {
		t.Errorf("the document is\n%s", text)
	}
	if err := os.WriteFile(doc, []byte("no marks"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(doc, report, []string{out}); err == nil {
		t.Error("a document without marks was written")
	}
}
