package agent

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"neutrino/internal/model"
	"neutrino/internal/rpc"
	"neutrino/internal/rpc/fabricv1"
)

// validate checks everything that can be checked without touching the host.
func (c *Config) validate() ([]controller, error) {
	if err := rpc.CheckHost(c.Host); err != nil {
		return nil, err
	}
	if c.StateFile == "" {
		return nil, errors.New("a state file is needed")
	}
	if len(c.PhysicalDeviceMappings) == 0 && len(c.BridgeMappings) == 0 && !c.DHCP && !c.L3 {
		return nil, errors.New("no physical_device_mappings and no bridge_mappings: there is nothing to do")
	}
	mapped := map[string]bool{}
	for _, phys := range slices.Sorted(maps.Keys(c.PhysicalDeviceMappings)) {
		if phys == "" || len(c.PhysicalDeviceMappings[phys]) == 0 {
			return nil, fmt.Errorf("physical_device_mappings: physical network %q has no device", phys)
		}
		for _, pf := range c.PhysicalDeviceMappings[phys] {
			if err := rpc.CheckNetdev(pf); err != nil {
				return nil, fmt.Errorf("physical_device_mappings: %w", err)
			}
			mapped[pf] = true
		}
	}
	for _, pf := range slices.Sorted(maps.Keys(c.ExcludeDevices)) {
		if !mapped[pf] {
			return nil, fmt.Errorf("exclude_devices: %s is not in physical_device_mappings", pf)
		}
		for _, slot := range c.ExcludeDevices[pf] {
			if err := rpc.CheckPCISlot(slot); err != nil {
				return nil, fmt.Errorf("exclude_devices: %s: %w", pf, err)
			}
		}
	}
	if len(c.Controllers) == 0 {
		return nil, errors.New("no controller is named")
	}
	var out []controller
	for _, s := range c.Controllers {
		one, err := parseController(s)
		if err != nil {
			return nil, err
		}
		if one.secure && c.TLS == (TLS{}) {
			return nil, fmt.Errorf("controller %q: TLS needs this host's certificate", s)
		}
		out = append(out, one)
	}
	return out, nil
}

// roles are this host's rows in the agents list, as Neutron's agents describe
// themselves.
func (c *Config) roles(devices, networks, routers int) []model.Agent {
	var out []model.Agent
	if len(c.PhysicalDeviceMappings) > 0 {
		conf := map[string]any{
			"device_mappings": c.PhysicalDeviceMappings, "devices": devices, "extensions": []string{},
		}
		if c.VnicType != "" {
			conf["vnic_type"] = c.VnicType
		}
		out = append(out, model.Agent{
			Type: model.AgentNICSwitch, Binary: model.BinaryNICSwitch, Topic: "N/A", Host: c.Host, Configurations: conf,
		})
	}
	if len(c.BridgeMappings) > 0 {
		out = append(out, model.Agent{
			Type: model.AgentOpenVSwitch, Binary: model.BinaryOpenVSwitch, Topic: "N/A", Host: c.Host,
			AvailabilityZone: cmp.Or(c.AvailabilityZone, "nova"),
			Configurations: map[string]any{
				"bridge_mappings": c.BridgeMappings, "datapath_type": cmp.Or(c.DatapathType, "system"), "tunnel_types": []string{},
				"ovs_hybrid_plug": false, "extensions": []string{}, "devices": devices, directBridges: true,
				"port_filter": c.Filters,
			},
		})
	}
	if c.DHCP {
		out = append(out, model.Agent{
			Type: model.AgentDHCP, Binary: model.BinaryDHCP, Topic: "dhcp_agent", Host: c.Host,
			AvailabilityZone: cmp.Or(c.AvailabilityZone, "nova"),
			Configurations:   map[string]any{"dhcp_driver": "neutrino", "networks": networks},
		})
	}
	if c.L3 {
		out = append(out, model.Agent{
			Type: model.AgentL3, Binary: model.BinaryL3, Topic: "l3_agent", Host: c.Host,
			AvailabilityZone: cmp.Or(c.AvailabilityZone, "nova"),
			Configurations:   map[string]any{"agent_mode": "legacy", "handle_internal_only_routers": true, "routers": routers},
		})
	}
	return out
}

// directBridges in an Open vSwitch agent's configurations says that ports go into the bridge
// of their physical network, without an integration bridge between.
const directBridges = "direct_bridges"

func sameRoles(a, b []*fabricv1.Role) bool {
	return slices.EqualFunc(a, b, func(x, y *fabricv1.Role) bool { return proto.Equal(x, y) })
}
