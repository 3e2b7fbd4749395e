package cli

import (
	"fmt"
	"io"

	"neutrino/internal/bench"
)

// printResult prints what was measured: the median over the runs, the lowest and the highest.
func printResult(w io.Writer, r *bench.Result) error {
	var rows [][]string
	for _, s := range r.Series {
		what := s.String()
		for _, m := range s.Metrics() {
			v := bench.SpreadOf(s.Values(m))
			rows = append(rows, []string{what, m.Title, m.Unit, bench.Figure(v.Median), bench.Figure(v.Min), bench.Figure(v.Max)})
			what = ""
		}
	}
	if err := grid(w, []string{"MEASUREMENT", "FIGURE", "UNIT", "MEDIAN", "LOWEST", "HIGHEST"}, rows); err != nil {
		return err
	}
	if noise := r.Noise(); noise != "" {
		fmt.Fprintf(w, "\nnoise: %s\n", noise)
	}
	return nil
}
