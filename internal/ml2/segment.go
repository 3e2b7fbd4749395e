package ml2

import (
	"math/rand/v2"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

// Names of the request attributes that "given" maps speak of.
const (
	AttrNetworkType     = "provider:network_type"
	AttrPhysicalNetwork = "provider:physical_network"
	AttrSegmentationID  = "provider:segmentation_id"
)

// ProviderSegment validates a segment that an administrator asked for and completes
// it: an id (and for vlan a physical network) that was left out is chosen at random
// from the configured ranges. given says which provider attributes were in the
// request with a value (null counts as left out); only the segmentation id needs it,
// to tell 0 from absent. The ids that a request names need not be in a range.
//
// Errors are Neutron's faults: InvalidInput (400), VlanIdInUse, FlatNetworkInUse,
// TunnelIdInUse (409), NoNetworkAvailable (503). A nil rnd chooses the lowest id.
func (m *ML2) ProviderSegment(asked model.Segment, given map[string]bool, taken Taken, rnd *rand.Rand) (model.Segment, error) {
	s, partial, err := m.validate(asked, given)
	if err != nil {
		return model.Segment{}, err
	}
	return m.reserve(s, partial, taken, rnd)
}

// ProviderSegments does the same for the list "segments" of a multi-provider
// network. given[i] belongs to asked[i]; it may be shorter.
func (m *ML2) ProviderSegments(asked []model.Segment, given []map[string]bool, taken Taken, rnd *rand.Rand) ([]model.Segment, error) {
	checked := make([]model.Segment, len(asked))
	partial := make([]bool, len(asked))
	whole := make(map[model.Segment]bool)
	for i, a := range asked {
		var g map[string]bool
		if i < len(given) {
			g = given[i]
		}
		var err error
		if checked[i], partial[i], err = m.validate(a, g); err != nil {
			return nil, err
		}
		key := checked[i]
		key.ID = ""
		if !partial[i] && whole[key] {
			return nil, fault.DuplicateSegment()
		}
		whole[key] = whole[key] || !partial[i]
	}
	// What one segment of the request takes is taken for the next.
	own := make(map[Claim]bool)
	also := func(c Claim) bool { return own[c] || taken(c) }
	for i, s := range checked {
		var err error
		if checked[i], err = m.reserve(s, partial[i], also, rnd); err != nil {
			return nil, err
		}
		for _, c := range m.SegmentClaims(checked[i]) {
			own[c] = true
		}
	}
	return checked, nil
}

// TenantSegment chooses the segment of a network that asked for none: the network
// types of tenant_network_types in order (for an external network only
// external_network_type, where that is set), each free id of the first physical
// network that has one being equally likely. NoNetworkAvailable (503) when all are
// used up. A nil rnd chooses the lowest id.
func (m *ML2) TenantSegment(external bool, taken Taken, rnd *rand.Rand) (model.Segment, error) {
	order := m.tenant
	if external && m.external != "" {
		order = []string{m.external}
	}
	for _, t := range order {
		switch t {
		case model.TypeLocal:
			return model.Segment{NetworkType: t}, nil
		case model.TypeVLAN, model.TypeVXLAN:
			if s, ok := m.choose(model.Segment{NetworkType: t}, taken, rnd); ok {
				return s, nil
			}
		}
		// flat is never given to a tenant: nobody said which physical network.
	}
	return model.Segment{}, fault.NoNetworkAvailable()
}

// reserve turns a validated segment into a whole one that is free.
func (m *ML2) reserve(s model.Segment, partial bool, taken Taken, rnd *rand.Rand) (model.Segment, error) {
	if partial {
		whole, ok := m.choose(s, taken, rnd)
		if !ok {
			return model.Segment{}, fault.NoNetworkAvailable()
		}
		return whole, nil
	}
	for _, c := range m.SegmentClaims(s) {
		if taken(c) {
			return model.Segment{}, m.InUse(c)
		}
	}
	return s, nil
}

// choose fills in the id (and the physical network) of a vlan or vxlan segment.
func (m *ML2) choose(s model.Segment, taken Taken, rnd *rand.Rand) (model.Segment, bool) {
	if s.NetworkType == model.TypeVXLAN {
		id, ok := pick(m.vnis, func(id int) bool {
			return !taken(m.SegmentClaims(model.Segment{NetworkType: s.NetworkType, SegmentationID: id})[0])
		}, rnd)
		s.SegmentationID = id
		return s, ok
	}
	for _, name := range m.vlans.names {
		if s.PhysicalNetwork != "" && s.PhysicalNetwork != name {
			continue
		}
		id, ok := pick(m.vlans.ranges[name], func(id int) bool { return !taken(vlanClaim(name, id)) }, rnd)
		if ok {
			s.PhysicalNetwork, s.SegmentationID = name, id
			return s, true
		}
	}
	return s, false
}
