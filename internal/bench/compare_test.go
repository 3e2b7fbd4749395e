package bench

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func verdicts(c *Comparison) map[string]string {
	out := map[string]string{}
	for _, l := range c.Lines {
		out[l.Test+" "+l.Metric] = l.Verdict
	}
	return out
}

func TestCompareFindsWhatDiffersAndNothingElse(t *testing.T) {
	slow := sampleResult(4, 1, 5, "")
	for i, s := range slow.Series {
		if s.Test == "stream" {
			for k := range s.Runs {
				slow.Series[i].Runs[k].Bytes = slow.Series[i].Runs[k].Bytes * 9 / 10
			}
		}
	}
	slow.Local.Governor = "powersave"
	c, err := Compare(Named{"a", sampleResult(1, 1, 5, "wire")}, Named{"b", slow})
	if err != nil {
		t.Fatal(err)
	}
	got := verdicts(c)
	for what, want := range map[string]string{
		"udp p50": Same, "tcp p50": Same, "pps packets": Same, "stream throughput": Worse, "pps loss": NoRatio, "udp cpu": Same,
	} {
		if got[what] != want {
			t.Errorf("%s: %q, not %q", what, got[what], want)
		}
	}
	if d := cmp.Diff([]string{"governor: performance, powersave"}, c.Differences); d != "" {
		t.Error(d)
	}
	if len(c.Missing) != 0 {
		t.Error(c.Missing)
	}
}

func TestCompareSaysWhatIsMissing(t *testing.T) {
	a, b := sampleResult(1, 1, 5, "wire", "vf"), sampleResult(2, 1, 5, "wire")
	b.Series = b.Series[1:]
	b.Series[0].Err = "the peer went away"
	c, err := Compare(Named{"a", a}, Named{"b", b})
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(c.Missing, "\n")
	for _, want := range []string{"udp, 64 bytes on wire is only in a", "pps, 64 bytes, 2 flows on vf is only in a", "the peer went away"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	b.Series = nil
	if _, err = Compare(Named{"a", a}, Named{"b", b}); !errors.Is(err, ErrNothing) {
		t.Error(err)
	}
}

func TestComparePathsHoldsThemAgainstTheFirst(t *testing.T) {
	all, err := ComparePaths(Named{"lab", sampleResult(1, 1.2, 8, "wire", "vf", "ovs")})
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	for i, lo := range []float64{1.2, 1.44} {
		l := all[i].Lines[0]
		if l.Metric != "p50" || l.Verdict != Worse || l.Ratio.Low > lo || l.Ratio.High < lo || l.Ratio.High/l.Ratio.Low > 1.1 {
			t.Errorf("%+v %+v", l, l.Ratio)
		}
	}
	if _, err = ComparePaths(Named{"a", sampleResult(1, 1, 5, "")}); !errors.Is(err, ErrNothing) {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	scale := func(by float64, r *Result) *Result {
		for i := range r.Series {
			for k := range r.Series[i].Runs {
				r.Series[i].Runs[k].Bytes = int64(float64(r.Series[i].Runs[k].Bytes) / by)
			}
		}
		return r
	}
	loud := func(r *Result) *Result {
		for i := range r.Series {
			for k := range r.Series[i].Runs {
				r.Series[i].Runs[k].Noise.BusyBefore = 0.5
			}
		}
		return r
	}
	base := Named{"base", sampleResult(1, 1, 5, "wire")}
	for name, x := range map[string]struct {
		result *Result
		limit  float64
		want   string
	}{
		"as it was":                      {sampleResult(2, 1, 5, "wire"), 0.05, Pass},
		"the same, machine disturbed":    {loud(sampleResult(2, 1, 5, "wire")), 0.05, Pass},
		"much slower":                    {scale(1.2, sampleResult(2, 1, 5, "wire")), 0.05, Regressed},
		"slower, but allowed":            {scale(1.2, sampleResult(2, 1, 5, "wire")), 0.30, Pass},
		"on the limit":                   {scale(1.05, sampleResult(2, 1, 5, "wire")), 0.05, Unclear},
		"much slower, machine disturbed": {loud(scale(1.2, sampleResult(2, 1, 5, "wire"))), 0.05, Unclear},
		"three runs":                     {sampleResult(2, 1, 3, "wire"), 0.05, Unclear},
		"faster":                         {scale(0.5, sampleResult(2, 1, 5, "wire")), 0.05, Pass},
	} {
		j, err := Check(base, Named{"now", x.result}, x.limit, []string{"throughput"})
		if name == "three runs" { // 5 and 3 have no interval of 95 %, 5 and 5 have
			j, err = Check(Named{"base", sampleResult(1, 1, 3, "wire")}, Named{"now", x.result}, x.limit, []string{"throughput"})
		}
		if err != nil || j.Verdict != x.want || len(j.Lines) != 1 {
			t.Errorf("%s: %+v, %v", name, j, err)
		}
	}
}

func TestCheckMissesWhatIsGone(t *testing.T) {
	now := sampleResult(2, 1, 5, "wire")
	now.Series[2] = Series{Measurement: now.Series[2].Measurement, Path: "wire", Err: "connection refused"}
	j, err := Check(Named{"base", sampleResult(1, 1, 5, "wire")}, Named{"now", now}, 0.5, nil)
	if err != nil || j.Verdict != Regressed {
		t.Fatalf("%+v, %v", j, err)
	}
	if last := j.Lines[len(j.Lines)-1]; last.Why != "connection refused" {
		t.Errorf("%+v", last)
	}
	if _, err = Check(Named{"a", now}, Named{"b", now}, 0.05, []string{"peer-cpu"}); !errors.Is(err, ErrNothing) {
		t.Error(err)
	}
}

func TestCheckOfLossIsInPoints(t *testing.T) {
	now := sampleResult(2, 1, 5, "wire")
	for i, s := range now.Series {
		for k := range s.Runs {
			now.Series[i].Runs[k].Lost *= 20
		}
	}
	j, err := Check(Named{"base", sampleResult(1, 1, 5, "wire")}, Named{"now", now}, 0.05, []string{"loss"})
	if err != nil || j.Verdict != Regressed || !strings.Contains(j.Lines[0].Why, "points") {
		t.Errorf("%+v, %v", j, err)
	}
}

func TestNoiseIsTold(t *testing.T) {
	r := sampleResult(1, 1, 5, "")
	if s := r.Noise(); s != "" {
		t.Error(s)
	}
	r.Series[0].Runs[1].Noise = Noise{BusyBefore: 0.4, Steal: 0.1, MHzBefore: 3000, MHzAfter: 2000}
	want := "1 of 20 runs were disturbed, at worst by other work on the machine (40 % of the processors just before) and a hypervisor that took 10 % away and a clock that went from 3000 to 2000 MHz"
	if s := r.Noise(); s != want {
		t.Error(s)
	}
	if n, of := r.Series[0].Disturbed(); n != 1 || of != 5 {
		t.Error(n, of)
	}
}
