package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/cilium/statedb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	loadPage     = 4000 // keys per request of a load; for each, etcd counts all that are left
	batchEvents  = 2000 // events applied to the tables at once, at most
	firstBackoff = 50 * time.Millisecond
	lastBackoff  = 2 * time.Second
)

// feeder is the side of a table that the feed writes. Decoded values are opaque here.
// All of it is called by one goroutine at a time.
type feeder interface {
	meta() statedb.TableMeta
	decode(id string, mod int64, value []byte) (any, error)
	insert(w statedb.WriteTxn, decoded any) error
	remove(w statedb.WriteTxn, id string) error
	mod(r statedb.ReadTxn, id string) (int64, bool)
	ids(r statedb.ReadTxn) iter.Seq[string]
}

// watchState says whether the tables follow etcd: err is why not, since when.
type watchState struct {
	err   error
	since time.Time
}

var errReload = errors.New("reload asked for")

// firstLoad loads the tables, trying again until ctx ends.
func (db *DB) firstLoad(ctx context.Context) (int64, error) {
	backoff := firstBackoff
	for {
		revision, err := db.load(ctx)
		if err == nil {
			return revision, nil
		}
		err = fmt.Errorf("loading from etcd: %w: %w", ErrUnavailable, err)
		select {
		case <-ctx.Done():
			return 0, err
		case <-db.Failed():
			return 0, fmt.Errorf("%w: %w", err, db.member.usable())
		case <-time.After(backoff):
			backoff = min(2*backoff, lastBackoff)
		}
	}
}

// follow keeps the tables up to date from after revision until the DB closes. When the
// watch is lost, or etcd has compacted what it was to tell, everything is loaded anew.
func (db *DB) follow(revision int64) {
	backoff := firstBackoff
	for {
		began := time.Now()
		err := db.watch(revision)
		if db.ctx.Err() != nil {
			return
		}
		db.watching.Store(&watchState{err: err, since: time.Now()})
		if db.member != nil && db.member.hasFailed() {
			return
		}
		db.log.Warn("the watch on etcd ended; loading everything again", "after_revision", db.progress.at(), "error", err)
		if time.Since(began) > lastBackoff {
			backoff = firstBackoff
		}
		for {
			if !db.sleep(backoff/2 + rand.N(backoff)) {
				return
			}
			backoff = min(2*backoff, lastBackoff)
			ctx, stop := context.WithTimeout(db.ctx, max(db.cfg.RequestTimeout, 10*time.Second))
			revision, err = db.load(ctx)
			stop()
			if err == nil {
				break
			}
			if db.ctx.Err() != nil || (db.member != nil && db.member.hasFailed()) {
				return
			}
			db.watching.Store(&watchState{err: err, since: time.Now()})
			db.log.Warn("loading from etcd failed; trying again", "error", err)
		}
	}
}

func (db *DB) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-db.ctx.Done():
		return false
	}
}

// watch applies every change after revision to the tables. It returns why it ended.
func (db *DB) watch(revision int64) error {
	ctx, stop := context.WithCancel(db.watchContext())
	defer stop()
	events := db.client.Watch(ctx, db.prefix, clientv3.WithPrefix(), clientv3.WithRev(revision+1))
	db.watching.Store(&watchState{since: time.Now()})
	for {
		select {
		case <-db.ctx.Done():
			return db.ctx.Err()
		case <-db.Failed():
			return db.member.usable()
		case <-db.reload:
			return errReload
		case r, ok := <-events:
			if !ok {
				return errors.New("watch channel closed")
			}
			if err := db.receive(r, events); err != nil {
				return err
			}
		}
	}
}

// receive applies one response and all that are there behind it, in one step: a step
// costs about as much as the rows of one port.
func (db *DB) receive(r clientv3.WatchResponse, more clientv3.WatchChan) error {
	if err := r.Err(); err != nil {
		return err
	}
	batch, reached := r.Events, r.Header.Revision
	if len(batch) > 0 {
		reached = batch[len(batch)-1].Kv.ModRevision
	}
	var end error
	for end == nil && len(batch) < batchEvents {
		next, there := nextResponse(more)
		if !there {
			break
		}
		if end = next.Err(); end != nil {
			break
		}
		if n := len(next.Events); n > 0 {
			batch = append(batch, next.Events...)
			reached = next.Events[n-1].Kv.ModRevision
		} else if next.IsProgressNotify() {
			reached = next.Header.Revision
		}
	}
	if len(batch) == 0 && !r.IsProgressNotify() {
		return end // the answer to the watch's creation
	}
	if err := db.apply(batch); err != nil {
		return err
	}
	if reached > db.progress.at() {
		db.progress.reach(reached)
		if every := db.cfg.compactEvery; reached/every != (reached-int64(len(batch)))/every {
			poke(db.house)
		}
	}
	return end
}

// nextResponse returns a response that is there already, or is once the goroutines
// between etcd and here, each of which hands on one at a time, have had their turn. A
// channel that has closed is left to the caller's next look.
func nextResponse(more clientv3.WatchChan) (r clientv3.WatchResponse, there bool) {
	for turn := range 2 {
		select {
		case r, there = <-more:
			return r, there
		default:
		}
		if turn == 0 {
			runtime.Gosched()
		}
	}
	return r, false
}

// apply changes the tables by a batch of events, in one transaction.
func (db *DB) apply(batch []*clientv3.Event) error {
	if len(batch) == 0 {
		return nil
	}
	type row struct {
		f  feeder
		id string
	}
	rows := make([]row, len(batch))
	var touched []statedb.TableMeta
	seen := make(map[feeder]bool, 4)
	for i, ev := range batch {
		f, id := db.split(ev.Kv.Key)
		rows[i] = row{f: f, id: id}
		if f != nil && !seen[f] {
			seen[f] = true
			touched = append(touched, f.meta())
		}
	}
	if len(touched) == 0 {
		return nil
	}
	return db.change(touched, func(w statedb.WriteTxn) error {
		for i, ev := range batch {
			if rows[i].f == nil {
				continue
			}
			if err := db.applyOne(w, rows[i].f, rows[i].id, ev); err != nil {
				return fmt.Errorf("applying %s: %w", ev.Kv.Key, err)
			}
		}
		return nil
	})
}

// change runs fn on the tables in one transaction, which it commits if fn succeeds.
func (db *DB) change(tables []statedb.TableMeta, fn func(w statedb.WriteTxn) error) error {
	w := db.mem.WriteTxn(tables...)
	defer w.Abort()
	defer db.claims.drop()
	if err := fn(w); err != nil {
		return err
	}
	if err := db.claims.keep(w); err != nil {
		return fmt.Errorf("keeping claims: %w", err)
	}
	w.Commit()
	return nil
}

func (db *DB) applyOne(w statedb.WriteTxn, f feeder, id string, ev *clientv3.Event) error {
	if ev.Type == mvccpb.Event_DELETE {
		return f.remove(w, id)
	}
	decoded, ok := db.decode(f, id, ev.Kv)
	if !ok {
		return nil
	}
	return f.insert(w, decoded)
}

// decode gives a row, or logs and counts one that is not to be understood. The version
// that the tables have of it, if any, stays; writes to it will conflict, so what is in
// etcd is not overwritten by somebody who cannot read it.
func (db *DB) decode(f feeder, id string, kv *mvccpb.KeyValue) (any, bool) {
	decoded, err := f.decode(id, kv.ModRevision, kv.Value)
	if err != nil {
		db.undecodable.Add(1)
		db.log.Error("a row in etcd cannot be understood and is passed over",
			"key", string(kv.Key), "revision", kv.ModRevision, "bytes", len(kv.Value), "error", err)
		return nil, false
	}
	return decoded, true
}

// split finds the table and the id of a key. Keys of tables that this program does not
// have are somebody else's: f is nil. The id shares no memory with the key.
func (db *DB) split(key []byte) (f feeder, id string) {
	rest, ok := bytes.CutPrefix(key, []byte(db.prefix))
	if !ok {
		return nil, ""
	}
	table, rest, ok := bytes.Cut(rest, []byte("/"))
	if !ok || len(rest) == 0 {
		return nil, ""
	}
	if f = db.tables[string(table)]; f == nil {
		return nil, ""
	}
	return f, string(rest)
}

// nudge asks etcd to say how far the watch is.
func (db *DB) nudge(ctx context.Context) {
	if w := db.watching.Load(); w == nil || w.err != nil {
		return
	}
	// Not the caller's context, but as long: the outgoing metadata name the watch's stream.
	stream, stop := context.WithCancel(db.watchContext())
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	// What goes wrong with the stream ends the watch, which says so itself.
	_ = db.client.RequestProgress(stream)
}

// watchContext is the parent of the contexts of the watch.
func (db *DB) watchContext() context.Context {
	if db.member != nil {
		return db.ctx
	}
	// A member cut off from its cluster must say so rather than stay silent.
	return clientv3.WithRequireLeader(db.ctx)
}
