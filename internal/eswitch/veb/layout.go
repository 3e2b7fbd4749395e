package veb

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

const recordFormat = 1

// record is what PinDir/<name>.json says of a NIC or trunk. It is written before the
// first device is made and removed after the last, so that whatever a kill leaves
// behind can be found.
type record struct {
	Format   int      `json:"format"`
	Kind     string   `json:"kind"` // "nic" or "trunk"
	Spec     Spec     `json:"spec"`
	Ports    []string `json:"ports,omitempty"` // of a trunk
	Inode    uint64   `json:"inode"`           // of the namespace
	Group    uint32   `json:"group"`           // link group of every device that was made
	Attached Attach   `json:"attached"`
	RxFilter bool     `json:"rx_filter"`
	Complete bool     `json:"complete"`
}

const (
	kindNIC   = "nic"
	kindTrunk = "trunk"
)

// home is where one NIC keeps its things.
type home struct {
	pinDir, name string
}

func (h home) record() string      { return filepath.Join(h.pinDir, h.name+".json") }
func (h home) bpffs() string       { return filepath.Join(h.pinDir, "bpffs") }
func (h home) pins() string        { return filepath.Join(h.bpffs(), h.name) }
func (h home) pin(s string) string { return filepath.Join(h.pins(), s) }

// lockDir excludes other processes from changing anything under the pin directory.
func lockDir(pinDir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(pinDir, ".lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock pin directory: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	return func() { _ = f.Close() }, nil // closing unlocks
}

func (h home) read() (*record, error) {
	if !nameRE.MatchString(h.name) {
		return nil, fmt.Errorf("NIC name %q: %w", h.name, ErrNotFound)
	}
	b, err := os.ReadFile(h.record())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("NIC %s under %s: %w", h.name, h.pinDir, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read record of NIC %s: %w", h.name, err)
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("record %s: %w", h.record(), err)
	}
	if r.Format != recordFormat {
		return nil, fmt.Errorf("record %s has format %d: %w", h.record(), r.Format, ErrLayout)
	}
	r.Spec.PinDir = h.pinDir
	return &r, nil
}

func (h home) write(r *record) error {
	r.Format = recordFormat
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode record of NIC %s: %w", h.name, err)
	}
	if err := renameio.WriteFile(h.record(), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write record of NIC %s: %w", h.name, err)
	}
	return nil
}

// prepare makes the pin directory and mounts a bpffs in it.
func (h home) prepare() error {
	if err := os.MkdirAll(h.bpffs(), 0o700); err != nil {
		return fmt.Errorf("make pin directory: %w", err)
	}
	is, err := isBPFFS(h.bpffs())
	if err != nil {
		return err
	}
	if is {
		return nil
	}
	if err := unix.Mount("bpf", h.bpffs(), "bpf", 0, "mode=0700"); err != nil {
		return fmt.Errorf("mount bpffs at %s: %w", h.bpffs(), err)
	}
	return nil
}

func isBPFFS(path string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false, fmt.Errorf("statfs %s: %w", path, err)
	}
	return uint32(st.Type) == unix.BPF_FS_MAGIC, nil
}

// unprepare removes pins and record, and the mount and directory with the last NIC.
func (h home) unprepare() error {
	if err := os.RemoveAll(h.pins()); err != nil {
		return fmt.Errorf("remove pins of NIC %s: %w", h.name, err)
	}
	if err := os.Remove(h.record()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove record of NIC %s: %w", h.name, err)
	}
	left, err := os.ReadDir(h.pinDir)
	if err != nil {
		return fmt.Errorf("read pin directory: %w", err)
	}
	if slices.ContainsFunc(left, func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), ".json") }) {
		return nil
	}
	if is, err := isBPFFS(h.bpffs()); err == nil && is {
		if err := unix.Unmount(h.bpffs(), 0); err != nil {
			return fmt.Errorf("unmount %s: %w", h.bpffs(), err)
		}
	}
	_ = os.Remove(h.bpffs())
	_ = os.Remove(filepath.Join(h.pinDir, ".lock"))
	_ = os.Remove(h.pinDir) // fails, rightly, when somebody else keeps things there
	return nil
}

// List returns what exists under pinDir, sorted by name. A directory that does not
// exist holds nothing.
func List(pinDir string) ([]Info, error) {
	files, err := filepath.Glob(filepath.Join(pinDir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", pinDir, err)
	}
	var out []Info
	for _, f := range files {
		h := home{pinDir: pinDir, name: strings.TrimSuffix(filepath.Base(f), ".json")}
		r, err := h.read()
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, Info{
			Spec: r.Spec, Complete: r.Complete, Attached: r.Attached,
			MulticastFilter: r.RxFilter, Trunk: r.Kind == kindTrunk,
		})
	}
	slices.SortFunc(out, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
