package paths

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"neutrino/internal/eswitch/veb"
	"neutrino/internal/netspace"
)

// Errors of building.
var (
	// ErrBusy: another process is at it.
	ErrBusy = errors.New("another neutrino bench lab is running")
	// ErrMissing: this host lacks what a path needs.
	ErrMissing = errors.New("not there on this host")
	// ErrTaken: a VF is in use, or a namespace's name is somebody else's.
	ErrTaken = errors.New("in use")
)

// Prefix of the namespaces' names in DefaultDir's lab.
const Prefix = "nbench-"

// DefaultDir is where a site keeps its pins, databases and lock.
const DefaultDir = "/run/neutrino/bench"

// Path is two ends between which is measured.
type Path struct {
	Key, Title string
	A, B       End
}

// End is where one of two sits.
type End struct {
	Namespace string
	Addr      netip.Addr
}

// Site is what paths are built on. Its methods are for one caller at a time.
type Site struct {
	Dir    string
	Prefix string // of its namespaces' names
	Mark   string // that they carry

	lock     *os.File
	switches []*veb.Switch
	daemons  []*daemon
}

// Open makes the caller the only one, and takes away what a killed one left. dir "" = DefaultDir.
func Open(ctx context.Context, dir string) (*Site, error) {
	s, err := lockSite(dir)
	if err != nil {
		return nil, err
	}
	if err = s.sweep(ctx); err != nil {
		s.lock.Close()
		return nil, err
	}
	return s, nil
}

// Clean takes away what a killed one left, and says how many namespaces that were.
func Clean(ctx context.Context, dir string) (int, error) {
	s, err := lockSite(dir)
	if err != nil {
		return 0, err
	}
	left, err := s.namespaces()
	if err != nil {
		s.lock.Close()
		return 0, err
	}
	return len(left), s.Close(ctx)
}

func lockSite(dir string) (*Site, error) {
	if dir == "" {
		dir = DefaultDir
	}
	prefix := Prefix
	if dir != DefaultDir { // another lab beside it
		h := fnv.New32a()
		h.Write([]byte(dir))
		prefix = fmt.Sprintf("nbench%08x-", h.Sum32())
	}
	s := &Site{Dir: dir, Prefix: prefix, Mark: "neutrino-bench " + dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the bench lab's directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the bench lab: %w", err)
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrBusy
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	s.lock = f
	return s, nil
}

// Close takes everything away. The directory stays, with the lock in it: who waits for that has it open.
func (s *Site) Close(ctx context.Context) error {
	err := s.sweep(ctx)
	s.lock.Close()
	return err
}

// sweep ends processes, and removes NICs and namespaces, known or found. It goes on after errors.
func (s *Site) sweep(ctx context.Context) error {
	var errs []error
	for _, d := range s.daemons {
		d.stop()
	}
	for _, sw := range s.switches {
		errs = append(errs, sw.Close())
	}
	s.daemons, s.switches = nil, nil
	for _, name := range []string{nicName, nicName + "2"} {
		pins, err := filepath.Glob(filepath.Join(s.Dir, "pins-*"))
		errs = append(errs, err)
		for _, dir := range pins {
			errs = append(errs, veb.Destroy(ctx, name, dir))
		}
	}
	names, err := s.namespaces()
	errs = append(errs, err)
	for _, n := range names {
		if err = giveBack(n); err != nil {
			errs = append(errs, err) // the namespace stays: it holds a NIC of the host
			continue
		}
		errs = append(errs, netspace.Delete(n))
	}
	if err = errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up after bench lab: %w", err)
	}
	left, err := os.ReadDir(s.Dir)
	for _, e := range left {
		if e.Name() != "lock" {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.Dir, e.Name())))
		}
	}
	if err != nil {
		return fmt.Errorf("clean up after bench lab: %w", err)
	}
	return nil
}

// namespaces are those that carry the mark.
func (s *Site) namespaces() ([]string, error) {
	all, err := netspace.List(s.Prefix)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(n string) bool { return !netspace.IsMarked(n, s.Mark) }), nil
}

// Build makes a path. When it fails, what it made stays until Close.
func (s *Site) Build(ctx context.Context, k Kind) (Path, error) {
	b := &builder{ctx: ctx, site: s, kind: k}
	for _, side := range k.Sides {
		b.try("make a namespace", netspace.CreateMarked(b.ns(side), s.Mark))
	}
	if b.err == nil {
		k.build(b)
	}
	p := Path{Key: k.Key, Title: k.Title, A: End{b.ns("a"), k.addr("a")}, B: End{b.ns("b"), k.addr("b")}}
	if b.err != nil {
		return p, fmt.Errorf("build the path %s: %w", k.Key, b.err)
	}
	return p, nil
}

// Plan says what Build would make.
func (s *Site) Plan(k Kind) string {
	var names []string
	for _, side := range k.Sides {
		names = append(names, s.Prefix+k.Key+"-"+side)
	}
	return fmt.Sprintf("%s: %s in namespaces %s", k.Key, k.Made, strings.Join(names, ", "))
}
