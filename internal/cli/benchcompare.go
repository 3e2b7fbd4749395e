package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"neutrino/internal/bench"
)

func benchCompare(o *output) *cobra.Command {
	return &cobra.Command{
		Use: "compare BASE [RESULT]...", Short: "Hold results against each other, with confidence",
		Long: "Hold results against each other, with confidence: each against the first. A single result of several paths\n" +
			"(bench lab) has its paths held against its first one.\n\n" +
			"A ratio is the median of the ratios of all pairs of runs, with the interval in which the true one is with at\n" +
			"least 95 % confidence (Mann-Whitney; of paths whose runs took turns, Wilcoxon's signed ranks). Where the interval\n" +
			"holds 1, no difference has been shown. It takes four runs on each side, six of paths that took turns; and it\n" +
			"says what more runs on the same days would show, not what another day would.",
		Example: "  neutrino bench compare before.json after.json\n  neutrino bench compare lab.json -o json",
		Args:    args(1, -1, "a result"),
		RunE: func(cmd *cobra.Command, a []string) error {
			all, err := readResults(a)
			if err != nil {
				return err
			}
			var out []*bench.Comparison
			if len(all) == 1 {
				if out, err = bench.ComparePaths(all[0]); err != nil {
					return usagef("%s", err)
				}
			}
			for _, with := range all[1:] {
				c, err := bench.Compare(all[0], with)
				if err != nil {
					return usagef("%s", err)
				}
				out = append(out, c)
			}
			w := cmd.OutOrStdout()
			if o.format.String() != "table" {
				return o.plain(w, out, nil)
			}
			for i, c := range out {
				if i > 0 {
					fmt.Fprintln(w)
				}
				if err := printComparison(w, c); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func printComparison(w io.Writer, c *bench.Comparison) error {
	fmt.Fprintf(w, "%s against %s\n\n", printable(c.With), printable(c.Base))
	var rows [][]string
	last := ""
	for _, l := range c.Lines {
		what := l.String()
		if l.Path != "" && l.Path != c.With {
			what = l.Path + ": " + what
		}
		shown := what
		if what == last {
			shown = ""
		}
		last = what
		rows = append(rows, []string{shown, l.Title, l.Unit, spread(l.Base), spread(l.With), ratio(l.Ratio), within(l.Ratio), l.Verdict})
	}
	if err := grid(w, []string{"MEASUREMENT", "FIGURE", "UNIT", "BASE", "RESULT", "RATIO", "95 % WITHIN", "VERDICT"}, rows); err != nil {
		return err
	}
	printRemarks(w, c.Missing, c.Differences, c.Noise)
	return nil
}

// printRemarks says what a reader should know before believing a table.
func printRemarks(w io.Writer, missing, differences, noise []string) {
	for _, x := range []struct {
		title string
		all   []string
	}{{"Missing", missing}, {"The machines differ", differences}, {"Noise", noise}} {
		if len(x.all) > 0 {
			fmt.Fprintf(w, "\n%s:\n", x.title)
		}
		for _, s := range x.all {
			fmt.Fprintf(w, "  %s\n", printable(s))
		}
	}
}
