package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseSockperf(t *testing.T) {
	got, err := parseSockperf([]byte("sockperf: [2;35m====> avg-rtt=66.801 (std-dev=119.964)[0m\n"+
		"sockperf: ---> percentile 99.990 = 4688.944\nsockperf: ---> percentile 99.000 =   93.809\nsockperf: ---> percentile 50.000 =   65.046\n"), "udp")
	want := map[string]float64{"udp-mean": 66.801, "udp-p99": 93.809, "udp-p50": 65.046}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err = parseSockperf([]byte("sockperf: ERROR: No messages were received"), "udp"); err == nil {
		t.Error("an error is a figure")
	}
}

func TestParseIperf(t *testing.T) {
	got, err := parseIperf([]byte(`{"end":{"sum":{"seconds":2,"bytes":12800,"packets":200,"lost_packets":50}}}`), "pps")
	if err != nil || got["pps"] != 0.075 {
		t.Errorf("%v, %v", got, err)
	}
	if got, err = parseIperf([]byte(`{"end":{"sum_received":{"bits_per_second":2.5e10}}}`), "stream"); err != nil || got["stream"] != 25 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{`{"error":"unable to connect"}`, `{"end":{}}`, `x`} {
		if _, err = parseIperf([]byte(bad), "stream"); err == nil {
			t.Errorf("%s is a figure", bad)
		}
	}
}

func TestParseQperf(t *testing.T) {
	got, err := parseQperf([]byte("udp_lat:\n    latency  =  5.03 us\n"), "udp")
	if err != nil || got["udp-mean"] != 10.06 {
		t.Errorf("%v, %v", got, err)
	}
	got, err = parseQperf([]byte("udp_bw:\n    send_bw  =  3 GB/sec\n    recv_bw  =  64 MB/sec\n"), "pps")
	if err != nil || got["pps"] != 1000 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err = parseQperf([]byte("tcp_bw:\n    bw  =  1 furlong\n"), "stream"); err == nil {
		t.Error("furlongs are a figure")
	}
}

func TestTableSaysWhetherAimsAreMet(t *testing.T) {
	r := rounds{}
	for range 3 {
		r.add("neutrino", map[string]float64{"udp-p50": 10, "udp-p99": 12, "stream": 9})
		r.add("sockperf", map[string]float64{"udp-p50": 9.9, "udp-p99": 11})
		r.add("iperf3", map[string]float64{"stream": 8})
		r.add("qperf", map[string]float64{"stream": 10})
	}
	got := r.table("here", func(f figure) (string, bool) { return f.key, true })
	for _, want := range []string{"1.01 (1.01 to 1.01) | at most 1.05: met", "1.09 (1.09 to 1.09) | at most 1.00: missed", "0.90 (0.90 to 0.90) | at least 0.95: missed"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}

func TestTextGoesBetweenTheMarks(t *testing.T) {
	doc := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(doc, []byte("a\n"+begin+"\nold\n"+end+"\nb\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := write(doc, "new\n", nil); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(doc)
	if want := "a\n" + begin + "\n\nnew\n\n" + end + "\nb\n"; string(got) != want {
		t.Errorf("%q", got)
	}
	if err := write(filepath.Join("testdata", "none"), "", nil); err == nil {
		t.Error("wrote into a document that is not there")
	}
}
