package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"neutrino/internal/bench"
)

func benchReport() *cobra.Command {
	var file, title string
	cmd := &cobra.Command{
		Use: "report RESULT... --file PAGE", Short: "Draw results as one HTML page",
		Long: "Draw results as one HTML page: latency by percentile, throughput, ratios, and what it was measured on.\n\n" +
			"The page needs nothing else, neither script nor network, and can be sent by mail. Ratios are to the first path\n" +
			"of the first result.",
		Example: "  neutrino bench report lab.json --file lab.html\n  neutrino bench report before.json after.json --file both.html --title 'Tuned for latency'",
		Args:    args(1, -1, "a result"),
		RunE: func(cmd *cobra.Command, a []string) error {
			all, err := readResults(a)
			if err != nil {
				return err
			}
			if title == "" {
				title = pageTitle(all)
			}
			if err = writePage(file, title, all); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "page in %s\n", file)
			return err
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "page to write")
	cmd.Flags().StringVar(&title, "title", "", "headline (default the results' own)")
	_ = cmd.MarkFlagRequired("file")
	return cmd
}

// pageTitle is what a page is called whose writer did not say.
func pageTitle(all []bench.Named) string {
	if len(all) == 1 && all[0].Title != "" {
		return all[0].Title
	}
	var names []string
	for _, r := range all {
		names = append(names, r.Name)
	}
	return strings.Join(names, ", ")
}

// writePage draws results into a file.
func writePage(file, title string, all []bench.Named) error {
	text, err := bench.Page(title, all)
	if errors.Is(err, bench.ErrNoRuns) {
		return coded{errNotFound, err.Error()}
	}
	if err == nil {
		err = renameio.WriteFile(file, text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write page %s: %w", file, err)
	}
	return nil
}
