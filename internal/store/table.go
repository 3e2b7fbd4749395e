package store

import (
	"encoding/json"
	"fmt"
	"iter"
	"regexp"
	"sync/atomic"

	"github.com/cilium/statedb"
	"github.com/cilium/statedb/index"
)

// Index finds rows by a key that several rows may have and of which a row may have
// several or none. Keys must be pure.
type Index[T any] struct {
	Name string
	Keys func(*T) []string
}

// Table is one typed table of a DB. Make it with NewTable and give it to Open; it serves
// one open DB at a time.
type Table[T any] struct {
	name    string
	key     func(*T) string
	indexes []Index[T]
	open    atomic.Pointer[openTable[T]]
}

// AnyTable is a *Table of any row type.
type AnyTable interface {
	// Name returns the table's name, which is a part of its rows' keys.
	Name() string
	attach(db *DB) error
	feeder
}

// NewTable describes a table. The name is of small letters and '_'; key gives a row's id,
// which must not be empty and never changes. What is wrong with a name is said by Open.
func NewTable[T any](name string, key func(*T) string, indexes ...Index[T]) *Table[T] {
	return &Table[T]{name: name, key: key, indexes: indexes}
}

// Name returns the table's name.
func (t *Table[T]) Name() string { return t.name }

// entry is what the in-memory table holds of a row.
type entry[T any] struct {
	id  string
	mod int64 // etcd's revision of the last change
	row *T
}

// openTable binds a Table to the DB that it is open in.
type openTable[T any] struct {
	db      *DB
	rows    statedb.RWTable[*entry[T]]
	primary statedb.Index[*entry[T], string]
	by      map[string]statedb.Index[*entry[T], string]
}

var tableName = regexp.MustCompile(`^[a-z][a-z_]{0,30}$`)

func (t *Table[T]) attach(db *DB) error {
	if !tableName.MatchString(t.name) || t.name == claimTable {
		return fmt.Errorf("%w: table name %q", ErrInvalid, t.name)
	}
	o := &openTable[T]{db: db, by: make(map[string]statedb.Index[*entry[T], string], len(t.indexes))}
	o.primary = statedb.Index[*entry[T], string]{
		Name:       "id",
		FromObject: func(e *entry[T]) index.KeySet { return index.NewKeySet(index.String(e.id)) },
		FromKey:    index.String,
		Unique:     true,
	}
	secondary := make([]statedb.Indexer[*entry[T]], 0, len(t.indexes))
	for _, ix := range t.indexes {
		by := statedb.Index[*entry[T], string]{
			Name:       ix.Name,
			FromObject: func(e *entry[T]) index.KeySet { return indexKeys(ix.Keys(e.row)) },
			FromKey:    indexKey,
		}
		o.by[ix.Name] = by
		secondary = append(secondary, by)
	}
	rows, err := statedb.NewTableAny[*entry[T]](db.mem, t.name,
		func() []string { return []string{"id"} },
		func(e *entry[T]) []string { return []string{e.id} },
		o.primary, secondary...)
	if err != nil {
		return fmt.Errorf("%w: table %s: %w", ErrInvalid, t.name, err)
	}
	o.rows = rows
	was := t.open.Load()
	if (was != nil && !was.db.isClosed()) || !t.open.CompareAndSwap(was, o) {
		return fmt.Errorf("%w: table %s is open in another DB", ErrInvalid, t.name)
	}
	return nil
}

// indexKey ends a key, so that the search for "net-1" (a prefix search) neither visits
// nor is woken by rows of "net-10".
func indexKey(key string) index.Key { return append([]byte(key), 0x02) }

func indexKeys(keys []string) index.KeySet {
	switch len(keys) {
	case 0:
		return index.KeySet{}
	case 1:
		return index.NewKeySet(indexKey(keys[0]))
	}
	ks := make([]index.Key, len(keys))
	for i, k := range keys {
		ks[i] = indexKey(k)
	}
	return index.NewKeySet(ks...)
}

// in returns the table as s sees it, or nil when s is of another DB (or of none).
func (t *Table[T]) in(s Snapshot) *openTable[T] {
	if o := t.open.Load(); o != nil && o.db == s.db {
		return o
	}
	return nil
}

func (t *Table[T]) entry(s Snapshot, id string) (*entry[T], bool) {
	o := t.in(s)
	if o == nil || id == "" {
		return nil, false
	}
	e, _, ok := o.rows.Get(s.txn, o.primary.Query(id))
	return e, ok
}

// Get returns the row with the id. The row is shared: do not change it.
func (t *Table[T]) Get(s Snapshot, id string) (*T, bool) {
	e, ok := t.entry(s, id)
	if !ok {
		return nil, false
	}
	return e.row, true
}

// All yields every row in the order of ids.
func (t *Table[T]) All(s Snapshot) iter.Seq[*T] {
	o := t.in(s)
	if o == nil {
		return none[T]
	}
	return func(yield func(*T) bool) {
		for e := range o.rows.All(s.txn) {
			if !yield(e.row) {
				return
			}
		}
	}
}

// By yields the rows that have the key in the index, in the order of ids. An index that
// the table does not have yields nothing.
func (t *Table[T]) By(s Snapshot, by, key string) iter.Seq[*T] {
	o, ix := t.by(s, by)
	if o == nil {
		return none[T]
	}
	return func(yield func(*T) bool) {
		for e := range o.rows.List(s.txn, ix.Query(key)) {
			if !yield(e.row) {
				return
			}
		}
	}
}

// Len returns the number of rows.
func (t *Table[T]) Len(s Snapshot) int {
	if o := t.in(s); o != nil {
		return o.rows.NumObjects(s.txn)
	}
	return 0
}

// WatchAll is All with a channel that closes when a later snapshot's result may differ.
func (t *Table[T]) WatchAll(s Snapshot) (iter.Seq[*T], <-chan struct{}) {
	o := t.in(s)
	if o == nil {
		return none[T], nil
	}
	_, changed := o.rows.AllWatch(s.txn)
	return t.All(s), changed
}

// WatchBy is By with a channel that closes when a later snapshot's result may differ.
func (t *Table[T]) WatchBy(s Snapshot, by, key string) (iter.Seq[*T], <-chan struct{}) {
	o, ix := t.by(s, by)
	if o == nil {
		return none[T], nil
	}
	_, changed := o.rows.ListWatch(s.txn, ix.Query(key))
	return t.By(s, by, key), changed
}

// WatchGet is Get with a channel that closes when a later snapshot's result may differ.
func (t *Table[T]) WatchGet(s Snapshot, id string) (*T, bool, <-chan struct{}) {
	o := t.in(s)
	if o == nil {
		return nil, false, nil
	}
	e, _, changed, ok := o.rows.GetWatch(s.txn, o.primary.Query(id))
	if !ok {
		return nil, false, changed
	}
	return e.row, true, changed
}

func (t *Table[T]) by(s Snapshot, name string) (*openTable[T], statedb.Index[*entry[T], string]) {
	o := t.in(s)
	if o == nil {
		return nil, statedb.Index[*entry[T], string]{}
	}
	ix, ok := o.by[name]
	if !ok {
		return nil, ix
	}
	return o, ix
}

func none[T any](func(*T) bool) {}

// Snapshot is a consistent, immutable view of all tables and claims at one revision.
type Snapshot struct {
	db  *DB
	txn statedb.ReadTxn
}

// The side of a table that the watch feeds.

func (t *Table[T]) meta() statedb.TableMeta { return t.open.Load().rows }

func (t *Table[T]) decode(id string, mod int64, value []byte) (any, error) {
	body, err := unwrap(value)
	if err != nil {
		return nil, err
	}
	row := new(T)
	if err := json.Unmarshal(body, row); err != nil {
		return nil, err
	}
	return &entry[T]{id: id, mod: mod, row: row}, nil
}

func (t *Table[T]) insert(w statedb.WriteTxn, decoded any) error {
	_, _, err := t.open.Load().rows.Insert(w, decoded.(*entry[T]))
	return err
}

func (t *Table[T]) remove(w statedb.WriteTxn, id string) error {
	_, _, err := t.open.Load().rows.Delete(w, &entry[T]{id: id})
	return err
}

func (t *Table[T]) mod(r statedb.ReadTxn, id string) (int64, bool) {
	o := t.open.Load()
	e, _, ok := o.rows.Get(r, o.primary.Query(id))
	if !ok {
		return 0, false
	}
	return e.mod, true
}

func (t *Table[T]) ids(r statedb.ReadTxn) iter.Seq[string] {
	return func(yield func(string) bool) {
		for e := range t.open.Load().rows.All(r) {
			if !yield(e.id) {
				return
			}
		}
	}
}
