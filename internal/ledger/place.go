package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Ledger is one owner's record on one host. Its methods exclude each other over processes, and
// those of other ledgers on the same root.
type Ledger struct {
	root string
	dir  string
	hook func(point string)
}

// Option changes how a Ledger works.
type Option func(*Ledger)

// WithHook has f called between any two changes, with the name of the point. It exists so that
// tests can end the process at each of them.
func WithHook(f func(point string)) Option { return func(l *Ledger) { l.hook = f } }

// New names the ledger in a directory below a root: New("/", "var/lib/neutrino/prepare"). Nothing is
// read or made yet.
func New(root, dir string, opts ...Option) *Ledger {
	if root == "" {
		root = "/"
	}
	l := &Ledger{root: root, dir: path.Clean(strings.TrimPrefix(dir, "/")), hook: func(string) {}}
	for _, o := range opts {
		o(l)
	}
	return l
}

// Path is where the ledger is.
func (l *Ledger) Path() string { return path.Join(l.root, l.dir) }

// open opens the root and locks it. What a crash has left of a ledger that was about to come
// or to go is taken away.
func (l *Ledger) open() (*os.Root, func(), error) {
	root, err := os.OpenRoot(l.root)
	if err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", l.root, err)
	}
	f, err := root.Open(".")
	if err == nil {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
		}
	}
	if err != nil {
		_ = root.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil, fmt.Errorf("%w: try again when it has finished", ErrBusy)
		}
		return nil, nil, fmt.Errorf("lock %s: %w", l.root, err)
	}
	release := func() { f.Close(); _ = root.Close() }
	for dir := path.Dir(l.dir); ; dir = path.Dir(dir) {
		for _, name := range []string{l.coming(dir), l.going(dir)} {
			if err = root.RemoveAll(name); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
				release()
				return nil, nil, fmt.Errorf("take away what was left of %s: %w", name, err)
			}
		}
		if dir == "." {
			return root, release, nil
		}
	}
}

func (l *Ledger) coming(in string) string { return path.Join(in, ".neutrino-"+path.Base(l.dir)+".new") }

func (l *Ledger) going(in string) string { return path.Join(in, ".neutrino-"+path.Base(l.dir)+".old") }

// Load reads what the ledger says; nil = there is none.
func (l *Ledger) Load() (*Record, error) {
	root, err := os.OpenRoot(l.root)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", l.root, err)
	}
	defer root.Close()
	return l.load(root)
}

func (l *Ledger) load(root *os.Root) (*Record, error) {
	f, err := root.Open(path.Join(l.dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what was changed: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, recordLimit))
	if err != nil {
		return nil, fmt.Errorf("read what was changed: %w", err)
	}
	r, err := Decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path.Join(l.root, l.dir, recordFile), err)
	}
	return r, nil
}

// book is an open ledger.
type book struct {
	*Ledger
	root  *os.Root
	at    string // where its directory is now: at the end of Ledger.dir, or still coming
	fresh bool   // it comes with the first save
	*Record
}

// begin opens the book, or a new one that nobody sees before the first save.
func (l *Ledger) begin(root *os.Root) (*book, error) {
	r, err := l.load(root)
	if err != nil {
		return nil, err
	}
	b := &book{Ledger: l, root: root, at: l.dir, Record: r}
	if r != nil {
		return b, nil
	}
	b.fresh, b.Record = true, &Record{Version: recordVersion, Entries: []Entry{}}
	top := path.Dir(l.dir)
	rest := path.Base(l.dir)
	for !isDir(root, top) {
		b.Dirs = append([]string{top}, b.Dirs...)
		top, rest = path.Dir(top), path.Join(path.Base(top), rest)
	}
	first, below, deeper := strings.Cut(rest, "/")
	_ = first
	b.at = l.coming(top)
	if deeper {
		b.at = path.Join(b.at, below)
	}
	if err = root.MkdirAll(path.Join(b.at, blobDir), 0o755); err != nil {
		return nil, fmt.Errorf("make %s: %w", b.at, err)
	}
	return b, nil
}

func isDir(root *os.Root, name string) bool {
	i, err := root.Stat(name)
	return err == nil && i.IsDir()
}

// save has the record on disk, or the one before, whatever happens meanwhile.
func (b *book) save() error {
	data, err := json.MarshalIndent(b.Record, "", " ")
	if err == nil {
		err = write(b.root, path.Join(b.at, recordFile), append(data, '\n'), 0o600)
	}
	if err == nil && b.fresh {
		err = b.appear()
	}
	if err != nil {
		return fmt.Errorf("write down what is about to be changed: %w", err)
	}
	b.hook("saved")
	return nil
}

// appear puts the new ledger where it belongs, with its directories, in one step.
func (b *book) appear() error {
	b.hook("coming")
	below := strings.TrimPrefix(b.dir, firstMissing(b.Dirs, b.dir))
	from := strings.TrimSuffix(b.at, below)
	to := firstMissing(b.Dirs, b.dir)
	if err := errors.Join(syncName(b.root, path.Join(b.at, blobDir)), syncName(b.root, b.at), syncName(b.root, from)); err != nil {
		return err
	}
	if err := b.root.Rename(from, to); err != nil {
		return err
	}
	b.at, b.fresh = b.dir, false
	return syncName(b.root, path.Dir(to))
}

// firstMissing is the uppermost directory that comes with the ledger.
func firstMissing(dirs []string, dir string) string {
	for _, d := range dirs {
		if d == dir || strings.HasPrefix(dir, d+"/") {
			return d
		}
	}
	return dir
}

// vanish takes the ledger away in one step, and the directories that came with it where nothing
// else is in them.
func (b *book) vanish() error {
	from := b.dir
	for _, up := range ancestorsOf(b.Dirs, b.dir) {
		names, err := fs.ReadDir(b.root.FS(), up)
		if err != nil || len(names) != 1 {
			break
		}
		from = up
	}
	old := b.going(path.Dir(from))
	err := b.root.Rename(from, old)
	if err == nil {
		err = syncName(b.root, path.Dir(from))
	}
	b.hook("gone")
	if err == nil {
		err = b.root.RemoveAll(old)
	}
	if err != nil {
		return fmt.Errorf("take the record of what was changed away: %w", err)
	}
	return nil
}

// ancestorsOf lists those of dirs that lead to dir, the lowest first.
func ancestorsOf(dirs []string, dir string) []string {
	var out []string
	for up := path.Dir(dir); up != "."; up = path.Dir(up) {
		for _, d := range dirs {
			if d == up {
				out = append(out, up)
			}
		}
	}
	return out
}

// blob keeps what a file holds.
func (b *book) blob(name string) (State, error) {
	tmp := path.Join(b.at, blobDir, ".new")
	f, err := b.root.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return State{}, fmt.Errorf("keep what %s was: %w", name, err)
	}
	s, err := look(b.root, name, f)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	switch {
	case err != nil:
	case s.Kind == Regular:
		err = b.root.Rename(tmp, path.Join(b.at, blobDir, s.Sum))
	default:
		err = b.root.Remove(tmp)
	}
	if err == nil {
		err = syncName(b.root, path.Join(b.at, blobDir))
	}
	if err != nil {
		return State{}, fmt.Errorf("keep what %s was: %w", name, err)
	}
	return s, nil
}

// syncName brings a file, or which names a directory has, to the disk.
func syncName(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ext4Checkpoint is EXT4_IOC_CHECKPOINT, _IOW('f', 43, __u32).
const ext4Checkpoint = 0x4004662b

// checkpoint brings what is under boot/ from the journal of its file system to its place. Boot loaders read
// without the journal (GRUB does): after a power cut they would find the old file, whose blocks are
// another's by then, and stop. Only ext4 can be asked for it.
func checkpoint(root *os.Root, name string) error {
	if !strings.HasPrefix(name, "boot/") && name != "boot" {
		return nil
	}
	f, err := root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.IoctlSetPointerInt(int(f.Fd()), ext4Checkpoint, 0)
	for _, lacks := range []error{unix.ENOTTY, unix.EOPNOTSUPP, unix.EINVAL, unix.ENOSYS, unix.ENODEV, unix.EPERM} {
		if errors.Is(err, lacks) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("checkpoint the journal of the file system of /%s: %w", name, err)
	}
	return nil
}
