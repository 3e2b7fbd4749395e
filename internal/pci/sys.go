package pci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Errors for errors.Is.
var (
	// ErrNoDevice: no PCI function of that address, or no netdev of that name.
	ErrNoDevice = errors.New("no such device")
	// ErrNotPF: the device has no SR-IOV capability of its own.
	ErrNotPF = errors.New("not a physical function with SR-IOV")
	// ErrTimeout: the kernel or a driver did not finish in time.
	ErrTimeout = errors.New("the kernel does not answer")
	// ErrBadSlot: not a PCI address.
	ErrBadSlot = errors.New("not a PCI address like 0000:03:10.2")
)

// writeDeadline bounds one write where the caller's context does not: a driver may talk
// to firmware for a long time while it makes many VFs.
const writeDeadline = 60 * time.Second

// Sys is the sysfs (and proc) of a machine. It is safe for concurrent use.
type Sys struct {
	// Root is where sys and proc are; "" = "/".
	Root string
	// Wrote is called after each write, with the file's path below Root and what was
	// written. Nil = not called. Trees that are no kernel's react there.
	Wrote func(path, text string) error

	mu   sync.Mutex
	busy map[string]bool // files with a write that has not come back
}

var slotText = regexp.MustCompile(`^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)

// CheckSlot reports whether slot is a PCI address as sysfs writes it.
func CheckSlot(slot string) error {
	if !slotText.MatchString(slot) {
		return fmt.Errorf("%.40q: %w", slot, ErrBadSlot)
	}
	return nil
}

// path of a file below the root.
func (s *Sys) path(parts ...string) string {
	root := s.Root
	if root == "" {
		root = "/"
	}
	return filepath.Join(append([]string{root}, parts...)...)
}

// device is the directory of a function.
func (s *Sys) device(slot string, more ...string) string {
	return s.path(append([]string{"sys/bus/pci/devices", slot}, more...)...)
}

// Exists reports whether the function is there.
func (s *Sys) Exists(slot string) bool {
	if CheckSlot(slot) != nil {
		return false
	}
	_, err := os.Stat(s.device(slot))
	return err == nil
}

func (s *Sys) need(slot string) error {
	if err := CheckSlot(slot); err != nil {
		return err
	}
	if !s.Exists(slot) {
		return fmt.Errorf("PCI function %s: %w", slot, ErrNoDevice)
	}
	return nil
}

// text reads a small file; missing is ok = false.
func text(path string) (string, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", false
	}
	return strings.TrimSpace(string(b)), true
}

// number reads a decimal or 0x-prefixed file.
func number(path string) (int, bool) {
	t, ok := text(path)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(t, 0, 64)
	if err != nil || n < -1<<31 || n > 1<<32 {
		return 0, false
	}
	return int(n), true
}

// linkBase is the last element of a link's target; "" = no link.
func linkBase(path string) string {
	to, err := os.Readlink(path)
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}

func names(dir string) []string {
	entries, err := os.ReadDir(dir)
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

// write writes a sysfs file within the context's time. A file whose last write hangs in
// the kernel is not written again.
func (s *Sys) write(ctx context.Context, path, value string) error {
	if err := s.claim(path); err != nil {
		return err
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, writeDeadline)
		defer cancel()
	}
	done := make(chan error, 1)
	go func() { // ends with the kernel's call; nothing can end it sooner
		err := s.writeNow(path, value)
		s.mu.Lock()
		delete(s.busy, path)
		s.mu.Unlock()
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("write %q to %s: %w: %w", value, path, ErrTimeout, ctx.Err())
	}
}

func (s *Sys) claim(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[path] {
		return fmt.Errorf("write %s: an earlier write still hangs: %w", path, ErrTimeout)
	}
	if s.busy == nil {
		s.busy = map[string]bool{}
	}
	s.busy[path] = true
	return nil
}

func (s *Sys) writeNow(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("write %q: %w", value, err)
	}
	_, err = f.WriteString(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %q to %s: %w", value, path, err)
	}
	if s.Wrote != nil {
		rel, rerr := filepath.Rel(s.path(), path)
		if rerr != nil {
			return rerr
		}
		return s.Wrote(rel, value)
	}
	return nil
}

// poll calls done until it reports true, with growing pauses, as long as ctx allows.
// sysfs has no way to wait for a link to appear.
func poll(ctx context.Context, what string, done func() (bool, error)) error {
	pause := time.Millisecond
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", what, ErrTimeout, ctx.Err())
		case <-timer.C:
		}
		ok, err := done()
		if err != nil || ok {
			return err
		}
		pause = min(pause*2, 100*time.Millisecond)
		timer.Reset(pause)
	}
}
