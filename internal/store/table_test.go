package store

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestTableReads(t *testing.T) {
	tab := fruits()
	db := open(t, Config{}, tab)
	put(t, db, tab,
		fruit{ID: "b", Colour: "red", Tags: []string{"x", "y"}},
		fruit{ID: "a", Colour: "red1", Tags: []string{"x"}},
		fruit{ID: "c", Colour: "red"},
		fruit{ID: "d"})
	s := db.Snapshot()
	wantIDs(t, "all", tab.All(s), "a", "b", "c", "d")
	wantIDs(t, "by colour", tab.By(s, "colour", "red"), "b", "c")
	wantIDs(t, "by another key that begins the same", tab.By(s, "colour", "red1"), "a")
	wantIDs(t, "by the beginning of a key", tab.By(s, "colour", "re"))
	wantIDs(t, "by an empty key", tab.By(s, "colour", ""))
	wantIDs(t, "by tag", tab.By(s, "tag", "x"), "a", "b")
	wantIDs(t, "by an index that is not there", tab.By(s, "shape", "x"))
	if n := tab.Len(s); n != 4 {
		t.Errorf("Len %d", n)
	}
	if _, ok := tab.Get(s, ""); ok {
		t.Error("a row without an id")
	}
	seq := tab.By(s, "tag", "x")
	if first, again := ids(seq), ids(seq); !slices.Equal(first, again) {
		t.Errorf("a sequence gives %v, then %v", first, again)
	}

	update(t, db, func(tx *Tx) { tab.Delete(tx, "b"); tab.Put(tx, &fruit{ID: "c", Colour: "blue"}) })
	wantIDs(t, "an old snapshot", tab.By(s, "colour", "red"), "b", "c")
	s = db.Snapshot()
	wantIDs(t, "after delete and change", tab.By(s, "colour", "red"))
	wantIDs(t, "changed key", tab.By(s, "colour", "blue"), "c")
	wantIDs(t, "a snapshot of no DB", tab.All(Snapshot{}))
	for range tab.All(s) {
		break
	}
}

func TestWatch(t *testing.T) {
	tab := fruits()
	db := open(t, Config{}, tab)
	put(t, db, tab, fruit{ID: "a", Colour: "red"}, fruit{ID: "b", Colour: "blue"})

	s := db.Snapshot()
	rows, all := tab.WatchAll(s)
	wantIDs(t, "all", rows, "a", "b")
	rows, red := tab.WatchBy(s, "colour", "red")
	wantIDs(t, "red", rows, "a")
	_, green := tab.WatchBy(s, "colour", "green")
	_, ok, a := tab.WatchGet(s, "a")
	_, missing, c := tab.WatchGet(s, "c")
	if !ok || missing {
		t.Fatal("WatchGet")
	}
	put(t, db, tab, fruit{ID: "b", Colour: "blue", Size: 2})
	if !closed(all) {
		t.Error("all: no word of a change")
	}
	select {
	case <-a:
		t.Error("a: woken by b")
	default:
	}
	put(t, db, tab, fruit{ID: "c", Colour: "green"})
	if !closed(green) || !closed(c) {
		t.Error("green, c: no word of a new row")
	}
	update(t, db, func(tx *Tx) { tab.Delete(tx, "a") })
	if !closed(red) || !closed(a) {
		t.Error("red, a: no word of a removal")
	}
}

func TestClaims(t *testing.T) {
	db := open(t, Config{})
	update(t, db, func(tx *Tx) {
		tx.Claim("vlan", "p/10", "n1")
		tx.Claim("vlan", "p/11", "n2")
		tx.Claim("vlan", "q/10", "n3")
		tx.Claim("ip", "p/10", "x")
		if o, ok := tx.Claimed("vlan", "p/10"); !ok || o != "n1" {
			t.Error("own claim not seen")
		}
	})
	got := maps.Collect(db.ClaimsUnder(db.Snapshot(), "vlan", "p/"))
	if want := map[string]string{"p/10": "n1", "p/11": "n2"}; !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if o, ok := db.ClaimOwner(db.Snapshot(), "vlan", "q/10"); !ok || o != "n3" {
		t.Error("ClaimOwner")
	}

	err := db.Update(t.Context(), func(tx *Tx) error { tx.Claim("vlan", "p/10", "thief"); return nil })
	var c *ClaimedError
	if !errors.Is(err, ErrConflict) || !errors.As(err, &c) || c.Owner != "n1" {
		t.Errorf("stealing a claim: %v", err)
	}
	update(t, db, func(tx *Tx) {
		tx.Claim("vlan", "p/10", "n1")      // again: no change
		tx.Release("vlan", "p/11", "thief") // not the owner: no change
		tx.Claim("vlan", "p/12", "n4")      // made and given back
		tx.Release("vlan", "p/12", "n4")
	})
	update(t, db, func(tx *Tx) {
		if tx.NoneUnder("vlan", "p/") {
			t.Error("NoneUnder: there are")
		}
		tx.Release("vlan", "p/10", "n1")
		tx.Release("vlan", "p/11", "n2")
		if !tx.NoneUnder("vlan", "p/") || !tx.NoneUnder("vlan", "z/") {
			t.Error("NoneUnder: there are none")
		}
		tx.Claim("vlan", "q/11", "n3")
		if tx.NoneUnder("vlan", "q/") {
			t.Error("NoneUnder: its own claim")
		}
		tx.Release("vlan", "q/10", "n3") // hand over in one transaction
		tx.Claim("vlan", "q/10", "n5")
	})
	got = maps.Collect(db.ClaimsUnder(db.Snapshot(), "vlan", ""))
	if want := map[string]string{"q/10": "n5", "q/11": "n3"}; !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	for range db.ClaimsUnder(Snapshot{}, "vlan", "") {
		t.Error("claims of no snapshot")
	}
}

func TestInvalid(t *testing.T) {
	tab, other := fruits(), fruits()
	db := open(t, Config{}, tab)
	for name, fn := range map[string]func(tx *Tx){
		"row without id":      func(tx *Tx) { tab.Put(tx, &fruit{}) },
		"nil row":             func(tx *Tx) { tab.Put(tx, nil) },
		"table of no DB":      func(tx *Tx) { other.Put(tx, &fruit{ID: "a"}) },
		"read without id":     func(tx *Tx) { tab.Read(tx, "") },
		"no lease":            func(tx *Tx) { tab.PutLeased(tx, &fruit{ID: "a"}, Lease{}) },
		"claim without key":   func(tx *Tx) { tx.Claim("vlan", "", "o") },
		"claim without owner": func(tx *Tx) { tx.Claim("vlan", "1", "") },
		"kind with a slash":   func(tx *Tx) { tx.Claim("a/b", "1", "o") },
	} {
		err := db.Update(t.Context(), func(tx *Tx) error { fn(tx); return nil })
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, tables := range map[string][]AnyTable{
		"table in another DB": {tab},
		"claims' name":        {NewTable("claim", func(f *fruit) string { return f.ID })},
		"bad name":            {NewTable("Fruits/", func(f *fruit) string { return f.ID })},
		"twice":               {other, fruits()},
	} {
		_, err := Open(t.Context(), Config{DataDir: t.TempDir(), Log: silent()}, tables...)
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, cfg := range map[string]Config{
		"no place":        {},
		"cluster name":    {DataDir: "x", Cluster: "a/b"},
		"listener":        {DataDir: "x", ListenClient: "0.0.0.0:2379"},
		"listener syntax": {DataDir: "x", ListenClient: "2379"},
		"half a key pair": {Endpoints: []string{"x:1"}, TLS: TLS{CertFile: "c"}},
		"no such CA":      {Endpoints: []string{"https://127.0.0.1:1"}, TLS: TLS{CAFile: "/nonexistent/ca"}},
	} {
		if _, err := Open(t.Context(), cfg); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTooLarge(t *testing.T) {
	tab := fruits()
	db := open(t, Config{}, tab)
	err := db.Update(t.Context(), func(tx *Tx) error {
		tab.Put(tx, &fruit{ID: "a", Notes: map[string]string{"n": strings.Repeat("x", maxRequest)}})
		return nil
	})
	if !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	err = db.Update(t.Context(), func(tx *Tx) error {
		for i := range maxOps + 1 {
			tx.Claim("n", strings.Repeat("x", i%50)+string(rune('a'+i%26))+"/"+string(rune(i+1000)), "o")
		}
		return nil
	})
	if !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

func TestValue(t *testing.T) {
	for value, want := range map[string]string{
		`{"v":1,"row":{"id":"a"}}`:     `{"id":"a"}`,
		`{ "row": {"id":"a"}, "v":1 }`: `{"id":"a"}`,
		`{"v":2,"row":{"id":"a"}}`:     "",
		`{"v":1}`:                      "",
		`{"id":"a"}`:                   "",
		``:                             "",
		`null`:                         "",
	} {
		got, err := unwrap([]byte(value))
		if (err != nil) != (want == "") || string(got) != want {
			t.Errorf("%s: got %q, %v", value, got, err)
		}
	}
	b, err := encode(&fruit{ID: "<a>"})
	if err != nil || string(b) != `{"v":1,"row":{"id":"<a>"}}` {
		t.Errorf("%s, %v", b, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"v":1,"row":{"id":"a","tags":["x"],"notes":{"a":"b"}}}`))
	f.Add([]byte(`{"v":1,"row":}`))
	f.Add([]byte(`{"v":3}`))
	tab := fruits()
	f.Fuzz(func(t *testing.T, value []byte) {
		decoded, err := tab.decode("a", 1, value)
		if (decoded == nil) != (err != nil) {
			t.Fatalf("%v, %v", decoded, err)
		}
	})
}
