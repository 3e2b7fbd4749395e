package sriov

import (
	"context"
	"errors"
	"fmt"
	"time"

	"neutrino/internal/eswitch"
)

// worker carries out what is to be done on one PF, one after the other. Whoever waits
// for it leaves when his context ends or his patience does; a driver that hangs holds
// the worker and nobody else.
type worker struct {
	jobs chan func()
	quit chan struct{}
	gone chan struct{}
}

func startWorker() *worker {
	w := &worker{jobs: make(chan func()), quit: make(chan struct{}), gone: make(chan struct{})}
	go func() {
		defer close(w.gone)
		for {
			select {
			case <-w.quit:
				return
			case job := <-w.jobs:
				job()
			}
		}
	}()
	return w
}

// stop ends the worker and waits for it, but not for ever.
func (w *worker) stop(patience time.Duration) {
	close(w.quit)
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-w.gone:
	case <-t.C:
	}
}

// do runs f on the worker and returns what it returns. f gets a context that ends with
// the patience.
func do[T any](ctx context.Context, w *worker, patience time.Duration, f func(context.Context) T) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	done := make(chan T, 1)
	job := func() {
		defer cancel()
		done <- f(ctx)
	}
	var none T
	select {
	case w.jobs <- job:
	case <-w.quit:
		cancel()
		return none, errClosed
	case <-ctx.Done():
		cancel()
		return none, fmt.Errorf("its driver is still at an earlier request: %w", errors.Join(eswitch.ErrBusy, ctx.Err()))
	}
	select {
	case v := <-done:
		return v, nil
	case <-ctx.Done():
		select {
		case v := <-done: // it knows better what it was that took so long
			return v, nil
		case <-time.After(lastWord):
			return none, fmt.Errorf("its driver does not answer: %w", errors.Join(eswitch.ErrBusy, ctx.Err()))
		}
	}
}

// lastWord is how long a job may go on after its context has ended, to say how far it
// got.
const lastWord = 100 * time.Millisecond
