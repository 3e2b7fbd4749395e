package cli

import "github.com/spf13/cobra"

// benchCommand is `neutrino bench`.
func benchCommand(o *output) *cobra.Command {
	cmd := group("bench", "Measure latency and bandwidth between hosts", benchServe(), benchRun(o))
	cmd.GroupID = "host"
	return cmd
}
