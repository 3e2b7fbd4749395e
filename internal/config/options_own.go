package config

import "slices"

// ownOptions are those of neutrino's own sections.
func ownOptions() []Option { return slices.Concat(storeOptions(), fabricOptions(), identityOptions()) }

func storeOptions() []Option {
	return []Option{
		{
			Name: Name{"store", "endpoints"}, Kind: List, Role: Controller, Sample: "https://etcd1:2379,https://etcd2:2379", check: isURL,
			Help: "etcd cluster to use. Unset: an etcd inside the controller.",
			into: func(c *Config) any { return &c.Store.Endpoints },
		},
		{
			Name: Name{"store", "cluster"}, Default: "default", Role: Controller, check: isCluster,
			Help: "Name under which this neutrino keeps its keys: /neutrino/<cluster>/.",
			into: func(c *Config) any { return &c.Store.Cluster },
		},
		{
			Name: Name{"store", "data_dir"}, Default: "$state_path/store", Role: Controller,
			Help: "Directory of the etcd inside the controller.",
			into: func(c *Config) any { return &c.Store.DataDir },
		},
		{
			Name: Name{"store", "listen_client"}, Role: Controller, Sample: "127.0.0.1:2379", check: isHostPort,
			Help: "Address on which the etcd inside the controller serves etcdctl and the like. Unset: on none.",
			into: func(c *Config) any { return &c.Store.ListenClient },
		},
		{
			Name: Name{"store", "username"}, Role: Controller, Help: "User of the etcd cluster.",
			into: func(c *Config) any { return &c.Store.Username },
		},
		{
			Name: Name{"store", "password"}, Role: Controller, Secret: true, Sample: "secret", Help: "Its password.",
			into: func(c *Config) any { return &c.Store.Password },
		},
		{
			Name: Name{"store", "tls_cert_file"}, Role: Controller, Help: "Client certificate (PEM) for the etcd cluster.",
			into: func(c *Config) any { return &c.Store.TLS.CertFile },
		},
		{
			Name: Name{"store", "tls_key_file"}, Role: Controller, Help: "Its private key (PEM).",
			into: func(c *Config) any { return &c.Store.TLS.KeyFile },
		},
		{
			Name: Name{"store", "tls_ca_file"}, Role: Controller, Help: "CA (PEM) that signed the etcd cluster's certificates.",
			into: func(c *Config) any { return &c.Store.TLS.CAFile },
		},
	}
}

func fabricOptions() []Option {
	return []Option{
		{
			Name: Name{"fabric", "listen"}, Kind: List, Default: "127.0.0.1:9695", Role: Controller, check: isFabricAddress,
			Sample: "0.0.0.0:9695",
			Help:   "Where the controller listens for agents: host:port or unix:///path. Anything but loopback and unix needs TLS.",
			into:   func(c *Config) any { return &c.Fabric.Listen },
		},
		{
			Name: Name{"fabric", "controllers"}, Kind: List, Default: "127.0.0.1:9695", Role: Agents, check: isController,
			Sample: "controller1:9695,controller2:9695",
			Help:   "Controllers an agent may connect to, tried in this order: host:port, https://host:port or unix:///path. Off this machine it is TLS either way.",
			into:   func(c *Config) any { return &c.Fabric.Controllers },
		},
		{
			Name: Name{"fabric", "tls_cert_file"}, Help: "Certificate (PEM); an agent's must have the host's name as its common name.",
			into: func(c *Config) any { return &c.Fabric.TLS.CertFile },
		},
		{
			Name: Name{"fabric", "tls_key_file"}, Help: "Its private key (PEM).",
			into: func(c *Config) any { return &c.Fabric.TLS.KeyFile },
		},
		{
			Name: Name{"fabric", "tls_ca_file"}, Help: "CA (PEM) that signed the other side's certificate.",
			into: func(c *Config) any { return &c.Fabric.TLS.CAFile },
		},
	}
}

func identityOptions() []Option {
	return []Option{
		{
			Name: Name{"identity", "enabled"}, Kind: Bool, Default: "false", Role: Controller,
			Help: "Serve a small Keystone v3 under /identity, on loopback, for clients that insist on one. For development.",
			into: func(c *Config) any { return &c.Identity.Enabled },
		},
		{
			Name: Name{"identity", "file"}, Role: Controller, Sample: "/etc/neutrino/identity.yaml",
			Help: "YAML file of its users, projects and roles. Unset: an administrator, a member and a reader.",
			into: func(c *Config) any { return &c.Identity.File },
		},
	}
}
