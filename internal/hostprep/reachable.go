package hostprep

import "neutrino/internal/pci"

// CutOff says why the host would be cut off if these network devices lost their link;
// "" = it would not.
func (h Host) CutOff(names ...string) string {
	p := pci.PF{}
	for _, n := range names {
		p.Netdevs = append(p.Netdevs, pci.Netdev{Name: n})
	}
	return h.management(p)
}
