package bench

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/google/go-cmp/cmp"
)

var sameHistograms = cmp.Comparer(func(a, b *Histogram) bool {
	if a == nil || b == nil {
		return a == b
	}
	return cmp.Equal(a.Distribution(), b.Distribution())
})

func TestResultSurvivesItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	want := sampleResult(1, 1.2, 3, "wire", "bridge")
	if err := want.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, sameHistograms); d != "" {
		t.Error(d)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > 100_000 {
		t.Errorf("24 runs of which 12 have a histogram take %v bytes (%v)", info.Size(), err)
	}
}

func TestResultsThatAreNone(t *testing.T) {
	good, err := sampleResult(1, 1, 1, "wire").Encode()
	if err != nil {
		t.Fatal(err)
	}
	wide := &Histogram{hdrhistogram.New(1, 1<<62, 5)}
	if err = wide.RecordValue(7); err != nil {
		t.Fatal(err)
	}
	big, err := json.Marshal(wide)
	if err != nil {
		t.Fatal(err)
	}
	var h string
	for line := range strings.Lines(string(good)) {
		if key, value, ok := strings.Cut(line, `"latency_ns": `); ok && key != "" {
			h = strings.TrimSuffix(strings.TrimSpace(value), ",")
			break
		}
	}
	for name, change := range map[string][2]string{
		"another program's":    {`"format": "neutrino-bench"`, `"format": "iperf"`},
		"of a later version":   {`"version": 1`, `"version": 2`},
		"with an unknown word": {`"started"`, `"begun"`},
		"an unknown test":      {`"test": "udp"`, `"test": "sctp"`},
		"a negative count":     {`"lost": 0`, `"lost": -1`},
		"no flows":             {`"flows": 1`, `"flows": 0`},
		"twice the same":       {`"test": "tcp"`, `"test": "udp"`},
		"a cut histogram":      {h, h[:len(h)-20] + `"`},
		"a huge histogram":     {h, string(big)},
		"a number for it":      {h, "7"},
		"more behind it":       {"\n}\n", "\n}{}\n"},
	} {
		bad := strings.Replace(string(good), change[0], change[1], 1)
		if bad == string(good) {
			t.Fatalf("%s: nothing changed", name)
		}
		if _, err = Decode([]byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err = Read(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	r := sampleResult(1, 1, 1, "wire")
	r.Series[0].Runs[0].Noise.Steal = -1
	if err = r.Write(filepath.Join(t.TempDir(), "r")); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	good, err := sampleResult(1, 1, 1, "wire", "vf").Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format":"neutrino-bench","version":1,"started":"2026-01-02T03:04:05Z","local":{},"series":[]}`))
	f.Add([]byte(`{"format":"neutrino-bench","version":1,"series":[{"test":"udp","flows":1,"runs":[{"latency_ns":null},{}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Decode(data)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(again)
		if err != nil {
			t.Fatalf("what was written is not read: %v\n%s", err, again)
		}
		if d := cmp.Diff(r, back, sameHistograms); d != "" {
			t.Fatal(d)
		}
		for _, s := range r.Series {
			for _, m := range s.Metrics() {
				SpreadOf(s.Values(m))
			}
		}
		_, _ = Compare(Named{"a", r}, Named{"b", back})
		_, _ = ComparePaths(Named{"a", r})
		_, _ = Check(Named{"a", r}, Named{"b", back}, 0.05, nil)
	})
}
