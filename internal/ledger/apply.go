package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"neutrino/internal/journal"
)

// Change is one name that is to be something else.
type Change struct {
	Path string // below the root, without "/"
	Why  string
	Want Content
}

// Content is what a name is to be.
type Content struct {
	Kind   Kind
	Data   []byte
	Mode   fs.FileMode // permissions of a new file; one that is there keeps its own. 0 = 0644
	Target string      // of a link
}

// Diff is a change that is not made yet.
type Diff struct {
	Change
	Before []byte // what the file holds; nil = there is none, or it is a link
	Now    State
}

// Plan compares changes with what is there. What is so already is left out. Nothing is changed.
func (l *Ledger) Plan(changes []Change) ([]Diff, error) {
	root, err := os.OpenRoot(l.root)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", l.root, err)
	}
	defer root.Close()
	var out []Diff
	for _, c := range changes {
		if !local(c.Path) {
			return nil, fmt.Errorf("%.80q is no name below the root", c.Path)
		}
		var before bytes.Buffer
		now, err := look(root, c.Path, &before)
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", path.Join(l.root, c.Path), err)
		}
		if c.Want.is(now) {
			continue
		}
		d := Diff{Change: c, Now: now}
		if now.Kind == Regular {
			d.Before = before.Bytes()
		}
		out = append(out, d)
	}
	return out, nil
}

// is reports whether a state has this content; modes and owners are its own affair.
func (c Content) is(s State) bool {
	switch {
	case c.Kind != s.Kind:
		return false
	case c.Kind == Regular:
		return s.Sum == sumOf(c.Data)
	}
	return c.Target == s.Target
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// becomes is the state that a name will have with this content.
func (c Content) becomes(now State) State {
	switch c.Kind {
	case Regular:
		s := State{Kind: Regular, Sum: sumOf(c.Data), Mode: uint32(c.Mode.Perm()), UID: os.Geteuid(), GID: os.Getegid()}
		if s.Mode == 0 {
			s.Mode = 0o644
		}
		if now.Kind == Regular {
			s.Mode, s.UID, s.GID, s.Attrs = now.Mode, now.UID, now.GID, now.Attrs
		}
		return s
	case Symlink:
		return State{Kind: Symlink, Target: c.Target, UID: os.Geteuid(), GID: os.Getegid()}
	}
	return State{Kind: Absent}
}

// Work is what Apply carries out.
type Work struct {
	Changes []Change
	// Makers run after the changes, in their order, when there is a change, or Always.
	Makers []Maker
	Always bool
	// Note is the owner's; it replaces an older one where it is not nil.
	Note json.RawMessage
	// Run starts a maker's program and waits for it.
	Run func(ctx context.Context, argv []string) error
	// Progress is told each step before it is done; may be nil.
	Progress func(step string)
}

// Steps are what Apply will do, for people. It is what runs: Do of each is what Apply calls.
func (l *Ledger) steps(b *book, w Work, diffs []Diff) []journal.Step {
	var out []journal.Step
	for _, d := range diffs {
		out = append(out, journal.Step{Describe: d.describe(), Do: func(context.Context) error { return b.put(d) }})
	}
	if len(diffs) == 0 && !w.Always {
		return out
	}
	for _, m := range w.Makers {
		out = append(out, journal.Step{Describe: "run " + m.name(), Do: func(ctx context.Context) error { return b.make(ctx, m, w.Run) }})
	}
	return out
}

func (d Diff) describe() string {
	switch {
	case d.Want.Kind == Absent:
		return "remove /" + d.Path
	case d.Want.Kind == Symlink:
		return "link /" + d.Path + " to " + d.Want.Target
	case d.Now.Kind == Absent:
		return "write /" + d.Path
	}
	return "change /" + d.Path
}

// Apply makes the changes and runs the makers. Before the first, what was there is on disk. When a step
// fails, or the context ends, what was done stays and Undo takes it back.
//
// Errors: ErrBusy, ErrBad, and those of the steps.
func (l *Ledger) Apply(ctx context.Context, w Work) error {
	root, release, err := l.open()
	if err != nil {
		return err
	}
	defer release()
	diffs, err := l.Plan(w.Changes)
	if err != nil {
		return err
	}
	if len(diffs) == 0 && !w.Always && w.Note == nil {
		return nil
	}
	b, err := l.begin(root)
	if err != nil {
		return err
	}
	if err = b.intend(w, diffs); err != nil {
		return err
	}
	for _, s := range l.steps(b, w, diffs) {
		if err = ctx.Err(); err == nil {
			if w.Progress != nil {
				w.Progress(s.Describe)
			}
			err = s.Do(ctx)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.Describe, err)
		}
		b.hook("done " + s.Describe)
	}
	return nil
}

// intend writes down what is about to be changed, and keeps what it was.
func (b *book) intend(w Work, diffs []Diff) error {
	if w.Note != nil {
		b.Note = w.Note
	}
	for _, d := range diffs {
		if err := b.keep(d.Path, ""); err != nil {
			return err
		}
		e := b.entry(d.Path)
		e.Wrote = append(e.Wrote, d.Want.becomes(d.Now))
		b.intendDirs(path.Dir(d.Path))
	}
	if len(diffs) > 0 || w.Always {
		for _, m := range w.Makers {
			if err := b.intendMaker(m); err != nil {
				return err
			}
		}
	}
	return b.save()
}

// keep notes what a name is, once.
func (b *book) keep(name, by string) error {
	if b.entry(name) != nil {
		return nil
	}
	was, err := b.blob(name)
	if err != nil {
		return err
	}
	b.Entries = append(b.Entries, Entry{Path: name, Was: was, By: by})
	b.hook("kept " + name)
	return nil
}

// intendDirs notes the directories that a name needs and that are not there.
func (b *book) intendDirs(dir string) {
	var missing []string
	for ; dir != "." && !isDir(b.root, dir); dir = path.Dir(dir) {
		missing = append([]string{dir}, missing...)
	}
	for _, d := range missing {
		known := false
		for _, have := range b.Dirs {
			known = known || have == d
		}
		if !known {
			b.Dirs = append(b.Dirs, d)
		}
	}
}

// intendMaker keeps what a program makes. What comes new under its patterns was not there before.
func (b *book) intendMaker(m Maker) error {
	have := b.maker(m.name())
	if have == nil {
		b.Makers = append(b.Makers, Maker{Argv: m.Argv, Files: m.Files})
		have = &b.Makers[len(b.Makers)-1]
	}
	crashed := have.Running
	have.Running = true
	for _, p := range m.Files {
		if dir := path.Dir(p); !strings.ContainsAny(dir, `*?[\`) {
			b.intendDirs(dir)
		}
	}
	names, err := b.matches(m)
	for _, name := range names {
		switch {
		case err != nil:
		case crashed && b.entry(name) == nil: // it came from the run that did not end
			b.Entries = append(b.Entries, Entry{Path: name, Was: State{Kind: Absent}, By: m.name()})
		default:
			err = b.keep(name, m.name())
		}
	}
	return err
}

// matches lists the files that are there under a maker's patterns.
func (b *book) matches(m Maker) ([]string, error) {
	var out []string
	for _, p := range m.Files {
		names, err := fs.Glob(b.root.FS(), p)
		if err != nil {
			return nil, fmt.Errorf("look for %s: %w", p, err)
		}
		for _, name := range names {
			if !strings.HasPrefix(path.Base(name), newPrefix) {
				out = append(out, name)
			}
		}
	}
	return out, nil
}

// settle brings what a program has made to the disk, and names it: such programs do not, and
// once it is noted that one has ended, nobody would run it again after a power cut.
func (b *book) settle(m Maker) ([]string, error) {
	names, err := b.matches(m)
	for _, name := range names {
		var info fs.FileInfo
		if err == nil {
			info, err = b.root.Lstat(name)
		}
		if err == nil && info.Mode().IsRegular() {
			err = syncName(b.root, name)
		}
		if err == nil {
			err = syncName(b.root, path.Dir(name))
		}
		if err == nil {
			err = checkpoint(b.root, name)
		}
	}
	return names, err
}

// put gives a name its new content.
func (b *book) put(d Diff) error {
	e := b.entry(d.Path)
	want := e.Wrote[len(e.Wrote)-1]
	if err := b.root.MkdirAll(path.Dir(d.Path), 0o755); err != nil {
		return err
	}
	return b.place(d.Path, want, func(f *os.File) error { _, err := f.Write(d.Want.Data); return err })
}

// place brings a name to a state, in one step, durably.
func (b *book) place(name string, want State, fill func(*os.File) error) error {
	tmp := unfinished(name)
	if err := b.root.RemoveAll(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch want.Kind {
	case Absent:
		if err := b.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if !isDir(b.root, path.Dir(name)) {
			return nil
		}
		if err := syncName(b.root, path.Dir(name)); err != nil {
			return err
		}
		return checkpoint(b.root, path.Dir(name))
	case Symlink:
		if err := b.root.Symlink(want.Target, tmp); err != nil {
			return err
		}
		if err := b.root.Lchown(tmp, want.UID, want.GID); err != nil {
			return err
		}
	default:
		if err := b.fill(tmp, want, fill); err != nil {
			return err
		}
	}
	b.hook("filled " + name)
	if err := b.root.Rename(tmp, name); err != nil {
		return err
	}
	if err := syncName(b.root, path.Dir(name)); err != nil {
		return err
	}
	return checkpoint(b.root, name)
}

// unfinished is where a file is made before it is put in place.
func unfinished(name string) string { return path.Join(path.Dir(name), newPrefix+path.Base(name)) }

const newPrefix = ".neutrino-new-"

func (b *book) fill(tmp string, want State, fill func(*os.File) error) error {
	f, err := b.root.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = fill(f)
	if err == nil {
		err = f.Chown(want.UID, want.GID)
	}
	if err == nil {
		err = chmod(f, want.Mode)
	}
	if err == nil {
		err = setAttrs(f, want.Attrs)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil && !want.Time.IsZero() {
		err = b.root.Chtimes(tmp, time.Time{}, want.Time)
	}
	return err
}

// write replaces a file of the ledger's own.
func write(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	f, err := root.OpenFile(unfinished(name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(unfinished(name), name)
	}
	if err != nil {
		return err
	}
	return syncName(root, path.Dir(name))
}

// make runs a maker and notes what it has made.
func (b *book) make(ctx context.Context, m Maker, run func(context.Context, []string) error) error {
	if run == nil {
		return errors.New("nobody is there to run it")
	}
	if err := run(ctx, m.Argv); err != nil {
		return err
	}
	b.hook("ran " + m.name())
	names, err := b.settle(m)
	if err != nil {
		return err
	}
	for _, name := range names {
		now, lerr := look(b.root, name, nil)
		if lerr != nil {
			return lerr
		}
		if e := b.entry(name); e == nil {
			b.Entries = append(b.Entries, Entry{Path: name, Was: State{Kind: Absent}, By: m.name(), Wrote: []State{now}})
		} else if !now.same(e.Was) && !e.ours(now) {
			e.Wrote = append(e.Wrote, now)
		}
	}
	b.maker(m.name()).Running = false
	return b.save()
}
