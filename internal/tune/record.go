package tune

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"

	"neutrino/internal/machine"
)

// DefaultDir is where it is written down what was tuned, and how it was before.
const DefaultDir = "/var/lib/neutrino/tune"

const (
	recordFile    = "record.json"
	recordVersion = 1
	recordLimit   = 64 << 20
)

// Errors for errors.Is.
var (
	// ErrBadRecord: what is written down cannot be understood; nothing is changed then.
	ErrBadRecord = errors.New("the record of what was tuned cannot be understood")
	// ErrBusy: another neutrino is tuning this machine.
	ErrBusy = errors.New("this machine is being tuned by another neutrino")
	// ErrNotTuned: there is no record.
	ErrNotTuned = errors.New("this machine is not tuned")
)

// Record is what was asked for, and every value that was changed for it.
type Record struct {
	Version int `json:"version"`
	// Profile is "" where only the interrupts of Pins were placed.
	Profile Profile  `json:"profile"`
	NICs    []string `json:"nics,omitempty"` // as they were named; none = all
	// Pins are the CPUs chosen for the interrupts of a NIC.
	Pins           map[string]string `json:"pins,omitempty"`
	EvenManagement bool              `json:"even_management,omitempty"`
	Persist        bool              `json:"persist"`
	Since          time.Time         `json:"since"`
	// Boot is the one to which Values belong: they go when the machine goes down.
	Boot   string  `json:"boot"`
	Values []Value `json:"values"`
}

// Value is one that was changed.
type Value struct {
	Rule   string `json:"rule"`
	Target Target `json:"target"`
	Before string `json:"before"`
	// Wrote is what was written, the last one last. It is noted before it is done, so
	// the value may still be one of those before, or what it was at first.
	Wrote []string `json:"wrote"`
	// Flaps is how often the device's link had come and gone then: a driver makes
	// queues and interrupts anew with it.
	Flaps int `json:"flaps,omitempty"`
	// Open: it was about to be written, and what the driver made of it was not noted.
	Open bool `json:"open,omitempty"`
}

// value finds the one of a target.
func (r *Record) value(t Target) *Value {
	for i := range r.Values {
		if r.Values[i].Target == t {
			return &r.Values[i]
		}
	}
	return nil
}

// intend notes that a value is about to be written.
func (r *Record) intend(rule string, t Target, now, want string, flaps int) {
	v := r.value(t)
	if v == nil {
		r.Values = append(r.Values, Value{rule, t, now, []string{want}, flaps, true})
		return
	}
	v.Rule, v.Flaps, v.Open = rule, flaps, true
	if len(v.Wrote) == 0 || v.Wrote[len(v.Wrote)-1] != want {
		v.Wrote = append(slices.DeleteFunc(v.Wrote, func(w string) bool { return w == want }), want)
	}
}

func (r *Record) drop(t Target) {
	r.Values = slices.DeleteFunc(r.Values, func(v Value) bool { return v.Target == t })
}

// befores are the first values, for rules that go by them.
func (r *Record) befores() map[Target]string {
	out := make(map[Target]string, len(r.Values))
	for _, v := range r.Values {
		out[v.Target] = v.Before
	}
	return out
}

// decodeRecord reads a record strictly.
func decodeRecord(data []byte) (*Record, error) {
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
	if err == nil && r.Profile != "" {
		_, err = ParseProfile(string(r.Profile))
	}
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRecord, err)
	}
	return r, nil
}

// check refuses targets that lead out of sys and proc.
func (r *Record) check() error {
	for _, cpus := range r.Pins {
		if _, err := machine.ParseCPUList(cpus, 0); err != nil {
			return err
		}
	}
	for _, v := range r.Values {
		t := v.Target
		if t.Path != "" && (!filepath.IsLocal(t.Path) || filepath.Clean(t.Path) != t.Path || !strings.HasPrefix(t.Path, "sys/") && !strings.HasPrefix(t.Path, "proc/")) {
			return fmt.Errorf("%.80q is no file of sys or proc", t.Path)
		}
		if strings.ContainsAny(t.Device+t.Slot, "/\x00") || t.IRQ < 0 {
			return fmt.Errorf("%.80q is no device", t.Device+t.Slot)
		}
	}
	return nil
}

// store is the record's place. The lock is elsewhere, so that nothing is left of the
// record when it goes.
type store struct {
	dir, run string
	wait     time.Duration // for the lock; 0 = 3 s
}

func (h *Host) store() store {
	if h.Dir != "" {
		return store{h.Dir, h.Dir, h.patience}
	}
	return store{h.path(DefaultDir), h.path(runDir), h.patience}
}

const runDir = "run/neutrino"

// load reads the record; nil = there is none.
func (s store) load() (*Record, error) {
	f, err := os.Open(filepath.Join(s.dir, recordFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of what was tuned: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, recordLimit))
	if err != nil {
		return nil, fmt.Errorf("read the record of what was tuned: %w", err)
	}
	r, err := decodeRecord(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return r, nil
}

// save writes the record so that a crash leaves the old or the new one; it is on disk
// when save returns.
func (s store) save(r *Record) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err == nil {
		err = os.MkdirAll(s.dir, 0o755)
	}
	if err == nil {
		err = renameio.WriteFile(filepath.Join(s.dir, recordFile), append(data, '\n'), 0o600)
	}
	if err == nil {
		err = syncDir(s.dir)
	}
	if err != nil {
		return fmt.Errorf("write down what is about to be tuned: %w", err)
	}
	return nil
}

// remove ends the record, and takes its directory away.
func (s store) remove() error {
	err := os.Remove(filepath.Join(s.dir, recordFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the record of what was tuned: %w", err)
	}
	if err = syncDir(s.dir); err != nil {
		return err
	}
	if err = os.Remove(s.dir); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return fmt.Errorf("remove the record of what was tuned: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s store) patience() time.Duration {
	if s.wait > 0 {
		return s.wait
	}
	return 3 * time.Second
}

// lock keeps others from tuning until release; who dies releases it.
func (s store) lock() (release func(), err error) {
	if err = os.MkdirAll(s.run, 0o755); err != nil {
		return nil, fmt.Errorf("lock the record of what was tuned: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.run, "tune.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the record of what was tuned: %w", err)
	}
	// The keeper holds it for moments only.
	for end := time.Now().Add(s.patience()); ; time.Sleep(10 * time.Millisecond) {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: try again when it has finished", ErrBusy)
		}
		return nil, fmt.Errorf("lock the record of what was tuned: %w", err)
	}
	return func() { f.Close() }, nil
}

// boot is the id of the one that runs.
func (h *Host) boot() string {
	id, _ := h.text("proc/sys/kernel/random/boot_id")
	return id
}
