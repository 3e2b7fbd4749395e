package ledger

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Errors for errors.Is.
var (
	// ErrBad: the ledger cannot be understood; nothing is changed then.
	ErrBad = errors.New("the record of what was changed cannot be understood")
	// ErrBusy: another neutrino works on the same root.
	ErrBusy = errors.New("another neutrino is changing this host")
	// ErrNothing: there is no ledger.
	ErrNothing = errors.New("nothing was changed")
	// ErrLeft: some of it was left, since somebody else has changed it.
	ErrLeft = errors.New("not all of it is as it was before")
)

const (
	recordFile    = "ledger.json"
	blobDir       = "was"
	recordVersion = 1
	recordLimit   = 64 << 20
)

// Record is what a ledger says.
type Record struct {
	Version int             `json:"version"`
	Dirs    []string        `json:"dirs,omitempty"` // that were made, in the order of making
	Entries []Entry         `json:"entries"`
	Makers  []Maker         `json:"makers,omitempty"`
	Note    json.RawMessage `json:"note,omitempty"` // of the ledger's owner
}

// Entry is one name that was changed, or may have been.
type Entry struct {
	Path string `json:"path"` // below the root, without "/"
	Was  State  `json:"was"`
	// Wrote is what it was given, the last one last. It is noted before it is done.
	Wrote []State `json:"wrote,omitempty"`
	// By is the program that makes it; "" = neutrino itself.
	By string `json:"by,omitempty"`
}

// ours reports whether neutrino, or the program it ran, has left it so.
func (e *Entry) ours(now State) bool {
	return slices.ContainsFunc(e.Wrote, func(w State) bool {
		if e.By == "" {
			w.Attrs = now.Attrs // a security module may have labelled it
		}
		return w.same(now)
	})
}

// Maker is a program of the distribution that makes files from others.
type Maker struct {
	Argv []string `json:"argv"`
	// Files are what it makes: patterns below the root, as path.Match has them.
	Files []string `json:"files"`
	// Running: it was started, and is not known to have ended.
	Running bool `json:"running,omitempty"`
}

func (m Maker) name() string { return strings.Join(m.Argv, " ") }

func (r *Record) entry(name string) *Entry {
	for i := range r.Entries {
		if r.Entries[i].Path == name {
			return &r.Entries[i]
		}
	}
	return nil
}

func (r *Record) maker(name string) *Maker {
	for i := range r.Makers {
		if r.Makers[i].name() == name {
			return &r.Makers[i]
		}
	}
	return nil
}

// Decode reads a record strictly.
func Decode(data []byte) (*Record, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	r := &Record{}
	err := d.Decode(r)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows its end")
		}
	}
	if err == nil && r.Version != recordVersion {
		err = fmt.Errorf("it has version %d, this neutrino knows %d", r.Version, recordVersion)
	}
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBad, err)
	}
	return r, nil
}

func (r *Record) check() error {
	seen := map[string]bool{}
	for _, d := range r.Dirs {
		if !local(d) {
			return fmt.Errorf("dirs: %.80q is no name below the root", d)
		}
	}
	for _, e := range r.Entries {
		if !local(e.Path) || seen[e.Path] {
			return fmt.Errorf("entries: %.80q is no name below the root, or there twice", e.Path)
		}
		seen[e.Path] = true
		for _, s := range append([]State{e.Was}, e.Wrote...) {
			if err := s.check(); err != nil {
				return fmt.Errorf("entries: %s: %w", e.Path, err)
			}
		}
		if e.By != "" && r.maker(e.By) == nil {
			return fmt.Errorf("entries: %s is made by %.80q, which is not there", e.Path, e.By)
		}
	}
	for _, m := range r.Makers {
		if len(m.Argv) == 0 || m.Argv[0] == "" {
			return errors.New("makers: one has no program")
		}
		for _, p := range m.Files {
			if _, err := path.Match(p, ""); err != nil || !local(p) {
				return fmt.Errorf("makers: %.80q is no pattern below the root", p)
			}
		}
	}
	return nil
}

func (s State) check() error {
	switch s.Kind {
	case Absent, Symlink:
		if s.Sum != "" {
			return fmt.Errorf("%s with a sum", s.Kind)
		}
	case Regular:
		if raw, err := hex.DecodeString(s.Sum); err != nil || len(raw) != 32 {
			return fmt.Errorf("%.80q is no sum", s.Sum)
		}
	default:
		return fmt.Errorf("kind %.40q is not known", s.Kind)
	}
	if s.Mode&^modeBits != 0 || s.UID < 0 || s.GID < 0 {
		return errors.New("mode or owner is none")
	}
	return nil
}

// local: a clean name below the root, not the root itself.
func local(name string) bool {
	return name != "." && filepath.IsLocal(name) && path.Clean(name) == name && !strings.Contains(name, "\x00")
}
