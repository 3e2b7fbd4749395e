package veb

import (
	"context"
	"errors"

	"neutrino/internal/eswitch"
)

// Create makes a NIC as Spec says: devices, programs and maps, all pinned. Every VF
// carries the baseline attributes. After an error nothing is left behind.
func Create(ctx context.Context, spec Spec) error { return errors.New("create NIC: no programs") }

// Open takes hold of the NIC name under pinDir, exchanges its programs when this
// binary carries others, and watches its devices.
func Open(name, pinDir string) (*Switch, error) { return nil, ErrNotFound }

// OpenAll opens every NIC under pinDir as one Switch.
func OpenAll(pinDir string) (*Switch, error) { return nil, ErrNotFound }

// Destroy removes the NIC name and everything of it, also after a Create that was
// killed half-way. It is not an error if there is none.
func Destroy(ctx context.Context, name, pinDir string) error { return nil }

// List returns what exists under pinDir, by name.
func List(pinDir string) ([]Info, error) { return nil, nil }

// TrunkSpec describes a top-of-rack switch.
type TrunkSpec struct {
	Name   string   // for the pins, as of a NIC
	PinDir string   // as of a NIC
	Netns  string   // path of the namespace its ports are in; "" = the calling thread's
	Ports  []string // existing netdevs: far ends of uplinks
	Attach Attach
}

// CreateTrunk joins ports with a VLAN-transparent learning switch. The ports are
// brought up. Far ends in other namespaces are reached without a queue between.
func CreateTrunk(ctx context.Context, spec TrunkSpec) error { return errors.New("create trunk: no programs") }

// DestroyTrunk removes the trunk; its ports stay.
func DestroyTrunk(ctx context.Context, name, pinDir string) error { return nil }

// Switch is an open NIC, or several. It implements eswitch.Switch.
type Switch struct{}

var _ eswitch.Switch = (*Switch)(nil)

// Observe implements eswitch.Switch.
func (s *Switch) Observe(ctx context.Context) (eswitch.State, error) {
	return eswitch.State{}, ErrNotFound
}

// Apply implements eswitch.Switch.
func (s *Switch) Apply(ctx context.Context, changes []eswitch.Change) []eswitch.Result { return nil }

// Events implements eswitch.Switch.
func (s *Switch) Events() <-chan struct{} { return nil }

// Capabilities implements eswitch.Switch.
func (s *Switch) Capabilities(pf string) eswitch.Capabilities { return eswitch.Capabilities{} }

// Close implements eswitch.Switch.
func (s *Switch) Close() error { return nil }
