package hostapi

import (
	"cmp"
	"slices"

	"neutrino/internal/agent"
	"neutrino/internal/eswitch"
	"neutrino/internal/model"
	"neutrino/internal/plug"
)

// VF is one virtual function as clients see it. A null attribute is one that the driver
// does not have.
type VF struct {
	PF         string            `json:"pf"`
	Index      int               `json:"vf"`
	PCISlot    string            `json:"pci_slot"`
	NUMANode   int               `json:"numa_node"` // -1 = none
	PFDriver   string            `json:"pf_driver"`
	Driver     string            `json:"driver"`
	Netdev     string            `json:"netdev,omitempty"`
	PortID     string            `json:"port_id,omitempty"`
	Generation uint64            `json:"generation,omitempty"`
	Plugged    string            `json:"plugged,omitempty"` // where to, in words
	Hangs      string            `json:"hangs,omitempty"`   // why a change of it is half done
	Up         bool              `json:"up"`
	Reason     string            `json:"reason,omitempty"`
	MAC        *string           `json:"mac"`
	VLAN       *int              `json:"vlan"`
	SpoofCheck *bool             `json:"spoof_check"`
	Trust      *bool             `json:"trust"`
	LinkState  *string           `json:"link_state"`
	MinTxRate  *int              `json:"min_tx_rate"` // Mbit/s
	MaxTxRate  *int              `json:"max_tx_rate"` // Mbit/s
	Counters   *eswitch.Counters `json:"counters,omitempty"`
}

// Port is one port of the host.
type Port struct {
	ID         string `json:"port_id"`
	NetworkID  string `json:"network_id"`
	Device     string `json:"device_id,omitempty"`
	VnicType   string `json:"vnic_type"`
	MAC        string `json:"mac"`
	VLAN       int    `json:"vlan"`
	MTU        int    `json:"mtu"`
	Revision   int64  `json:"revision"`
	Up         bool   `json:"up"`
	Reason     string `json:"reason,omitempty"`
	PF         string `json:"pf,omitempty"`
	VF         int    `json:"vf"` // -1 = none
	PCISlot    string `json:"pci_slot,omitempty"`
	Generation uint64 `json:"generation,omitempty"`
}

// PlugRequest asks for a port to be plugged.
type PlugRequest struct {
	PortID string `json:"port_id"`
	plug.Target
}

// VIF is a plugged port, with its interface for libvirt where there is one.
type VIF struct {
	plug.VIF
	XML string `json:"xml,omitempty"`
}

// Failure is the body of a reply that is none of the 2xx.
type Failure struct {
	Error string `json:"error"`
	// Kind names the sentinel of internal/plug that it is, or "".
	Kind string `json:"kind,omitempty"`
}

func portOf(s agent.PortState) Port {
	a := s.Attachment
	p := Port{
		ID: a.PortID, NetworkID: a.NetworkID, Device: a.Device, VnicType: a.VnicType, MAC: a.MAC, VLAN: a.VLAN, MTU: a.MTU,
		Revision: a.Revision, Up: s.Up, Reason: s.Reason, VF: -1,
	}
	if s.Assigned {
		p.PF, p.VF, p.PCISlot, p.Generation = s.VF.PF, s.VF.Index, s.VF.PCISlot, s.VF.Generation
	}
	return p
}

// vfsOf joins what the switch shows with what the agent and the plug engine know.
func vfsOf(state eswitch.State, ports []agent.PortState, plugged map[string]agent.Plugged, stuck map[string]string) []VF {
	owner := map[string]agent.PortState{}
	for _, p := range ports {
		if p.Assigned {
			owner[p.VF.PCISlot] = p
		}
	}
	var out []VF
	for _, pf := range state.PFs {
		for _, v := range pf.VFs {
			f := VF{
				PF: pf.Name, Index: v.ID.Index, PCISlot: v.PCISlot, NUMANode: pf.NUMANode, PFDriver: pf.Driver,
				Driver: v.Driver, Netdev: v.Netdev, Plugged: plugged[v.PCISlot].By, Hangs: stuck[v.PCISlot],
				MAC: value(v.Attrs.MAC), VLAN: value(v.Attrs.VLAN), SpoofCheck: value(v.Attrs.SpoofCheck),
				Trust: value(v.Attrs.Trust), MinTxRate: value(v.Attrs.MinTxRate), MaxTxRate: value(v.Attrs.MaxTxRate),
			}
			if l, ok := v.Attrs.LinkState.Get(); ok {
				word := linkWord(l)
				f.LinkState = &word
			}
			if v.Counters != (eswitch.Counters{}) {
				c := v.Counters
				f.Counters = &c
			}
			if p, ok := owner[v.PCISlot]; ok {
				f.PortID, f.Generation, f.Up, f.Reason = p.Attachment.PortID, p.VF.Generation, p.Up, p.Reason
			}
			out = append(out, f)
		}
	}
	slices.SortStableFunc(out, func(a, b VF) int { return cmp.Or(cmp.Compare(a.PF, b.PF), cmp.Compare(a.Index, b.Index)) })
	return out
}

func value[T any](a eswitch.Attr[T]) *T {
	if v, ok := a.Get(); ok {
		return &v
	}
	return nil
}

// linkWord is what ip-link(8) calls the state.
func linkWord(l model.LinkState) string {
	switch l {
	case model.LinkEnable:
		return "enable"
	case model.LinkDisable:
		return "disable"
	default:
		return "auto"
	}
}
