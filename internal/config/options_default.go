package config

import "slices"

const def = "DEFAULT"

// defaultOptions are those of [DEFAULT], [api] and [ssl].
func defaultOptions() []Option {
	return slices.Concat(addressOptions(), limitOptions(), logOptions())
}

func addressOptions() []Option {
	return []Option{
		{
			Name: Name{def, "bind_host"}, Role: Controller, Sample: "0.0.0.0", check: isHost,
			Help: "Address the Networking API listens on. Unset: 127.0.0.1 with auth_strategy noauth, 0.0.0.0 with keystone.",
			into: func(c *Config) any { return &c.Default.BindHost },
		},
		{
			Name: Name{def, "bind_port"}, Kind: Port, Default: "9696", Role: Controller,
			Help: "TCP port the Networking API listens on.",
			into: func(c *Config) any { return &c.Default.BindPort },
		},
		{
			Name: Name{def, "auth_strategy"}, Choices: []string{AuthNone, AuthKeystone}, Role: Controller, Sample: AuthKeystone,
			Help: "How requests are authenticated. Unset: keystone when [keystone_authtoken] names one, else noauth " +
				"(every request is an administrator's, on a loopback address only).",
			into: func(c *Config) any { return &c.Default.AuthStrategy },
		},
		{
			Name: Name{"api", "noauth_anywhere"}, Kind: Bool, Default: "false", Role: Controller,
			Help: "Serve noauth on an address that is not loopback: everyone who reaches it is an administrator.",
			into: func(c *Config) any { return &c.API.NoauthAnywhere },
		},
		{
			Name: Name{def, "use_ssl"}, Kind: Bool, Default: "false", Role: Controller,
			Help: "Serve the API over TLS, with the files of [ssl].",
			into: func(c *Config) any { return &c.Default.UseSSL },
		},
		{
			Name: Name{"ssl", "cert_file"}, Role: Controller, Old: []Name{{def, "ssl_cert_file"}},
			Help: "Certificate (PEM) of the API listener.",
			into: func(c *Config) any { return &c.TLS.CertFile },
		},
		{
			Name: Name{"ssl", "key_file"}, Role: Controller, Old: []Name{{def, "ssl_key_file"}},
			Help: "Private key (PEM) of the API listener.",
			into: func(c *Config) any { return &c.TLS.KeyFile },
		},
		{
			Name: Name{"ssl", "ca_file"}, Role: Controller, Old: []Name{{def, "ssl_ca_file"}},
			Help: "CA (PEM) that signs client certificates; set = clients must show one.",
			into: func(c *Config) any { return &c.TLS.CAFile },
		},
		{
			Name: Name{def, "host"}, Sample: "compute1", check: isHostName,
			Help: "This machine's name, as agents report it and as binding:host_id has it. Unset: the machine's host name.",
			into: func(c *Config) any { return &c.Default.Host },
		},
		{
			Name: Name{def, "state_path"}, Default: "/var/lib/neutrino",
			Help: "Directory for what must survive a restart.",
			into: func(c *Config) any { return &c.Default.StatePath },
		},
	}
}

func limitOptions() []Option {
	return []Option{
		{
			Name: Name{def, "base_mac"}, Default: "fa:16:3e:00:00:00", Role: Controller, check: isMAC,
			Help: "How generated MAC addresses begin: the first three octets, and the fourth if it is not 00.",
			into: func(c *Config) any { return &c.Default.BaseMAC },
		},
		{
			Name: Name{def, "global_physnet_mtu"}, Kind: Int, Default: "1500", Min: 68, Max: 65535, Role: Controller,
			Old: []Name{{"ml2", "segment_mtu"}}, Help: "MTU of the physical networks, in bytes.",
			into: func(c *Config) any { return &c.Default.GlobalPhysnetMTU },
		},
		{
			Name: Name{def, "max_dns_nameservers"}, Kind: Int, Default: "5", Min: 0, Max: 1000, Role: Controller,
			Help: "DNS servers a subnet may have.",
			into: func(c *Config) any { return &c.Default.MaxDNSNameservers },
		},
		{
			Name: Name{def, "max_subnet_host_routes"}, Kind: Int, Default: "20", Min: 0, Max: 10000, Role: Controller,
			Help: "Host routes a subnet may have.",
			into: func(c *Config) any { return &c.Default.MaxSubnetHostRoutes },
		},
		{
			Name: Name{def, "max_allowed_address_pair"}, Kind: Int, Default: "10", Min: 0, Max: 10000, Role: Controller,
			Help: "Allowed address pairs a port may have.",
			into: func(c *Config) any { return &c.Default.MaxAllowedAddressPair },
		},
		{
			Name: Name{def, "max_routes"}, Kind: Int, Default: "30", Min: 1, Max: 4096, Role: Controller,
			Help: "Extra routes a router may have.",
			into: func(c *Config) any { return &c.Default.MaxRoutes },
		},
		{
			Name: Name{def, "enable_snat_by_default"}, Kind: Bool, Default: "true", Role: Controller,
			Help: "Hide what is behind a router behind its own external address, unless a request says otherwise.",
			into: func(c *Config) any { return &c.Default.EnableSNATByDefault },
		},
		{
			Name: Name{def, "pagination_max_limit"}, Kind: Int, Default: "-1", Min: -1, Max: 1 << 30, Role: Controller,
			Words: map[string]string{"infinite": "-1"}, Help: "Rows in one answer at most; 0, a negative number or \"infinite\" = no limit.",
			into: func(c *Config) any { return &c.Default.PaginationMaxLimit },
		},
		{
			Name: Name{def, "dhcp_lease_duration"}, Kind: Seconds, Default: "86400", Min: -1, Max: maxLease,
			Help: "How long a DHCP lease lasts, in seconds; -1 = for ever.",
			into: func(c *Config) any { return &c.Default.DHCPLeaseDuration },
		},
		{
			Name: Name{def, "dhcp_agents_per_network"}, Kind: Int, Default: "1", Min: 1, Max: 100, Role: Controller,
			Help: "DHCP agents that serve one network.",
			into: func(c *Config) any { return &c.Default.DHCPAgentsPerNetwork },
		},
		{
			Name: Name{def, "agent_down_time"}, Kind: Seconds, Default: "75", Min: 1, Max: 86400, Role: Controller,
			Help: "Seconds of silence after which an agent counts as dead.",
			into: func(c *Config) any { return &c.Default.AgentDownTime },
		},
		{
			Name: Name{def, "dns_domain"}, Default: "openstacklocal", check: isDomain,
			Help: "Domain of the names instances get.", Old: []Name{{def, "dhcp_domain"}},
			into: func(c *Config) any { return &c.Default.DNSDomain },
		},
	}
}

// maxLease is the longest lease that is not the DHCP protocol's "for ever".
const maxLease = 1<<32 - 2

func logOptions() []Option {
	return []Option{
		{
			Name: Name{def, "debug"}, Kind: Bool, Default: "false", Help: "Log at level debug.",
			into: func(c *Config) any { return &c.Default.Debug },
		},
		{
			Name: Name{def, "log_file"}, Aliases: []Name{{def, "logfile"}},
			Help: "File to log to, under log_dir if it is not an absolute path. Unset with log_dir unset: standard error.",
			into: func(c *Config) any { return &c.Default.LogFile },
		},
		{
			Name: Name{def, "log_dir"}, Aliases: []Name{{def, "logdir"}},
			Help: "Directory to log to; the file is named after the process if log_file is unset.",
			into: func(c *Config) any { return &c.Default.LogDir },
		},
		{
			Name: Name{def, "use_json"}, Kind: Bool, Default: "false", Help: "Log one JSON object per line.",
			into: func(c *Config) any { return &c.Default.UseJSON },
		},
	}
}
