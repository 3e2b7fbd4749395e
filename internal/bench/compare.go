package bench

import (
	"errors"
	"fmt"
	"slices"
)

// ErrNothing: two results have no measurement in common.
var ErrNothing = errors.New("nothing in common to compare")

// Named is a result and what it is called.
type Named struct {
	Name string
	*Result
}

// What comes of comparing.
const (
	Better  = "better"
	Worse   = "worse"
	Same    = "no difference shown"
	TooFew  = "too few runs to tell"
	NoRatio = "" // a share, or a value of 0
)

// Comparison is one result, or one path, beside the one that it is held against.
type Comparison struct {
	Base  string `json:"base"`
	With  string `json:"with"`
	Lines []Line `json:"lines"`
	// Missing are measurements that only one of them has.
	Missing []string `json:"missing,omitempty"`
	// Differences between the machines, and disturbances.
	Differences []string `json:"differences,omitempty"`
	Noise       []string `json:"noise,omitempty"`
}

// Line is one metric of one measurement.
type Line struct {
	Measurement
	Path   string `json:"path,omitempty"`
	Metric string `json:"metric"`
	Title  string `json:"title"`
	Unit   string `json:"unit"`
	Base   Spread `json:"base"`
	With   Spread `json:"with"`
	// Runs of both.
	BaseRuns int `json:"base_runs"`
	WithRuns int `json:"with_runs"`
	// Ratio of With to Base; nil where there is none.
	Ratio   *Interval `json:"ratio,omitempty"`
	Verdict string    `json:"verdict,omitempty"`

	metric            Metric
	baseLoud, nowLoud bool
}

// Compare holds a result against a base, measurement by measurement. Runs of two results have nothing to do with each
// other.
func Compare(base, with Named) (*Comparison, error) {
	c := &Comparison{Base: base.Name, With: with.Name, Lines: []Line{}, Differences: differences(base.Local, with.Local)}
	if base.Remote != nil && with.Remote != nil {
		for _, d := range differences(*base.Remote, *with.Remote) {
			c.Differences = append(c.Differences, "peer's "+d)
		}
	}
	for _, n := range []Named{base, with} {
		if loud := n.Noise(); loud != "" {
			c.Noise = append(c.Noise, n.Name+": "+loud)
		}
	}
	anyPath := len(base.Paths()) == 1 && len(with.Paths()) == 1
	for _, a := range base.Series {
		b, ok := with.find(a, anyPath)
		if !ok {
			c.Missing = append(c.Missing, fmt.Sprintf("%s%s is only in %s", a.Measurement, a.on(), base.Name))
			continue
		}
		c.add(a, b, independent)
	}
	for _, b := range with.Series {
		if _, ok := base.find(b, anyPath); !ok {
			c.Missing = append(c.Missing, fmt.Sprintf("%s%s is only in %s", b.Measurement, b.on(), with.Name))
		}
	}
	if len(c.Lines) == 0 {
		return nil, fmt.Errorf("compare %s and %s: %w", base.Name, with.Name, ErrNothing)
	}
	return c, nil
}

// ComparePaths holds each path of a result against its first one.
func ComparePaths(r Named) ([]*Comparison, error) {
	paths := r.Paths()
	if len(paths) < 2 {
		return nil, fmt.Errorf("compare the paths of %s: %w; it has one path, name a second result", r.Name, ErrNothing)
	}
	ratio := independent
	if r.Interleaved {
		ratio = paired
	}
	var out []*Comparison
	for _, p := range paths[1:] {
		c := &Comparison{Base: r.title(paths[0]), With: r.title(p), Lines: []Line{}}
		for _, a := range r.Series {
			if a.Path != paths[0] {
				continue
			}
			want := a
			want.Path = p
			b, ok := r.find(want, false)
			if !ok {
				c.Missing = append(c.Missing, a.String()+" is only there for "+c.Base)
				continue
			}
			c.add(a, b, ratio)
		}
		if loud := r.Noise(); loud != "" {
			c.Noise = []string{loud}
		}
		out = append(out, c)
	}
	return out, nil
}

// on names the path, where there are several.
func (s Series) on() string {
	if s.Path == "" {
		return ""
	}
	return " on " + s.Path
}

// Paths of a result, in their order.
func (r *Result) Paths() (out []string) {
	for _, s := range r.Series {
		if !slices.Contains(out, s.Path) {
			out = append(out, s.Path)
		}
	}
	return out
}

func (r *Result) title(path string) string {
	for _, s := range r.Series {
		if s.Path == path {
			return s.Name()
		}
	}
	return path
}

// find the series that is the same measurement, on the same path unless any will do.
func (r *Result) find(like Series, anyPath bool) (Series, bool) {
	for _, s := range r.Series {
		if s.Measurement == like.Measurement && (anyPath || s.Path == like.Path) {
			return s, true
		}
	}
	return Series{}, false
}

// add compares two series metric by metric.
func (c *Comparison) add(a, b Series, ratio func(x, y []float64) (Interval, bool)) {
	for name, s := range map[string]Series{c.Base: a, c.With: b} {
		if s.Err != "" {
			c.Missing = append(c.Missing, fmt.Sprintf("%s%s of %s was not measured to its end: %s", s.Measurement, s.on(), name, s.Err))
		}
	}
	for _, m := range a.Metrics() {
		if !slices.ContainsFunc(b.Metrics(), func(o Metric) bool { return o.Key == m.Key }) {
			continue
		}
		x, y := a.Values(m), b.Values(m)
		l := Line{
			Measurement: a.Measurement, Path: b.Path, Metric: m.Key, Title: m.Title, Unit: m.Unit, metric: m,
			Base: SpreadOf(x), With: SpreadOf(y), BaseRuns: len(x), WithRuns: len(y), baseLoud: a.disturbed(), nowLoud: b.disturbed(),
		}
		if i, ok := ratio(x, y); ok && !m.Share {
			l.Ratio, l.Verdict = &i, verdict(i, m.Higher)
		}
		c.Lines = append(c.Lines, l)
	}
}

func verdict(i Interval, higher bool) string {
	switch {
	case !i.Enough():
		return TooFew
	case !i.Differs():
		return Same
	case (i.Ratio > 1) == higher:
		return Better
	}
	return Worse
}

// Against is the ratio of a metric to that of another series; nil where there is none.
func (s Series) Against(base Series, m Metric, interleaved bool) *Interval {
	ratio := independent
	if interleaved {
		ratio = paired
	}
	i, ok := ratio(base.Values(m), s.Values(m))
	if !ok || m.Share {
		return nil
	}
	return &i
}
