package store

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSpaceIsReserved: somebody fills the disk between one write and the next, faster
// than anybody could look. What is under way must not end etcd.
func TestSpaceIsReserved(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("root is needed: a file system of its own")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=120m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	tab := fruits()
	db := open(t, Config{DataDir: filepath.Join(dir, "data"), MinFreeBytes: -1}, tab)
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err = f.Write(block); errors.Is(err, unix.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 40 {
		put(t, db, tab, fruit{ID: strconv.Itoa(i), Notes: map[string]string{"n": strings.Repeat("x", 50_000)}})
	}
	select {
	case <-db.Failed():
		t.Error(db.Ready())
	case <-time.After(300 * time.Millisecond): // three times what etcd waits before it writes pages
	}
}
