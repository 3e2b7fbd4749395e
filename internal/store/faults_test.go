package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	tab := fruits()
	want := map[string]bool{}
	for round := range 3 {
		begin := time.Now()
		db := open(t, Config{DataDir: dir}, tab)
		t.Logf("open in %s", time.Since(begin))
		checkAcked(t, db, tab, want)
		for i := range 5 {
			id := fmt.Sprintf("%d-%d", round, i)
			want[id] = true
			update(t, db, func(tx *Tx) { tab.Put(tx, &fruit{ID: id}); tx.Claim("name", id, id) })
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	open(t, Config{DataDir: dir})
	begin := time.Now()
	_, err := Open(t.Context(), Config{DataDir: dir, Log: silent()})
	if !errors.Is(err, ErrUnavailable) || time.Since(begin) > time.Second {
		t.Errorf("after %s: %v", time.Since(begin), err)
	}
}

// TestUndecodable: rows that cannot be understood are counted and passed over, others are
// not held up, and what is there is not overwritten.
func TestUndecodable(t *testing.T) {
	dir := t.TempDir()
	tab := fruits()
	db := open(t, Config{DataDir: dir, MaxAttempts: 2}, tab)
	put(t, db, tab, fruit{ID: "known"})
	ctx := context.Background()
	for key, value := range map[string]string{
		"fruits/garbage": "\xff\x00{", "fruits/newer": `{"v":2,"row":{"id":"newer"}}`, "fruits/known": "{}",
		"fruits/": "x", "vegetables/a": "x", "nothing": "x",
	} {
		if _, err := db.client.Put(ctx, db.prefix+key, value); err != nil {
			t.Fatal(err)
		}
	}
	put(t, db, tab, fruit{ID: "z"})
	wantIDs(t, "rows", tab.All(db.Snapshot()), "known", "z")
	if n := db.Undecodable(); n != 3 {
		t.Errorf("%d undecodable", n)
	}
	for _, id := range []string{"newer", "known"} {
		err := db.Update(ctx, func(tx *Tx) error { tab.Put(tx, &fruit{ID: id}); return nil })
		if !errors.Is(err, ErrConflict) {
			t.Errorf("overwriting %s: %v", id, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, Config{DataDir: dir}, tab)
	wantIDs(t, "rows after a restart", tab.All(db.Snapshot()), "z")
}

// TestQuota: a database at its quota refuses writes, keeps what it has, and is mended once
// something was deleted.
func TestQuota(t *testing.T) {
	tab := fruits()
	db := open(t, Config{QuotaBytes: 4 << 20, houseTick: 50 * time.Millisecond}, tab)
	var kept []string
	var err error
	for i := range 200 {
		f := fruit{ID: fmt.Sprintf("%03d", i), Notes: map[string]string{"n": strings.Repeat("x", 100_000)}}
		if err = db.Update(t.Context(), func(tx *Tx) error { tab.Put(tx, &f); return nil }); err != nil {
			break
		}
		kept = append(kept, f.ID)
	}
	if !errors.Is(err, ErrUnavailable) {
		t.Fatalf("after %d rows: %v", len(kept), err)
	}
	if err = db.Ready(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Ready at the quota: %v", err)
	}
	// What became of the write that failed is not known: it may be there, later too.
	unknown := fmt.Sprintf("%03d", len(kept))
	for _, id := range kept {
		if _, ok := tab.Get(db.Snapshot(), id); !ok {
			t.Errorf("row %s was acknowledged and is gone", id)
		}
	}
	update(t, db, func(tx *Tx) {
		if _, ok := tab.Read(tx, unknown); ok {
			tab.Delete(tx, unknown)
		}
		for _, id := range kept[1:] {
			tab.Delete(tx, id)
		}
	})
	eventually(t, "writing again", func() bool {
		return db.Update(t.Context(), func(tx *Tx) error { tab.Put(tx, &fruit{ID: "x"}); return nil }) == nil
	})
	wantIDs(t, "rows", tab.All(db.Snapshot()), kept[0], "x")
	eventually(t, "being ready", func() bool { return db.Ready() == nil })
}

// TestCompaction: the history of the embedded etcd stays short by itself.
func TestCompaction(t *testing.T) {
	tab := fruits()
	db := open(t, Config{compactEvery: 50, keepRevisions: 10}, tab)
	for range 60 {
		put(t, db, tab, fruit{ID: "a", Size: 1})
	}
	eventually(t, "compacting", func() bool {
		_, err := db.client.Get(t.Context(), db.prefix, clientv3.WithRev(10))
		return compacted(err)
	})
	if err := db.compact(10); err != nil {
		t.Errorf("compacting again: %v", err)
	}
	if err := db.watch(1); !compacted(err) {
		t.Errorf("watching from a compacted revision: %v", err)
	}
}

// TestRestored: an etcd that was put back to an earlier state is noticed at the first
// write, not written over, and loaded anew.
func TestRestored(t *testing.T) {
	tab := fruits()
	db := open(t, Config{RequestTimeout: time.Second}, tab)
	put(t, db, tab, fruit{ID: "a"})
	was := db.Revision()
	db.progress.reach(was + 1000) // as if etcd had told us so
	err := db.Update(t.Context(), func(tx *Tx) error { tab.Read(tx, "a"); tab.Put(tx, &fruit{ID: "b"}); return nil })
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("with an etcd of the past: %v", err)
	}
	eventually(t, "loading anew", func() bool { return db.Revision() < was+1000 })
	put(t, db, tab, fruit{ID: "c"})
}

func TestFailedMember(t *testing.T) {
	tab := fruits()
	db := open(t, Config{}, tab)
	put(t, db, tab, fruit{ID: "a"})
	db.member.fail("for this test")
	if !closed(db.Failed()) {
		t.Error("Failed does not say so")
	}
	err := db.Update(t.Context(), func(tx *Tx) error { tab.Put(tx, &fruit{ID: "b"}); return nil })
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "for this test") {
		t.Error(err)
	}
	wantIDs(t, "reads", tab.All(db.Snapshot()), "a")
}

func TestLeases(t *testing.T) {
	tab := fruits()
	db := open(t, Config{}, tab)
	ctx := t.Context()
	short, err := db.NewLease(ctx, 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if short.TTL() != time.Second || short.ID() == 0 {
		t.Errorf("lease of %s, number %d", short.TTL(), short.ID())
	}
	long, err := db.NewLease(ctx, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	update(t, db, func(tx *Tx) {
		tab.PutLeased(tx, &fruit{ID: "short"}, short)
		tab.PutLeased(tx, &fruit{ID: "long"}, long)
		tab.Put(tx, &fruit{ID: "ever"})
	})
	if err = short.KeepAlive(ctx); err != nil {
		t.Error(err)
	}
	_, gone := tab.WatchAll(db.Snapshot())
	begin := time.Now()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
	}
	t.Logf("expired after %s", time.Since(begin))
	wantIDs(t, "after the lease expired", tab.All(db.Snapshot()), "ever", "long")
	if err = short.KeepAlive(ctx); !errors.Is(err, ErrLeaseGone) {
		t.Errorf("keeping an expired lease: %v", err)
	}
	err = db.Update(ctx, func(tx *Tx) error { tab.PutLeased(tx, &fruit{ID: "x"}, short); return nil })
	if !errors.Is(err, ErrLeaseGone) {
		t.Errorf("putting on an expired lease: %v", err)
	}
	if err = long.Revoke(ctx); err != nil {
		t.Error(err)
	}
	wantIDs(t, "after the lease was revoked", tab.All(db.Snapshot()), "ever")
	if err = long.Revoke(ctx); err != nil {
		t.Errorf("revoking again: %v", err)
	}
	if _, err = db.NewLease(ctx, 0); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if err = (Lease{}).KeepAlive(ctx); !errors.Is(err, ErrLeaseGone) {
		t.Error(err)
	}
	if err = (Lease{}).Revoke(ctx); err != nil {
		t.Error(err)
	}
}
