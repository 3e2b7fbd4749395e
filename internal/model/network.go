package model

import (
	"net/netip"
	"slices"
)

// Network types (provider:network_type).
const (
	TypeVLAN  = "vlan"
	TypeFlat  = "flat"
	TypeLocal = "local"
	TypeVXLAN = "vxlan"
)

// Status of networks and ports.
const (
	StatusActive = "ACTIVE"
	StatusDown   = "DOWN"
	StatusBuild  = "BUILD"
	StatusError  = "ERROR"
	StatusNA     = "N/A"
)

// Segment is one layer-2 broadcast domain of a network: a VLAN of a physical
// network, an untagged physical network, a VNI, or something local to one host.
type Segment struct {
	ID              string `json:"id"`
	NetworkType     string `json:"network_type"`
	PhysicalNetwork string `json:"physical_network,omitempty"` // vlan and flat only
	SegmentationID  int    `json:"segmentation_id,omitempty"`  // VLAN id 1..4094 or VNI; 0 = none
}

// Network is a tenant's or provider's layer-2 network.
type Network struct {
	Meta
	AdminStateUp          bool      `json:"admin_state_up"`
	Status                string    `json:"status"`
	Shared                bool      `json:"shared"`
	External              bool      `json:"external"`   // router:external
	IsDefault             bool      `json:"is_default"` // of external networks
	MTU                   int       `json:"mtu"`        // bytes
	PortSecurity          bool      `json:"port_security_enabled"`
	AvailabilityZoneHints []string  `json:"availability_zone_hints,omitempty"`
	Segments              []Segment `json:"segments"` // at least one
}

// Clone returns a deep copy.
func (n *Network) Clone() *Network {
	c := *n
	c.Meta = n.Meta.clone()
	c.AvailabilityZoneHints = slices.Clone(n.AvailabilityZoneHints)
	c.Segments = slices.Clone(n.Segments)
	return &c
}

// IPRange is an inclusive range of addresses of one family.
type IPRange struct {
	Start netip.Addr `json:"start"`
	End   netip.Addr `json:"end"`
}

// Route is one host route of a subnet.
type Route struct {
	Destination netip.Prefix `json:"destination"`
	NextHop     netip.Addr   `json:"nexthop"`
}

// IPv6 address and router-advertisement modes.
const (
	ModeStateful  = "dhcpv6-stateful"
	ModeStateless = "dhcpv6-stateless"
	ModeSLAAC     = "slaac"
)

// Subnet is a block of addresses of a network.
type Subnet struct {
	Meta
	NetworkID       string       `json:"network_id"`
	IPVersion       int          `json:"ip_version"` // 4 or 6
	CIDR            netip.Prefix `json:"cidr"`       // masked
	GatewayIP       netip.Addr   `json:"gateway_ip"` // the zero Addr = none
	AllocationPools []IPRange    `json:"allocation_pools"`
	DNSNameservers  []netip.Addr `json:"dns_nameservers,omitempty"`
	HostRoutes      []Route      `json:"host_routes,omitempty"`
	EnableDHCP      bool         `json:"enable_dhcp"`
	IPv6RAMode      string       `json:"ipv6_ra_mode,omitempty"`
	IPv6AddressMode string       `json:"ipv6_address_mode,omitempty"`
	ServiceTypes    []string     `json:"service_types,omitempty"`
	SubnetPoolID    string       `json:"subnetpool_id,omitempty"`
}

// Clone returns a deep copy.
func (s *Subnet) Clone() *Subnet {
	c := *s
	c.Meta = s.Meta.clone()
	c.AllocationPools = slices.Clone(s.AllocationPools)
	c.DNSNameservers = slices.Clone(s.DNSNameservers)
	c.HostRoutes = slices.Clone(s.HostRoutes)
	c.ServiceTypes = slices.Clone(s.ServiceTypes)
	return &c
}

// AutoAddress reports whether hosts form their own address (EUI-64) on the subnet.
func (s *Subnet) AutoAddress() bool {
	return s.IPVersion == 6 && (s.IPv6AddressMode == ModeSLAAC || s.IPv6AddressMode == ModeStateless)
}

// SubnetPool is a supply of prefixes from which subnets are cut.
type SubnetPool struct {
	Meta
	IPVersion        int            `json:"ip_version"`
	Prefixes         []netip.Prefix `json:"prefixes"` // compacted, sorted
	DefaultPrefixLen int            `json:"default_prefixlen"`
	MinPrefixLen     int            `json:"min_prefixlen"`
	MaxPrefixLen     int            `json:"max_prefixlen"`
	DefaultQuota     *int           `json:"default_quota,omitempty"` // IPv4: addresses; IPv6: /64s
	IsDefault        bool           `json:"is_default"`
	Shared           bool           `json:"shared"`
}

// Clone returns a deep copy.
func (p *SubnetPool) Clone() *SubnetPool {
	c := *p
	c.Meta = p.Meta.clone()
	c.Prefixes = slices.Clone(p.Prefixes)
	if p.DefaultQuota != nil {
		q := *p.DefaultQuota
		c.DefaultQuota = &q
	}
	return &c
}
