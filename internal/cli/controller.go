package cli

import "github.com/spf13/cobra"

// controllerCommand is `neutrino controller`, the daemon.
func controllerCommand(d Daemon) *cobra.Command {
	cmd := &cobra.Command{Use: "controller", Short: "The Networking API and the fabric, with etcd inside or outside"}
	asDaemon(cmd, "controller", d, roleController)
	return cmd
}
