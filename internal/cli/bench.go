package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"neutrino/internal/bench"
)

// errUnclear is that a check cannot tell: exit code 8.
var errUnclear = errors.New("cannot tell")

// benchCommand is `neutrino bench`.
func benchCommand(o *output) *cobra.Command {
	cmd := group("bench", "Measure latency and bandwidth between hosts",
		benchServe(), benchRun(o), benchCompare(o), benchCheck(o), benchReport(), benchLab(o))
	cmd.GroupID = "host"
	return cmd
}

// readResults reads result files; each is called by its file's name.
func readResults(paths []string) ([]bench.Named, error) {
	var out []bench.Named
	for _, p := range paths {
		r, err := bench.Read(p)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil, coded{errNotFound, err.Error()}
		case errors.Is(err, bench.ErrFormat):
			return nil, usagef("%s", err)
		case err != nil:
			return nil, err
		}
		out = append(out, bench.Named{Name: resultName(p, paths), Result: r})
	}
	return out, nil
}

// resultName is what tells a file from the others: its name, or its path where two have the same name.
func resultName(path string, all []string) string {
	n := 0
	for _, p := range all {
		if filepath.Base(p) == filepath.Base(path) {
			n++
		}
	}
	if n > 1 {
		return path
	}
	return strings.TrimSuffix(filepath.Base(path), ".json")
}

// spread is a median with its lowest and highest.
func spread(s bench.Spread) string {
	return fmt.Sprintf("%s (%s-%s)", bench.Figure(s.Median), bench.Figure(s.Min), bench.Figure(s.Max))
}

// within is an interval of ratios; one of less confidence says so.
func within(i *bench.Interval) string {
	switch {
	case i == nil:
		return "-"
	case !i.Enough():
		return fmt.Sprintf("%.3f-%.3f at %.0f %%", i.Low, i.High, i.Confidence*100)
	}
	return fmt.Sprintf("%.3f-%.3f", i.Low, i.High)
}

func ratio(i *bench.Interval) string {
	if i == nil {
		return "-"
	}
	return fmt.Sprintf("%.3f", i.Ratio)
}
