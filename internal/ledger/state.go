package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is what there is under a name.
type Kind string

// The kinds.
const (
	Absent  Kind = "absent"
	Regular Kind = "file"
	Symlink Kind = "link"
)

// State is what there was under a name. The content of a file is kept beside, by its sum.
type State struct {
	Kind   Kind              `json:"kind"`
	Sum    string            `json:"sum,omitempty"` // SHA-256, hexadecimal
	Target string            `json:"target,omitempty"`
	Mode   uint32            `json:"mode,omitempty"` // as chmod(2) takes it
	UID    int               `json:"uid,omitempty"`
	GID    int               `json:"gid,omitempty"`
	Time   time.Time         `json:"time,omitzero"` // of the last change of the content
	Attrs  map[string][]byte `json:"attrs,omitempty"`
}

// same reports whether both have the same content, and the same rights to it.
func (s State) same(o State) bool {
	return s.Kind == o.Kind && s.Sum == o.Sum && s.Target == o.Target && s.Mode == o.Mode && s.UID == o.UID && s.GID == o.GID &&
		maps.EqualFunc(s.Attrs, o.Attrs, bytes.Equal)
}

// whole is same, last changed at the same time.
func (s State) whole(o State) bool { return s.same(o) && s.Time.Equal(o.Time) }

// modeBits are those that chmod(2) takes.
const modeBits = 0o7777

// largest is the longest file that is kept: initial RAM disks are far below.
const largest = 2 << 30

// look reads what there is under a name. Where keep is not nil, it is given what a file holds.
func look(root *os.Root, name string, keep io.Writer) (State, error) {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return State{Kind: Absent}, nil
	}
	if err != nil {
		return State{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return State{}, fmt.Errorf("look at %s: %w", name, errors.ErrUnsupported)
	}
	s := State{UID: int(st.Uid), GID: int(st.Gid)}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		s.Kind = Symlink
		s.Target, err = root.Readlink(name)
		return s, err
	case !info.Mode().IsRegular():
		return State{}, fmt.Errorf("%s is neither a file nor a link but %s", name, info.Mode().Type())
	case info.Size() > largest:
		return State{}, fmt.Errorf("%s is longer than %d bytes", name, largest)
	}
	s.Kind, s.Mode, s.Time = Regular, st.Mode&modeBits, info.ModTime()
	f, err := root.Open(name)
	if err != nil {
		return State{}, err
	}
	defer f.Close()
	sum := sha256.New()
	to := io.Writer(sum)
	if keep != nil {
		to = io.MultiWriter(sum, keep)
	}
	if _, err = io.Copy(to, f); err != nil {
		return State{}, err
	}
	s.Sum = hex.EncodeToString(sum.Sum(nil))
	s.Attrs, err = attrs(f)
	return s, err
}

// attrs are a file's extended attributes; a file system without any has none.
func attrs(f *os.File) (map[string][]byte, error) {
	fd := int(f.Fd())
	n, err := unix.Flistxattr(fd, nil)
	if errors.Is(err, unix.ENOTSUP) || n == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the attributes of %s: %w", f.Name(), err)
	}
	names := make([]byte, n)
	if n, err = unix.Flistxattr(fd, names); err != nil {
		return nil, fmt.Errorf("list the attributes of %s: %w", f.Name(), err)
	}
	out := map[string][]byte{}
	for name := range strings.SplitSeq(strings.TrimRight(string(names[:n]), "\x00"), "\x00") {
		value := make([]byte, 64<<10)
		m, gerr := unix.Fgetxattr(fd, name, value)
		if gerr != nil {
			return nil, fmt.Errorf("read the attribute %s of %s: %w", name, f.Name(), gerr)
		}
		out[name] = bytes.Clone(value[:m])
	}
	return out, nil
}

// setAttrs gives a new file its attributes.
func setAttrs(f *os.File, want map[string][]byte) error {
	for name, value := range want {
		if err := unix.Fsetxattr(int(f.Fd()), name, value, 0); err != nil {
			return fmt.Errorf("set the attribute %s of %s: %w", name, f.Name(), err)
		}
	}
	return nil
}

// chmod takes the bits of chmod(2), of which os.FileMode has some elsewhere.
func chmod(f *os.File, mode uint32) error { return unix.Fchmod(int(f.Fd()), mode) }
