package veb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// errNetnsGone: the path no longer leads to a network namespace.
var errNetnsGone = errors.New("network namespace is gone")

// namespace is an open network namespace.
type namespace struct {
	f     *os.File
	inode uint64
}

// openNetns opens the namespace at path, "" being the calling thread's.
func openNetns(path string) (*namespace, error) {
	if path == "" {
		path = "/proc/thread-self/ns/net"
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open %s: %w", path, errNetnsGone)
	}
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	var sfs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &sfs); err != nil || sfs.Type != unix.NSFS_MAGIC {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, errNetnsGone), f.Close())
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, errors.Join(fmt.Errorf("stat %s: %w", path, err), f.Close())
	}
	return &namespace{f: f, inode: st.Ino}, nil
}

func (n *namespace) fd() int { return int(n.f.Fd()) }

func (n *namespace) Close() error { return n.f.Close() }

// do runs fn on a thread that is in the namespace, and waits for it. The thread is
// never used for anything else.
func (n *namespace) do(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: it ends with the goroutine
		if err := unix.Setns(n.fd(), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		done <- fn()
	}()
	return <-done
}
