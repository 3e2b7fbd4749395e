package main

import (
	"fmt"
	"slices"
	"strings"

	"neutrino/internal/bench"
)

// rounds are the figures of all tools, by tool and figure, one per round.
type rounds map[string]map[string][]float64

func (r rounds) add(tool string, got map[string]float64) {
	if r[tool] == nil {
		r[tool] = map[string][]float64{}
	}
	for k, v := range got {
		r[tool][k] = append(r[tool][k], v)
	}
}

// best is the best of the other tools for a figure, by its median; "" = none measures it.
func (r rounds) best(f figure, key string) string {
	name, at := "", 0.0
	for tool, all := range r {
		v := all[key]
		if tool == "neutrino" || len(v) == 0 {
			continue
		}
		m := bench.SpreadOf(v).Median
		if name == "" || f.higher == (m > at) && m != at {
			name, at = tool, m
		}
	}
	return name
}

// ratios are neutrino's to another tool's, round by round.
func (r rounds) ratios(tool, key string) []float64 {
	ours, theirs := r["neutrino"][key], r[tool][key]
	var out []float64
	for i := range min(len(ours), len(theirs)) {
		if theirs[i] > 0 {
			out = append(out, ours[i]/theirs[i])
		}
	}
	return out
}

// met says whether the aim of a figure was met.
func met(f figure, ratio float64) string {
	what, ok := "at most 1.05", ratio <= 1.05
	switch {
	case f.higher:
		what, ok = "at least 0.95", ratio >= 0.95
	case strings.HasSuffix(f.key, "p99"):
		what, ok = "at most 1.00", ratio <= 1
	case strings.HasSuffix(f.key, "mean"):
		return ""
	}
	if ok {
		return what + ": met"
	}
	return what + ": missed"
}

// table is the figures in Markdown.
func (r rounds) table(where string, keys func(figure) (string, bool)) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | neutrino | the others | ratio to the best of them | aim |\n|---|---|---|---|---|\n", where)
	for _, f := range figures {
		key, ok := keys(f)
		if !ok || len(r["neutrino"][key]) == 0 {
			continue
		}
		var others []string
		for tool, all := range r {
			if tool != "neutrino" && len(all[key]) > 0 {
				others = append(others, tool+" "+spread(all[key]))
			}
		}
		slices.Sort(others)
		ratio, aim := "", ""
		if best := r.best(f, key); best != "" {
			s := bench.SpreadOf(r.ratios(best, key))
			ratio, aim = fmt.Sprintf("%.2f (%.2f to %.2f)", s.Median, s.Min, s.Max), met(f, s.Median)
		}
		fmt.Fprintf(&b, "| %s, %s | %s | %s | %s | %s |\n", f.title, f.unit, spread(r["neutrino"][key]), strings.Join(others, "; "), ratio, aim)
	}
	return b.String()
}

func spread(v []float64) string {
	s := bench.SpreadOf(v)
	return fmt.Sprintf("%s (%s to %s)", bench.Figure(s.Median), bench.Figure(s.Min), bench.Figure(s.Max))
}
