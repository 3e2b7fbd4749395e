package pcitest

import (
	"os"
	"testing"
)

// New makes a machine for one test. It is in memory where /dev/shm is there: thousands
// of small files are slow on a disk that others use.
func New(t testing.TB, cards ...Card) *Tree {
	t.Helper()
	tree, err := Build(Dir(t), cards...)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// Dir is an empty directory for one test, in memory where that is possible.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "neutrino-pci")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
