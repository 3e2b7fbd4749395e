package store

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// keepHouse compacts the embedded etcd's history by revisions, so that its file and its
// index in memory stay small under any load (only its own watch and loads read history,
// and only the newest), mends a database that has reached its
// quota once there is something to free, and keeps disk space reserved for it. An external
// etcd has its own operator.
func (db *DB) keepHouse() {
	compactedTo := max(0, db.progress.at()-db.cfg.compactEvery) // what an earlier process left is not known
	tick := time.NewTicker(db.cfg.houseTick)
	defer tick.Stop()
	for {
		select {
		case <-db.ctx.Done():
			return
		case <-db.house:
		case <-tick.C:
		}
		if at := db.progress.at(); at-compactedTo >= db.cfg.compactEvery {
			if err := db.compact(at - db.cfg.keepRevisions); err != nil {
				db.log.Warn("compacting the embedded etcd failed", "error", err)
			} else {
				compactedTo = at
			}
		}
		if db.noSpace.Load() {
			if err := db.mendSpace(); err != nil {
				db.log.Warn("the embedded etcd's database is at its quota", "quota", db.cfg.QuotaBytes, "error", err)
			}
		}
		if err := db.member.reserve(); err != nil {
			db.log.Warn("no space is reserved for the database", "error", err)
		}
	}
}

func (db *DB) compact(revision int64) error {
	if revision <= 0 {
		return nil
	}
	ctx, stop := context.WithTimeout(db.ctx, db.cfg.RequestTimeout)
	defer stop()
	_, err := ask(ctx, db, func(ctx context.Context) (*clientv3.CompactResponse, error) {
		return db.client.Compact(ctx, revision)
	})
	if compacted(err) {
		return nil
	}
	return err
}

// mendSpace frees what it can and takes back the alarm that etcd raised, if that brought
// the database well below its quota. Nothing but this process can do so: the embedded
// etcd listens to nobody.
func (db *DB) mendSpace() error {
	ctx, stop := context.WithTimeout(db.ctx, time.Minute)
	defer stop()
	_, err := ask(ctx, db, func(ctx context.Context) (struct{}, error) { return struct{}{}, db.freeSpace(ctx) })
	return err
}

func (db *DB) freeSpace(ctx context.Context) error {
	if _, err := db.client.Compact(ctx, db.progress.at(), clientv3.WithCompactPhysical()); err != nil && !compacted(err) {
		return err
	}
	before, err := db.client.Status(ctx, "")
	if err != nil {
		return err
	}
	if limit := db.cfg.QuotaBytes / 10 * 9; before.DbSizeInUse > limit {
		return fmt.Errorf("%d of %d bytes are in use: delete something, or raise the quota", before.DbSizeInUse, db.cfg.QuotaBytes)
	}
	// Not through the client: the in-process one has no health server to tell of it.
	if err = db.member.etcd.Server.Backend().Defrag(); err != nil {
		return fmt.Errorf("defragmenting: %w", err)
	}
	alarms, err := db.client.AlarmList(ctx)
	if err != nil {
		return fmt.Errorf("listing alarms: %w", err)
	}
	for _, a := range alarms.Alarms {
		if a.Alarm != pb.AlarmType_NOSPACE {
			continue
		}
		if _, err = db.client.AlarmDisarm(ctx, &clientv3.AlarmMember{MemberID: a.MemberID, Alarm: a.Alarm}); err != nil {
			return fmt.Errorf("disarming the alarm: %w", err)
		}
	}
	db.noSpace.Store(false)
	db.log.Info("the embedded etcd has space again")
	return nil
}
