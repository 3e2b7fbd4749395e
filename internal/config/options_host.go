package config

// hostOptions are those an agent acts on.
func hostOptions() []Option {
	return []Option{
		{
			Name: Name{"sriov_nic", "physical_device_mappings"}, Kind: Mappings, Role: Agents, Sample: "default:eth6", check: isDevice,
			Help: "NICs of each physical network: physical_network:PF netdev. A physical network may have several NICs.",
			into: func(c *Config) any { return &c.SRIOVNIC.PhysicalDeviceMappings },
		},
		{
			Name: Name{"sriov_nic", "exclude_devices"}, Kind: Exclude, Role: Agents, Sample: "eth6:0000:07:00.2;0000:07:00.3",
			Help: "VFs to leave alone: PF netdev:PCI address;PCI address.",
			into: func(c *Config) any { return &c.SRIOVNIC.ExcludeDevices },
		},
		{
			Name: Name{"eswitch", "physical_interface_mappings"}, Kind: Mappings, Role: Agents, Sample: "default:eth6", check: isDevice,
			Help: "The older name of [sriov_nic] physical_device_mappings; both count.",
			into: func(c *Config) any { return &c.Eswitch.PhysicalInterfaceMappings },
		},
		{
			Name: Name{"agent", "availability_zone"}, Default: "nova", Role: Agents,
			Help: "Availability zone the agent reports.",
			into: func(c *Config) any { return &c.Agent.AvailabilityZone },
		},
		{
			Name: Name{"agent", "report_interval"}, Kind: Fractional, Default: "0", Min: 0, Max: 86400, Role: Agents, Sample: "30",
			Help: "Seconds between two signs of life. More than half of the controller's agent_down_time is not waited. " +
				"0 = as often as the controller says: a fifth of agent_down_time, 15 at most.",
			into: func(c *Config) any { return &c.Agent.ReportInterval },
		},
		{
			Name: Name{"agent", "state_file"}, Default: "$state_path/agent.db", Role: Agents,
			Help: "File in which the agent keeps what it needs to bring the host up without the controller.",
			into: func(c *Config) any { return &c.Agent.StateFile },
		},
		{
			Name: Name{"agent", "socket"}, Default: "/run/neutrino/agent.sock", Role: Agents,
			Help: "Unix socket on which the agent answers `neutrino vif` and `neutrino vf`.",
			into: func(c *Config) any { return &c.Agent.Socket },
		},
		{
			Name: Name{"agent", "socket_group"}, Role: Agents, Sample: "libvirt",
			Help: "Group whose members may use the socket. Unset: root only.",
			into: func(c *Config) any { return &c.Agent.SocketGroup },
		},
		{
			Name: Name{"libvirt", "uri"}, Default: "qemu:///system", Role: Agents, Sample: "qemu:///system",
			Help: "libvirt into whose domains ports are plugged. It is spoken to when it is needed first.",
			into: func(c *Config) any { return &c.Libvirt.URI },
		},
		{
			Name: Name{"veb", "pin_dir"}, Default: "/run/neutrino/nic", Role: Agents,
			Help: "Directory of the software NICs' records; a bpf file system below it holds what is pinned.",
			into: func(c *Config) any { return &c.VEB.PinDir },
		},
		{
			Name: Name{"dhcp", "enabled"}, Kind: Bool, Default: "false", Role: Agents,
			Help: "Serve DHCP from this host: it is a network node.",
			into: func(c *Config) any { return &c.DHCP.Enabled },
		},
		{
			Name: Name{"dhcp", "lease_time"}, Kind: Seconds, Default: "0", Min: 0, Max: maxLease, Role: Agents,
			Help: "Seconds a lease lasts; 0 = [DEFAULT] dhcp_lease_duration.",
			into: func(c *Config) any { return &c.DHCP.LeaseTime },
		},
		{
			Name: Name{"dhcp", "dns_servers"}, Kind: List, Role: Agents, Sample: "192.0.2.53", check: isIP,
			Old:  []Name{{def, "dnsmasq_dns_servers"}, {def, "dnsmasq_dns_server"}},
			Help: "DNS servers given to instances whose subnet names none.",
			into: func(c *Config) any { return &c.DHCP.DNSServers },
		},
		{
			Name: Name{"metrics", "listen"}, Sample: "127.0.0.1:9697", check: isHostPort,
			Help: "Address for /metrics, /healthz and /readyz. Unset: not served.",
			into: func(c *Config) any { return &c.Metrics.Listen },
		},
	}
}
