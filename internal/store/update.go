package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// staleClaims is how often a transaction whose own view has its claim taken is run
	// again on a fresh view before it is believed.
	staleClaims = 2
	// maxPause is the longest pause before a conflicting transaction is run again.
	maxPause = 25 * time.Millisecond
	// nudgeAfter is how long a revision may be outstanding before etcd is asked how far
	// the watch is: a revision of keys that are not ours never arrives by itself.
	nudgeAfter = 20 * time.Millisecond
)

// staleError says that etcd has other versions than the view had, as of revision.
type staleError struct{ revision int64 }

func (e *staleError) Error() string { return fmt.Sprintf("view is older than revision %d", e.revision) }

// Update runs fn and commits what it wrote, if all that it read through the Tx (Read,
// Require, Put, Delete, Claim, Claimed, Release, NoneUnder) is still so; else it waits for
// the newer state and runs fn again, so fn must have no side effects and must not keep the
// Tx. An error of fn is returned as it is and nothing is written. If fn wrote nothing,
// nothing is compared. Update returns after Snapshot has the change.
//
// Errors: ErrConflict after too many runs (a ClaimedError if a claim is the reason),
// ErrUnavailable when the outcome is not known, ErrTooLarge, ErrLeaseGone, ErrInvalid,
// ErrClosed.
func (db *DB) Update(ctx context.Context, fn func(tx *Tx) error) error {
	collisions := 0
	for attempt := 1; ; attempt++ {
		if db.isClosed() {
			return ErrClosed
		}
		tx := newTx(db)
		if err := fn(tx); err != nil {
			return err
		}
		if tx.err != nil {
			return tx.err
		}
		if len(tx.order) == 0 && tx.collision == nil {
			return nil
		}
		err := db.commit(ctx, tx)
		var stale *staleError
		if !errors.As(err, &stale) {
			return err
		}
		if tx.collision != nil {
			collisions++
		}
		if attempt >= db.cfg.MaxAttempts || collisions > staleClaims {
			if tx.collision != nil {
				return tx.collision
			}
			return fmt.Errorf("%w: gave up after %d attempts", ErrConflict, attempt)
		}
		if err = db.await(ctx, stale.revision); err != nil {
			return err
		}
		if err = db.pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// commit sends one transaction and waits for its result to be in the tables.
func (db *DB) commit(ctx context.Context, tx *Tx) error {
	cmps, ops, err := tx.request()
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, db.cfg.RequestTimeout)
	defer stop()
	if err = db.enter(ctx); err != nil {
		return err
	}
	resp, err := db.send(ctx, tx, cmps, ops)
	if err != nil {
		if outOfSpace(err) {
			db.noSpace.Store(true) // housekeeping tries to mend it at its next tick
		}
		return db.failure("committing to etcd", err)
	}
	if resp.Succeeded && db.noSpace.Load() {
		db.noSpace.Store(false)
	}
	revision := resp.Header.Revision
	if revision < tx.seen {
		// Etcd has forgotten what it told us: it was restored from a backup.
		poke(db.reload)
		return fmt.Errorf("%w: it is at revision %d, the tables are at %d", ErrUnavailable, revision, tx.seen)
	}
	if !resp.Succeeded || tx.collision != nil {
		return &staleError{revision: revision}
	}
	return db.await(ctx, revision)
}

// send uses the slot that enter took and gives it back.
func (db *DB) send(ctx context.Context, tx *Tx, cmps []clientv3.Cmp, ops []clientv3.Op) (*clientv3.TxnResponse, error) {
	defer func() { <-db.slots }()
	if tx.collision != nil {
		// It cannot succeed: only learn how new etcd is.
		ops = []clientv3.Op{clientv3.OpGet(db.prefix+claimTable+"/"+tx.collision.Kind+"/"+tx.collision.Key, clientv3.WithKeysOnly())}
	}
	return ask(ctx, db, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return db.client.Txn(ctx).If(cmps...).Then(ops...).Commit()
	})
}

// enter takes a slot for a transaction in flight, unless etcd is known to be unusable.
func (db *DB) enter(ctx context.Context) error {
	if db.member != nil {
		if err := db.member.usable(); err != nil {
			return err
		}
	}
	select {
	case db.slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case db.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return classify("waiting for a slot to commit", ctx.Err())
	case <-db.ctx.Done():
		return ErrClosed
	}
}

// await returns when the tables have reached the revision.
func (db *DB) await(ctx context.Context, revision int64) error {
	reached := db.progress.wait(revision)
	if reached == nil {
		return nil
	}
	ctx, stop := context.WithTimeout(ctx, db.cfg.RequestTimeout)
	defer stop()
	nudge := time.NewTimer(nudgeAfter)
	defer nudge.Stop()
	for {
		select {
		case <-reached:
			return nil
		case <-nudge.C:
			db.nudge(ctx)
			nudge.Reset(5 * nudgeAfter)
		case <-ctx.Done():
			db.progress.forget(reached)
			return classify(fmt.Sprintf("waiting for revision %d", revision), ctx.Err())
		case <-db.ctx.Done():
			db.progress.forget(reached)
			return ErrClosed
		}
	}
}

// pause spreads writers that met each other.
func (db *DB) pause(ctx context.Context, attempt int) error {
	if attempt == 1 {
		return nil
	}
	limit := min(time.Millisecond<<min(attempt-2, 8), maxPause)
	t := time.NewTimer(rand.N(limit))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("retrying a conflicting transaction: %w: %w", ErrConflict, ctx.Err())
	case <-db.ctx.Done():
		return ErrClosed
	}
}

// poke wakes the goroutine behind a channel of one slot.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
