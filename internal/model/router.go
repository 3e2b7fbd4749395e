package model

import (
	"net/netip"
	"slices"
)

// Device owners of a router's ports.
const (
	OwnerRouterInterface = "network:router_interface"
	OwnerRouterGateway   = "network:router_gateway"
	OwnerFloatingIP      = "network:floatingip"
)

// The L3 agent, as Neutron names it.
const (
	AgentL3  = "L3 agent"
	BinaryL3 = "neutron-l3-agent"
)

// Router joins subnets, and leads them to an external network.
type Router struct {
	Meta
	AdminStateUp          bool     `json:"admin_state_up"`
	Status                string   `json:"status"`
	AvailabilityZoneHints []string `json:"availability_zone_hints,omitempty"`
	Routes                []Route  `json:"routes,omitempty"`
	// Gateway is nil while the router has none.
	Gateway *RouterGateway `json:"gateway,omitempty"`
}

// RouterGateway is a router's way out.
type RouterGateway struct {
	NetworkID  string `json:"network_id"`
	PortID     string `json:"port_id"`
	EnableSNAT bool   `json:"enable_snat"`
}

// Clone returns a deep copy.
func (r *Router) Clone() *Router {
	c := *r
	c.Meta = r.Meta.clone()
	c.AvailabilityZoneHints = slices.Clone(r.AvailabilityZoneHints)
	c.Routes = slices.Clone(r.Routes)
	if r.Gateway != nil {
		g := *r.Gateway
		c.Gateway = &g
	}
	return &c
}

// FloatingIP is an address of an external network that stands for a fixed IP behind a
// router.
type FloatingIP struct {
	Meta
	FloatingNetworkID string     `json:"floating_network_id"`
	FloatingPortID    string     `json:"floating_port_id"` // the port that holds the address
	FloatingIP        netip.Addr `json:"floating_ip_address"`
	PortID            string     `json:"port_id,omitempty"` // the instance's; "" = not associated
	FixedIP           netip.Addr `json:"fixed_ip_address"`  // the zero Addr while not associated
	RouterID          string     `json:"router_id,omitempty"`
	SubnetID          string     `json:"fixed_subnet_id,omitempty"` // of FixedIP
	Status            string     `json:"status"`
}

// Clone returns a deep copy.
func (f *FloatingIP) Clone() *FloatingIP {
	c := *f
	c.Meta = f.Meta.clone()
	return &c
}

// RouterBinding says which L3 agent carries a router.
type RouterBinding struct {
	RouterID string `json:"router_id"`
	// AgentID is "" for a router that an operator took off its agent: it stays off until the
	// next change of its ports, or until somebody schedules it.
	AgentID string `json:"agent_id"`
	// Reason is what the agent says when the router is not carried out as it is asked for.
	Reason string `json:"reason,omitempty"`
}

// RouterSpec is what a host is asked to carry out for one router. Its ports are Attachments
// of the same host besides, so that their netdevs are there. It is derived, never stored by
// the controller.
type RouterSpec struct {
	RouterID   string         `json:"router_id"`
	Revision   int64          `json:"revision"` // changes with the content, except with Metadata
	Interfaces []RouterPort   `json:"interfaces,omitempty"`
	Gateway    *RouterPort    `json:"gateway,omitempty"`
	EnableSNAT bool           `json:"enable_snat"`
	Routes     []Route        `json:"routes,omitempty"`
	Floating   []FloatingPair `json:"floating,omitempty"`
	// Metadata are the instances that may ask for metadata through this router, by their
	// fixed IPs.
	Metadata []DHCPHost `json:"metadata,omitempty"`
}

// RouterPort is one of a router's ports.
type RouterPort struct {
	PortID    string    `json:"port_id"`
	NetworkID string    `json:"network_id"`
	MAC       string    `json:"mac"` // canonical
	MTU       int       `json:"mtu"` // bytes
	Addresses []FixedIP `json:"addresses"`
	Subnets   []*Subnet `json:"subnets"` // those of Addresses: prefix lengths, gateways, RA modes
}

// FloatingPair is one floating IP that is in use.
type FloatingPair struct {
	ID       string     `json:"id"` // of the floating IP
	Floating netip.Addr `json:"floating"`
	Fixed    netip.Addr `json:"fixed"`
}

// RouterReport is what a host says of one router.
type RouterReport struct {
	RouterID string `json:"router_id"`
	Revision int64  `json:"revision"`         // of the spec that was carried out
	Up       bool   `json:"up"`               // all of it is in the kernel as asked
	Reason   string `json:"reason,omitempty"` // why it is not up, or what is missing beside it
}
