package ml2

import (
	"errors"
	"math/rand/v2"

	"neutrino/internal/model"
)

var errNotYet = errors.New("ml2: not built yet")

// New checks a configuration.
func New(c Config) (*ML2, error) { return &ML2{cfg: c}, nil }

// Defaults returns Neutron's defaults.
func Defaults() Config { return Config{} }

// SegmentClaims returns the claims a segment needs.
func (m *ML2) SegmentClaims(s model.Segment) []Claim { return nil }

// InUse returns the 409 for a claim already held.
func (m *ML2) InUse(c Claim) error { return errNotYet }

// ProviderSegment validates and completes one asked-for segment.
func (m *ML2) ProviderSegment(asked model.Segment, given map[string]bool, taken Taken, rnd *rand.Rand) (model.Segment, error) {
	return asked, errNotYet
}

// ProviderSegments validates and completes the segments of a multi-provider network.
func (m *ML2) ProviderSegments(asked []model.Segment, given []map[string]bool, taken Taken, rnd *rand.Rand) ([]model.Segment, error) {
	return asked, errNotYet
}

// TenantSegment chooses a segment for a network without provider attributes.
func (m *ML2) TenantSegment(external bool, taken Taken, rnd *rand.Rand) (model.Segment, error) {
	return model.Segment{}, errNotYet
}

// MTU returns the largest MTU of a network on the segments, 0 = not limited.
func (m *ML2) MTU(segments []model.Segment) int { return 0 }

// NetworkMTU returns the MTU of a network that asked for one (0 = the largest).
func (m *ML2) NetworkMTU(segments []model.Segment, asked int) (int, error) { return asked, errNotYet }

// UpdateSegment decides a change of a network's provider attributes.
func (m *ML2) UpdateSegment(n *model.Network, asked model.Segment, given map[string]bool, vifTypes []string, taken Taken) (s model.Segment, changed bool, err error) {
	return asked, false, errNotYet
}

// Bind decides how a port is bound on its host.
func (m *ML2) Bind(p *model.Port, n *model.Network, host []AgentView) BindResult { return BindResult{} }

// Rebind says what a change of a port means for its binding.
func (m *ML2) Rebind(old, changed *model.Port) (Rebinding, string) { return KeepBinding, "" }

// EffectiveVnicType is what a bound port is on its host.
func EffectiveVnicType(b *model.Binding) string { return b.VnicType }

// Profile is the understood part of binding:profile.
type Profile struct {
	PCISlot         string
	PhysicalNetwork string
	Capabilities    []string
	DeviceMAC       string
	Trusted         *bool
	MinTxRate       int // Mbit/s
	MaxTxRate       int // Mbit/s
}

// ParseProfile reads binding:profile.
func ParseProfile(p map[string]any) (Profile, error) { return Profile{}, errNotYet }
