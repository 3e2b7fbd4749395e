package hostprep

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrHalfDone: a step failed and what was done could not be taken back either.
var ErrHalfDone = errors.New("it is half done")

// undoDeadline and undoPerVF bound the undoing of one step when the caller's context has
// ended: VFs go, come and are bound one by one.
const (
	undoDeadline = 3 * time.Minute
	undoPerVF    = 3 * time.Second
)

// Run carries out the steps; tell is called before each of them and may be nil. When one
// fails, or ctx ends, all are taken back and the error is the step's.
func (plan Plan) Run(ctx context.Context, tell func(step string)) error {
	if len(plan.Steps) == 0 {
		return nil
	}
	unlock, err := plan.host.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if tell == nil {
		tell = func(string) {}
	}
	for i, s := range plan.Steps {
		err = ctx.Err()
		if err == nil {
			tell(s.Describe)
			err = s.Do(ctx)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", s.Describe, err)
			return errors.Join(err, plan.back(context.WithoutCancel(ctx), i, tell))
		}
	}
	return nil
}

// back takes back the steps from the one at last down. One that cannot be does not keep
// the others: each brings back a state, not a difference.
func (plan Plan) back(ctx context.Context, last int, tell func(string)) error {
	var errs []error
	for i := last; i >= 0; i-- {
		s := plan.Steps[i]
		if s.Undo == nil {
			continue
		}
		tell("take back: " + s.Describe)
		short, cancel := context.WithTimeout(ctx, undoDeadline+time.Duration(plan.PF.TotalVFs)*undoPerVF)
		if err := s.Undo(short); err != nil {
			errs = append(errs, fmt.Errorf("%w: take back: %s: %w", ErrHalfDone, s.Describe, err))
		}
		cancel()
	}
	return errors.Join(errs...)
}

// lock keeps two changes of one machine apart, over processes. The kernel lets go of it
// when a process ends, however it ends.
func (h Host) lock(ctx context.Context) (unlock func(), err error) {
	file := h.path("run/neutrino-vfs.lock")
	if err = os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, fmt.Errorf("lock the VFs of this host: %w", err)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the VFs of this host: %w: be root", err)
	}
	got := until(ctx, func() bool {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		return !errors.Is(err, unix.EWOULDBLOCK)
	})
	if err != nil || !got {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", file, errors.Join(err, ctx.Err())), f.Close())
	}
	return func() { _ = f.Close() }, nil
}
