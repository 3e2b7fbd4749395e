package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"neutrino/internal/ledger/ledgertest"
)

// An image is a directory to these: what is written in the mounted tree is in the "image" only when the process that
// guestmount leaves behind has ended, a while after guestunmount.
const (
	fakeMount = `#!/bin/sh
[ "$1 $3 $5" = "-a -i --pid-file" ] || { echo "usage: $*"; exit 1; }
grep -q broken "$2" && { echo "libguestfs: error: no operating system was found on this disk"; exit 1; }
mode=$4 pid=$6 dir=$7
cp -a "$2.tree/." "$dir"
mkfifo "$dir.go"
(exec > /dev/null 2>&1; read -r _ < "$dir.go"; sleep 0.3; [ $mode = --ro ] || { rm -rf "$IMAGE.tree"; cp -a "$dir.last" "$IMAGE.tree"; }; rm -rf "$dir.last" "$dir.go") &
echo $! > "$pid"
`
	fakeUnmount = `#!/bin/sh
cp -a "$1" "$1.last" && rm -rf "$1" && mkdir "$1" && echo > "$1.go"
`
)

func TestImage(t *testing.T) {
	bin, dir, tmp := t.TempDir(), t.TempDir(), t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("TMPDIR", tmp)
	image := filepath.Join(dir, "debian.qcow2")
	t.Setenv("IMAGE", image)
	if err := errors.Join(os.WriteFile(image, []byte("an image"), 0o600), os.Rename(plant(t, trees["debian-ifupdown"]), image+".tree"), os.WriteFile(filepath.Join(dir, "broken"), []byte("broken"), 0o600)); err != nil {
		t.Fatal(err)
	}
	before := ledgertest.Snapshot(t, image+".tree", nil)
	if _, _, err := Mount(t.Context(), dir, true); err == nil || !strings.Contains(err.Error(), "--root") {
		t.Errorf("a directory: %v", err)
	}
	if _, _, err := Mount(t.Context(), image+".none", true); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	for name, text := range map[string]string{"guestmount": fakeMount, "guestunmount": fakeUnmount} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := Mount(t.Context(), filepath.Join(dir, "broken"), true); err == nil || !strings.Contains(err.Error(), "no operating system was found") {
		t.Errorf("broken: %v", err)
	}
	in := func(write bool, do func(root string) error) {
		t.Helper()
		root, unmount, err := Mount(t.Context(), image, write)
		if err != nil {
			t.Fatal(err)
		}
		if err = errors.Join(do(root), unmount()); err != nil {
			t.Fatal(err)
		}
		if left, _ := os.ReadDir(tmp); len(left) > 0 {
			t.Errorf("%v are left", left)
		}
	}
	fix := func(root string) error {
		f, err := Plan(root, false)
		if err == nil && len(f.Diffs) == 0 {
			err = fmt.Errorf("nothing to do in %s", root)
		}
		if err == nil {
			err = f.Run(t.Context(), nil)
		}
		return err
	}
	in(false, fix) // a plan that goes wrong does not reach the image
	if d := ledgertest.Diff(before, ledgertest.Snapshot(t, image+".tree", nil)); d != "" {
		t.Errorf("opened for reading, it is another: %s", d)
	}
	in(true, fix)
	if _, err := os.Stat(filepath.Join(image+".tree", modulesFile)); err != nil {
		t.Errorf("the fix is not in the image: %v", err)
	}
	in(true, func(root string) error { _, err := Undo(t.Context(), root, false, nil); return err })
	if d := ledgertest.Diff(before, ledgertest.Snapshot(t, image+".tree", nil)); d != "" {
		t.Errorf("undone: %s", d)
	}
}

func TestNoToolForImages(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Mount(t.Context(), image, true); !errors.Is(err, ErrNoTool) || !strings.Contains(err.Error(), "libguestfs-tools") {
		t.Error(err)
	}
}
