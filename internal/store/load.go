package store

import (
	"context"
	"fmt"
	"sync"

	"github.com/cilium/statedb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// loaded is one row of a load. Its value is nil when the tables have that version, or when
// it could not be understood.
type loaded struct {
	f     feeder
	id    string
	value any
}

// load makes the tables what etcd has at one revision, in one transaction, and returns
// the revision. Readers see the old or the new state, watchers wake for differences only.
func (db *DB) load(ctx context.Context) (int64, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	pages := make(chan []loaded, 1)
	var revision int64
	var readErr error
	var reader sync.WaitGroup
	defer reader.Wait()
	defer stop() // before waiting
	reader.Go(func() {
		defer close(pages)
		revision, readErr = db.readPages(ctx, pages)
	})

	if err := db.change(db.metas(), func(w statedb.WriteTxn) error {
		have, err := db.insertPages(w, pages)
		if err == nil {
			err = readErr // known once the pages have ended
		}
		for f, in := range have {
			if err == nil {
				err = removeOthers(w, f, in)
			}
		}
		return err
	}); err != nil {
		return 0, err
	}
	db.progress.reach(revision)
	return revision, nil
}

// insertPages inserts what is new and returns the ids of all rows that there are.
func (db *DB) insertPages(w statedb.WriteTxn, pages <-chan []loaded) (map[feeder]map[string]bool, error) {
	have := make(map[feeder]map[string]bool, len(db.tables))
	for _, f := range db.tables {
		have[f] = make(map[string]bool)
	}
	for page := range pages {
		for _, row := range page {
			have[row.f][row.id] = true
			if row.value == nil {
				continue
			}
			if err := row.f.insert(w, row.value); err != nil {
				return nil, fmt.Errorf("inserting %s: %w", row.id, err)
			}
		}
	}
	return have, nil
}

// removeOthers removes the rows whose ids are not in the set.
func removeOthers(w statedb.WriteTxn, f feeder, in map[string]bool) error {
	var gone []string // of claims, those from before this load
	for id := range f.ids(w) {
		if !in[id] {
			gone = append(gone, id)
		}
	}
	for _, id := range gone {
		if err := f.remove(w, id); err != nil {
			return fmt.Errorf("removing %s: %w", id, err)
		}
	}
	return nil
}

// readPages reads all keys at the revision of the first page, and decodes what the tables
// do not have.
func (db *DB) readPages(ctx context.Context, pages chan<- []loaded) (int64, error) {
	var revision int64
	present := db.mem.ReadTxn()
	from, end := db.prefix, clientv3.GetPrefixRangeEnd(db.prefix)
	for {
		resp, err := ask(ctx, db, func(ctx context.Context) (*clientv3.GetResponse, error) {
			return db.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(loadPage), clientv3.WithRev(revision))
		})
		if err != nil {
			if compacted(err) {
				return 0, fmt.Errorf("revision %d was compacted while it was read: %w", revision, err)
			}
			return 0, err
		}
		if revision == 0 {
			revision = resp.Header.Revision
		}
		page := make([]loaded, 0, len(resp.Kvs))
		for _, kv := range resp.Kvs {
			f, id := db.split(kv.Key)
			if f == nil {
				continue
			}
			row := loaded{f: f, id: id}
			if mod, ok := f.mod(present, id); !ok || mod != kv.ModRevision {
				row.value, _ = db.decode(f, id, kv)
			}
			page = append(page, row)
		}
		select {
		case pages <- page:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		if !resp.More || len(resp.Kvs) == 0 {
			return revision, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

func (db *DB) metas() []statedb.TableMeta {
	metas := make([]statedb.TableMeta, 0, len(db.tables))
	for _, f := range db.tables {
		metas = append(metas, f.meta())
	}
	return metas
}
