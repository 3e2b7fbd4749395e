package neutron

import (
	"net/url"

	"neutrino/internal/model"
	"neutrino/internal/store"
	"neutrino/internal/trunk"
)

// Layout changes whenever something that ports of the network rest on does: it comes and
// goes with the network, and its version rises with every change of the network's subnets
// or segments. A transaction that chooses addresses compares this one row.
type Layout struct {
	NetworkID string `json:"network_id"`
	Version   int64  `json:"version"`
}

// Tables are the store's tables of the Networking API. The indexes of each are named in
// NewTables.
type Tables struct {
	Networks           *store.Table[model.Network]
	Layouts            *store.Table[Layout]
	Subnets            *store.Table[model.Subnet]
	Ports              *store.Table[model.Port]
	SubnetPools        *store.Table[model.SubnetPool]
	SecurityGroups     *store.Table[model.SecurityGroup]
	SecurityGroupRules *store.Table[model.SecurityGroupRule]
	AddressGroups      *store.Table[model.AddressGroup]
	Quotas             *store.Table[model.Quota]
	Agents             *store.Table[model.Agent]
	Liveness           *store.Table[model.Liveness]
	DHCPBindings       *store.Table[model.DHCPBinding]
	Routers            *store.Table[model.Router]
	FloatingIPs        *store.Table[model.FloatingIP]
	RouterBindings     *store.Table[model.RouterBinding]
	Probes             *store.Table[trunk.Run] // verifications of the trunk
	ProbeResults       *store.Table[ProbeResult]
	ProbeTurns         *store.Table[ProbeTurn]
}

// Names of indexes, as By and WatchBy want them.
const (
	ByProject            = "project"
	ByNetwork            = "network"
	ByHost               = "host"
	ByDevice             = "device"
	ByMAC                = "mac" // canonical
	ByGroup              = "group"
	BySubnet             = "subnet"
	ByPool               = "pool"
	ByOwner              = "owner" // device_owner, of network:* ports only
	ByDefault            = "default"
	ByRemoteGroup        = "remote_group"
	ByRemoteAddressGroup = "remote_address_group"
	ByAgent              = "agent"
	ByShared             = "shared"
	ByPort               = "port"
	ByRouter             = "router"
	ByRun                = "run"
)

// NewTables returns the tables with their indexes; each set belongs to one store.DB.
func NewTables() *Tables {
	return &Tables{
		Networks: store.NewTable("networks", id[model.Network],
			store.Index[model.Network]{Name: ByProject, Keys: project[model.Network]},
			store.Index[model.Network]{Name: ByShared, Keys: sharedNetwork}),
		Layouts: store.NewTable("layouts", func(l *Layout) string { return l.NetworkID }),
		Subnets: store.NewTable("subnets", id[model.Subnet],
			store.Index[model.Subnet]{Name: ByProject, Keys: project[model.Subnet]},
			store.Index[model.Subnet]{Name: ByNetwork, Keys: func(s *model.Subnet) []string { return some(s.NetworkID) }},
			store.Index[model.Subnet]{Name: ByPool, Keys: func(s *model.Subnet) []string { return some(s.SubnetPoolID) }}),
		Ports: store.NewTable("ports", id[model.Port],
			store.Index[model.Port]{Name: ByProject, Keys: project[model.Port]},
			store.Index[model.Port]{Name: ByNetwork, Keys: func(p *model.Port) []string { return some(p.NetworkID) }},
			store.Index[model.Port]{Name: ByHost, Keys: func(p *model.Port) []string { return some(p.Binding.Host) }},
			store.Index[model.Port]{Name: ByDevice, Keys: func(p *model.Port) []string { return some(p.DeviceID) }},
			store.Index[model.Port]{Name: ByMAC, Keys: func(p *model.Port) []string { return some(model.CanonicalMAC(p.MAC)) }},
			store.Index[model.Port]{Name: ByGroup, Keys: func(p *model.Port) []string { return p.SecurityGroups }},
			store.Index[model.Port]{Name: BySubnet, Keys: portSubnets},
			store.Index[model.Port]{Name: ByOwner, Keys: networkOwner}),
		SubnetPools: store.NewTable("subnetpools", id[model.SubnetPool],
			store.Index[model.SubnetPool]{Name: ByProject, Keys: project[model.SubnetPool]}),
		SecurityGroups: store.NewTable("security_groups", id[model.SecurityGroup],
			store.Index[model.SecurityGroup]{Name: ByProject, Keys: project[model.SecurityGroup]},
			store.Index[model.SecurityGroup]{Name: ByDefault, Keys: defaultGroup}),
		SecurityGroupRules: store.NewTable("security_group_rules", id[model.SecurityGroupRule],
			store.Index[model.SecurityGroupRule]{Name: ByProject, Keys: project[model.SecurityGroupRule]},
			store.Index[model.SecurityGroupRule]{Name: ByGroup, Keys: func(r *model.SecurityGroupRule) []string { return some(r.SecurityGroupID) }},
			store.Index[model.SecurityGroupRule]{Name: ByRemoteGroup, Keys: func(r *model.SecurityGroupRule) []string { return some(r.RemoteGroupID) }},
			store.Index[model.SecurityGroupRule]{Name: ByRemoteAddressGroup, Keys: func(r *model.SecurityGroupRule) []string { return some(r.RemoteAddressGroupID) }}),
		AddressGroups: store.NewTable("address_groups", id[model.AddressGroup],
			store.Index[model.AddressGroup]{Name: ByProject, Keys: project[model.AddressGroup]}),
		Quotas: store.NewTable("quotas", func(q *model.Quota) string { return q.ProjectID }),
		Agents: store.NewTable("agents", func(a *model.Agent) string { return a.ID },
			store.Index[model.Agent]{Name: ByHost, Keys: func(a *model.Agent) []string { return some(a.Host) }}),
		Liveness: store.NewTable("liveness", func(l *model.Liveness) string { return l.AgentID }),
		DHCPBindings: store.NewTable("dhcp_bindings", func(b *model.DHCPBinding) string { return b.NetworkID },
			store.Index[model.DHCPBinding]{Name: ByAgent, Keys: func(b *model.DHCPBinding) []string { return b.AgentIDs }}),
		Routers: store.NewTable("routers", id[model.Router],
			store.Index[model.Router]{Name: ByProject, Keys: project[model.Router]},
			store.Index[model.Router]{Name: ByNetwork, Keys: gatewayNetwork}),
		FloatingIPs: store.NewTable("floating_ips", id[model.FloatingIP],
			store.Index[model.FloatingIP]{Name: ByProject, Keys: project[model.FloatingIP]},
			store.Index[model.FloatingIP]{Name: ByNetwork, Keys: func(f *model.FloatingIP) []string { return some(f.FloatingNetworkID) }},
			store.Index[model.FloatingIP]{Name: ByPort, Keys: func(f *model.FloatingIP) []string { return some(f.PortID) }},
			store.Index[model.FloatingIP]{Name: ByRouter, Keys: func(f *model.FloatingIP) []string { return some(f.RouterID) }}),
		RouterBindings: store.NewTable("router_bindings", func(b *model.RouterBinding) string { return b.RouterID },
			store.Index[model.RouterBinding]{Name: ByAgent, Keys: func(b *model.RouterBinding) []string { return some(b.AgentID) }}),
		Probes: store.NewTable("probes", func(r *trunk.Run) string { return r.ID.String() }),
		ProbeResults: store.NewTable("probe_results", func(r *ProbeResult) string { return r.RunID + "." + r.Host },
			store.Index[ProbeResult]{Name: ByRun, Keys: func(r *ProbeResult) []string { return some(r.RunID) }}),
		ProbeTurns: store.NewTable("probe_turns", func(t *ProbeTurn) string { return url.PathEscape(t.PhysicalNetwork) }),
	}
}

// All returns the tables for store.Open.
func (t *Tables) All() []store.AnyTable {
	return []store.AnyTable{
		t.Networks, t.Layouts, t.Subnets, t.Ports, t.SubnetPools, t.SecurityGroups,
		t.SecurityGroupRules, t.AddressGroups, t.Quotas, t.Agents, t.Liveness, t.DHCPBindings,
		t.Routers, t.FloatingIPs, t.RouterBindings,
		t.Probes, t.ProbeResults, t.ProbeTurns,
	}
}

// resource is a pointer to a type with standard attributes.
type resource[T any] interface {
	*T
	model.Resource
}

func id[T any, R resource[T]](row *T) string { return R(row).Standard().ID }

func project[T any, R resource[T]](row *T) []string { return some(R(row).Standard().ProjectID) }

func some(key string) []string {
	if key == "" {
		return nil
	}
	return []string{key}
}

func sharedNetwork(n *model.Network) []string {
	var keys []string
	if n.Shared {
		keys = append(keys, "shared")
	}
	if n.External {
		keys = append(keys, "external")
	}
	return keys
}

func gatewayNetwork(r *model.Router) []string {
	if r.Gateway == nil {
		return nil
	}
	return some(r.Gateway.NetworkID)
}

func portSubnets(p *model.Port) []string {
	keys := make([]string, 0, len(p.FixedIPs))
	for _, f := range p.FixedIPs {
		keys = appendNew(keys, f.SubnetID)
	}
	return keys
}

func networkOwner(p *model.Port) []string {
	if isNetworkOwned(p.DeviceOwner) {
		return []string{p.DeviceOwner}
	}
	return nil
}

func defaultGroup(g *model.SecurityGroup) []string {
	if g.Name == defaultGroupName {
		return some(g.ProjectID)
	}
	return nil
}
