package netspace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Dir is where names are kept, as iproute2 does (ip-netns(8)).
const Dir = "/run/netns"

// ErrNotExist: no namespace of that name. It is fs.ErrNotExist.
var ErrNotExist = os.ErrNotExist

// ErrExist: the name is taken. It is fs.ErrExist.
var ErrExist = os.ErrExist

// Path returns the file that holds the named namespace open.
func Path(name string) string { return filepath.Join(Dir, name) }

// Open returns a handle of the named namespace; the caller closes it.
func Open(name string) (netns.NsHandle, error) {
	h, err := netns.GetFromPath(Path(name))
	if err != nil {
		return netns.None(), fmt.Errorf("open network namespace %s: %w", name, err)
	}
	if !isNamespace(int(h)) {
		_ = h.Close()
		return netns.None(), fmt.Errorf("open network namespace %s: %w (the file is there, but nothing is mounted on it)", name, ErrNotExist)
	}
	return h, nil
}

// isNamespace tells a bound namespace from the empty file that is left when a name
// was removed half-way.
func isNamespace(fd int) bool {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return false
	}
	return st.Type == unix.NSFS_MAGIC
}

// List returns the names that start with prefix and hold a namespace, sorted.
func List(prefix string) ([]string, error) {
	entries, err := os.ReadDir(Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// Create makes a namespace, runs prepare inside it, and only then gives it its name.
// prepare may be nil. The error is ErrExist when the name holds a namespace already.
func Create(name string, prepare func() error) error {
	if strings.ContainsAny(name, "/\x00") || name == "" || name == "." || name == ".." {
		return fmt.Errorf("create network namespace %q: not a name", name)
	}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if prepare != nil {
			if err := prepare(); err != nil {
				return err
			}
		}
		return bind(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), name)
	})
	if err != nil {
		return fmt.Errorf("create network namespace %s: %w", name, err)
	}
	return nil
}

// shareDir makes Dir a shared mount point, under the lock that iproute2 takes, as
// iproute2 does before its first name. Left to it, its mount would cover the names that
// were made before, and they could not be removed any more.
func shareDir() error {
	if err := os.MkdirAll(Dir, 0o755); err != nil {
		return err
	}
	d, err := os.Open(Dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err = unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", Dir, err)
	}
	if err = unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, ""); err == nil {
		return nil
	}
	if !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("share %s: %w", Dir, err)
	}
	if err = unix.Mount(Dir, Dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make %s a mount point: %w", Dir, err)
	}
	if err = unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share %s: %w", Dir, err)
	}
	return nil
}

func bind(from, name string) error {
	if err := shareDir(); err != nil {
		return err
	}
	path := Path(name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	switch {
	case errors.Is(err, os.ErrExist):
		if h, openErr := Open(name); openErr == nil {
			_ = h.Close()
			return ErrExist
		}
		// The empty file of a name that was removed half-way: take it over.
	case err != nil:
		return err
	default:
		_ = f.Close()
	}
	if err := unix.Mount(from, path, "none", unix.MS_BIND, ""); err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("mount %s: %w", path, err)
	}
	return nil
}

// Delete takes the name away. The namespace itself goes when nothing is left inside:
// no process, no socket, no handle. A name that is not there is no error.
func Delete(name string) error {
	path := Path(name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete network namespace %s: unmount: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete network namespace %s: %w", name, err)
	}
	return nil
}

// Do runs fn on a thread that is inside the named namespace. Sockets and processes
// that fn makes stay there. fn must not start goroutines that rely on being inside.
func Do(name string, fn func() error) error {
	h, err := Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = h.Close() }()
	return DoAt(h, fn)
}

// DoAt is Do for an open handle.
func DoAt(h netns.NsHandle, fn func() error) error {
	return onThread(func() error {
		if err := netns.Set(h); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return fn()
	})
}

// onThread runs fn on a thread of its own choosing of namespace, and puts the thread
// back into the namespace it came from. A thread that cannot be put back is not used
// again: its goroutine ends while locked to it.
func onThread(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			runtime.UnlockOSThread()
			result <- fmt.Errorf("open this thread's network namespace: %w", err)
			return
		}
		err = fn()
		back := netns.Set(home)
		_ = home.Close()
		if back == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}
