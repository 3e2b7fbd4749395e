package store

import (
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Tx is one run of the function given to Update. What Read, Require, Claimed and
// NoneUnder answered is compared when it commits; what Get, All, By and ClaimsUnder
// answer from Snapshot is not.
type Tx struct {
	db   *DB
	snap Snapshot
	seen int64 // the view is at least at this revision

	compares  map[target]comparison
	changes   map[string]*change
	order     []string // keys of changes in the order they were first made
	collision *ClaimedError
	err       error
}

// target is a key, or all keys with a prefix, below the cluster's prefix.
type target struct {
	key    string
	prefix bool
}

type comparison struct {
	how how
	mod int64
}

// how a key is compared at commit.
type how uint8

const (
	stillExists    how = iota + 1 // any version of it
	sameVersion                   // this version of it, or still absent
	noneUnder                     // nothing has this prefix
	unchangedUnder                // nothing with this prefix was made or changed since the view
)

// change is a put or a delete of one key.
type change struct {
	row    any    // of a table; nil for a claim
	owner  string // of a claim
	lease  clientv3.LeaseID
	delete bool
}

func newTx(db *DB) *Tx {
	seen := db.progress.at()
	return &Tx{
		db: db, snap: db.Snapshot(), seen: seen,
		compares: make(map[target]comparison, 8),
		changes:  make(map[string]*change, 8),
	}
}

// Snapshot returns the view that the transaction reads from. It does not have the
// transaction's own changes.
func (tx *Tx) Snapshot() Snapshot { return tx.snap }

// fail makes the transaction return err instead of committing; the first one counts.
func (tx *Tx) fail(err error) {
	if tx.err == nil {
		tx.err = err
	}
}

func (tx *Tx) compare(key string, h how, mod int64) {
	t := target{key: key, prefix: h == noneUnder || h == unchangedUnder}
	if had, ok := tx.compares[t]; ok && had.how == sameVersion && h == stillExists {
		return
	}
	tx.compares[t] = comparison{how: h, mod: mod}
}

func (tx *Tx) write(key string, c *change) {
	if _, ok := tx.changes[key]; !ok {
		tx.order = append(tx.order, key)
	}
	tx.changes[key] = c
}

// forget takes back a change of a key that etcd does not have.
func (tx *Tx) forget(key string) {
	if _, ok := tx.changes[key]; ok {
		delete(tx.changes, key)
		tx.order = slices.DeleteFunc(tx.order, func(k string) bool { return k == key })
	}
}

// Read returns the row as the transaction has it: its own change, else the view's. That
// the view's row (or its absence) is still the same is compared at commit.
func (t *Table[T]) Read(tx *Tx, id string) (*T, bool) {
	return t.read(tx, id, sameVersion)
}

// Require is Read for rows that only have to exist: at commit, another version of the row
// is as good. That a row does not exist is compared as Read compares it.
func (t *Table[T]) Require(tx *Tx, id string) (*T, bool) {
	return t.read(tx, id, stillExists)
}

func (t *Table[T]) read(tx *Tx, id string, h how) (*T, bool) {
	if !t.usable(tx, id) {
		return nil, false
	}
	key := t.name + "/" + id
	if c, ok := tx.changes[key]; ok {
		row, _ := c.row.(*T)
		return row, !c.delete
	}
	e, ok := t.entry(tx.snap, id)
	if !ok {
		tx.compare(key, sameVersion, 0)
		return nil, false
	}
	tx.compare(key, h, e.mod)
	return e.row, true
}

// Put writes the row when the transaction commits. If the transaction has not read the
// row, Put compares what Read would have: a row that the view does not have must not
// exist. The row must not be changed until Update returns.
func (t *Table[T]) Put(tx *Tx, row *T) { t.put(tx, row, 0) }

// PutLeased is Put of a row that vanishes with the lease.
func (t *Table[T]) PutLeased(tx *Tx, row *T, lease Lease) {
	if lease.id == 0 {
		tx.fail(fmt.Errorf("%w: row of table %s on no lease", ErrInvalid, t.name))
		return
	}
	t.put(tx, row, lease.id)
}

func (t *Table[T]) put(tx *Tx, row *T, lease clientv3.LeaseID) {
	if row == nil {
		tx.fail(fmt.Errorf("%w: nil row for table %s", ErrInvalid, t.name))
		return
	}
	id := t.key(row)
	if !t.usable(tx, id) {
		return
	}
	t.pin(tx, id)
	tx.write(t.name+"/"+id, &change{row: row, lease: lease})
}

// Delete removes the row when the transaction commits; one that does not exist is none.
func (t *Table[T]) Delete(tx *Tx, id string) {
	if !t.usable(tx, id) {
		return
	}
	key := t.name + "/" + id
	if _, inView := t.pin(tx, id); !inView {
		tx.forget(key)
		return
	}
	tx.write(key, &change{delete: true})
}

// pin compares the view's version of a row that is about to be written.
func (t *Table[T]) pin(tx *Tx, id string) (*entry[T], bool) {
	e, ok := t.entry(tx.snap, id)
	var mod int64
	if ok {
		mod = e.mod
	}
	tx.compare(t.name+"/"+id, sameVersion, mod)
	return e, ok
}

func (t *Table[T]) usable(tx *Tx, id string) bool {
	switch {
	case t.in(tx.snap) == nil:
		tx.fail(fmt.Errorf("%w: table %s is not open in this DB", ErrInvalid, t.name))
	case id == "":
		tx.fail(fmt.Errorf("%w: a row of table %s without an id", ErrInvalid, t.name))
	default:
		return true
	}
	return false
}

// request turns the transaction into etcd's: all comparisons, then all changes.
func (tx *Tx) request() (cmps []clientv3.Cmp, ops []clientv3.Op, err error) {
	cmps = make([]clientv3.Cmp, 0, len(tx.compares))
	for t, c := range tx.compares {
		cmps = append(cmps, tx.cmp(tx.db.prefix+t.key, c))
	}
	ops = make([]clientv3.Op, 0, len(tx.order))
	for _, key := range tx.order {
		c := tx.changes[key]
		if c.delete {
			ops = append(ops, clientv3.OpDelete(tx.db.prefix+key))
			continue
		}
		value := c.owner
		if c.row != nil {
			b, encErr := encode(c.row)
			if encErr != nil {
				return nil, nil, fmt.Errorf("%w: encoding %s: %w", ErrInvalid, key, encErr)
			}
			value = string(b)
		}
		if c.lease != 0 {
			ops = append(ops, clientv3.OpPut(tx.db.prefix+key, value, clientv3.WithLease(c.lease)))
		} else {
			ops = append(ops, clientv3.OpPut(tx.db.prefix+key, value))
		}
	}
	return cmps, ops, nil
}

func (tx *Tx) cmp(key string, c comparison) clientv3.Cmp {
	switch c.how {
	case stillExists:
		return clientv3.Compare(clientv3.CreateRevision(key), ">", 0)
	case noneUnder:
		return clientv3.Compare(clientv3.CreateRevision(key), "=", 0).WithPrefix()
	case unchangedUnder:
		return clientv3.Compare(clientv3.ModRevision(key), "<", tx.seen+1).WithPrefix()
	default:
		return clientv3.Compare(clientv3.ModRevision(key), "=", c.mod)
	}
}
