package ml2

import (
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

// validate checks the provider attributes of a request and says whether something is
// left to choose.
func (m *ML2) validate(s model.Segment, given map[string]bool) (_ model.Segment, partial bool, err error) {
	if s.NetworkType == "" {
		return s, false, fault.InvalidInput("network_type required")
	}
	if !m.drivers[s.NetworkType] {
		return s, false, fault.InvalidInput("network_type value '%s' not supported", s.NetworkType)
	}
	hasID := s.SegmentationID != 0 || given[AttrSegmentationID]
	switch s.NetworkType {
	case model.TypeVLAN:
		return s, !hasID, m.validateVLAN(s, hasID)
	case model.TypeVXLAN:
		return s, !hasID, validateVXLAN(s, hasID)
	case model.TypeFlat:
		return s, false, m.validateFlat(s)
	default:
		return s, false, validateLocal(s)
	}
}

func (m *ML2) validateVLAN(s model.Segment, hasID bool) error {
	switch {
	case s.PhysicalNetwork == "" && hasID:
		return fault.InvalidInput("segmentation_id requires physical_network for VLAN provider network")
	case s.PhysicalNetwork == "":
		return nil
	case m.vlans.ranges[s.PhysicalNetwork] == nil:
		return fault.InvalidInput("physical_network '%s' unknown for VLAN provider network", s.PhysicalNetwork)
	case hasID && (s.SegmentationID < minVLAN || s.SegmentationID > maxVLAN):
		return fault.InvalidInput("segmentation_id out of range (%d through %d)", minVLAN, maxVLAN)
	}
	return nil
}

// validateVXLAN also refuses ids that are no VNI, which Neutron takes and then
// cannot wire.
func validateVXLAN(s model.Segment, hasID bool) error {
	switch {
	case s.PhysicalNetwork != "":
		return fault.InvalidInput("provider:physical_network specified for %s network", s.NetworkType)
	case hasID && (s.SegmentationID < minVNI || s.SegmentationID > maxVNI):
		return fault.InvalidInput("segmentation_id out of range (%d through %d)", minVNI, maxVNI)
	}
	return nil
}

func (m *ML2) validateFlat(s model.Segment) error {
	switch {
	case s.PhysicalNetwork == "":
		return fault.InvalidInput("physical_network required for flat provider network")
	case !m.flatAny && len(m.flat) == 0:
		return fault.InvalidInput("Flat provider networks are disabled")
	case !m.flatAny && !slices.Contains(m.flat, s.PhysicalNetwork):
		return fault.InvalidInput("physical_network '%s' unknown for flat provider network", s.PhysicalNetwork)
	case s.SegmentationID != 0:
		return fault.InvalidInput("segmentation_id prohibited for flat provider network")
	}
	return nil
}

func validateLocal(s model.Segment) error {
	switch {
	case s.PhysicalNetwork != "":
		return fault.InvalidInput("physical_network prohibited for local provider network")
	case s.SegmentationID != 0:
		return fault.InvalidInput("segmentation_id prohibited for local provider network")
	}
	return nil
}

// UpdateSegment decides a PUT of provider attributes: only the segmentation id of a
// vlan network with one segment can change, and only while every port of the network
// is unbound, failed to bind, or bound by a driver that follows the change
// (openvswitch; never an SR-IOV one). vifTypes are those of the network's ports,
// repetitions allowed. It returns the segment to store and whether it differs; the
// caller moves the claims. Attributes repeated with their present value are no change.
func (m *ML2) UpdateSegment(n *model.Network, asked model.Segment, given map[string]bool, vifTypes []string, taken Taken) (s model.Segment, changed bool, err error) {
	if len(n.Segments) > 0 {
		s = n.Segments[0]
	}
	var refused []string
	if given[AttrNetworkType] && asked.NetworkType != s.NetworkType {
		refused = append(refused, AttrNetworkType)
	}
	if given[AttrPhysicalNetwork] && asked.PhysicalNetwork != s.PhysicalNetwork {
		refused = append(refused, AttrPhysicalNetwork)
	}
	if len(refused) > 0 {
		return s, false, fault.InvalidInput(
			"Plugin does not support updating the following provider network attributes: %s", strings.Join(refused, ", "))
	}
	if !given[AttrSegmentationID] || (len(n.Segments) == 1 && asked.SegmentationID == s.SegmentationID) {
		return s, false, nil
	}
	if len(n.Segments) != 1 {
		return s, false, fault.InvalidInput("Provider network attributes can be updated only in provider networks with a single segment.")
	}
	if err = m.segmentationIDFree(vifTypes); err != nil {
		return s, false, err
	}
	if s.NetworkType != model.TypeVLAN {
		return s, false, fault.InvalidInput("Only VLAN type networks can be updated.")
	}
	moved := s
	moved.SegmentationID = asked.SegmentationID
	if moved, _, err = m.validate(moved, given); err != nil {
		return s, false, err
	}
	if moved, err = m.reserve(moved, false, taken, nil); err != nil {
		return s, false, err
	}
	return moved, true, nil
}

// segmentationIDFree refuses when a port's plugging cannot follow a new VLAN id.
func (m *ML2) segmentationIDFree(vifTypes []string) error {
	follow := []string{model.VIFUnbound, model.VIFBindingFailed}
	for _, d := range m.mechanisms {
		follow = append(follow, d.followsSegmentationID()...)
	}
	for _, t := range vifTypes {
		if t != "" && !slices.Contains(follow, t) {
			return fault.InvalidInput("Provider network attribute %s cannot be updated if any port in the network has not the following %s: %s",
				AttrSegmentationID, "binding:vif_type", strings.Join(follow, ", "))
		}
	}
	return nil
}
