package store

import (
	"context"
	"errors"
	"sync"
	"testing"
)

func TestUpdate(t *testing.T) {
	tab := fruits()
	db := open(t, Config{MaxAttempts: 5}, tab)
	put(t, db, tab, fruit{ID: "a", Size: 1})

	boom := errors.New("boom")
	err := db.Update(t.Context(), func(tx *Tx) error { tab.Put(tx, &fruit{ID: "b"}); return boom })
	if !errors.Is(err, boom) {
		t.Errorf("fn's error: %v", err)
	}
	wantIDs(t, "after an error", tab.All(db.Snapshot()), "a")

	update(t, db, func(tx *Tx) {
		f, ok := tab.Read(tx, "a")
		if !ok || f.Size != 1 {
			t.Error("Read")
		}
		tab.Put(tx, &fruit{ID: "a", Size: 2})
		if f, ok = tab.Read(tx, "a"); !ok || f.Size != 2 {
			t.Error("own change not read")
		}
		tab.Delete(tx, "a")
		if _, ok = tab.Require(tx, "a"); ok {
			t.Error("own delete not read")
		}
		tab.Put(tx, &fruit{ID: "c"})
		tab.Delete(tx, "c")
		tab.Delete(tx, "never")
		if tx.Snapshot() == (Snapshot{}) {
			t.Error("Snapshot")
		}
	})
	wantIDs(t, "deleted", tab.All(db.Snapshot()))

	before := db.Revision()
	update(t, db, func(tx *Tx) { tab.Read(tx, "a"); tab.Delete(tx, "a") })
	if db.Revision() != before {
		t.Error("a transaction that changes nothing went to etcd")
	}
	if err = db.Ready(); err != nil {
		t.Error(err)
	}
	if err = db.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if db.Failed() == nil {
		t.Error("Failed of an embedded etcd")
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = db.Update(ctx, func(tx *Tx) error { tab.Put(tx, &fruit{ID: "z"}); return nil })
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestCompares changes what a transaction rests on between its run and its commit.
func TestCompares(t *testing.T) {
	for _, tt := range []struct {
		name   string
		first  func(tx *Tx, tab *Table[fruit]) // in the tested transaction
		other  func(tx *Tx, tab *Table[fruit]) // committed in between
		reruns bool
	}{
		{
			"read, changed",
			func(tx *Tx, tab *Table[fruit]) { tab.Read(tx, "a") },
			func(tx *Tx, tab *Table[fruit]) { tab.Put(tx, &fruit{ID: "a", Size: 9}) }, true,
		},
		{
			"read, deleted",
			func(tx *Tx, tab *Table[fruit]) { tab.Read(tx, "a") },
			func(tx *Tx, tab *Table[fruit]) { tab.Delete(tx, "a") }, true,
		},
		{
			"read absent, made",
			func(tx *Tx, tab *Table[fruit]) { tab.Read(tx, "b") },
			func(tx *Tx, tab *Table[fruit]) { tab.Put(tx, &fruit{ID: "b"}) }, true,
		},
		{
			"required, changed",
			func(tx *Tx, tab *Table[fruit]) { tab.Require(tx, "a") },
			func(tx *Tx, tab *Table[fruit]) { tab.Put(tx, &fruit{ID: "a", Size: 9}) }, false,
		},
		{
			"required, deleted",
			func(tx *Tx, tab *Table[fruit]) { tab.Require(tx, "a") },
			func(tx *Tx, tab *Table[fruit]) { tab.Delete(tx, "a") }, true,
		},
		{
			"required then read, changed",
			func(tx *Tx, tab *Table[fruit]) { tab.Require(tx, "a"); tab.Read(tx, "a"); tab.Require(tx, "a") },
			func(tx *Tx, tab *Table[fruit]) { tab.Put(tx, &fruit{ID: "a", Size: 9}) }, true,
		},
		{
			"put without read, changed",
			func(tx *Tx, tab *Table[fruit]) { tab.Put(tx, &fruit{ID: "a"}) },
			func(tx *Tx, tab *Table[fruit]) { tab.Put(tx, &fruit{ID: "a", Size: 9}) }, true,
		},
		{
			"snapshot read, changed",
			func(tx *Tx, tab *Table[fruit]) { tab.Get(tx.Snapshot(), "a") },
			func(tx *Tx, tab *Table[fruit]) { tab.Put(tx, &fruit{ID: "a", Size: 9}) }, false,
		},
		{
			"claimed, released",
			func(tx *Tx, _ *Table[fruit]) { tx.Claimed("k", "p/1") },
			func(tx *Tx, _ *Table[fruit]) { tx.Release("k", "p/1", "o") }, true,
		},
		{
			"unclaimed, claimed",
			func(tx *Tx, _ *Table[fruit]) { tx.Claimed("k", "p/2") },
			func(tx *Tx, _ *Table[fruit]) { tx.Claim("k", "p/2", "o") }, true,
		},
		{
			"none under, claimed",
			func(tx *Tx, _ *Table[fruit]) { tx.NoneUnder("k", "q/") },
			func(tx *Tx, _ *Table[fruit]) { tx.Claim("k", "q/2", "o") }, true,
		},
		{
			"none under but released, claimed",
			func(tx *Tx, _ *Table[fruit]) { tx.Release("k", "p/1", "o"); tx.NoneUnder("k", "p/") },
			func(tx *Tx, _ *Table[fruit]) { tx.Claim("k", "p/2", "o") }, true,
		},
		{
			"none under, claimed elsewhere",
			func(tx *Tx, _ *Table[fruit]) { tx.NoneUnder("k", "q/") },
			func(tx *Tx, _ *Table[fruit]) { tx.Claim("k", "r/2", "o") }, false,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tab := fruits()
			db := open(t, Config{}, tab)
			put(t, db, tab, fruit{ID: "a", Size: 1})
			update(t, db, func(tx *Tx) { tx.Claim("k", "p/1", "o") })
			runs := 0
			update(t, db, func(tx *Tx) {
				runs++
				tt.first(tx, tab)
				tab.Put(tx, &fruit{ID: "witness"})
				if runs == 1 {
					update(t, db, func(tx *Tx) { tt.other(tx, tab) })
				}
			})
			if (runs > 1) != tt.reruns {
				t.Errorf("%d runs", runs)
			}
		})
	}
}

func TestConflictIsBounded(t *testing.T) {
	tab := fruits()
	db := open(t, Config{MaxAttempts: 4}, tab)
	put(t, db, tab, fruit{ID: "a"})
	runs := 0
	err := db.Update(t.Context(), func(tx *Tx) error {
		runs++
		f, _ := tab.Read(tx, "a")
		tab.Put(tx, &fruit{ID: "a", Size: f.Size + 1})
		put(t, db, tab, fruit{ID: "a", Size: 100 * runs})
		return nil
	})
	if !errors.Is(err, ErrConflict) || runs != 4 {
		t.Errorf("%d runs, %v", runs, err)
	}
	if f, _ := tab.Get(db.Snapshot(), "a"); f.Size != 400 {
		t.Errorf("size %d", f.Size)
	}
}

func TestCounterUnderContention(t *testing.T) {
	tab := fruits()
	db := open(t, Config{MaxInFlight: 3}, tab)
	put(t, db, tab, fruit{ID: "n"})
	var wg sync.WaitGroup
	const writers, each = 8, 20
	for range writers {
		wg.Go(func() {
			for range each {
				err := db.Update(context.Background(), func(tx *Tx) error {
					f, _ := tab.Read(tx, "n")
					tab.Put(tx, &fruit{ID: "n", Size: f.Size + 1})
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if f, _ := tab.Get(db.Snapshot(), "n"); f.Size != writers*each {
		t.Errorf("counted %d of %d", f.Size, writers*each)
	}
}

func TestClosed(t *testing.T) {
	tab := fruits()
	db := open(t, Config{}, tab)
	put(t, db, tab, fruit{ID: "a"})
	s := db.Snapshot()
	lease, err := db.NewLease(t.Context(), 10e9)
	if err != nil {
		t.Fatal(err)
	}
	if err = db.Close(); err != nil {
		t.Fatal(err)
	}
	if err = db.Close(); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"Update":    db.Update(t.Context(), func(tx *Tx) error { tab.Put(tx, &fruit{ID: "b"}); return nil }),
		"Ready":     db.Ready(),
		"Check":     db.Check(t.Context()),
		"KeepAlive": lease.KeepAlive(t.Context()),
		"Revoke":    lease.Revoke(t.Context()),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// What was read can be read on: a reader must not take the end for an empty world.
	wantIDs(t, "a snapshot taken before", tab.All(s), "a")
	wantIDs(t, "a snapshot taken after", tab.All(db.Snapshot()), "a")
}
