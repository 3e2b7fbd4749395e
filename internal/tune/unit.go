package tune

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// KeeperUnit is the systemd unit that runs `neutrino tune keep`.
const KeeperUnit = "neutrino-tune.service"

// ErrNoKeeper: nothing can be kept over reboots and link changes here.
var ErrNoKeeper = errors.New("it is not kept over reboots and link changes")

// KeeperMissing says why the keeper cannot be started by systemd; nil = it can.
func (h *Host) KeeperMissing(ctx context.Context) error {
	if !h.live() {
		return fmt.Errorf("%w: this is not the running machine", ErrNoKeeper)
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return fmt.Errorf("%w: systemd does not run here: have something start `neutrino tune keep` at boot", ErrNoKeeper)
	}
	if _, err := systemctl(ctx, "cat", KeeperUnit); err != nil {
		return fmt.Errorf("%w: %s is not installed: `make install` does it", ErrNoKeeper, KeeperUnit)
	}
	return nil
}

// EnableKeeper starts the keeper, now and at each boot.
func (h *Host) EnableKeeper(ctx context.Context) error {
	if err := h.KeeperMissing(ctx); err != nil {
		return err
	}
	_, err := systemctl(ctx, "enable", "--now", KeeperUnit)
	return err
}

// DisableKeeper stops the keeper and waits for its end; where there is none it does
// nothing.
func (h *Host) DisableKeeper(ctx context.Context) error {
	err := h.KeeperMissing(ctx)
	if errors.Is(err, ErrNoKeeper) {
		return nil
	}
	if err == nil {
		_, err = systemctl(ctx, "disable", "--now", KeeperUnit)
	}
	return err
}

func systemctl(ctx context.Context, args ...string) (string, error) {
	path, err := exec.LookPath("systemctl")
	if err != nil {
		return "", fmt.Errorf("run systemctl: %w", err)
	}
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
