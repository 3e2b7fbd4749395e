package store

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// discardUnborn removes the data of a member that was killed during its very first start,
// after its log was made and before the log said who is a member. Such a member would wait
// for ever to be elected. It is recognised by a log in which nothing was ever committed,
// so that nothing was ever acknowledged; anything else is left alone.
func discardUnborn(lg *zap.Logger, dir string) error {
	logDir := filepath.Join(dir, "member", "wal")
	if !wal.Exist(logDir) {
		return nil
	}
	if snaps, err := filepath.Glob(filepath.Join(dir, "member", "snap", "*.snap")); err != nil || len(snaps) > 0 {
		return err
	}
	// What cannot be read is for etcd to judge, when it opens the log itself.
	w, err := wal.OpenForRead(lg, logDir, &walpb.Snapshot{})
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	defer w.Close()
	_, state, entries, err := w.ReadAll()
	if err != nil || state.GetCommit() > 0 {
		return nil //nolint:nilerr // see above
	}
	for _, e := range entries {
		if t := e.GetType(); t != raftpb.EntryConfChange && t != raftpb.EntryConfChangeV2 {
			return nil
		}
	}
	lg.Warn("discarding data of a first start that was cut short; nothing was ever written", zap.String("dir", dir))
	if err = os.RemoveAll(dir); err != nil {
		return fmt.Errorf("discarding data of an unfinished first start: %w", err)
	}
	return nil
}
