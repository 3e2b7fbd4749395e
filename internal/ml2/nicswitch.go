package ml2

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/model"
)

// nicSwitch binds ports to VFs of hosts that have a NIC Switch agent. It is both
// sriovnicswitch and mlnx: they differ in that mlnx names the physical network in
// vif_details, which the VIF drivers of the Mellanox stack read.
//
// Beyond Neutron's sriovnicswitch it binds normal ports when [eswitch] vnic_type says
// what they become. In the Mellanox stack such a port had vif_type hostdev (a VF
// passed through, its MAC and VLAN set by the NIC's switch daemon) or mlnx_direct
// (macvtap in passthrough mode on a VF). Nova dropped both names with the VIF drivers
// behind them; what it and every other consumer today understands for either is
// hw_veb, so that is the vif_type, and vif_details vnic_type says "direct" or
// "macvtap". Because no scheduler claimed a VF for such a port, its binding:profile
// has no pci_slot and the host agent picks the VF; Nova itself, which insists on a
// pci_slot it claimed, needs ports of vnic_type direct or macvtap.
type nicSwitch struct {
	driver     string
	normalAs   string // EswitchHostdev, EswitchMlnxDirect or ""
	yieldToOVS bool   // openvswitch is configured: normal ports of hosts with its agent are its
}

var nicSwitchVnicTypes = []string{model.VnicDirect, model.VnicMacvtap, model.VnicDirectPhysical, vnicAcceleratorDirect}

func (d *nicSwitch) name() string                    { return d.driver }
func (d *nicSwitch) followsSegmentationID() []string { return nil }

func (d *nicSwitch) vnicTypes() []string {
	if d.normalAs == "" {
		return nicSwitchVnicTypes
	}
	return append([]string{model.VnicNormal}, nicSwitchVnicTypes...)
}

func (d *nicSwitch) bind(t try) (plug, string) {
	vnic := t.port.Binding.VnicType
	if reason := d.refuses(t); reason != "" {
		return plug{}, reason
	}
	if vnic == model.VnicDirectPhysical {
		// A whole PF: no agent looks after it, so none is needed and nobody would
		// ever report the port up.
		s, reason := t.segment(carried)
		if reason != "" {
			return plug{}, reason
		}
		return plug{model.VIFHostdevPhysical, d.details(s), model.StatusActive, s}, ""
	}
	agents, reason := t.live(model.AgentNICSwitch)
	if reason != "" {
		return plug{}, reason
	}
	s, reason := t.segment(func(s model.Segment) string {
		if no := carried(s); no != "" {
			return no
		}
		return mapped(agents, "device_mappings", s)
	})
	if reason != "" {
		return plug{}, reason
	}
	details := d.details(s)
	if vnic == model.VnicNormal {
		details[detailVnicType] = model.VnicDirect
		if d.normalAs == EswitchMlnxDirect {
			details[detailVnicType] = model.VnicMacvtap
		}
	}
	return plug{model.VIFHWVEB, details, model.StatusDown, s}, ""
}

// refuses says why the driver does not bind the kind of port, whatever the host.
func (d *nicSwitch) refuses(t try) string {
	vnic := t.port.Binding.VnicType
	switch {
	case vnic == model.VnicNormal && d.normalAs == "":
		return "a normal port goes on a VF only where [eswitch] vnic_type says so"
	case vnic == model.VnicNormal && d.yieldToOVS && t.has(model.AgentOpenVSwitch):
		return fmt.Sprintf("host %s has an Open vSwitch agent, which normal ports are for", t.host)
	case !slices.Contains(d.vnicTypes(), vnic):
		return fmt.Sprintf("vnic_type %s is not one of %s", vnic, strings.Join(d.vnicTypes(), ", "))
	case vnic == model.VnicDirect && switchdev(t.port.Binding.Profile):
		return "the VF's NIC is in switchdev mode (binding:profile capabilities)"
	}
	return ""
}

// details is vif_details: the VLAN as a string, which is how Nova wants it, "0" when
// the network is untagged; port_filter false because VFs bypass security groups.
func (d *nicSwitch) details(s model.Segment) map[string]any {
	vlan := "0"
	if s.NetworkType == model.TypeVLAN {
		vlan = strconv.Itoa(s.SegmentationID)
	}
	details := map[string]any{
		detailPortFilter:   false,
		detailConnectivity: "l2",
		detailVLAN:         vlan,
	}
	if d.driver == DriverMlnx {
		details[detailPhysicalNetwork] = s.PhysicalNetwork
	}
	return details
}

// carried says why a NIC's switch cannot carry a segment.
func carried(s model.Segment) string {
	if s.NetworkType != model.TypeVLAN && s.NetworkType != model.TypeFlat {
		return fmt.Sprintf("network type %s is not one of flat, vlan", s.NetworkType)
	}
	return ""
}

// mapped says why none of the agents reaches a segment's physical network: it is a
// key of the named mapping in their configurations.
func mapped(agents []AgentView, mapping string, s model.Segment) string {
	for _, a := range agents {
		if _, ok := member(a.Configurations, mapping)[s.PhysicalNetwork]; ok {
			return ""
		}
	}
	return fmt.Sprintf("physical network %s is not in the %s of the %s on %s",
		s.PhysicalNetwork, mapping, agents[0].Type, agents[0].Host)
}
