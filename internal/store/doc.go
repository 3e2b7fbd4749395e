// Package store keeps rows of typed tables, and the claims that make things unique,
// in etcd: an embedded one when no endpoints are configured, else a cluster. Both take
// the same path through this package.
//
// # What it owns
//
//   - Keys. A row is /neutrino/<cluster>/<table>/<id>, its value the row's JSON with a
//     format version around it. A claim is /neutrino/<cluster>/claim/<kind>/<key>, its
//     value the owner.
//   - In-memory tables (cilium/statedb) fed by one watch on the cluster's prefix. Every
//     read is served from a Snapshot of them: consistent over all tables and claims,
//     without locks, without going to etcd.
//   - Transactions. [DB.Update] commits everything a function wrote in one etcd
//     transaction that compares everything the function's decision rested on, and returns
//     after the in-memory tables have reached the commit: a caller reads its own writes.
//     Another controller is behind by the latency of its watch, never inconsistent.
//   - Leases: rows that vanish when their owner stops renewing.
//
// # What it never does
//
// It does not know what a row means, never answers a read from etcd, never acknowledges a
// write that is not on disk (of a majority, with a cluster), and never says that a write
// failed when it may have succeeded: that is [ErrUnavailable], which means "unknown".
//
// # Concurrency
//
// A DB and its tables may be used from any number of goroutines. A Snapshot is immutable
// and may be shared. Rows that reads return are shared with every other reader and must
// not be changed; change a copy and Put it. A Tx belongs to the goroutine that runs the
// function given to Update.
package store
