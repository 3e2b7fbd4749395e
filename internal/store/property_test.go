package store

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// model is what the store must hold, as plain maps.
type model struct {
	rows   map[string]fruit
	claims map[string]string
}

func (m model) clone() model { return model{maps.Clone(m.rows), maps.Clone(m.claims)} }

// step draws one operation and does it to the model and the transaction alike.
func (m model) step(t *rapid.T, tx *Tx, tab *Table[fruit]) {
	id := rapid.SampledFrom([]string{"a", "b", "c", "ab", "d/e"}).Draw(t, "id")
	key := rapid.SampledFrom([]string{"p/1", "p/10", "q/1"}).Draw(t, "key")
	switch op := rapid.SampledFrom([]string{"put", "put", "delete", "read", "require", "claim", "release", "none"}).Draw(t, "op"); op {
	case "put":
		f := fruit{ID: id, Colour: rapid.SampledFrom([]string{"", "red", "re", "red1"}).Draw(t, "colour"), Size: rapid.Int().Draw(t, "size")}
		f.Tags = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"x", "y", "\x00", "\x01\x02"}), 0, 2, rapid.ID).Draw(t, "tags")
		tab.Put(tx, &f)
		m.rows[id] = f
	case "delete":
		tab.Delete(tx, id)
		delete(m.rows, id)
	case "read", "require":
		read := tab.Read
		if op == "require" {
			read = tab.Require
		}
		f, ok := read(tx, id)
		want, wantOK := m.rows[id]
		if ok != wantOK || (ok && (f.Size != want.Size || f.Colour != want.Colour)) {
			t.Fatalf("%s %s: got %v, want %v", op, id, f, want)
		}
	case "claim":
		if owner, taken := m.claims[key]; !taken || owner == id {
			tx.Claim("k", key, id)
			m.claims[key] = id
		} else if got, ok := tx.Claimed("k", key); !ok || got != owner {
			t.Fatalf("claim %s: got %q, want %q", key, got, owner)
		}
	case "release":
		tx.Release("k", key, id)
		if m.claims[key] == id {
			delete(m.claims, key)
		}
	case "none":
		want := m.claims["p/1"] == "" && m.claims["p/10"] == ""
		if got := tx.NoneUnder("k", "p/"); got != want {
			t.Fatalf("NoneUnder: got %v, want %v of %v", got, want, m.claims)
		}
	}
}

func (m model) check(t *rapid.T, db *DB, tab *Table[fruit]) {
	s := db.Snapshot()
	if got, want := ids(tab.All(s)), sorted(m.rows); !slices.Equal(got, want) {
		t.Fatalf("rows: got %v, want %v", got, want)
	}
	if got := maps.Collect(db.ClaimsUnder(s, "k", "")); !maps.Equal(got, m.claims) {
		t.Fatalf("claims: got %v, want %v", got, m.claims)
	}
	by := map[string][]string{}
	for _, id := range sorted(m.rows) {
		f := m.rows[id]
		by["colour "+f.Colour] = append(by["colour "+f.Colour], id)
		for _, tag := range f.Tags {
			by["tag "+tag] = append(by["tag "+tag], id)
		}
	}
	for _, colour := range []string{"red", "re", "red1"} {
		if got := ids(tab.By(s, "colour", colour)); !slices.Equal(got, by["colour "+colour]) {
			t.Fatalf("colour %s: got %v, want %v", colour, got, by["colour "+colour])
		}
	}
	for _, tag := range []string{"x", "y", "\x00", "\x01\x02"} {
		if got := ids(tab.By(s, "tag", tag)); !slices.Equal(got, by["tag "+tag]) {
			t.Fatalf("tag %q: got %v, want %v", tag, got, by["tag "+tag])
		}
	}
}

// TestModel: the store does what maps would do, whole transactions or nothing of them, and
// a second store that loads afterwards finds the same.
func TestModel(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	tab := fruits()
	db := open(t, Config{DataDir: dir}, tab)
	last := model{map[string]fruit{}, map[string]string{}}
	rapid.Check(t, func(rt *rapid.T) {
		m := last
		for range rapid.IntRange(1, 6).Draw(rt, "transactions") {
			next := m.clone()
			steps := rapid.IntRange(1, 8).Draw(rt, "steps")
			fails := rapid.Bool().Draw(rt, "fails")
			err := db.Update(context.Background(), func(tx *Tx) error {
				for range steps {
					next.step(rt, tx, tab)
				}
				if fails && steps == 8 {
					return ErrInvalid
				}
				return nil
			})
			if err == nil {
				m = next
			} else if !fails {
				rt.Fatal(err)
			}
			m.check(rt, db, tab)
			last = m
		}
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, Config{DataDir: dir}, tab)
	rapid.Check(t, func(rt *rapid.T) { last.check(rt, db, tab) })
}

// TestClaimsNeverDoubleNorLeak: two controllers race for few keys. In every snapshot of
// either, a key is claimed by exactly the row that says it has it; at the end as well, and
// for whoever loads afterwards.
func TestClaimsNeverDoubleNorLeak(t *testing.T) {
	cfg := shared(t)
	const controllers, writers, each, keys = 2, 4, 40, 6
	var dbs []*DB
	var tabs []*Table[fruit]
	for range controllers {
		tab := fruits()
		tabs = append(tabs, tab)
		dbs = append(dbs, open(t, cfg, tab))
	}
	var wg sync.WaitGroup
	for c := range controllers {
		for w := range writers {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(c), uint64(w)))
				id := fmt.Sprintf("%d-%d", c, w)
				for range each {
					err := dbs[c].Update(context.Background(), func(tx *Tx) error {
						swap(tx, tabs[c], id, fmt.Sprintf("k%d", rnd.IntN(keys)))
						return nil
					})
					if err != nil {
						t.Error(err)
					}
					if msg := unsound(dbs[c], tabs[c]); msg != "" {
						t.Error(msg)
					}
				}
			})
		}
	}
	wg.Wait()
	tab := fruits()
	dbs, tabs = append(dbs, open(t, cfg, tab)), append(tabs, tab)
	for i, db := range dbs {
		eventually(t, "reaching the last revision", func() bool { return db.Revision() >= dbs[controllers].Revision() })
		if msg := unsound(db, tabs[i]); msg != "" {
			t.Error(msg)
		}
	}
}

// swap drops what the row has claimed and claims the key if it is free.
func swap(tx *Tx, tab *Table[fruit], id, key string) {
	row := &fruit{ID: id}
	if was, ok := tab.Read(tx, id); ok {
		for _, k := range was.Tags {
			tx.Release("key", k, id)
		}
	}
	if _, taken := tx.Claimed("key", key); !taken {
		tx.Claim("key", key, id)
		row.Tags = []string{key}
	}
	tab.Put(tx, row)
}

func unsound(db *DB, tab *Table[fruit]) string {
	s := db.Snapshot()
	said := map[string]string{}
	for f := range tab.All(s) {
		for _, k := range f.Tags {
			if other, double := said[k]; double {
				return fmt.Sprintf("%s is both %s's and %s's", k, other, f.ID)
			}
			said[k] = f.ID
		}
	}
	if claimed := maps.Collect(db.ClaimsUnder(s, "key", "")); !maps.Equal(claimed, said) {
		return fmt.Sprintf("claimed %v, rows say %v", claimed, said)
	}
	return ""
}
