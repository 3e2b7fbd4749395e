package ml2

import (
	"maps"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

// Bytes that a tunnelled frame carries in front of the tenant's packet.
const (
	ipv4Header = 20
	ipv6Header = 40
	vxlanEncap = 30 // UDP, VXLAN and the inner Ethernet header, as Neutron counts them
)

type mtuRules struct {
	global, path int
	outerIP      int
	physnets     map[string]int
}

func newMTURules(c Config) mtuRules {
	r := mtuRules{global: c.GlobalPhysnetMTU, path: c.PathMTU, outerIP: ipv4Header, physnets: maps.Clone(c.PhysicalNetworkMTUs)}
	if c.OverlayIPVersion == 6 {
		r.outerIP = ipv6Header
	}
	return r
}

// lower returns the smaller of two limits, where 0 is none.
func lower(a, b int) int {
	switch {
	case a == 0:
		return b
	case b == 0:
		return a
	}
	return min(a, b)
}

// of returns a segment's largest MTU, 0 = its type sets no limit.
func (r mtuRules) of(s model.Segment) int {
	switch s.NetworkType {
	case model.TypeFlat, model.TypeVLAN:
		return lower(r.global, r.physnets[s.PhysicalNetwork])
	case model.TypeVXLAN:
		if limit := lower(r.global, r.path); limit != 0 {
			return max(limit-r.outerIP-vxlanEncap, 0)
		}
	}
	return 0
}

// MTU returns the largest MTU (bytes) that a network on the segments may have: the
// least of theirs, or global_physnet_mtu where no segment sets a limit. 0 = no limit.
func (m *ML2) MTU(segments []model.Segment) int {
	limit := 0
	for _, s := range segments {
		limit = lower(limit, m.mtu.of(s))
	}
	if limit == 0 {
		return m.mtu.global
	}
	return limit
}

// NetworkMTU returns the MTU of a network that asks for one; 0 asks for the largest.
// It fails with InvalidInput when the segments cannot carry it.
func (m *ML2) NetworkMTU(segments []model.Segment, asked int) (int, error) {
	limit := m.MTU(segments)
	if asked == 0 {
		return limit, nil
	}
	if limit != 0 && asked > limit {
		return 0, fault.InvalidInput("Requested MTU is too big, maximum is %d", limit)
	}
	return asked, nil
}
