package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// Errors of the lab's life.
var (
	ErrUp   = errors.New("the lab is up already")
	ErrDown = errors.New("the lab is not up")
	ErrBusy = errors.New("another neutrino lab command is at work on it")
)

// stateVersion is that of the file's format.
const stateVersion = 1

// State is what the lab remembers in Dir()/state.json. It is written before each thing
// is made, so that it never knows less than there is.
type State struct {
	Version   int         `json:"version"`
	Name      string      `json:"name"`
	Ready     bool        `json:"ready"` // "up" came to its end
	CreatedAt time.Time   `json:"created_at"`
	API       string      `json:"api"` // http://127.0.0.1:9696
	Identity  bool        `json:"identity"`
	VFs       int         `json:"vfs"` // per host
	Processes []Process   `json:"processes"`
	Hosts     []Host      `json:"hosts"`
	Instances []*Instance `json:"instances,omitempty"`
}

// Host is one machine of the lab.
type Host struct {
	Name string `json:"name"`
	PF   int    `json:"pf"` // number of its NIC
	DHCP bool   `json:"dhcp"`
	L3   bool   `json:"l3,omitempty"` // it carries routers
}

// Instance is one guest.
type Instance struct {
	Name      string    `json:"name"`
	Host      string    `json:"host"`
	Network   string    `json:"network"`
	NetworkID string    `json:"network_id"`
	PortID    string    `json:"port_id"`
	OwnPort   bool      `json:"own_port"` // made by the lab, goes with the instance
	VF        int       `json:"vf"`
	PCISlot   string    `json:"pci_slot"`
	MAC       string    `json:"mac"`
	Address   string    `json:"address"` // prefix notation, as the DHCP server said
	Gateway   string    `json:"gateway,omitempty"`
	MTU       int       `json:"mtu"`
	Ready     bool      `json:"ready"`
	BootedAt  time.Time `json:"booted_at"`
	// How long each part of booting took.
	BindToActive time.Duration `json:"bind_to_active_ns"`
	Lease        time.Duration `json:"lease_ns"`
}

// Host returns the host of that name.
func (s *State) Host(name string) (Host, bool) {
	i := slices.IndexFunc(s.Hosts, func(h Host) bool { return h.Name == name })
	if i < 0 {
		return Host{}, false
	}
	return s.Hosts[i], true
}

// Instance returns the instance of that name, or nil.
func (s *State) Instance(name string) *Instance {
	i := slices.IndexFunc(s.Instances, func(x *Instance) bool { return x.Name == name })
	if i < 0 {
		return nil
	}
	return s.Instances[i]
}

// Read reads a lab's state. The error is ErrDown when there is none.
func Read(n Names) (*State, error) {
	b, err := os.ReadFile(n.File("state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("lab %s: %w", n.Lab, ErrDown)
	}
	if err != nil {
		return nil, fmt.Errorf("lab %s: %w", n.Lab, err)
	}
	s := new(State)
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("lab %s: read %s: %w", n.Lab, n.File("state.json"), err)
	}
	if s.Version != stateVersion || s.Name != n.Lab {
		return nil, fmt.Errorf("lab %s: %s is of version %d and of lab %q", n.Lab, n.File("state.json"), s.Version, s.Name)
	}
	return s, nil
}

func (s *State) write(n Names) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("lab %s: encode state: %w", n.Lab, err)
	}
	if err := renameio.WriteFile(n.File("state.json"), append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("lab %s: write state: %w", n.Lab, err)
	}
	return nil
}

// All returns the names of the labs that have a directory under base.
func All(base string) ([]string, error) {
	if base == "" {
		base = DefaultBase
	}
	entries, err := os.ReadDir(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list labs: %w", err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && labName.MatchString(e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

func (n Names) lockFile() string { return filepath.Join(n.Base, n.Lab+".lock") }

// lockWait is how long a lock is waited for. A child that a killed process had forked
// and that has not got to its exec yet keeps the lock for a moment.
const lockWait = 2 * time.Second

// lock makes the caller the only one that changes the lab. The lock goes with the
// process, however it ends.
func (n Names) lock() (unlock func(), err error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(lockWait); ; <-tick.C {
		unlock, err := n.tryLock()
		if !errors.Is(err, ErrBusy) || time.Now().After(deadline) {
			return unlock, err
		}
	}
}

// tryLock locks a file beside the lab's directory, which "down" removes. The file goes
// last, and so it is looked at again once it is locked.
func (n Names) tryLock() (unlock func(), err error) {
	if err = os.MkdirAll(n.Base, 0o755); err != nil {
		return nil, fmt.Errorf("lab %s: %w", n.Lab, err)
	}
	f, err := os.OpenFile(n.lockFile(), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lab %s: %w", n.Lab, err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil && sameFile(f, n.lockFile()) {
		return func() { _ = f.Close() }, nil
	}
	_ = f.Close()
	if err == nil || errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("lab %s: %w", n.Lab, ErrBusy)
	}
	return nil, fmt.Errorf("lab %s: lock %s: %w", n.Lab, n.lockFile(), err)
}

func sameFile(f *os.File, path string) bool {
	a, err1 := f.Stat()
	b, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}
