package store

import (
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/cilium/statedb"
	"github.com/cilium/statedb/index"
	"github.com/cilium/statedb/part"
)

// claimTable is the name under which claims are kept beside the tables.
const claimTable = "claim"

// claim is a key that has one owner: a VLAN of a physical network, an address of a subnet.
type claim struct {
	id    string // kind/key
	owner string
	mod   int64
}

// claims holds the claims in memory. There are several per port and nobody watches one, so
// they are not rows of their own, with a channel each, but an immutable tree in the one
// row of a table: a snapshot of all tables has the claims of the same revision.
type claims struct {
	row  statedb.RWTable[*claimTree]
	only statedb.Index[*claimTree, index.Key]

	changing *part.Txn[claim] // from the first change of a statedb transaction to keep
}

// claimTree has the claims by id.
type claimTree struct{ part.Tree[claim] }

// theRow is the key of the one row.
var theRow = index.Key{0}

func newClaims(mem *statedb.DB) (*claims, error) {
	c := &claims{only: statedb.Index[*claimTree, index.Key]{
		Name:       "row",
		FromObject: func(*claimTree) index.KeySet { return index.NewKeySet(theRow) },
		FromKey:    func(k index.Key) index.Key { return k },
		Unique:     true,
	}}
	var err error
	c.row, err = statedb.NewTableAny[*claimTree](mem, claimTable,
		func() []string { return []string{"claims"} },
		func(t *claimTree) []string { return []string{strconv.Itoa(t.Len())} },
		c.only)
	return c, err
}

func (c *claims) meta() statedb.TableMeta { return c.row }

func (c *claims) decode(id string, mod int64, value []byte) (any, error) {
	return claim{id: id, owner: string(value), mod: mod}, nil
}

// tree returns the claims as r sees them, without changes that are not kept yet.
func (c *claims) tree(r statedb.ReadTxn) *claimTree {
	t, _, ok := c.row.Get(r, c.only.Query(theRow))
	if !ok {
		return &claimTree{part.New[claim](part.RootOnlyWatch)}
	}
	return t
}

func (c *claims) change(w statedb.WriteTxn) *part.Txn[claim] {
	if c.changing == nil {
		c.changing = c.tree(w).Txn()
	}
	return c.changing
}

func (c *claims) insert(w statedb.WriteTxn, decoded any) error {
	e := decoded.(claim)
	c.change(w).Insert(index.String(e.id), e)
	return nil
}

func (c *claims) remove(w statedb.WriteTxn, id string) error {
	c.change(w).Delete(index.String(id))
	return nil
}

// keep puts the changes into w, which is about to be committed.
func (c *claims) keep(w statedb.WriteTxn) error {
	if c.changing == nil {
		return nil
	}
	_, _, err := c.row.Insert(w, &claimTree{c.changing.CommitAndNotify()})
	c.changing = nil
	return err
}

// drop forgets changes that were not kept.
func (c *claims) drop() { c.changing = nil }

func (c *claims) get(r statedb.ReadTxn, id []byte) (claim, bool) {
	e, _, ok := c.tree(r).Get(id)
	return e, ok
}

func (c *claims) mod(r statedb.ReadTxn, id string) (int64, bool) {
	e, ok := c.get(r, index.String(id))
	return e.mod, ok
}

func (c *claims) ids(r statedb.ReadTxn) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, e := range c.tree(r).All {
			if !yield(e.id) {
				return
			}
		}
	}
}

func (c *claims) under(r statedb.ReadTxn, kind, keyPrefix string) iter.Seq2[string, string] {
	head := kind + "/"
	return func(yield func(key, owner string) bool) {
		found, _ := c.tree(r).Prefix(index.String(head + keyPrefix))
		for _, e := range found.All {
			if !yield(e.id[len(head):], e.owner) {
				return
			}
		}
	}
}

// ClaimsUnder yields the claims of a kind whose keys begin with keyPrefix, as key and
// owner, in the order of keys.
func (db *DB) ClaimsUnder(s Snapshot, kind, keyPrefix string) iter.Seq2[string, string] {
	if s.db != db {
		return func(func(string, string) bool) {}
	}
	return db.claims.under(s.txn, kind, keyPrefix)
}

// ClaimOwner returns who owns a claim.
func (db *DB) ClaimOwner(s Snapshot, kind, key string) (owner string, ok bool) {
	if s.db != db {
		return "", false
	}
	c, ok := db.claims.get(s.txn, index.String(kind+"/"+key))
	if !ok {
		return "", false
	}
	return c.owner, true
}

// ClaimHeld reports whether anybody owns the claim whose kind and key are id, as
// "kind/key". It is ClaimOwner for a search that asks many times: id may be changed after.
func (db *DB) ClaimHeld(s Snapshot, id []byte) bool {
	if s.db != db {
		return false
	}
	_, held := db.claims.get(s.txn, id)
	return held
}

// Claim makes the key of the kind the owner's when the transaction commits. A claim that
// the owner has already is kept. One that is another's in the transaction's view makes
// Update fail with a ClaimedError once it is sure that the view is not a stale one; ask
// Claimed first to give a better answer.
func (tx *Tx) Claim(kind, key, owner string) {
	id, ok := tx.claimID(kind, key)
	if !ok {
		return
	}
	if owner == "" {
		tx.fail(fmt.Errorf("%w: claim %s without an owner", ErrInvalid, id))
		return
	}
	switch have, claimed := tx.Claimed(kind, key); {
	case !claimed:
		tx.write(claimTable+"/"+id, &change{owner: owner})
	case have != owner:
		tx.collision = &ClaimedError{Kind: kind, Key: key, Owner: have}
	}
}

// Claimed returns who owns a claim in the transaction's view, its own changes included;
// that it still is so is compared when the transaction commits.
func (tx *Tx) Claimed(kind, key string) (owner string, ok bool) {
	id, ok := tx.claimID(kind, key)
	if !ok {
		return "", false
	}
	if w, changed := tx.changes[claimTable+"/"+id]; changed {
		return w.owner, !w.delete
	}
	c, ok := tx.db.claims.get(tx.snap.txn, index.String(id))
	if !ok {
		tx.compare(claimTable+"/"+id, sameVersion, 0)
		return "", false
	}
	tx.compare(claimTable+"/"+id, sameVersion, c.mod)
	return c.owner, true
}

// Release gives a claim back if it is the owner's; else it does nothing.
func (tx *Tx) Release(kind, key, owner string) {
	if have, ok := tx.Claimed(kind, key); !ok || have != owner {
		return
	}
	id := kind + "/" + key
	if _, inView := tx.db.claims.get(tx.snap.txn, index.String(id)); inView {
		tx.write(claimTable+"/"+id, &change{delete: true})
	} else {
		tx.forget(claimTable + "/" + id)
	}
}

// ClaimsUnder yields key and owner of the claims of a kind whose keys begin with
// keyPrefix, in the order of keys, as the view has them: without the transaction's own
// changes, and not compared at commit. It is for choosing something free, which Claim
// then secures.
func (tx *Tx) ClaimsUnder(kind, keyPrefix string) iter.Seq2[string, string] {
	return tx.db.claims.under(tx.snap.txn, kind, keyPrefix)
}

// NoneUnder reports whether no claim of the kind has a key that begins with keyPrefix,
// the transaction's own changes included. If so, the commit compares that there is still
// none (but for those that the transaction itself releases).
func (tx *Tx) NoneUnder(kind, keyPrefix string) bool {
	if _, ok := tx.claimID(kind, keyPrefix+"x"); !ok {
		return false
	}
	head := claimTable + "/" + kind + "/"
	for key, w := range tx.changes {
		if !w.delete && w.row == nil && strings.HasPrefix(key, head+keyPrefix) {
			return false
		}
	}
	empty := true
	for key := range tx.ClaimsUnder(kind, keyPrefix) {
		empty = false
		if w, ok := tx.changes[head+key]; !ok || !w.delete {
			return false
		}
	}
	if empty {
		tx.compare(head+keyPrefix, noneUnder, 0)
	} else {
		tx.compare(head+keyPrefix, unchangedUnder, 0)
	}
	return true
}

func (tx *Tx) claimID(kind, key string) (string, bool) {
	if kind == "" || key == "" || strings.Contains(kind, "/") {
		tx.fail(fmt.Errorf("%w: claim of kind %q with key %q", ErrInvalid, kind, key))
		return "", false
	}
	return kind + "/" + key, true
}
