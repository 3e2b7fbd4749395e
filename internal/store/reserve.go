package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// reserved is how many bytes beyond its present size the embedded etcd's database may
// grow on a disk that somebody else has filled.
const reserved = 16 << 20

// reserve gives the database file blocks for every page it has and for some growth. Etcd
// grows the file with holes in it and writes pages a tenth of a second after the requests
// that made them; a hole that cannot be filled then, because somebody else was quicker,
// ends etcd. Where the file system does not know how (fallocate(2), EOPNOTSUPP), or the
// disk is full already, things stay as they are.
func (m *member) reserve() error {
	path := filepath.Join(m.dir, "etcd", "member", "snap", "db")
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("reserving space: %w", err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("reserving space for %s: %w", path, err)
	}
	if st.Blocks*512 >= st.Size+reserved {
		return nil // nothing is written to an idle disk
	}
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, st.Size+reserved)
	if err == nil || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINTR) {
		return nil
	}
	return fmt.Errorf("reserving space for %s: %w", path, err)
}
