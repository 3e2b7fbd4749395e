package ml2

import (
	"fmt"
	"slices"

	"neutrino/internal/model"
)

// VIFVhostuser is the vif_type of a port on Open vSwitch's userspace datapath.
const VIFVhostuser = "vhostuser"

// openVSwitch binds ports to the integration bridge of hosts that have an Open
// vSwitch agent.
type openVSwitch struct {
	securityGroups bool
}

func (*openVSwitch) name() string { return DriverOpenVSwitch }

func (*openVSwitch) vnicTypes() []string {
	return []string{model.VnicNormal, model.VnicDirect, vnicSmartNIC, vnicVDPA}
}

func (*openVSwitch) followsSegmentationID() []string { return []string{model.VIFOVS} }

func (d *openVSwitch) bind(t try) (plug, string) {
	vnic := t.port.Binding.VnicType
	switch {
	case !slices.Contains(d.vnicTypes(), vnic):
		return plug{}, fmt.Sprintf("vnic_type %s is not one it binds", vnic)
	case vnic == model.VnicDirect && !switchdev(t.port.Binding.Profile):
		return plug{}, "vnic_type direct needs a NIC in switchdev mode (binding:profile capabilities)"
	}
	agents, reason := t.live(model.AgentOpenVSwitch)
	if reason != "" {
		return plug{}, reason
	}
	if smart, _ := agents[0].Configurations["baremetal_smartnic"].(bool); vnic == vnicSmartNIC && !smart {
		return plug{}, "the Open vSwitch agent is not on a smart NIC (baremetal_smartnic)"
	}
	s, reason := t.segment(func(s model.Segment) string { return ovsCarries(agents, s) })
	if reason != "" {
		return plug{}, reason
	}
	vifType, details := d.vif(t.port, agents[0])
	if direct, _ := agents[0].Configurations["direct_bridges"].(bool); direct {
		// The agent is ours: ports go into the bridge of their physical network itself, and it
		// says whether it filters them there.
		filters, _ := agents[0].Configurations["port_filter"].(bool)
		details[detailPortFilter] = filters && d.securityGroups
		if b, ok := member(agents[0].Configurations, "bridge_mappings")[s.PhysicalNetwork].(string); ok {
			details["bridge_name"] = b
		}
	}
	return plug{vifType, details, model.StatusDown, s}, ""
}

// ovsCarries says why the agents cannot carry a segment.
func ovsCarries(agents []AgentView, s model.Segment) string {
	switch s.NetworkType {
	case model.TypeLocal:
		return ""
	case model.TypeFlat, model.TypeVLAN:
		return mapped(agents, "bridge_mappings", s)
	}
	for _, a := range agents {
		if slices.Contains(stringsOf(a.Configurations["tunnel_types"]), s.NetworkType) {
			return ""
		}
	}
	return fmt.Sprintf("network type %s is not one of the agent's (local, flat, vlan and tunnel_types %v)",
		s.NetworkType, stringsOf(agents[0].Configurations["tunnel_types"]))
}

// vif returns vif_type and vif_details as the agent's configuration has it.
func (d *openVSwitch) vif(p *model.Port, a AgentView) (string, map[string]any) {
	c := a.Configurations
	datapath, bridge := "system", "br-int"
	if s, ok := c["datapath_type"].(string); ok && s != "" {
		datapath = s
	}
	if s, ok := c["integration_bridge"].(string); ok && s != "" {
		bridge = s
	}
	hybrid, _ := c["ovs_hybrid_plug"].(bool)
	details := map[string]any{
		detailPortFilter:   d.securityGroups,
		detailConnectivity: "l2",
		"ovs_hybrid_plug":  hybrid,
		"datapath_type":    datapath,
		"bridge_name":      bridge,
	}
	if datapath != "netdev" || p.Binding.VnicType == model.VnicDirect {
		return model.VIFOVS, details
	}
	// The userspace datapath: the socket's server is whoever Open vSwitch is not.
	faces := stringsOf(member(c, "ovs_capabilities")["iface_types"])
	mode := ""
	switch {
	case slices.Contains(faces, "dpdkvhostuserclient"):
		mode = "server"
	case slices.Contains(faces, "dpdkvhostuser"):
		mode = "client"
	default:
		return model.VIFOVS, details
	}
	dir, _ := c["vhostuser_socket_dir"].(string)
	if dir == "" {
		dir = "/var/run/openvswitch"
	}
	delete(details, "ovs_hybrid_plug")
	details["vhostuser_mode"] = mode
	details["vhostuser_ovs_plug"] = true
	details["vhostuser_socket"] = dir + "/vhu" + firstRunes(p.ID, 11)
	return VIFVhostuser, details
}

func firstRunes(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}
