package bench

import (
	"fmt"
	"slices"
)

// What a check says of a figure, and of all of them.
const (
	Pass      = "pass"
	Regressed = "regressed"
	Unclear   = "cannot tell"
)

// Judgement is a result held against a baseline.
type Judgement struct {
	Baseline string `json:"baseline"`
	Result   string `json:"result"`
	// Verdict of all: regressed if one figure is, else unclear if one is.
	Verdict     string   `json:"verdict"`
	MaxRegress  float64  `json:"max_regress"` // 0.05 = 5 %
	Lines       []Judged `json:"lines"`
	Differences []string `json:"differences,omitempty"`
	Noise       []string `json:"noise,omitempty"`
}

// Judged is one figure.
type Judged struct {
	Line
	// Regress is by how much it got worse, and what it may as well be: 1.02 = by 2 %.
	Regress *Interval `json:"regress,omitempty"`
	Verdict string    `json:"verdict"`
	Why     string    `json:"why,omitempty"`
}

// Check holds a result against a baseline: a figure may get worse by limit (0.05 = 5 %) at most. It has regressed
// where even the better end of the interval is beyond that, passes where even the worse end is within, and else it
// cannot be told. A regression seen while the machine was disturbed proves nothing. Metrics are the keys of those to
// judge; none = the usual ones. What the baseline has and the result has not, has regressed.
func Check(baseline, result Named, limit float64, metrics []string) (*Judgement, error) {
	c, err := Compare(baseline, result)
	if err != nil {
		return nil, err
	}
	j := &Judgement{
		Baseline: baseline.Name, Result: result.Name, Verdict: Pass, MaxRegress: limit,
		Differences: c.Differences, Noise: c.Noise,
	}
	for _, l := range c.Lines {
		if len(metrics) == 0 && !l.metric.Judged || len(metrics) > 0 && !slices.Contains(metrics, l.Metric) {
			continue
		}
		j.add(l.judge(limit))
	}
	anyPath := len(baseline.Paths()) == 1 && len(result.Paths()) == 1
	for _, s := range baseline.Series {
		if now, ok := result.find(s, anyPath); len(s.Runs) > 0 && (!ok || len(now.Runs) == 0) {
			why := "it is not in the result"
			if now.Err != "" {
				why = now.Err
			}
			j.add(Judged{Line: Line{Measurement: s.Measurement, Path: s.Path}, Verdict: Regressed, Why: why})
		}
	}
	if len(j.Lines) == 0 {
		return nil, fmt.Errorf("check %s against %s: no figure is to be judged: %w", result.Name, baseline.Name, ErrNothing)
	}
	return j, nil
}

func (j *Judgement) add(x Judged) {
	j.Lines = append(j.Lines, x)
	switch {
	case x.Verdict == Regressed:
		j.Verdict = Regressed
	case x.Verdict == Unclear && j.Verdict == Pass:
		j.Verdict = Unclear
	}
}

func (l Line) judge(limit float64) Judged {
	out := Judged{Line: l}
	if l.metric.Share { // in points: 0.05 = 5 points of a hundred
		out.Verdict = Pass
		if by := (l.With.Median - l.Base.Median) / 100; by > limit {
			out.Verdict, out.Why = Regressed, fmt.Sprintf("%.1f points more", by*100)
		}
		return l.excuse(out)
	}
	if l.Ratio == nil {
		out.Verdict, out.Why = Unclear, "there is no ratio: a run measured nothing"
		return out
	}
	worse := *l.Ratio
	if l.metric.Higher {
		worse = worse.invert()
	}
	out.Regress = &worse
	switch {
	case !worse.Enough():
		out.Verdict, out.Why = Unclear, fmt.Sprintf("%d and %d runs are too few, take 4 or more each", l.BaseRuns, l.WithRuns)
	case worse.Low > 1+limit:
		out.Verdict = Regressed
	case worse.High <= 1+limit:
		out.Verdict = Pass
	default:
		out.Verdict, out.Why = Unclear, "the runs differ too much from each other"
	}
	return l.excuse(out)
}

// excuse: what was seen while a machine was disturbed proves no regression.
func (l Line) excuse(out Judged) Judged {
	if out.Verdict == Regressed && (l.baseLoud || l.nowLoud) {
		out.Verdict, out.Why = Unclear, "it looks worse, but the machine was disturbed"
	}
	return out
}
