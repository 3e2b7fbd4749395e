package lab

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files of this package anew")

func sampleReport() *Report {
	ms := time.Millisecond
	r := &Report{
		Version: 1, Lab: "lab", Started: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
		Machine:  Machine{Kernel: "Linux 6.12.1", CPU: "Sample <CPU>", CPUs: 2, Go: "go1.26"},
		Networks: []Network{{"id-red", "red", "105"}, {"id-blue", "blue", "106"}},
		Instances: []*Instance{
			{Name: "red1", Host: "compute1", Network: "red", NetworkID: "id-red", PCISlot: "fffe:00:00.0", MAC: "fa:16:3e:00:00:01", Address: "10.0.0.10/24", MTU: 1500, BindToActive: 9 * ms, Lease: 12 * ms},
			{Name: "blue1", Host: "compute2", Network: "blue", NetworkID: "id-blue", PCISlot: "fffe:01:00.0", MAC: "fa:16:3e:00:00:02", Address: "10.0.0.110/24", MTU: 1500},
		},
		Pings: []Ping{
			{From: "red1", To: "red2", Expected: true, Answered: true, RTT: 90 * time.Microsecond},
			{From: "red2", To: "red1", Expected: true},
			{From: "red1", To: "blue1"},
			{From: "red1", To: "blue1", Known: true},
			{From: "red2", To: "blue1"},
			{From: "red2", To: "blue1", Known: true, Answered: true, RTT: ms},
			{From: "blue1", To: "red1", Err: "ping from lab-blue1: it broke"},
		},
		Spoofs: []Spoof{
			{What: "source MAC of nobody", From: "red1", To: "red2", Sent: 5},
			{What: "true source", From: "red1", To: "red2", Expected: true, Arrived: 5, Sent: 5},
			{What: "own 802.1Q tag", From: "red1", To: "blue1", Arrived: 1, Sent: 5},
		},
		Paths: []Measured{
			sampleMeasured(PathDirect, "direct veth pair", 10, 40, 1, 1),
			sampleMeasured(PathTwo, "neutrino, two hosts", 11.5, 38, 1.15, 0.95),
			{Key: PathVXLAN, Title: "bridge + VXLAN, two hosts", Err: "make a VXLAN device: operation not supported"},
		},
		Effort:  Effort{Rounds: 12},
		Timings: Timings{Up: time.Second, Boot: 300 * ms, Check: 2 * time.Second, Measure: 10 * time.Second, Down: 100 * ms, Total: 13400 * ms},
	}
	r.judge()
	return r
}

func sampleMeasured(key, title string, p50, gbit, rttRatio, gbitRatio float64) Measured {
	m := Measured{
		Key: key, Title: title, RTT: Quantiles{p50 - 1, p50, p50 * 2, p50 * 9, 1000},
		Gbit: Spread{gbit - 2, gbit, gbit + 2}, RTTRatio: rttRatio, GbitRatio: gbitRatio,
	}
	for _, q := range []float64{1, 50, 99, 99.9} {
		m.Histogram = append(m.Histogram, Percent{q, p50 + q/10})
	}
	return m
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s differs (go test -update writes it anew):\n%s", path, d)
	}
}

func TestReportAsTable(t *testing.T) {
	var plain, color bytes.Buffer
	sampleReport().WriteTable(&plain, false)
	golden(t, "report.txt", plain.Bytes())
	sampleReport().WriteTable(&color, true)
	if bytes.Contains(plain.Bytes(), []byte("\x1b")) {
		t.Error("colors where there is no terminal")
	}
	stripped := regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAll(color.Bytes(), nil)
	if d := cmp.Diff(plain.String(), string(stripped)); d != "" {
		t.Errorf("colors move columns:\n%s", d)
	}
}

func TestReportAsHTML(t *testing.T) {
	got, err := sampleReport().HTML()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.html", got)
	for _, bad := range []string{"<script", "http-equiv", "src=", "href=", "url(", "Sample <CPU>"} {
		if bytes.Contains(got, []byte(bad)) {
			t.Errorf("the page holds %q", bad)
		}
	}
}

func TestReportAsJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	want := sampleReport()
	if err := want.Save(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := new(Report)
	if err := json.Unmarshal(b, got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if err := want.Save(filepath.Join(t.TempDir(), "no", "such", "dir.html")); err == nil {
		t.Error("a report that cannot be written is no error")
	}
}

func TestJudge(t *testing.T) {
	good := func() *Report {
		return &Report{
			Pings:  []Ping{{Expected: true, Answered: true}, {}},
			Spoofs: []Spoof{{Sent: 5}, {Expected: true, Arrived: 5, Sent: 5}},
			Paths:  []Measured{{Key: PathDirect}, {Key: PathTwo}, {Key: PathVXLAN, Err: "this kernel has none"}},
		}
	}
	for name, tc := range map[string]struct {
		spoil func(*Report)
		ok    bool
	}{
		"as it must be":            {func(*Report) {}, true},
		"silence on own VLAN":      {func(r *Report) { r.Pings[0].Answered = false }, false},
		"answer from the other":    {func(r *Report) { r.Pings[1].Answered = true }, false},
		"a ping that failed":       {func(r *Report) { r.Pings[1].Err = "x" }, false},
		"a forgery arrived":        {func(r *Report) { r.Spoofs[0].Arrived = 1 }, false},
		"the truth did not":        {func(r *Report) { r.Spoofs[1].Arrived = 0 }, false},
		"own path not measured":    {func(r *Report) { r.Paths[1].Err = "x" }, false},
		"nothing was pinged":       {func(r *Report) { r.Pings = nil }, false},
		"no forgery was attempted": {func(r *Report) { r.Spoofs = nil }, false},
	} {
		r := good()
		tc.spoil(r)
		if r.judge(); r.OK != tc.ok {
			t.Errorf("%s: OK = %v", name, r.OK)
		}
	}
}

func TestRatioIsWithinRounds(t *testing.T) {
	// The second round was disturbed for both alike.
	if got := ratio([]float64{11, 110, 12}, []float64{10, 100, 10}); got < 1.09 || got > 1.11 {
		t.Errorf("ratio %v", got)
	}
	if median(nil) != 0 || median([]float64{3, 1}) != 2 || median([]float64{9, 1, 2}) != 2 {
		t.Error("median")
	}
}
