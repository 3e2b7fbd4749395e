// Package main is the neutrino binary: it hands the daemons and the lab to the command
// line and does nothing else.
package main

import (
	"context"
	"log/slog"
	"os"

	"neutrino/internal/cli"
	"neutrino/internal/config"
	"neutrino/internal/controller"
	"neutrino/internal/host"
	"neutrino/internal/lab"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, cli.Daemons{
		Controller: func(ctx context.Context, cfg *config.Config, log *slog.Logger, ready func()) error {
			return controller.Run(ctx, cfg, controller.Options{Log: log, Version: cli.Version, Ready: func(string) { ready() }})
		},
		Agent: func(ctx context.Context, cfg *config.Config, log *slog.Logger, ready func()) error {
			return host.Run(ctx, cfg, host.Options{Log: log, Version: cli.Version, Ready: ready})
		},
		Lab: lab.Command(),
	}))
}
