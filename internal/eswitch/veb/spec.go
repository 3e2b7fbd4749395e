package veb

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
)

// Errors that callers can test for with errors.Is.
var (
	// ErrExists: a NIC (or trunk) of this name exists already.
	ErrExists = errors.New("NIC exists already")
	// ErrNotFound: there is no NIC (or trunk) of this name under the pin directory.
	ErrNotFound = errors.New("no such NIC")
	// ErrIncomplete: the NIC's creation or destruction was cut short; Destroy it.
	ErrIncomplete = errors.New("NIC is incomplete")
	// ErrLayout: the NIC was made by a version with other maps; create it again.
	ErrLayout = errors.New("NIC has the map layout of another version")
)

// Limits of a Spec.
const (
	MaxVFs       = 256 // what a PCI bus has functions for
	MinMTU       = 68
	MaxMTU       = 65521
	DefaultMTU   = 1500
	DefaultSpeed = 10000 // Mbit/s
)

// Attach says how programs are attached to devices.
type Attach string

// Ways to attach. AttachAuto is tcx where the kernel has it (6.6), else clsact.
const (
	AttachAuto   Attach = ""
	AttachTCX    Attach = "tcx"
	AttachClsact Attach = "clsact"
)

// Peer is the far end of an uplink's veth pair.
type Peer struct {
	Name  string `json:"name,omitempty"`  // "" = "<NIC>w", brought up
	Netns string `json:"netns,omitempty"` // path of a namespace; "" = the NIC's own
}

// Spec describes a NIC.
type Spec struct {
	Name string `json:"name"` // of the PF netdev, at most 9 characters
	// PF is the number in the PCI slots, 0..255. Unique among the NICs of one host.
	PF  int `json:"pf"`
	VFs int `json:"vfs"` // 0..MaxVFs
	MTU int `json:"mtu"` // of the uplink, and the VFs' to begin with; 0 = DefaultMTU
	// PinDir is a directory for this NIC or for several NICs, made if need be. A bpffs
	// is mounted at PinDir/bpffs, in the mount namespace of the caller, and unmounted
	// with the last NIC.
	PinDir string `json:"-"`
	// Netns is the path of the namespace that the NIC is made in; "" = the calling
	// thread's at Create and at Open.
	Netns string `json:"netns,omitempty"`
	// Peer is where the far end of the uplink goes.
	Peer Peer `json:"peer"`
	// Existing: the netdev Name is there already (one end of a veth pair, a real NIC)
	// and is used as the uplink. It is never renamed nor deleted.
	Existing bool `json:"existing,omitempty"`
	// Speed of the uplink in Mbit/s, which guaranteed rates are shares of; 0 =
	// DefaultSpeed. It limits nothing while no VF has a MinTxRate.
	Speed  int    `json:"speed"`
	Attach Attach `json:"attach,omitempty"`
}

var nameRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}$`)

func (s *Spec) complete() error {
	if !nameRE.MatchString(s.Name) {
		return fmt.Errorf("NIC name %q: want 1 to 9 of letters, digits, '_', '.', '-'", s.Name)
	}
	if s.PF < 0 || s.PF > 255 {
		return fmt.Errorf("NIC %s: PF number %d: want 0..255", s.Name, s.PF)
	}
	if s.VFs < 0 || s.VFs > MaxVFs {
		return fmt.Errorf("NIC %s: %d VFs: want 0..%d", s.Name, s.VFs, MaxVFs)
	}
	if s.MTU == 0 {
		s.MTU = DefaultMTU
	}
	if s.MTU < MinMTU || s.MTU > MaxMTU {
		return fmt.Errorf("NIC %s: MTU %d: want %d..%d", s.Name, s.MTU, MinMTU, MaxMTU)
	}
	if s.Speed == 0 {
		s.Speed = DefaultSpeed
	}
	if s.Speed < 1 || s.Speed > 1_000_000 {
		return fmt.Errorf("NIC %s: speed %d Mbit/s: want 1..1000000", s.Name, s.Speed)
	}
	if s.PinDir == "" || !filepath.IsAbs(s.PinDir) {
		return fmt.Errorf("NIC %s: pin directory %q: want an absolute path", s.Name, s.PinDir)
	}
	switch s.Attach {
	case AttachAuto, AttachTCX, AttachClsact:
	default:
		return fmt.Errorf("NIC %s: attach %q: want tcx or clsact", s.Name, s.Attach)
	}
	if s.Existing && s.Peer != (Peer{}) {
		return fmt.Errorf("NIC %s: an existing uplink has its far end already", s.Name)
	}
	if s.Peer.Name == "" && !s.Existing {
		s.Peer.Name = s.Name + "w"
	}
	return nil
}

// Names of the devices of a NIC.
func (s *Spec) vfName(i int) string  { return fmt.Sprintf("%sv%d", s.Name, i) }
func (s *Spec) repName(i int) string { return fmt.Sprintf("%sr%d", s.Name, i) }
func (s *Spec) shapeIn() string      { return s.Name + "q" }
func (s *Spec) shapeOut() string     { return s.Name + "p" }

// VFSlot is the PCI slot of VF i of PF number pf: synthetic, and stable over
// re-creation.
func VFSlot(pf, i int) string { return fmt.Sprintf("fffe:%02x:%02x.%d", pf, i/8, i%8) }

// PFSlot is the PCI slot of PF number pf.
func PFSlot(pf int) string { return fmt.Sprintf("fffd:%02x:00.0", pf) }

// Info says what exists under a pin directory.
type Info struct {
	Spec
	Complete bool // false: cut short, fit only for Destroy
	// Attached is how programs are attached ("tcx" or "clsact").
	Attached Attach
	// MulticastFilter: multicast follows the receive filters of the VF netdevs; false
	// = every VF receives its VLAN's multicast.
	MulticastFilter bool
	Trunk           bool // a trunk, not a NIC
}
