package rpc

import (
	"net/netip"
	"slices"

	"neutrino/internal/model"
	"neutrino/internal/rpc/fabricv1"
)

// EncodeDHCPNetwork converts to the wire. Of a subnet's standard attributes only the
// id travels.
func EncodeDHCPNetwork(n *model.DHCPNetwork) *fabricv1.DHCPNetwork {
	out := &fabricv1.DHCPNetwork{
		NetworkId: n.NetworkID, PortId: n.PortID, Mac: n.MAC, Mtu: unsigned(n.MTU),
		Addresses: encodeFixedIPs(n.Addresses), RoutedSubnets: slices.Clone(n.RoutedSubnets),
	}
	for _, s := range n.Subnets {
		out.Subnets = append(out.Subnets, encodeSubnet(s))
	}
	for i := range n.Hosts {
		out.Hosts = append(out.Hosts, EncodeDHCPHost(&n.Hosts[i]))
	}
	return out
}

// DecodeDHCPNetwork converts from the wire and validates every field.
func DecodeDHCPNetwork(in *fabricv1.DHCPNetwork) (*model.DHCPNetwork, error) {
	var c checks
	c.id("network_id", in.GetNetworkId())
	c.id("port_id", in.GetPortId())
	c.mac("mac", in.GetMac())
	c.mtu("mtu", in.GetMtu())
	out := &model.DHCPNetwork{
		NetworkID: in.GetNetworkId(), PortID: in.GetPortId(), MAC: in.GetMac(), MTU: int(in.GetMtu()),
		Addresses: c.fixedIPs("addresses", in.GetAddresses()),
	}
	if c.count("subnets", len(in.GetSubnets()), maxSubnets) {
		for _, s := range in.GetSubnets() {
			out.Subnets = append(out.Subnets, c.subnet(s))
		}
	}
	if c.count("routed_subnets", len(in.GetRoutedSubnets()), maxSubnets) {
		for _, id := range in.GetRoutedSubnets() {
			c.id("routed_subnets", id)
			out.RoutedSubnets = append(out.RoutedSubnets, id)
		}
	}
	if c.count("hosts", len(in.GetHosts()), MaxHosts) {
		for _, h := range in.GetHosts() {
			out.Hosts = append(out.Hosts, c.dhcpHost(h))
		}
	}
	if c.failed() {
		return nil, c.err
	}
	return out, nil
}

// CheckDHCPNetwork reports what would keep an agent from accepting the network.
func CheckDHCPNetwork(n *model.DHCPNetwork) error {
	_, err := DecodeDHCPNetwork(EncodeDHCPNetwork(n))
	return err
}

// EncodeDHCPHost converts to the wire.
func EncodeDHCPHost(h *model.DHCPHost) *fabricv1.DHCPHost {
	out := &fabricv1.DHCPHost{
		PortId: h.PortID, Mac: h.MAC, Addresses: encodeFixedIPs(h.Addresses), HostName: h.HostName,
		DeviceId: h.Device, ProjectId: h.ProjectID,
	}
	if i := h.Instance; i != nil {
		out.Instance = &fabricv1.InstanceData{Hostname: i.HostName, PublicKeys: i.PublicKeys, UserData: i.UserData}
	}
	for _, o := range h.Options {
		out.Options = append(out.Options, &fabricv1.DHCPOption{Name: o.Name, Value: o.Value, IpVersion: unsigned(o.IPVersion)})
	}
	return out
}

// DecodeDHCPHost converts from the wire and validates every field.
func DecodeDHCPHost(in *fabricv1.DHCPHost) (model.DHCPHost, error) {
	var c checks
	h := c.dhcpHost(in)
	return h, c.err
}

func (c *checks) dhcpHost(in *fabricv1.DHCPHost) model.DHCPHost {
	c.id("hosts.port_id", in.GetPortId())
	c.mac("hosts.mac", in.GetMac())
	c.text("hosts.host_name", in.GetHostName(), 255)
	out := model.DHCPHost{
		PortID: in.GetPortId(), MAC: in.GetMac(), HostName: in.GetHostName(),
		Addresses: c.fixedIPs("hosts.addresses", in.GetAddresses()),
		Device:    in.GetDeviceId(), ProjectID: in.GetProjectId(), Instance: c.instance(in.GetInstance()),
	}
	// They become headers towards Nova.
	c.line("hosts.device_id", in.GetDeviceId(), 255)
	c.line("hosts.project_id", in.GetProjectId(), 255)
	if c.count("hosts.options", len(in.GetOptions()), maxPerHost) {
		for _, o := range in.GetOptions() {
			c.text("hosts.options.name", o.GetName(), 255)
			c.text("hosts.options.value", o.GetValue(), maxText)
			c.ipVersion("hosts.options.ip_version", o.GetIpVersion())
			out.Options = append(out.Options, model.DHCPOpt{Name: o.GetName(), Value: o.GetValue(), IPVersion: int(o.GetIpVersion())})
		}
	}
	return out
}

// instance of a host; nil stays nil.
func (c *checks) instance(in *fabricv1.InstanceData) *model.InstanceData {
	if in == nil {
		return nil
	}
	c.line("hosts.instance.hostname", in.GetHostname(), 255)
	c.text("hosts.instance.user_data", in.GetUserData(), maxUserData)
	out := &model.InstanceData{HostName: in.GetHostname(), UserData: in.GetUserData()}
	if c.count("hosts.instance.public_keys", len(in.GetPublicKeys()), maxPublicKeys) {
		for _, k := range in.GetPublicKeys() {
			c.line("hosts.instance.public_keys", k, maxPublicKey)
			out.PublicKeys = append(out.PublicKeys, k)
		}
	}
	return out
}

func encodeFixedIPs(in []model.FixedIP) []*fabricv1.FixedIP {
	var out []*fabricv1.FixedIP
	for _, f := range in {
		out = append(out, &fabricv1.FixedIP{SubnetId: f.SubnetID, Ip: text(f.IP)})
	}
	return out
}

func (c *checks) fixedIPs(field string, in []*fabricv1.FixedIP) []model.FixedIP {
	if !c.count(field, len(in), maxPerHost) {
		return nil
	}
	var out []model.FixedIP
	for _, f := range in {
		c.id(field+".subnet_id", f.GetSubnetId())
		out = append(out, model.FixedIP{SubnetID: f.GetSubnetId(), IP: c.addr(field+".ip", f.GetIp())})
	}
	return out
}

func encodeSubnet(s *model.Subnet) *fabricv1.Subnet {
	out := &fabricv1.Subnet{
		Id: s.ID, NetworkId: s.NetworkID, IpVersion: unsigned(s.IPVersion), Cidr: s.CIDR.String(), GatewayIp: text(s.GatewayIP),
		EnableDhcp: s.EnableDHCP, Ipv6RaMode: s.IPv6RAMode, Ipv6AddressMode: s.IPv6AddressMode,
	}
	for _, r := range s.AllocationPools {
		out.AllocationPools = append(out.AllocationPools, &fabricv1.IPRange{Start: text(r.Start), End: text(r.End)})
	}
	for _, a := range s.DNSNameservers {
		out.DnsNameservers = append(out.DnsNameservers, text(a))
	}
	for _, r := range s.HostRoutes {
		out.HostRoutes = append(out.HostRoutes, &fabricv1.Route{Destination: r.Destination.String(), Nexthop: text(r.NextHop)})
	}
	return out
}

func (c *checks) subnet(in *fabricv1.Subnet) *model.Subnet {
	c.id("subnets.id", in.GetId())
	c.optionalID("subnets.network_id", in.GetNetworkId())
	c.ipVersion("subnets.ip_version", in.GetIpVersion())
	c.mode("subnets.ipv6_ra_mode", in.GetIpv6RaMode())
	c.mode("subnets.ipv6_address_mode", in.GetIpv6AddressMode())
	out := &model.Subnet{
		NetworkID: in.GetNetworkId(), IPVersion: int(in.GetIpVersion()), CIDR: c.prefix("subnets.cidr", in.GetCidr()),
		GatewayIP: c.optionalAddr("subnets.gateway_ip", in.GetGatewayIp()), EnableDHCP: in.GetEnableDhcp(),
		IPv6RAMode: in.GetIpv6RaMode(), IPv6AddressMode: in.GetIpv6AddressMode(),
	}
	out.ID = in.GetId()
	if !c.failed() && out.CIDR.Addr().Is4() != (out.IPVersion == 4) {
		c.fail("subnets.cidr", "%s is not of IP version %d", out.CIDR, out.IPVersion)
	}
	if c.count("subnets.allocation_pools", len(in.GetAllocationPools()), maxText) {
		for _, r := range in.GetAllocationPools() {
			out.AllocationPools = append(out.AllocationPools, model.IPRange{
				Start: c.addr("subnets.allocation_pools.start", r.GetStart()), End: c.addr("subnets.allocation_pools.end", r.GetEnd()),
			})
		}
	}
	if c.count("subnets.dns_nameservers", len(in.GetDnsNameservers()), maxSubnets) {
		for _, a := range in.GetDnsNameservers() {
			out.DNSNameservers = append(out.DNSNameservers, c.addr("subnets.dns_nameservers", a))
		}
	}
	if c.count("subnets.host_routes", len(in.GetHostRoutes()), maxText) {
		for _, r := range in.GetHostRoutes() {
			out.HostRoutes = append(out.HostRoutes, model.Route{
				Destination: c.prefix("subnets.host_routes.destination", r.GetDestination()),
				NextHop:     c.addr("subnets.host_routes.nexthop", r.GetNexthop()),
			})
		}
	}
	return out
}

func (c *checks) ipVersion(field string, v uint32) {
	if v != 4 && v != 6 {
		c.fail(field, "%d is neither 4 nor 6", v)
	}
}

func (c *checks) mode(field, s string) {
	switch s {
	case "", model.ModeStateful, model.ModeStateless, model.ModeSLAAC:
	default:
		c.fail(field, "unknown mode %.40q", s)
	}
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
