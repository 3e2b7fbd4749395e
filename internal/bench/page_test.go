package bench

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func samplePage(t *testing.T) []byte {
	t.Helper()
	r := sampleResult(1, 1.15, 8, "direct veth pair", "neutrino, one host", "Linux bridge", "Open vSwitch", "bridge + VXLAN, two hosts", "Open vSwitch + VXLAN, two hosts", "macvtap")
	r.Series[0].Runs[0].Noise.BusyBefore = 0.4
	r.Series = append(r.Series, Series{Measurement: r.Series[0].Measurement, Path: "kernel", PathTitle: "Open vSwitch, kernel", Err: "no module <openvswitch>"})
	text, err := Page("Paths of one machine", []Named{{"lab", r}})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestPageHoldsEverythingAndNeedsNothing(t *testing.T) {
	text := samplePage(t)
	for _, want := range []string{
		"Paths of one machine", "direct veth pair", "macvtap", "no module &lt;openvswitch&gt;", "Sample &lt;CPU&gt;", "2.42.5000",
		"udp, 64 bytes", "p99.9, µs", "throughput, Gbit/s", "signed ranks", "1 of 224 runs were disturbed",
	} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("no %q", want)
		}
	}
	for _, bad := range []string{"<script", "http-equiv", "src=", "url(", "@import", "NaN", "ZgotmplZ"} {
		if bytes.Contains(text, []byte(bad)) {
			t.Errorf("the page holds %q", bad)
		}
	}
	if n := bytes.Count(text, []byte("<svg")); n != 8 {
		t.Errorf("%d drawings, not 4 measurements for 2 sizes", n)
	}
}

func TestPageOfSeveralResults(t *testing.T) {
	peer := Environment{Host: "compute2"}
	b := sampleResult(2, 1, 5, "")
	b.Remote = &peer
	text, err := Page("Before and after", []Named{{"before", sampleResult(1, 1, 5, "")}, {"after", b}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Beside before", "after, peer", "compute2", "Mann-Whitney"} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("no %q", want)
		}
	}
	if text, err = Page("One", []Named{{"one", b}}); err != nil || strings.Contains(string(text), "× base") {
		t.Errorf("a ratio to nothing (%v)", err)
	}
	for i := range b.Series {
		b.Series[i].Runs = nil
	}
	if _, err = Page("Nothing", []Named{{"none", b}}); !errors.Is(err, ErrNoRuns) {
		t.Error(err)
	}
}

func TestTailEndsWhereThereIsNoneLeft(t *testing.T) {
	for count, want := range map[int64]float64{5: 90, 1000: 99, 10_000: 99.9, 2_000_000: 99.999} {
		if all := tail(count); all[len(all)-1] != want {
			t.Errorf("%d values: %v", count, all)
		}
	}
}
