package lab

import "github.com/spf13/cobra"

// Command returns "neutrino lab" with its subcommands.
func Command() *cobra.Command {
	return &cobra.Command{Use: "lab", Short: "The whole system on this machine"}
}
