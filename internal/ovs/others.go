package ovs

import "slices"

// VLANs is a port of a bridge and which VLANs it takes frames of (ovs-vswitchd.conf.db(5), Port,
// "VLAN Configuration").
type VLANs struct {
	OFPort   int   // as the database numbers it: 65534 is the bridge itself
	Untagged int   // VLAN of its untagged frames; -1 = it has none
	Tagged   []int // VLANs of its tagged frames
	All      bool  // Tagged are all of them
	Dead     bool  // it was put on the dead VLAN
}

// VLANs returns the ports of a bridge, in the order of their names; nil where the database does not
// answer or has no such bridge.
func (s *Switch) VLANs(bridge string) []VLANs {
	v, _, err := s.view()
	if err != nil {
		return nil
	}
	var out []VLANs
	for _, p := range v.sortedPorts(v.bridges[bridge]) {
		m := p.vlans()
		for _, id := range p.Interfaces {
			if i := v.ifaces[id]; i.OFPort != nil && *i.OFPort > 0 {
				m.OFPort = *i.OFPort
				out = append(out, m)
			}
		}
	}
	return out
}

func (p portRow) vlans() VLANs {
	tag, mode := 0, "trunk"
	if p.Tag != nil {
		tag, mode = *p.Tag, "access"
	}
	if p.VLANMode != nil {
		mode = *p.VLANMode
	}
	switch mode {
	case "trunk":
		m := VLANs{Untagged: -1, Tagged: p.Trunks, All: len(p.Trunks) == 0, Dead: sameVLAN(p, p.bury())}
		if m.All || slices.Contains(p.Trunks, 0) {
			m.Untagged = 0
		}
		return m
	case "native-tagged", "native-untagged":
		return VLANs{Untagged: tag, Tagged: append(slices.Clone(p.Trunks), tag), All: len(p.Trunks) == 0}
	}
	return VLANs{Untagged: tag} // access, dot1q-tunnel
}
