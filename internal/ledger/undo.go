package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// Fate is what became of one name when changes were undone.
type Fate string

// The fates.
const (
	Restored Fate = "restored"
	Was      Fate = "was"     // it was so already
	Theirs   Fate = "changed" // somebody else has changed it since: it is left
	Anew     Fate = "anew"    // somebody else has had it made since: its program has made it again
)

// Outcome is one name after Undo.
type Outcome struct {
	Path string `json:"path"`
	Fate Fate   `json:"fate"`
}

// Back is how Undo works.
type Back struct {
	Force bool // restore also what somebody else has changed since
	Run   func(ctx context.Context, argv []string) error
	// Progress is told each step before it is done; may be nil.
	Progress func(step string)
}

func (w Back) tell(format string, args ...any) {
	if w.Progress != nil {
		w.Progress(fmt.Sprintf(format, args...))
	}
}

// Undo brings everything back to what it was before the first Apply, and ends the ledger. Where
// something was left, that stays in the ledger. It may run any number of times, after a crash too.
//
// Errors: ErrNothing, ErrBusy, ErrBad, ErrLeft, a context's end.
func (l *Ledger) Undo(ctx context.Context, w Back) ([]Outcome, error) {
	root, release, err := l.open()
	if err != nil {
		return nil, err
	}
	defer release()
	r, err := l.load(root)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, ErrNothing
	}
	b := &book{Ledger: l, root: root, at: l.dir, Record: r}
	if err = b.verify(); err != nil {
		return nil, err
	}
	out, err := b.files(ctx, w)
	if err != nil {
		return out, err
	}
	made, err := b.made(ctx, w)
	out = append(out, made...)
	if err != nil {
		return out, err
	}
	b.removeDirs()
	left := slices.DeleteFunc(slices.Clone(out), func(o Outcome) bool { return o.Fate != Theirs })
	if len(left) == 0 {
		return out, b.vanish()
	}
	b.Entries = slices.DeleteFunc(b.Entries, func(e Entry) bool {
		return !slices.ContainsFunc(left, func(o Outcome) bool { return o.Path == e.Path })
	})
	b.Makers = slices.DeleteFunc(b.Makers, func(m Maker) bool {
		return !slices.ContainsFunc(b.Entries, func(e Entry) bool { return e.By == m.name() })
	})
	if err = b.save(); err != nil {
		return out, err
	}
	return out, fmt.Errorf("%w: %d of %d files were changed by somebody else since and are left: compare them, or --force", ErrLeft, len(left), len(out))
}

// verify looks at what was kept before anything is changed.
func (b *book) verify() error {
	for _, e := range b.Entries {
		if e.Was.Kind != Regular {
			continue
		}
		s, err := look(b.root, path.Join(b.at, blobDir, e.Was.Sum), nil)
		if err == nil && s.Sum != e.Was.Sum {
			err = fmt.Errorf("it has become another (%s)", s.Kind)
		}
		if err != nil {
			return fmt.Errorf("%w: what was kept of /%s: %w", ErrBad, e.Path, err)
		}
	}
	return nil
}

// files restores what neutrino has written itself, the last first.
func (b *book) files(ctx context.Context, w Back) ([]Outcome, error) {
	var out []Outcome
	for i := range slices.Backward(b.Entries) {
		e := &b.Entries[i]
		if e.By != "" {
			continue
		}
		if err := ctx.Err(); err != nil {
			return out, fmt.Errorf("stopped before /%s was restored: run it again: %w", e.Path, err)
		}
		now, err := look(b.root, e.Path, nil)
		if err != nil {
			return out, err
		}
		fate := Restored
		switch {
		case now.whole(e.Was):
			fate = Was
		case !now.same(e.Was) && !e.ours(now) && !w.Force:
			fate = Theirs
		default:
			w.tell("restore /%s", e.Path)
			if err = b.restore(e); err != nil {
				return out, fmt.Errorf("restore /%s: %w", e.Path, err)
			}
		}
		if err = b.tidy(e.Path); err != nil {
			return out, err
		}
		out = append(out, Outcome{e.Path, fate})
	}
	return out, nil
}

// tidy takes away what a crash has left beside a name.
func (b *book) tidy(name string) error {
	err := b.root.RemoveAll(unfinished(name))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	return err
}

// restore brings a name back to what it was.
func (b *book) restore(e *Entry) error {
	if e.Was.Kind != Absent {
		if err := b.root.MkdirAll(path.Dir(e.Path), 0o755); err != nil {
			return err
		}
	}
	err := b.place(e.Path, e.Was, func(f *os.File) error {
		from, err := b.root.Open(path.Join(b.at, blobDir, e.Was.Sum))
		if err != nil {
			return err
		}
		defer from.Close()
		_, err = io.Copy(f, from)
		return err
	})
	b.hook("restored " + e.Path)
	return err
}

// made restores what programs have made, or has it made again where it is out of date.
func (b *book) made(ctx context.Context, w Back) ([]Outcome, error) {
	var out []Outcome
	for i := range b.Makers {
		m := &b.Makers[i]
		stale, err := b.stale(m)
		if err != nil {
			return out, err
		}
		if stale = stale && !w.Force; stale {
			if w.Run == nil {
				return out, fmt.Errorf("what %s makes is out of date, and nobody is there to run it", m.name())
			}
			w.tell("run %s", m.name())
			if err = w.Run(ctx, m.Argv); err != nil {
				return out, fmt.Errorf("run %s: %w", m.name(), err)
			}
			if _, err = b.settle(*m); err != nil {
				return out, fmt.Errorf("run %s: %w", m.name(), err)
			}
		}
		for j := range b.Entries {
			e := &b.Entries[j]
			if e.By != m.name() {
				continue
			}
			fate := Anew
			if err = ctx.Err(); err == nil && !stale {
				fate, err = b.unmake(e, w)
			}
			if err == nil {
				err = b.tidy(e.Path)
			}
			if err != nil {
				return out, fmt.Errorf("restore /%s: %w", e.Path, err)
			}
			out = append(out, Outcome{e.Path, fate})
		}
	}
	return out, nil
}

// stale reports whether somebody else has had a maker's files made since, or some of them. What came
// while the program ran, which has not ended, is its own.
func (b *book) stale(m *Maker) (bool, error) {
	names, err := b.matches(*m)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		e := b.entry(name)
		if e == nil && m.Running {
			b.Entries = append(b.Entries, Entry{Path: name, Was: State{Kind: Absent}, By: m.name()})
			continue
		}
		now, err := look(b.root, name, nil)
		if err != nil {
			return false, err
		}
		if e == nil || !m.Running && !now.same(e.Was) && !e.ours(now) {
			return true, nil
		}
	}
	return false, nil
}

// unmake brings a file that a program makes back to what it was.
func (b *book) unmake(e *Entry, w Back) (Fate, error) {
	now, err := look(b.root, e.Path, nil)
	if err != nil {
		return "", err
	}
	if now.whole(e.Was) {
		return Was, nil
	}
	w.tell("restore /%s", e.Path)
	return Restored, b.restore(e)
}

// removeDirs takes away the directories that were made, where nothing is in them.
func (b *book) removeDirs() {
	for _, d := range slices.Backward(b.Dirs) {
		_ = b.root.Remove(d)
	}
}
