package cli

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"neutrino/internal/bench"
)

func benchCheck(o *output) *cobra.Command {
	var baseline, limit string
	var metrics []string
	cmd := &cobra.Command{
		Use: "check --baseline FILE RESULT", Short: "Say whether a result is worse than a baseline, for CI",
		Long: "Say whether a result is worse than a baseline, for CI.\n\n" +
			"A figure has regressed when even the better end of its interval of 95 % is worse than allowed, and passes when\n" +
			"even the worse end is within what is allowed. Between the two it cannot be told: measure longer, more often, or\n" +
			"on a quieter machine. A regression seen while a machine was disturbed counts as not to be told, too.\n\n" +
			"Exit codes: 0 passes, 1 has regressed, 8 cannot be told.\n\n" +
			"Figures: " + strings.Join(bench.MetricKeys(), ", ") + ". Loss is judged in points of a hundred.",
		Example: "  neutrino bench check --baseline main.json --max-regress 5% now.json",
		Args:    args(1, 1, "a result"),
		RunE: func(cmd *cobra.Command, a []string) error {
			share, err := parseShare(limit)
			if err != nil {
				return err
			}
			for _, m := range metrics {
				if !slices.Contains(bench.MetricKeys(), m) {
					return usagef("--metrics: %q is none of %s", m, strings.Join(bench.MetricKeys(), ", "))
				}
			}
			all, err := readResults([]string{baseline, a[0]})
			if err != nil {
				return err
			}
			j, err := bench.Check(all[0], all[1], share, metrics)
			if err != nil {
				return usagef("%s", err)
			}
			if o.format.String() != "table" {
				err = o.plain(cmd.OutOrStdout(), j, nil)
			} else {
				err = printJudgement(cmd.OutOrStdout(), j)
			}
			if err != nil {
				return err
			}
			return judged(j)
		},
	}
	f := cmd.Flags()
	f.StringVar(&baseline, "baseline", "", "result to hold it against")
	f.StringVar(&limit, "max-regress", "5%", "by how much a figure may get worse")
	f.StringSliceVar(&metrics, "metrics", nil, "figures to judge (default p50, p99, throughput, packets)")
	_ = cmd.MarkFlagRequired("baseline")
	return cmd
}

// judged is the exit code of a judgement.
func judged(j *bench.Judgement) error {
	n := 0
	for _, l := range j.Lines {
		if l.Verdict == j.Verdict {
			n++
		}
	}
	switch j.Verdict {
	case bench.Regressed:
		return fmt.Errorf("%d of %d figures have regressed by more than %g %%", n, len(j.Lines), j.MaxRegress*100)
	case bench.Unclear:
		return coded{errUnclear, fmt.Sprintf("of %d of %d figures it cannot be told whether they have regressed by more than %g %%", n, len(j.Lines), j.MaxRegress*100)}
	}
	return nil
}

// parseShare reads "5%", "2.5 %" or "0.05".
func parseShare(s string) (float64, error) {
	text, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v >= 0) || v > 10 {
		return 0, usagef("--max-regress %q: a share like 5%% or 0.05 is wanted", s)
	}
	return v, nil
}

func printJudgement(w io.Writer, j *bench.Judgement) error {
	var rows [][]string
	for _, l := range j.Lines {
		what := l.String()
		if l.Path != "" {
			what = l.Path + ": " + what
		}
		row := []string{l.Verdict, what, l.Title, l.Unit, spread(l.Base), spread(l.With), "-", "-", l.Why}
		if l.Regress != nil {
			row[6] = fmt.Sprintf("%+.1f %%", (l.Regress.Ratio-1)*100)
			row[7] = fmt.Sprintf("%+.1f to %+.1f %%", (l.Regress.Low-1)*100, (l.Regress.High-1)*100)
		}
		rows = append(rows, row)
	}
	err := grid(w, []string{"VERDICT", "MEASUREMENT", "FIGURE", "UNIT", "BASELINE", "RESULT", "WORSE BY", "95 % WITHIN", "WHY"}, rows)
	if err != nil {
		return err
	}
	printRemarks(w, nil, j.Differences, j.Noise)
	fmt.Fprintf(w, "\n%s: %s, against %s\n", j.Verdict, printable(j.Result), printable(j.Baseline))
	return nil
}
