package store

import (
	"context"
	"fmt"

	"github.com/cilium/statedb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// load makes the tables what etcd has at one revision, in one transaction, and returns
// the revision. Readers see the old or the new state, watchers wake for differences only.
func (db *DB) load(ctx context.Context) (int64, error) {
	w := db.mem.WriteTxn(db.metas()...)
	defer w.Abort()
	have := make(map[feeder]map[string]bool, len(db.tables))
	for _, f := range db.tables {
		have[f] = make(map[string]bool)
	}
	revision, err := db.loadPages(ctx, w, have)
	if err != nil {
		return 0, err
	}
	for f, in := range have {
		var gone []string
		for id := range f.ids(w) {
			if !in[id] {
				gone = append(gone, id)
			}
		}
		for _, id := range gone {
			if err = f.remove(w, id); err != nil {
				return 0, fmt.Errorf("removing %s: %w", id, err)
			}
		}
	}
	w.Commit()
	db.progress.reach(revision)
	return revision, nil
}

// loadPages reads all keys at the revision of the first page and inserts what is new.
func (db *DB) loadPages(ctx context.Context, w statedb.WriteTxn, have map[feeder]map[string]bool) (int64, error) {
	var revision int64
	from, end := db.prefix, clientv3.GetPrefixRangeEnd(db.prefix)
	for {
		resp, err := db.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(loadPage), clientv3.WithRev(revision))
		if err != nil {
			if compacted(err) {
				return 0, fmt.Errorf("revision %d was compacted while it was read: %w", revision, err)
			}
			return 0, err
		}
		if revision == 0 {
			revision = resp.Header.Revision
		}
		for _, kv := range resp.Kvs {
			_, id, f := db.split(kv.Key)
			if f == nil {
				continue
			}
			have[f][id] = true
			if mod, ok := f.mod(w, id); ok && mod == kv.ModRevision {
				continue
			}
			decoded, ok := db.decode(f, id, kv)
			if !ok {
				continue
			}
			if err = f.insert(w, decoded); err != nil {
				return 0, fmt.Errorf("inserting %s: %w", kv.Key, err)
			}
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
