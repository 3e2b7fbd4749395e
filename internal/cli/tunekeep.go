package cli

import (
	"context"
	"errors"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"neutrino/internal/config"
	"neutrino/internal/tune"
)

// keep is `neutrino tune keep`, which neutrino-tune.service runs.
func (t *tuning) keep() *cobra.Command {
	return &cobra.Command{
		Use: "keep", Short: "Keep this machine tuned over link changes (neutrino-tune.service runs it)", Args: noArgs,
		Long: "Keep this machine as the last `neutrino tune apply` asked: at boot, after link changes, and when something\n" +
			"else has changed a value; what somebody sets again and again is left to them. It ends when `neutrino tune undo`\n" +
			"has put everything back. It tells systemd when the machine is tuned (Type=notify) and that it lives\n" +
			"(WatchdogSec=).",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.with(cmd, true, func(h *tune.Host) (err error) {
				log, closeLog, err := newLogger(&config.Config{}, cmd.ErrOrStderr(), "tune")
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, closeLog()) }()
				ctx, stop := watchdog(cmd.Context(), log)
				defer stop()
				k := &tune.Keeper{Host: h, Log: log, Ready: func() { notify(log, daemon.SdNotifyReady) }}
				if err = k.Run(ctx); ctx.Err() != nil && errors.Is(err, context.Canceled) {
					return nil // it was told to end
				}
				return err
			})
		},
	}
}
