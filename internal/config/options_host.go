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
			Name: Name{"ovs", "bridge_mappings"}, Kind: Mappings, Role: Agents, Sample: "default:br-eth6", check: isDevice,
			Help: "Open vSwitch bridge of each physical network: physical_network:bridge. Bridges that are missing are made. " +
				"Ports go into them directly, as access ports of their network's VLAN; there is no br-int.",
			into: func(c *Config) any { return &c.OVS.BridgeMappings },
		},
		{
			Name: Name{"ovs", "bridge_uplinks"}, Kind: Mappings, Role: Agents, Sample: "br-eth6:eth6", check: isDevice,
			Help: "NIC that is the uplink of each mapped bridge: bridge:netdev. It becomes a trunk of the bridge. One that has an address of " +
				"the host's is refused, unless move_uplink_addresses is set. Bridges that are not named keep the uplink they have.",
			into: func(c *Config) any { return &c.OVS.BridgeUplinks },
		},
		{
			Name: Name{"ovs", "move_uplink_addresses"}, Kind: Bool, Default: "false", Role: Agents,
			Help: "Take an uplink that has addresses of the host's all the same, and move its addresses and routes to the bridge. The " +
				"host is cut off for a moment; your network configuration has to say the same, or a reboot undoes it.",
			into: func(c *Config) any { return &c.OVS.MoveAddresses },
		},
		{
			Name: Name{"ovs", "ovsdb_connection"}, Default: "unix:/run/openvswitch/db.sock", Role: Agents, check: isOVSDB,
			Help: "Open vSwitch's database: unix:/path, ssl:host:port, or tcp:host:port on loopback.",
			into: func(c *Config) any { return &c.OVS.Connection },
		},
		{
			Name: Name{"ovs", "datapath_type"}, Default: "system", Choices: []string{"system", "netdev"}, Role: Agents,
			Help: "Datapath of bridges that are made: the kernel's, or netdev for a machine without the openvswitch module.",
			into: func(c *Config) any { return &c.OVS.Datapath },
		},
		{
			Name: Name{"ovs", "ssl_cert_file"}, Role: Agents, Help: "Certificate (PEM) for an ssl: database.",
			into: func(c *Config) any { return &c.OVS.TLS.CertFile },
		},
		{
			Name: Name{"ovs", "ssl_key_file"}, Role: Agents, Help: "Its private key (PEM).",
			into: func(c *Config) any { return &c.OVS.TLS.KeyFile },
		},
		{
			Name: Name{"ovs", "ssl_ca_cert_file"}, Role: Agents, Help: "CA (PEM) that signed the database's certificate.",
			into: func(c *Config) any { return &c.OVS.TLS.CAFile },
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
			Name: Name{def, "enable_isolated_metadata"}, Kind: Bool, Default: "true", Role: Agents,
			Help: "Lead instances to the metadata service through the DHCP port (option 121) on subnets that no router of neutrino is on.",
			into: func(c *Config) any { return &c.DHCP.IsolatedMetadata },
		},
		{
			Name: Name{def, "force_metadata"}, Kind: Bool, Default: "false", Role: Agents,
			Help: "Do so on every subnet with DHCP.",
			into: func(c *Config) any { return &c.DHCP.ForceMetadata },
		},
		{
			Name: Name{"l3", "enabled"}, Kind: Bool, Default: "false", Role: Agents,
			Help: "Carry routers on this host: it is a network node. The kernel forwards, with nf_tables, in a namespace for each router.",
			into: func(c *Config) any { return &c.L3.Enabled },
		},
		{
			Name: Name{"metadata", "enabled"}, Kind: Bool, Default: "true", Role: Agents,
			Help: "Answer instances at 169.254.169.254 where this host serves DHCP or carries routers: with what Nova says, if " +
				"[DEFAULT] nova_metadata_host is set, else with documents that cloud-init reads.",
			into: func(c *Config) any { return &c.Metadata.Enabled },
		},
		{
			Name: Name{def, "nova_metadata_host"}, Role: Agents, Sample: "192.0.2.10", check: isHost, Old: []Name{{def, "nova_metadata_ip"}},
			Help: "Nova's metadata service. Unset: there is none, and instances get what is in their ports' binding:profile.",
			into: func(c *Config) any { return &c.Metadata.NovaHost },
		},
		{
			Name: Name{def, "nova_metadata_port"}, Kind: Port, Default: "8775", Role: Agents,
			Help: "TCP port of Nova's metadata service.",
			into: func(c *Config) any { return &c.Metadata.NovaPort },
		},
		{
			Name: Name{def, "nova_metadata_protocol"}, Default: "http", Choices: []string{"http", "https"}, Role: Agents,
			Help: "How Nova's metadata service is spoken to.",
			into: func(c *Config) any { return &c.Metadata.NovaProtocol },
		},
		{
			Name: Name{def, "nova_metadata_insecure"}, Kind: Bool, Default: "false", Role: Agents,
			Help: "Do not check the certificate of Nova's metadata service.",
			into: func(c *Config) any { return &c.Metadata.NovaInsecure },
		},
		{
			Name: Name{def, "auth_ca_cert"}, Role: Agents, Help: "CA (PEM) of that certificate. Unset: the system's.",
			into: func(c *Config) any { return &c.Metadata.NovaTLS.CAFile },
		},
		{
			Name: Name{def, "nova_client_cert"}, Role: Agents, Help: "Client certificate (PEM) for Nova's metadata service.",
			into: func(c *Config) any { return &c.Metadata.NovaTLS.CertFile },
		},
		{
			Name: Name{def, "nova_client_priv_key"}, Role: Agents, Help: "Its private key (PEM).",
			into: func(c *Config) any { return &c.Metadata.NovaTLS.KeyFile },
		},
		{
			Name: Name{def, "metadata_proxy_shared_secret"}, Secret: true, Role: Agents, Sample: "a long random word",
			Help: "What instances' ids are signed with towards Nova; the same as in its [neutron] metadata_proxy_shared_secret.",
			into: func(c *Config) any { return &c.Metadata.SharedSecret },
		},
		{
			Name: Name{"metrics", "listen"}, Sample: "127.0.0.1:9697", check: isHostPort,
			Help: "Address for /metrics, /healthz and /readyz. Unset: not served.",
			into: func(c *Config) any { return &c.Metrics.Listen },
		},
	}
}
