package cli

import (
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// Version of this binary; the Makefile sets it.
var Version = "dev"

func versionCommand(o *output) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.format.String() != "table" {
				return o.data(cmd.OutOrStdout(), object{"version": Version, "go": runtime.Version()}, nil)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "neutrino %s %s %s/%s\n", Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}

func manCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the man pages into a directory", Args: args(1, 1, "a directory"),
		RunE: func(cmd *cobra.Command, a []string) error {
			if err := os.MkdirAll(a[0], 0o755); err != nil {
				return fmt.Errorf("write man pages: %w", err)
			}
			cmd.Root().DisableAutoGenTag = true // the same pages every day
			head := &doc.GenManHeader{Title: "NEUTRINO", Section: "1", Source: "neutrino " + Version, Manual: "neutrino"}
			if err := doc.GenManTree(cmd.Root(), head, a[0]); err != nil {
				return fmt.Errorf("write man pages: %w", err)
			}
			return nil
		},
	}
}
