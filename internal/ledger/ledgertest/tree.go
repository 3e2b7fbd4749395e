package ledgertest

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Attr is the extended attribute that is looked at.
const Attr = "trusted.neutrino"

// Failer is what a test and rapid's test have in common.
type Failer interface{ Fatal(args ...any) }

// Snapshot is a tree in words, by name. skip leaves names out, of directories with all below them; nil = none.
func Snapshot(t Failer, root string, skip func(name string) bool) map[string]string {
	out := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		if skip != nil && skip(name) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		out[name], err = describe(p, d)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func describe(p string, d fs.DirEntry) (string, error) {
	info, err := d.Info()
	if err != nil {
		return "", err
	}
	say := info.Mode().String()
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		say += fmt.Sprintf(" %d:%d", st.Uid, st.Gid)
	}
	switch {
	case d.Type()&fs.ModeSymlink != 0:
		to, lerr := os.Readlink(p)
		return say + " -> " + to, lerr
	case !d.Type().IsRegular():
		return say, nil
	}
	data, err := os.ReadFile(p)
	if err != nil {
		return "", err
	}
	say += fmt.Sprintf(" at %d", info.ModTime().UnixNano())
	value := make([]byte, 100)
	if n, xerr := unix.Getxattr(p, Attr, value); xerr == nil {
		say += fmt.Sprintf(" %q", value[:n])
	}
	return say + fmt.Sprintf(": %q %x", data[:min(len(data), 100)], sha256.Sum256(data)), nil
}

// Diff says how two trees differ; "" = they do not.
func Diff(before, after map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(before)) {
		if before[k] != after[k] {
			out = append(out, fmt.Sprintf("%s: %s, was %s", k, after[k], before[k]))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(after)) {
		if _, there := before[k]; !there {
			out = append(out, fmt.Sprintf("%s: %s, was not there", k, after[k]))
		}
	}
	return strings.Join(out, "\n")
}
