package store

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Lease is a promise to come back: rows put on it vanish when it is not kept alive for
// its time to live, or is revoked. It lives in etcd, not in this process.
type Lease struct {
	db  *DB
	id  clientv3.LeaseID
	ttl time.Duration
}

// NewLease grants a lease. etcd counts in whole seconds, at least one: ttl is rounded up.
func (db *DB) NewLease(ctx context.Context, ttl time.Duration) (Lease, error) {
	if ttl <= 0 {
		return Lease{}, fmt.Errorf("%w: lease of %s", ErrInvalid, ttl)
	}
	ctx, stop := context.WithTimeout(ctx, db.cfg.RequestTimeout)
	defer stop()
	if err := db.enter(ctx); err != nil {
		return Lease{}, err
	}
	defer func() { <-db.slots }()
	seconds := int64((ttl + time.Second - 1) / time.Second)
	resp, err := ask(ctx, db, func(ctx context.Context) (*clientv3.LeaseGrantResponse, error) {
		return db.client.Grant(ctx, seconds)
	})
	if err != nil {
		return Lease{}, db.failure("granting a lease", err)
	}
	return Lease{db: db, id: resp.ID, ttl: time.Duration(resp.TTL) * time.Second}, nil
}

// ID returns etcd's number of the lease, for logs; 0 is no lease.
func (l Lease) ID() int64 { return int64(l.id) }

// TTL returns how long the lease lives without being kept alive.
func (l Lease) TTL() time.Duration { return l.ttl }

// KeepAlive renews the lease once. ErrLeaseGone means that its rows are gone too.
func (l Lease) KeepAlive(ctx context.Context) error {
	if l.db == nil {
		return fmt.Errorf("keeping a lease alive: %w", ErrLeaseGone)
	}
	if l.db.isClosed() {
		return ErrClosed
	}
	ctx, stop := context.WithTimeout(ctx, l.db.cfg.RequestTimeout)
	defer stop()
	_, err := ask(ctx, l.db, func(ctx context.Context) (*clientv3.LeaseKeepAliveResponse, error) {
		return l.db.client.KeepAliveOnce(ctx, l.id)
	})
	return l.db.failure("keeping a lease alive", err)
}

// Revoke ends the lease now and removes its rows. A lease that is gone is no error.
func (l Lease) Revoke(ctx context.Context) error {
	if l.db == nil {
		return nil
	}
	if l.db.isClosed() {
		return ErrClosed
	}
	ctx, stop := context.WithTimeout(ctx, l.db.cfg.RequestTimeout)
	defer stop()
	resp, err := ask(ctx, l.db, func(ctx context.Context) (*clientv3.LeaseRevokeResponse, error) {
		return l.db.client.Revoke(ctx, l.id)
	})
	if err != nil {
		if is(err, rpctypes.ErrGRPCLeaseNotFound) {
			return nil
		}
		return l.db.failure("revoking a lease", err)
	}
	return l.db.await(ctx, resp.Header.Revision)
}
