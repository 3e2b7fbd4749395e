package hostprep

import "neutrino/internal/pci"

// Reached says why the host would be cut off without the PF: it carries a default route,
// of IPv4 or IPv6, or the host's only addresses; "" = it would not. What sits on the PF
// (bonds, VLANs, bridges, Open vSwitch) counts as the PF.
func (h Host) Reached(p pci.PF) string { return h.management(p) }
