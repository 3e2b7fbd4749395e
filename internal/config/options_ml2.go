package config

import (
	"maps"
	"slices"
	"strings"
)

// ml2Options are those of [ml2] and of its type and mechanism drivers.
func ml2Options() []Option {
	return slices.Concat(ml2Core(), ml2Types(), ml2Mechanisms())
}

// networkTypes are the types Neutron has drivers for. Which of them neutrino serves
// is for the ML2 code to say.
var networkTypes = []string{"local", "flat", "vlan", "vxlan", "gre", "geneve"}

// builtInExtensions are the ML2 extension drivers whose extensions neutrino always has.
var builtInExtensions = []string{"port_security", "port_trusted", "tag_ports_during_bulk_creation", "uplink_status_propagation"}

// absentExtensions are Neutron's other ML2 extension drivers, with what does not work.
var absentExtensions = map[string]string{
	"qos":                                 "there are no QoS policies; rates are asked for in binding:profile (max_tx_rate, min_tx_rate)",
	"dns":                                 "ports have no dns_name, networks no dns_domain",
	"dns_domain_ports":                    "ports have no dns_domain",
	"dns_domain_keywords":                 "networks have no dns_domain",
	"subnet_dns_publish_fixed_ip":         "subnets have no dns_publish_fixed_ip",
	"data_plane_status":                   "ports have no data_plane_status",
	"port_device_profile":                 "ports have no device_profile",
	"port_numa_affinity_policy":           "ports have no numa_affinity_policy",
	"port_hints":                          "ports have no hints",
	"uplink_status_propagation_updatable": "propagate_uplink_status is set when a port is created, and not after",
	"qinq":                                "networks have no qinq",
}

func extensionDrivers() []string {
	return slices.Concat(builtInExtensions, slices.Sorted(maps.Keys(absentExtensions)))
}

// lackingExtensions says what of the extensions asked for will not work.
func lackingExtensions(asked []string) string {
	var lacks []string
	for _, name := range asked {
		if what, absent := absentExtensions[name]; absent {
			lacks = append(lacks, name+" is not there: "+what)
		}
	}
	return strings.Join(lacks, "; ")
}

func ml2Core() []Option {
	return []Option{
		{
			Name: Name{"ml2", "type_drivers"}, Kind: List, Default: "local,flat,vlan,vxlan", Choices: networkTypes, Role: Controller,
			Help: "Network types that can be created.",
			into: func(c *Config) any { return &c.ML2.TypeDrivers },
		},
		{
			Name: Name{"ml2", "tenant_network_types"}, Kind: List, Default: "local", Choices: networkTypes, Role: Controller,
			Aliases: []Name{{"ml2", "project_network_types"}},
			Help:    "Network types projects get, tried in this order.",
			into:    func(c *Config) any { return &c.ML2.TenantNetworkTypes },
		},
		{
			Name: Name{"ml2", "mechanism_drivers"}, Kind: List, Role: Controller, Sample: "openvswitch,sriovnicswitch",
			Help: "Drivers that may bind ports, tried in this order: openvswitch, sriovnicswitch, mlnx (the same under its older name).",
			into: func(c *Config) any { return &c.ML2.MechanismDrivers },
		},
		{
			Name: Name{"ml2", "path_mtu"}, Kind: Int, Default: "0", Min: 0, Max: 65535, Role: Controller,
			Help: "MTU of the IP path tunnels take, in bytes; 0 = global_physnet_mtu.",
			into: func(c *Config) any { return &c.ML2.PathMTU },
		},
		{
			Name: Name{"ml2", "physical_network_mtus"}, Kind: MTUs, Role: Controller, Sample: "default:9000",
			Help: "MTU of physical networks where it is not global_physnet_mtu: physical_network:bytes.",
			into: func(c *Config) any { return &c.ML2.PhysicalNetworkMTUs },
		},
		{
			Name: Name{"ml2", "overlay_ip_version"}, Kind: Int, Default: "4", Choices: []string{"4", "6"}, Role: Controller,
			Help: "IP version tunnels run over; it counts in the MTU.",
			into: func(c *Config) any { return &c.ML2.OverlayIPVersion },
		},
		{
			Name: Name{"ml2", "external_network_type"}, Choices: networkTypes, Role: Controller, Sample: "flat",
			Help: "Type of external networks that are created without saying one. Unset: as any other network.",
			into: func(c *Config) any { return &c.ML2.ExternalNetworkType },
		},
		{
			Name: Name{"ml2", "extension_drivers"}, Kind: List, Choices: extensionDrivers(), Role: Controller, Sample: "port_security",
			Help: "Extensions of ports and networks. What neutrino has of them (" + strings.Join(builtInExtensions, ", ") +
				") is always on; those it does not have are named at start.",
			into:  func(c *Config) any { return &c.ML2.ExtensionDrivers },
			lacks: func(c *Config) string { return lackingExtensions(c.ML2.ExtensionDrivers) },
		},
	}
}

func ml2Types() []Option {
	return []Option{
		{
			Name: Name{"ml2_type_vlan", "network_vlan_ranges"}, Kind: List, Role: Controller, Sample: "default:2:1000", check: isVLANRange,
			Help: "VLANs that projects' networks may take: physical_network:min:max, or physical_network alone for 1 to 4094.",
			into: func(c *Config) any { return &c.VLAN.NetworkVLANRanges },
		},
		{
			Name: Name{"ml2_type_flat", "flat_networks"}, Kind: List, Default: "*", Role: Controller, check: isPhysicalNetwork,
			Help: "Physical networks that may carry a flat network; * = any, empty = none.",
			into: func(c *Config) any { return &c.Flat.FlatNetworks },
		},
		{
			Name: Name{"ml2_type_vxlan", "vni_ranges"}, Kind: List, Role: Controller, Sample: "1:1000", check: isVNIRange,
			Help: "VNIs that projects' networks may take: min:max.",
			into: func(c *Config) any { return &c.VXLAN.VNIRanges },
		},
	}
}

// vnicTypes are Neutron's.
var vnicTypes = []string{
	"normal", "direct", "macvtap", "direct-physical", "baremetal", "virtio-forwarder", "smart-nic",
	"accelerator-direct", "accelerator-direct-physical", "remote-managed", "vdpa",
}

func ml2Mechanisms() []Option {
	return []Option{
		{
			Name: Name{"eswitch", "vnic_type"}, Choices: []string{"hostdev", "mlnx_direct"}, Sample: "hostdev",
			Help: "What a port of vnic_type normal becomes on a host that has only an SR-IOV NIC: hostdev (passthrough) or " +
				"mlnx_direct (macvtap). Unset: such a port is not bound there.",
			into: func(c *Config) any { return &c.Eswitch.VnicType },
		},
		{
			Name: Name{"eswitch", "apply_profile_patch"}, Kind: Bool, Default: "false", Role: Controller,
			Help: "Copy the physical network into binding:profile, as Nova of the Icehouse days needs.",
			into: func(c *Config) any { return &c.Eswitch.ApplyProfilePatch },
		},
		{
			Name: Name{"sriov_driver", "vnic_type_prohibit_list"}, Kind: List, Choices: vnicTypes, Role: Controller,
			Old:  []Name{{"sriov_driver", "vnic_type_blacklist"}},
			Help: "vnic_types the SR-IOV driver must not bind.",
			into: func(c *Config) any { return &c.SRIOVDriver.VnicTypeProhibitList },
		},
		{
			Name: Name{"ovs_driver", "vnic_type_prohibit_list"}, Kind: List, Choices: vnicTypes, Role: Controller,
			Old:  []Name{{"ovs_driver", "vnic_type_blacklist"}},
			Help: "vnic_types the Open vSwitch driver must not bind.",
			into: func(c *Config) any { return &c.OVSDriver.VnicTypeProhibitList },
		},
		{
			Name: Name{"securitygroup", "enable_security_group"}, Kind: Bool, Default: "true",
			Help: "Give ports security groups, and enforce them on ports of Open vSwitch bridges. Ports on VFs are not filtered by " +
				"them, as in Neutron.",
			into: func(c *Config) any { return &c.SecurityGroup.Enable },
		},
		{
			Name: Name{"securitygroup", "firewall_driver"}, Default: FirewallOVS, Choices: []string{FirewallOVS, FirewallNone}, Role: Agents,
			Words: map[string]string{
				"neutron.agent.firewall.NoopFirewallDriver": FirewallNone, "neutron.agent.firewall:NoopFirewallDriver": FirewallNone,
				"iptables_hybrid": FirewallOVS, "iptables": FirewallOVS,
				"neutron.agent.linux.iptables_firewall.OVSHybridIptablesFirewallDriver": FirewallOVS,
				"neutron.agent.linux.iptables_firewall.IptablesFirewallDriver":          FirewallOVS,
			},
			Help: "What enforces port security and security groups on ports of Open vSwitch bridges: openvswitch (OpenFlow, with " +
				"conntrack) or noop (nothing does, spoof checks included). Neutron's names of other drivers mean openvswitch.",
			into: func(c *Config) any { return &c.SecurityGroup.Firewall },
		},
	}
}
