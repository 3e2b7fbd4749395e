package store

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"
)

type fruit struct {
	ID     string            `json:"id"`
	Colour string            `json:"colour,omitempty"`
	Tags   []string          `json:"tags,omitempty"`
	Size   int               `json:"size,omitempty"`
	Notes  map[string]string `json:"notes,omitempty"`
}

func fruits() *Table[fruit] {
	return NewTable("fruits", func(f *fruit) string { return f.ID },
		Index[fruit]{Name: "colour", Keys: func(f *fruit) []string {
			if f.Colour == "" {
				return nil
			}
			return []string{f.Colour}
		}},
		Index[fruit]{Name: "tag", Keys: func(f *fruit) []string { return f.Tags }})
}

// quiet fails the test on errors that the store logs, unless they are expected.
func quiet(testing.TB) *slog.Logger { return slog.New(slog.DiscardHandler) }

func open(t testing.TB, cfg Config, tables ...AnyTable) *DB {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = quiet(t)
	}
	if len(cfg.Endpoints) == 0 && cfg.DataDir == "" {
		cfg.DataDir = filepath.Join(t.TempDir(), "data")
	}
	db, err := Open(t.Context(), cfg, tables...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cerr := db.Close(); cerr != nil {
			t.Error(cerr)
		}
	})
	return db
}

func put(t testing.TB, db *DB, tab *Table[fruit], rows ...fruit) {
	t.Helper()
	err := db.Update(context.Background(), func(tx *Tx) error {
		for i := range rows {
			tab.Put(tx, &rows[i])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSmoke(t *testing.T) {
	tab := fruits()
	begin := time.Now()
	dir := t.TempDir()
	db := open(t, Config{DataDir: dir, Log: slog.Default()}, tab)
	t.Log("open", time.Since(begin))
	put(t, db, tab, fruit{ID: "a", Colour: "red"})
	if _, ok := tab.Get(db.Snapshot(), "a"); !ok {
		t.Fatal("own write not read")
	}
	begin = time.Now()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	t.Log("close", time.Since(begin))
	begin = time.Now()
	db = open(t, Config{DataDir: dir, Log: slog.Default()}, tab)
	t.Log("reopen", time.Since(begin))
	if _, ok := tab.Get(db.Snapshot(), "a"); !ok {
		t.Fatal("lost")
	}
	err := db.Update(t.Context(), func(tx *Tx) error { tx.Claim("vlan", "1", "x"); return nil })
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), func(tx *Tx) error { tx.Claim("vlan", "1", "y"); return nil })
	if !errors.Is(err, ErrConflict) {
		t.Fatal(err)
	}
}
