package cli

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notify tells systemd a state; without systemd it does nothing.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd was not told", "state", state, "err", err)
	}
}

// watchdog tells systemd at half of WatchdogSec that the process lives, until ctx ends
// or stop is called, and then that it ends. Stop waits for that.
func watchdog(ctx context.Context, log *slog.Logger) (_ context.Context, stop func()) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the watchdog systemd asks for is not understood", "err", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer notify(log, daemon.SdNotifyStopping)
		var due <-chan time.Time // never, without a watchdog
		if every > 0 {
			tick := time.NewTicker(max(every/2, time.Millisecond))
			defer tick.Stop()
			due = tick.C
		}
		for {
			select {
			case <-ctx.Done():
				return
			case <-due:
				notify(log, daemon.SdNotifyWatchdog)
			}
		}
	}()
	return ctx, func() {
		cancel()
		<-done
	}
}
