package config

import "slices"

// authOptions are [quotas] and [keystone_authtoken].
func authOptions() []Option { return slices.Concat(quotaOptions(), keystoneOptions()) }

func quotaOptions() []Option {
	quota := func(name, value, help string, into func(*Config) any) Option {
		return Option{
			Name: Name{"quotas", name}, Kind: Int, Default: value, Min: -1, Max: 1<<31 - 1, Role: Controller,
			Help: help + "; -1 = no limit.", into: into,
		}
	}
	return []Option{
		quota("default_quota", "-1", "Rows a project may have of a resource that has no option of its own",
			func(c *Config) any { return &c.Quotas.Default }),
		quota("quota_network", "100", "Networks a project may have", func(c *Config) any { return &c.Quotas.Network }),
		quota("quota_subnet", "100", "Subnets a project may have", func(c *Config) any { return &c.Quotas.Subnet }),
		quota("quota_port", "500", "Ports a project may have", func(c *Config) any { return &c.Quotas.Port }),
		quota("quota_security_group", "10", "Security groups a project may have",
			func(c *Config) any { return &c.Quotas.SecurityGroup }),
		quota("quota_security_group_rule", "100", "Security group rules a project may have",
			func(c *Config) any { return &c.Quotas.SecurityGroupRule }),
		quota("quota_router", "10", "Routers a project may have", func(c *Config) any { return &c.Quotas.Router }),
		quota("quota_floatingip", "50", "Floating IPs a project may have", func(c *Config) any { return &c.Quotas.FloatingIP }),
	}
}

func keystoneOptions() []Option {
	const s = "keystone_authtoken"
	option := func(name, value, help string, into func(*Config) any, old ...string) Option {
		o := Option{Name: Name{s, name}, Default: value, Role: Controller, Help: help, into: into}
		for _, n := range old {
			o.Old = append(o.Old, Name{s, n})
		}
		return o
	}
	kind := func(k Kind, lo, hi int, o Option) Option {
		o.Kind, o.Min, o.Max = k, lo, hi
		return o
	}
	password := option("password", "", "Password of the service user.", func(c *Config) any { return &c.Keystone.Password },
		"admin_password")
	password.Secret = true
	password.Sample = "secret"
	url := option("auth_url", "", "Keystone, with or without /v3.", func(c *Config) any { return &c.Keystone.AuthURL }, "identity_uri")
	url.Sample, url.check = "http://controller:5000/v3", isURL
	public := option("www_authenticate_uri", "", "Keystone as clients reach it: what a refused request is told.",
		func(c *Config) any { return &c.Keystone.WWWAuthenticateURI }, "auth_uri")
	public.Sample, public.check = "http://controller:5000/v3", isURL
	return []Option{
		url, public, password,
		option("username", "", "Service user that validates tokens.", func(c *Config) any { return &c.Keystone.Username },
			"user_name", "admin_user"),
		option("user_id", "", "Its id, instead of username and domain.", func(c *Config) any { return &c.Keystone.UserID }),
		option("user_domain_name", "", "Name of its domain; unset: the default domain.",
			func(c *Config) any { return &c.Keystone.UserDomainName }),
		option("user_domain_id", "", "Id of its domain; it wins over user_domain_name.",
			func(c *Config) any { return &c.Keystone.UserDomainID }),
		option("project_name", "", "Its project.", func(c *Config) any { return &c.Keystone.ProjectName },
			"tenant_name", "admin_tenant_name"),
		option("project_id", "", "Its project's id, instead of project_name and domain.",
			func(c *Config) any { return &c.Keystone.ProjectID }, "tenant_id"),
		option("project_domain_name", "", "Name of its project's domain; unset: the default domain.",
			func(c *Config) any { return &c.Keystone.ProjectDomainName }),
		option("project_domain_id", "", "Id of its project's domain; it wins over project_domain_name.",
			func(c *Config) any { return &c.Keystone.ProjectDomainID }),
		option("default_domain_name", "", "Name of the domain of the user and of the project where they have none; unset: Default.",
			func(c *Config) any { return &c.Keystone.DefaultDomainName }),
		option("default_domain_id", "", "Id of that domain; it wins over default_domain_name.",
			func(c *Config) any { return &c.Keystone.DefaultDomainID }),
		option("cafile", "", "CA (PEM) that signed Keystone's certificate.", func(c *Config) any { return &c.Keystone.CAFile }),
		kind(Bool, 0, 0, option("insecure", "false", "Do not verify Keystone's certificate.",
			func(c *Config) any { return &c.Keystone.Insecure })),
		kind(Seconds, 0, 3600, option("http_connect_timeout", "0", "Seconds one request to Keystone may take; 0 = the client's own limit.",
			func(c *Config) any { return &c.Keystone.HTTPConnectTimeout })),
		kind(Seconds, -1, 86400, option("token_cache_time", "300", "Seconds a validated token is remembered; -1 = not at all.",
			func(c *Config) any { return &c.Keystone.TokenCacheTime })),
		kind(List, 0, 0, option("service_token_roles", "service", "Roles, one of which a service token must have.",
			func(c *Config) any { return &c.Keystone.ServiceTokenRoles })),
		kind(Bool, 0, 0, option("service_token_roles_required", "false", "Refuse service tokens without one of these roles.",
			func(c *Config) any { return &c.Keystone.ServiceRolesNeeded })),
	}
}
