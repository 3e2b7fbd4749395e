package ml2

import (
	"slices"

	"neutrino/internal/model"
)

// VLANRange is an inclusive range of VLAN ids.
type VLANRange struct{ Min, Max int }

// PhysicalNetworks returns those that network_vlan_ranges names, in its order.
func (m *ML2) PhysicalNetworks() []string { return slices.Clone(m.vlans.names) }

// VLANRanges returns the VLANs of network_vlan_ranges on a physical network; none when it
// is not named there.
func (m *ML2) VLANRanges(physicalNetwork string) []VLANRange {
	var out []VLANRange
	for _, r := range m.vlans.ranges[physicalNetwork] {
		out = append(out, VLANRange{r.min, r.max})
	}
	return out
}

// PhysicalMTU returns the MTU (bytes) of VLANs on a physical network; 0 = no limit is
// configured.
func (m *ML2) PhysicalMTU(physicalNetwork string) int {
	return m.MTU([]model.Segment{{NetworkType: model.TypeVLAN, PhysicalNetwork: physicalNetwork}})
}
