package store

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/pkg/v3/pbutil"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

// run starts the child and returns what it says, line by line.
func run(t *testing.T, dir, mode string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVar+"="+dir, childMode+"="+mode)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err = cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// TestKill kills a writing process at any moment: everything that it was told is written
// is there afterwards, and a row and its claim are there together or not at all.
func TestKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	tab := fruits()
	acked := map[string]bool{}
	for round := range 3 {
		cmd, said := run(t, dir, "")
		stop := time.AfterFunc(time.Duration(120+round*70)*time.Millisecond, func() { _ = cmd.Process.Kill() })
		for said.Scan() {
			if id, ok := strings.CutPrefix(said.Text(), "ok "); ok {
				acked[id] = true
			} else {
				t.Error(said.Text())
			}
		}
		_ = cmd.Wait()
		stop.Stop()

		begin := time.Now()
		db := open(t, Config{DataDir: dir}, tab)
		t.Logf("round %d: %d acknowledged, open again in %s", round, len(acked), time.Since(begin))
		checkAcked(t, db, tab, acked)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acked) == 0 {
		t.Error("the child wrote nothing")
	}
}

func checkAcked(t *testing.T, db *DB, tab *Table[fruit], acked map[string]bool) {
	t.Helper()
	s := db.Snapshot()
	for id := range acked {
		if _, ok := tab.Get(s, id); !ok {
			t.Errorf("%s was acknowledged and is gone", id)
		}
	}
	claims := 0
	for id := range db.ClaimsUnder(s, "name", "") {
		claims++
		if _, ok := tab.Get(s, id); !ok {
			t.Errorf("%s is claimed and is not there", id)
		}
	}
	if rows := tab.Len(s); rows != claims {
		t.Errorf("%d rows, %d claims", rows, claims)
	}
}

// TestKilledAtBirth: a log that was made and never written to is no obstacle, and a log in
// which something was written is never taken for one.
func TestKilledAtBirth(t *testing.T) {
	dir := t.TempDir()
	meta := pbutil.MustMarshalMessage(&etcdserverpb.Metadata{NodeID: proto.Uint64(1), ClusterID: proto.Uint64(2)})
	w, err := wal.Create(zap.NewNop(), filepath.Join(dir, "etcd", "member", "wal"), meta)
	if err != nil {
		t.Fatal(err)
	}
	if err = w.Close(); err != nil {
		t.Fatal(err)
	}
	tab := fruits()
	db := open(t, Config{DataDir: dir, OpenTimeout: 10 * time.Second}, tab)
	put(t, db, tab, fruit{ID: "a"})
	if err = db.Close(); err != nil {
		t.Fatal(err)
	}
	if err = discardUnborn(zap.NewNop(), filepath.Join(dir, "etcd")); err != nil {
		t.Fatal(err)
	}
	db = open(t, Config{DataDir: dir}, tab)
	wantIDs(t, "rows", tab.All(db.Snapshot()), "a")
}

// smallDisk mounts a file system of so many MiB.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("this kernel does not let us mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestDiskFillsUp: when others fill the disk, writes stop before etcd meets the end of it,
// and go on when there is space.
func TestDiskFillsUp(t *testing.T) {
	disk := smallDisk(t, "160m")
	tab := fruits()
	db := open(t, Config{DataDir: filepath.Join(disk, "data")}, tab)
	put(t, db, tab, fruit{ID: "before"})

	var fs unix.Statfs_t
	if err := unix.Statfs(disk, &fs); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(disk, "filler")
	free := int64(fs.Bavail) * fs.Bsize
	if err := os.WriteFile(filler, make([]byte, free-(20<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	err := db.Update(t.Context(), func(tx *Tx) error { tab.Put(tx, &fruit{ID: "during"}); return nil })
	if !errors.Is(err, ErrUnavailable) || time.Since(begin) > time.Second {
		t.Errorf("with a full disk, after %s: %v", time.Since(begin), err)
	}
	if err = db.Ready(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Ready with a full disk: %v", err)
	}
	if _, err = db.NewLease(t.Context(), time.Second); !errors.Is(err, ErrUnavailable) {
		t.Errorf("NewLease with a full disk: %v", err)
	}
	wantIDs(t, "reads with a full disk", tab.All(db.Snapshot()), "before")
	if err = os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	put(t, db, tab, fruit{ID: "later"})
	wantIDs(t, "with space again", tab.All(db.Snapshot()), "before", "later")
	if err = db.Ready(); err != nil {
		t.Error(err)
	}
}

// TestDiskFull lets etcd itself run into the end of the disk: the process lives, writes
// are unavailable, reads go on, and what was acknowledged is there once there is space.
func TestDiskFull(t *testing.T) {
	disk := smallDisk(t, "56m")
	dir := filepath.Join(disk, "data")
	cmd, said := run(t, dir, "full")
	kill := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	acked := map[string]bool{}
	var refused, last string
	for said.Scan() {
		last = said.Text()
		if id, ok := strings.CutPrefix(last, "ok "); ok {
			acked[id] = true
		} else if strings.HasPrefix(last, "error") {
			refused = last
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("the process did not survive a full disk: %v, %s", err, last)
	}
	t.Logf("%d acknowledged, then %s; %s", len(acked), refused, last)
	if !strings.Contains(refused, ErrUnavailable.Error()) || !strings.HasPrefix(last, "rows ") || !strings.Contains(last, ErrUnavailable.Error()) {
		t.Errorf("refused with %q, ended with %q", refused, last)
	}
	if err := unix.Mount("tmpfs", disk, "", unix.MS_REMOUNT, "size=200m"); err != nil {
		t.Fatal(err)
	}
	tab := fruits()
	db := open(t, Config{DataDir: dir}, tab)
	checkAcked(t, db, tab, acked)
	put(t, db, tab, fruit{ID: "later"})
	update(t, db, func(tx *Tx) { tab.Delete(tx, "later") })
}
