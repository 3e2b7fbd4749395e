package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/statedb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// DB is an open store.
type DB struct {
	cfg    Config
	log    *slog.Logger
	prefix string // of all keys, with a '/' at the end

	member *member // the embedded etcd, or nil
	client *clientv3.Client

	mem      *statedb.DB
	claims   *claims
	tables   map[string]feeder
	progress progress
	slots    chan struct{} // one per transaction in flight

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup
	closed atomic.Bool
	once   sync.Once

	watching    atomic.Pointer[watchState]
	reload      chan struct{} // asks the feed for a reload
	house       chan struct{} // wakes the housekeeping of the embedded etcd
	noSpace     atomic.Bool   // etcd said so; housekeeping tries to mend it
	undecodable atomic.Int64
}

// Open starts the embedded etcd or connects to the external one, loads all rows and
// follows them from then on. It returns ErrInvalid for a wrong configuration and
// ErrUnavailable when etcd does not come up in time. Close the DB when done.
func Open(ctx context.Context, cfg Config, tables ...AnyTable) (*DB, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	db := &DB{
		cfg:    cfg,
		log:    cfg.Log,
		prefix: "/neutrino/" + cfg.Cluster + "/",
		mem:    statedb.New(statedb.WithMetrics(&statedb.NopMetrics{})),
		tables: make(map[string]feeder, len(tables)+1),
		slots:  make(chan struct{}, cfg.MaxInFlight),
		reload: make(chan struct{}, 1),
		house:  make(chan struct{}, 1),
	}
	// The DB outlives the context of Open.
	db.ctx, db.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err = db.attachAll(tables); err != nil {
		db.closed.Store(true)
		db.cancel()
		return nil, err
	}
	opening, stop := context.WithTimeout(ctx, cfg.OpenTimeout)
	defer stop()
	if err = db.start(opening); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func (db *DB) attachAll(tables []AnyTable) error {
	var err error
	if db.claims, err = newClaims(db.mem); err != nil {
		return fmt.Errorf("making the table of claims: %w", err)
	}
	db.tables[claimTable] = db.claims
	for _, t := range tables {
		if err = t.attach(db); err != nil {
			return err
		}
		db.tables[t.Name()] = t
	}
	return nil
}

func (db *DB) start(ctx context.Context) error {
	var err error
	if len(db.cfg.Endpoints) > 0 {
		db.client, err = connect(db.cfg)
	} else {
		db.member, err = startMember(ctx, db.cfg)
		if err == nil {
			db.client = db.member.client()
		}
	}
	if err != nil {
		return err
	}
	revision, err := db.firstLoad(ctx)
	if err != nil {
		return err
	}
	db.work.Go(func() { db.follow(revision) })
	if db.member != nil {
		db.work.Go(db.keepHouse)
	}
	return nil
}

// Close stops following, ends waiting transactions with ErrClosed and stops the embedded
// etcd. It is safe to call it more than once.
func (db *DB) Close() error {
	var err error
	db.once.Do(func() {
		db.closed.Store(true)
		db.cancel()
		db.work.Wait()
		switch {
		case db.member != nil && db.client != nil:
			err = db.member.stop(db.client)
		case db.client != nil:
			if cerr := db.client.Close(); cerr != nil && !errors.Is(cerr, context.Canceled) {
				err = fmt.Errorf("closing the etcd client: %w", cerr)
			}
		}
	})
	return err
}

func (db *DB) isClosed() bool { return db.closed.Load() }

// Snapshot returns the present view of all tables and claims. It is cheap.
func (db *DB) Snapshot() Snapshot { return Snapshot{db: db, txn: db.mem.ReadTxn()} }

// Revision returns etcd's revision that the tables have reached; every later Snapshot is
// at least at it.
func (db *DB) Revision() int64 { return db.progress.at() }

// Undecodable returns how many rows' values could not be understood and were passed over
// since Open.
func (db *DB) Undecodable() int64 { return db.undecodable.Load() }

// Failed returns a channel that closes when the embedded etcd has stopped for good, as
// after a failed write to its log; reads go on, writes give ErrUnavailable, and only a new
// process can mend it. It is nil for an external etcd.
func (db *DB) Failed() <-chan struct{} {
	if db.member == nil {
		return nil
	}
	return db.member.failed
}

// Ready says from memory alone whether the store works: nil, or an error that says what
// is wrong. It is for readiness probes.
func (db *DB) Ready() error {
	if db.isClosed() {
		return ErrClosed
	}
	if db.member != nil {
		if err := db.member.usable(); err != nil {
			return err
		}
	}
	if db.noSpace.Load() {
		return fmt.Errorf("%w: its database has reached its quota", ErrUnavailable)
	}
	if w := db.watching.Load(); w == nil || w.err != nil {
		if w != nil {
			return fmt.Errorf("%w: not following changes since %s: %w", ErrUnavailable, w.since.Format(time.RFC3339), w.err)
		}
		return fmt.Errorf("%w: nothing loaded yet", ErrUnavailable)
	}
	return nil
}

// Check asks etcd itself, with a read that a majority confirms, and then is Ready.
func (db *DB) Check(ctx context.Context) error {
	if db.isClosed() {
		return ErrClosed
	}
	ctx, stop := context.WithTimeout(ctx, db.cfg.RequestTimeout)
	defer stop()
	_, err := ask(ctx, db, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return db.client.Get(ctx, db.prefix, clientv3.WithKeysOnly(), clientv3.WithLimit(1))
	})
	if err != nil {
		return db.failure("asking etcd", err)
	}
	return db.Ready()
}

// failure is classify, but tells the end of the DB apart.
func (db *DB) failure(doing string, err error) error {
	if err != nil && db.isClosed() {
		return fmt.Errorf("%s: %w", doing, ErrClosed)
	}
	return classify(doing, err)
}
