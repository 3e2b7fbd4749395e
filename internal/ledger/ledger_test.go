package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"neutrino/internal/ledger/ledgertest"
)

var ctx = context.Background()

const where = "var/lib/neutrino/prepare"

func snapshot(t ledgertest.Failer, root string) map[string]string {
	return ledgertest.Snapshot(t, root, nil)
}

func put(t ledgertest.Failer, root, name, text string, mode fs.FileMode) {
	p := filepath.Join(root, name)
	err := os.MkdirAll(filepath.Dir(p), 0o755)
	if err == nil {
		err = os.WriteFile(p, []byte(text), mode)
	}
	if err == nil {
		err = os.Chmod(p, mode)
	}
	if err == nil {
		err = os.Chtimes(p, time.Time{}, time.Unix(1_700_000_000, 123_456_789))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func file(name, text string) Change {
	return Change{Path: name, Want: Content{Kind: Regular, Data: []byte(text)}}
}

// program is a maker of boot/out* from etc/in; it never makes the same twice.
type program struct {
	root string
	runs int
	die  func() // in the midst of it
}

var maker = Maker{Argv: []string{"update-out"}, Files: []string{"boot/out*"}}

func (p *program) run(_ context.Context, argv []string) error {
	if !slices.Equal(argv, maker.Argv) {
		return fmt.Errorf("run %v", argv)
	}
	p.runs++
	in, _ := os.ReadFile(filepath.Join(p.root, "etc/in"))
	for i, name := range []string{"boot/out.cfg", "boot/out.img"} {
		if err := os.MkdirAll(filepath.Join(p.root, "boot"), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(p.root, name), fmt.Appendf(nil, "%s, run %d", in, p.runs), 0o600); err != nil {
			return err
		}
		if i == 0 && p.die != nil {
			p.die()
		}
	}
	return nil
}

func TestApplyAndUndo(t *testing.T) {
	root := t.TempDir()
	put(t, root, "etc/in", "old\n", 0o640)
	put(t, root, "boot/out.img", "image", 0o600)
	put(t, root, "etc/gone", "here\n", 0o644)
	if err := os.Symlink("in", filepath.Join(root, "etc/link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(filepath.Join(root, "etc/in"), ledgertest.Attr, []byte("v"), 0); err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOTSUP) {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(root, "etc/in"), 12, 34); err != nil && !errors.Is(err, fs.ErrPermission) {
		t.Fatal(err)
	}
	before := snapshot(t, root)
	p := &program{root: root}
	l := New(root, where)
	changes := []Change{
		file("etc/in", "new\n"), file("etc/some.d/deep/one.conf", "made\n"),
		{Path: "etc/gone", Want: Content{Kind: Absent}},
		{Path: "etc/link", Want: Content{Kind: Symlink, Target: "gone"}},
	}
	diffs, err := l.Plan(changes)
	if err != nil || len(diffs) != 4 || string(diffs[0].Before) != "old\n" || diffs[1].Before != nil {
		t.Fatalf("plan: %+v, %v", diffs, err)
	}
	if s := ledgertest.Diff(before, snapshot(t, root)); s != "" {
		t.Fatalf("a plan changed:\n%s", s)
	}
	w := Work{Changes: changes, Makers: []Maker{maker}, Run: p.run, Note: []byte(`{"a":1}`)}
	if err = l.Apply(ctx, w); err != nil {
		t.Fatal(err)
	}
	after := snapshot(t, root)
	if !strings.Contains(after["etc/in"], "new") || !strings.HasPrefix(after["etc/in"], before["etc/in"][:strings.Index(before["etc/in"], " at ")]) {
		t.Errorf("etc/in is %s, was %s", after["etc/in"], before["etc/in"])
	}
	if r, lerr := l.Load(); lerr != nil || strings.Join(strings.Fields(string(r.Note)), "") != `{"a":1}` {
		t.Errorf("record %+v, %v", r, lerr)
	}
	if diffs, err = l.Plan(changes); err != nil || len(diffs) != 0 {
		t.Errorf("the same again: %+v, %v", diffs, err)
	}
	if err = l.Apply(ctx, Work{Changes: changes, Makers: []Maker{maker}}); err != nil || p.runs != 1 {
		t.Errorf("the same again: %v, %d runs", err, p.runs)
	}
	// More later: the first original stays.
	if err = l.Apply(ctx, Work{Changes: []Change{file("etc/in", "newer\n")}, Makers: []Maker{maker}, Run: p.run}); err != nil || p.runs != 2 {
		t.Fatal(err)
	}
	out, err := l.Undo(ctx, Back{})
	if err != nil {
		t.Fatal(err)
	}
	if s := ledgertest.Diff(before, snapshot(t, root)); s != "" {
		t.Errorf("after undo:\n%s\n%+v", s, out)
	}
	if _, err = l.Undo(ctx, Back{}); !errors.Is(err, ErrNothing) {
		t.Errorf("undo of nothing: %v", err)
	}
}

// TestUndoLeavesWhatIsNotOurs, unless forced.
func TestUndoLeavesWhatIsNotOurs(t *testing.T) {
	root := t.TempDir()
	put(t, root, "etc/in", "old\n", 0o644)
	put(t, root, "etc/other", "old\n", 0o644)
	before := snapshot(t, root)
	l := New(root, where)
	if err := l.Apply(ctx, Work{Changes: []Change{file("etc/in", "new\n"), file("etc/other", "new\n")}}); err != nil {
		t.Fatal(err)
	}
	put(t, root, "etc/in", "theirs\n", 0o644)
	out, err := l.Undo(ctx, Back{})
	if !errors.Is(err, ErrLeft) || len(out) != 2 {
		t.Fatalf("%+v, %v", out, err)
	}
	if now := snapshot(t, root); !strings.Contains(now["etc/in"], "theirs") || now["etc/other"] != before["etc/other"] {
		t.Errorf("etc/in is %s, etc/other %s", now["etc/in"], now["etc/other"])
	}
	if _, err = l.Undo(ctx, Back{Force: true}); err != nil {
		t.Fatal(err)
	}
	if s := ledgertest.Diff(before, snapshot(t, root)); s != "" {
		t.Errorf("after a forced undo:\n%s", s)
	}
}

// TestUndoMakesAnewWhatIsOutOfDate: a new kernel has had its image made since.
func TestUndoMakesAnewWhatIsOutOfDate(t *testing.T) {
	root := t.TempDir()
	put(t, root, "etc/in", "old", 0o644)
	put(t, root, "boot/out.cfg", "old", 0o644)
	p := &program{root: root}
	l := New(root, where)
	if err := l.Apply(ctx, Work{Changes: []Change{file("etc/in", "new")}, Makers: []Maker{maker}, Run: p.run}); err != nil {
		t.Fatal(err)
	}
	put(t, root, "boot/out.newer", "of a new kernel", 0o644)
	if _, err := l.Undo(ctx, Back{Run: p.run}); err != nil || p.runs != 2 {
		t.Fatal(err, p.runs)
	}
	now := snapshot(t, root)
	if !strings.Contains(now["boot/out.cfg"], "old, run 2") || now["boot/out.newer"] == "" {
		t.Errorf("boot: %v", now)
	}
	if _, there := now["var"]; there {
		t.Errorf("the ledger is still there: %v", now)
	}
}

// TestCrashes: whatever the tree, the changes and the moment, undo leads back to what was.
func TestCrashes(t *testing.T) {
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		root := filepath.Join(base, fmt.Sprint(n))
		defer func() { _ = os.RemoveAll(root) }()
		if err := os.MkdirAll(filepath.Join(root, rapid.SampledFrom([]string{".", "var", "var/lib/neutrino"}).Draw(t, "dirs")), 0o755); err != nil {
			t.Fatal(err)
		}
		names := []string{"etc/in", "etc/a.d/x", "etc/a.d/y", "b", "boot/out.cfg", "c/d/e/f"}
		for _, name := range names {
			switch rapid.SampledFrom([]string{"no", "file", "link"}).Draw(t, name) {
			case "file":
				put(t, root, name, rapid.SampledFrom([]string{"", "one", "two"}).Draw(t, "text"), rapid.SampledFrom([]fs.FileMode{0o600, 0o644, 0o755}).Draw(t, "mode"))
			case "link":
				put(t, root, name+".to", "", 0o644)
				if err := os.Symlink(filepath.Base(name)+".to", filepath.Join(root, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		before := snapshot(t, root)
		p := &program{root: root}
		for range rapid.IntRange(1, 3).Draw(t, "times") {
			var changes []Change
			for _, name := range names {
				if name == "boot/out.cfg" {
					continue
				}
				switch rapid.SampledFrom([]string{"leave", "write", "remove", "link"}).Draw(t, "do "+name) {
				case "write":
					changes = append(changes, file(name, rapid.SampledFrom([]string{"one", "three"}).Draw(t, "to")))
				case "remove":
					changes = append(changes, Change{Path: name, Want: Content{Kind: Absent}})
				case "link":
					changes = append(changes, Change{Path: name, Want: Content{Kind: Symlink, Target: "nowhere"}})
				}
			}
			w := Work{Changes: changes, Run: p.run}
			if rapid.Bool().Draw(t, "make") {
				w.Makers = []Maker{maker}
			}
			ledgertest.Dies(rapid.IntRange(0, 40).Draw(t, "apply dies"), func(hook func(string)) {
				p.die = func() { hook("amid the program") }
				if err := New(root, where, WithHook(hook)).Apply(ctx, w); err != nil {
					t.Fatal(err)
				}
			})
		}
		for range 2 {
			ledgertest.Dies(rapid.IntRange(0, 20).Draw(t, "undo dies"), func(hook func(string)) {
				if _, err := New(root, where, WithHook(hook)).Undo(ctx, Back{}); err != nil && !errors.Is(err, ErrNothing) {
					t.Fatal(err)
				}
			})
		}
		if _, err := New(root, where).Undo(ctx, Back{}); err != nil && !errors.Is(err, ErrNothing) {
			t.Fatal(err)
		}
		if s := ledgertest.Diff(before, snapshot(t, root)); s != "" {
			t.Fatalf("not as it was:\n%s", s)
		}
	})
}

func TestOneAtATime(t *testing.T) {
	root := t.TempDir()
	inside := errors.New("looked from inside")
	err := New(root, where).Apply(ctx, Work{Changes: []Change{file("a", "b")}, Always: true, Makers: []Maker{maker}, Run: func(context.Context, []string) error {
		if _, uerr := New(root, "var/lib/neutrino/tune").Undo(ctx, Back{}); !errors.Is(uerr, ErrBusy) {
			t.Errorf("another at the same time: %v", uerr)
		}
		return inside
	}})
	if !errors.Is(err, inside) {
		t.Error(err)
	}
}

// TestNothingOutside: no link leads out of the root.
func TestNothingOutside(t *testing.T) {
	outside, root := t.TempDir(), t.TempDir()
	put(t, outside, "passwd", "root\n", 0o644)
	if err := os.Symlink(outside, filepath.Join(root, "etc")); err != nil {
		t.Fatal(err)
	}
	l := New(root, where)
	for _, name := range []string{"etc/passwd", "etc/new", "../x", "/etc/passwd", "."} {
		if err := l.Apply(ctx, Work{Changes: []Change{file(name, "gotcha")}}); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	if now := snapshot(t, outside); len(now) != 2 || !strings.Contains(now["passwd"], "root") {
		t.Errorf("outside: %v", now)
	}
}

// TestBadLedgers change nothing.
func TestBadLedgers(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"no JSON": func(t *testing.T, dir string) { put(t, dir, recordFile, "{", 0o600) },
		"version": func(t *testing.T, dir string) { put(t, dir, recordFile, `{"version":9,"entries":[]}`, 0o600) },
		"field":   func(t *testing.T, dir string) { put(t, dir, recordFile, `{"version":1,"entries":[],"x":1}`, 0o600) },
		"path": func(t *testing.T, dir string) {
			put(t, dir, recordFile, `{"version":1,"entries":[{"path":"../x","was":{"kind":"absent"}}]}`, 0o600)
		},
		"two of them": func(t *testing.T, dir string) { put(t, dir, recordFile, `{"version":1,"entries":[]}{}`, 0o600) },
		"content": func(t *testing.T, dir string) {
			names, err := os.ReadDir(filepath.Join(dir, blobDir))
			if err != nil || len(names) != 1 {
				t.Fatal(names, err)
			}
			put(t, dir, filepath.Join(blobDir, names[0].Name()), "spoilt", 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			put(t, root, "etc/in", "old", 0o644)
			l := New(root, where)
			if err := l.Apply(ctx, Work{Changes: []Change{file("etc/in", "new")}}); err != nil {
				t.Fatal(err)
			}
			spoil(t, l.Path())
			before := snapshot(t, root)
			if _, err := l.Undo(ctx, Back{}); !errors.Is(err, ErrBad) {
				t.Errorf("undo: %v", err)
			}
			if err := l.Apply(ctx, Work{Changes: []Change{file("etc/in", "newer")}}); name != "content" && !errors.Is(err, ErrBad) {
				t.Errorf("apply: %v", err)
			}
			if s := ledgertest.Diff(before, snapshot(t, root)); name != "content" && s != "" {
				t.Errorf("changed:\n%s", s)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version":1,"entries":[]}`))
	f.Add([]byte(`{"version":1,"dirs":["var"],"entries":[{"path":"a","was":{"kind":"file","sum":"` + strings.Repeat("0", 64) + `","mode":420}}],"makers":[{"argv":["x"],"files":["b*"]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Decode(data)
		if err != nil {
			return
		}
		for _, e := range r.Entries {
			if !filepath.IsLocal(e.Path) {
				t.Errorf("path %q", e.Path)
			}
		}
	})
}
