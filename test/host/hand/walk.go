package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// entry is one file of the disk.
type entry struct {
	Path string `json:"p"`
	Mode uint32 `json:"m"` // kind, permissions, set-id bits
	UID  uint32 `json:"u"`
	GID  uint32 `json:"g"`
	// What is the content's checksum, where a link points, or which device it is.
	What string `json:"w,omitempty"`
	Attr string `json:"a,omitempty"` // extended attributes
	Time int64  `json:"t,omitempty"` // when its content was changed, of a regular file
}

// walk lists what is under root on root's own file system.
func walk(root string) ([]entry, error) {
	var top unix.Stat_t
	if err := unix.Lstat(root, &top); err != nil {
		return nil, fmt.Errorf("look at %s: %w", root, err)
	}
	var out []entry
	buf := make([]byte, 256<<10)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err = unix.Lstat(path, &st); err != nil {
			return fmt.Errorf("look at %s: %w", path, err)
		}
		if st.Dev != top.Dev { // something is mounted here
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		e := entry{Path: path, Mode: st.Mode, UID: st.Uid, GID: st.Gid}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			e.What, err = sum(path, buf)
			e.Time = st.Mtim.Nano()
		case unix.S_IFLNK:
			e.What, err = os.Readlink(path)
		case unix.S_IFCHR, unix.S_IFBLK:
			e.What = fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		if err == nil {
			e.Attr, err = attributes(path)
		}
		out = append(out, e)
		return err
	})
	return out, err
}

func sum(path string, buf []byte) (string, error) {
	f, err := os.Open(path) //nolint:gosec // that is its purpose
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err = io.CopyBuffer(h, struct{ io.Reader }{f}, buf); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func attributes(path string) (string, error) {
	names := make([]byte, 4096)
	n, err := unix.Llistxattr(path, names)
	if err != nil || n == 0 {
		return "", err
	}
	var s strings.Builder
	for name := range strings.SplitSeq(strings.TrimRight(string(names[:n]), "\x00"), "\x00") {
		value := make([]byte, 4096)
		m, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", fmt.Errorf("read attribute %s of %s: %w", name, path, err)
		}
		fmt.Fprintf(&s, "%s=%x ", name, value[:m])
	}
	return s.String(), nil
}
