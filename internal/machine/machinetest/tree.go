package machinetest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"neutrino/internal/pci/pcitest"
)

// Tree is a machine in a directory.
type Tree struct {
	*pcitest.Tree
	Spec Spec
	irq  int
	err  error
}

// New makes a machine for one test, in memory where that is possible.
func New(t testing.TB, s Spec) *Tree {
	t.Helper()
	tree, err := Build(pcitest.Dir(t), s)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// Build makes a machine in an empty directory.
func Build(root string, s Spec) (*Tree, error) {
	var cards []pcitest.Card
	for _, c := range s.Cards {
		cards = append(cards, c.Card)
	}
	p, err := pcitest.Build(root, cards...)
	if err != nil {
		return nil, err
	}
	t := &Tree{Tree: p, Spec: s, irq: firstIRQ}
	t.system()
	t.processors()
	t.memory()
	for _, c := range s.Cards {
		t.slot(c)
	}
	t.management()
	t.interrupts()
	if t.err != nil {
		return nil, fmt.Errorf("make machine %s: %w", s.Name, t.err)
	}
	return t, nil
}

// Path is a path in the machine.
func (t *Tree) Path(parts ...string) string {
	return filepath.Join(append([]string{t.Root}, parts...)...)
}

// Write makes a file, or replaces it. The first error of all is kept until Err.
func (t *Tree) Write(path, text string) {
	if t.err != nil {
		return
	}
	at := t.Path(path)
	t.err = errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o600))
}

// Remove takes a file or a directory away.
func (t *Tree) Remove(path string) {
	if t.err == nil {
		t.err = os.RemoveAll(t.Path(path))
	}
}

// Link makes a symbolic link; to is as it stands in the link.
func (t *Tree) Link(path, to string) {
	if t.err != nil {
		return
	}
	at := t.Path(path)
	t.err = errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.RemoveAll(at))
	if t.err == nil {
		t.err = os.Symlink(to, at)
	}
}

// Read gives a file's text; "" where there is none.
func (t *Tree) Read(path string) string {
	b, err := os.ReadFile(t.Path(path))
	if err != nil {
		return ""
	}
	return string(b)
}

// Replace changes text in a file that has it.
func (t *Tree) Replace(path, from, to string) {
	text := t.Read(path)
	if t.err == nil && !strings.Contains(text, from) {
		t.err = fmt.Errorf("%s has no %q", path, from)
		return
	}
	t.Write(path, strings.ReplaceAll(text, from, to))
}

// Service has a service running, or not.
func (t *Tree) Service(name string, enabled, running bool) {
	t.Write("usr/lib/systemd/system/"+name, "[Service]\n")
	if enabled {
		t.Link("etc/systemd/system/multi-user.target.wants/"+name, "/usr/lib/systemd/system/"+name)
	}
	populated := 0
	if running {
		populated = 1
	}
	t.Write("sys/fs/cgroup/system.slice/"+name+"/cgroup.events", fmt.Sprintf("populated %d\nfrozen 0\n", populated))
}

// Files lists the machine's regular files, as paths of the real file system.
func (t *Tree) Files() []string {
	var out []string
	err := filepath.WalkDir(t.Root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			out = append(out, path)
		}
		return err
	})
	if t.err == nil {
		t.err = err
	}
	return out
}

// Err is the first thing that went wrong.
func (t *Tree) Err() error { return t.err }

// files writes many small files of one directory; values get their end of line.
func (t *Tree) files(dir string, values map[string]string) {
	for name, text := range values {
		t.Write(filepath.Join(dir, name), text+"\n")
	}
}
