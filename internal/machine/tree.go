package machine

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Tree is a file system whose root need not be the machine's: sys, proc, etc are below
// it. "" = "/".
type Tree string

// longest is how much of a file is read: no file of sys, proc or etc that is looked at
// is longer on a sane machine.
const longest = 4 << 20

// Path is a file below the root.
func (t Tree) Path(parts ...string) string {
	root := string(t)
	if root == "" {
		root = "/"
	}
	return filepath.Join(append([]string{root}, parts...)...)
}

// Live reports whether it is the running machine's.
func (t Tree) Live() bool { return t.Path() == "/" }

// Bytes reads a file; ok is false where it is not there or must not be read.
func (t Tree) Bytes(parts ...string) (data []byte, ok bool) {
	path := t.Path(parts...)
	if i, err := os.Stat(path); err != nil || !i.Mode().IsRegular() { // a FIFO would hang
		return nil, false
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	data, err = io.ReadAll(io.LimitReader(f, longest))
	return data, err == nil
}

// Text reads a small file without the blanks around it.
func (t Tree) Text(parts ...string) (string, bool) {
	b, ok := t.Bytes(parts...)
	return strings.TrimSpace(string(b)), ok
}

// Number reads a file that holds a decimal, octal or hexadecimal number.
func (t Tree) Number(parts ...string) (int, bool) {
	text, ok := t.Text(parts...)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 0, 64)
	return int(n), err == nil
}

// List reads a file that holds a list of CPUs; what is none reads as empty.
func (t Tree) List(parts ...string) CPUList {
	text, _ := t.Text(parts...)
	l, err := ParseCPUList(text, 0)
	if err != nil {
		return nil
	}
	return l
}

// Names lists a directory.
func (t Tree) Names(parts ...string) []string {
	entries, err := os.ReadDir(t.Path(parts...))
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	slices.Sort(out)
	return out
}

// Link is the last element of a link's target; "" = no link.
func (t Tree) Link(parts ...string) string {
	to, err := os.Readlink(t.Path(parts...))
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}

// Exists reports whether there is something of that name.
func (t Tree) Exists(parts ...string) bool {
	_, err := os.Stat(t.Path(parts...))
	return err == nil
}

// numbered lists the N of the names "<prefix>N" of a directory, ascending.
func (t Tree) numbered(prefix string, parts ...string) []int {
	var out []int
	for _, name := range t.Names(parts...) {
		digits, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		if n, err := strconv.Atoi(digits); err == nil && n >= 0 && strconv.Itoa(n) == digits {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}
