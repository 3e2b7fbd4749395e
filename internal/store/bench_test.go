package store

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A port of 1.2 KB with five claims, as creating a port makes them.
const benchClaims = 5

func benchRow(id string) *fruit {
	return &fruit{ID: id, Colour: "c" + id[len(id)-1:], Tags: []string{"t" + id}, Notes: map[string]string{
		"a": strings.Repeat("x", 350), "b": strings.Repeat("y", 350), "c": strings.Repeat("z", 350),
	}}
}

func benchClaim(id string, i int) string { return fmt.Sprintf("net-%d/%s", i, id) }

func benchOpen(b *testing.B) (*DB, *Table[fruit]) {
	tab := fruits()
	return open(b, Config{}, tab), tab
}

// spread runs n calls of do by so many goroutines.
func spread(b *testing.B, concurrency int, do func(id string) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range concurrency {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				if err := do(fmt.Sprintf("4f6f9d6e-5c1e-4b0e-9a52-%012d", i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "txn/s")
}

// BenchmarkUpdate is a port's creation through the store: encode, commit, wait until it
// can be read.
func BenchmarkUpdate(b *testing.B) {
	for _, c := range []int{1, 4, 16} {
		b.Run(fmt.Sprint(c), func(b *testing.B) {
			db, tab := benchOpen(b)
			put(b, db, tab, fruit{ID: "parent"})
			spread(b, c, func(id string) error {
				return db.Update(context.Background(), func(tx *Tx) error {
					tab.Require(tx, "parent")
					tab.Put(tx, benchRow(id))
					for i := range benchClaims {
						tx.Claim("ip", benchClaim(id, i), id)
					}
					return nil
				})
			})
		})
	}
}

// BenchmarkRawTxn is the same transaction given to etcd's client by hand.
func BenchmarkRawTxn(b *testing.B) {
	for _, c := range []int{1, 4, 16} {
		b.Run(fmt.Sprint(c), func(b *testing.B) {
			db, tab := benchOpen(b)
			put(b, db, tab, fruit{ID: "parent"})
			value, err := encode(benchRow("4f6f9d6e-5c1e-4b0e-9a52-000000000000"))
			if err != nil {
				b.Fatal(err)
			}
			// Another prefix: the store's watch has no part in it.
			p := "/raw/default/"
			spread(b, c, func(id string) error {
				cmps := []clientv3.Cmp{
					clientv3.Compare(clientv3.CreateRevision(db.prefix+"fruits/parent"), ">", 0),
					clientv3.Compare(clientv3.ModRevision(p+"fruits/"+id), "=", 0),
				}
				ops := []clientv3.Op{clientv3.OpPut(p+"fruits/"+id, string(value))}
				for i := range benchClaims {
					k := p + "claim/ip/" + benchClaim(id, i)
					cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(k), "=", 0))
					ops = append(ops, clientv3.OpPut(k, id))
				}
				r, err := db.client.Txn(context.Background()).If(cmps...).Then(ops...).Commit()
				if err == nil && !r.Succeeded {
					return ErrConflict
				}
				return err
			})
		})
	}
}
