package model

import (
	"net/netip"
	"slices"
)

// LinkState of a VF, as in IFLA_VF_LINK_STATE.
type LinkState int

// The values are the kernel's (include/uapi/linux/if_link.h).
const (
	LinkAuto    LinkState = 0 // follows the uplink
	LinkEnable  LinkState = 1
	LinkDisable LinkState = 2
)

// Kinds of attachments: which switch of the host carries the port.
const (
	AttachVF  = ""    // a VF of a NIC's embedded switch
	AttachOVS = "ovs" // an access port of an Open vSwitch bridge
)

// Attachment is what a host is asked to carry out for one port: one VF, or one port of an
// Open vSwitch bridge, with these attributes. It is derived from the port, its network and
// its subnets; it is never stored by the controller.
type Attachment struct {
	Kind   string `json:"kind,omitempty"`   // AttachVF or AttachOVS
	Bridge string `json:"bridge,omitempty"` // AttachOVS: the bridge, as in vif_details bridge_name
	PortID string `json:"port_id"`
	// Revision changes with everything else here but Filter: groups change without their ports.
	Revision  int64  `json:"revision"`
	NetworkID string `json:"network_id"`
	ProjectID string `json:"project_id"`
	Device    string `json:"device_id,omitempty"` // the instance
	Owner     string `json:"device_owner,omitempty"`
	VnicType  string `json:"vnic_type"`
	PCISlot   string `json:"pci_slot,omitempty"` // the VF asked for; "" = the agent picks one

	// NUMANode is where the instance's CPUs and memory are: a VF near them is preferred.
	NUMANode *int `json:"numa_node,omitempty"`

	PhysicalNetwork string `json:"physical_network"`
	VLAN            int    `json:"vlan"` // 0 = untagged (flat), else 1..4094
	MAC             string `json:"mac"`  // canonical
	MTU             int    `json:"mtu"`  // bytes

	SpoofCheck bool      `json:"spoof_check"`     // port_security_enabled
	Trust      *bool     `json:"trust,omitempty"` // nil = leave at the driver's default
	LinkState  LinkState `json:"link_state"`
	MinTxRate  int       `json:"min_tx_rate"` // Mbit/s; 0 = none
	MaxTxRate  int       `json:"max_tx_rate"` // Mbit/s; 0 = none

	// Allowed are the source addresses the port may use while SpoofCheck is on: its
	// fixed IPs and allowed address pairs. Empty = MAC is checked, IP is not.
	Allowed []AllowedSource `json:"allowed,omitempty"`

	// Filter is what the port's security groups allow; nil = they are not enforced, as on
	// every VF and on ports without port security.
	Filter *Filter `json:"filter,omitempty"`
}

// Filter is the rules of all of a port's security groups. What no rule allows is dropped,
// answers to what a rule allowed (in either direction) are not.
type Filter struct {
	Rules []FilterRule `json:"rules,omitempty"`
}

// FilterRule allows one kind of traffic.
type FilterRule struct {
	Egress   bool `json:"egress,omitempty"` // from the instance; else to it
	IPv6     bool `json:"ipv6,omitempty"`   // else IPv4
	Protocol int  `json:"protocol"`         // IP protocol number; AnyProtocol = every one
	// PortMin and PortMax are an inclusive range of destination ports of TCP, UDP, SCTP and
	// DCCP; of ICMP they are type and code, of which the second may be nil. Nil = any.
	PortMin *int `json:"port_min,omitempty"`
	PortMax *int `json:"port_max,omitempty"`
	// Stateless rules allow no answers.
	Stateless bool `json:"stateless,omitempty"`
	// Remotes are the other end's addresses: a prefix, or what a remote group resolved to.
	// Nil = anybody; empty and not nil = nobody (a remote group without members).
	Remotes []netip.Prefix `json:"remotes"`
}

// AnyProtocol in a FilterRule.
const AnyProtocol = -1

// AllowedSource is a MAC and a prefix that may be used together.
type AllowedSource struct {
	MAC    string       `json:"mac"`
	Prefix netip.Prefix `json:"prefix"`
}

// PortReport is what a host says of one attachment.
type PortReport struct {
	PortID   string `json:"port_id"`
	Revision int64  `json:"revision"` // of the attachment that was carried out
	Up       bool   `json:"up"`       // every attribute was read back as asked
	Reason   string `json:"reason,omitempty"`
	PF       string `json:"pf,omitempty"`
	VF       int    `json:"vf"`
	PCISlot  string `json:"pci_slot,omitempty"`

	Moments Moments `json:"moments,omitzero"`
}

// DHCPNetwork is what a DHCP agent is asked to serve.
type DHCPNetwork struct {
	NetworkID string     `json:"network_id"`
	PortID    string     `json:"port_id"` // the agent's own port (network:dhcp)
	MAC       string     `json:"mac"`
	MTU       int        `json:"mtu"`
	Addresses []FixedIP  `json:"addresses"` // of the agent's port
	Subnets   []*Subnet  `json:"subnets"`   // those with enable_dhcp
	Hosts     []DHCPHost `json:"hosts"`     // every port of the network that may have a lease

	// RoutedSubnets are the ids of Subnets that a router of ours has an interface on: it
	// advertises itself there, and leads to the metadata service.
	RoutedSubnets []string `json:"routed_subnets,omitempty"`
}

// DHCPHost is one port's lease.
type DHCPHost struct {
	PortID    string    `json:"port_id"`
	MAC       string    `json:"mac"` // canonical
	Addresses []FixedIP `json:"addresses"`
	HostName  string    `json:"host_name"`
	Options   []DHCPOpt `json:"options,omitempty"`

	// What the metadata service says of the instance.
	Device    string        `json:"device_id,omitempty"`
	ProjectID string        `json:"project_id,omitempty"`
	Instance  *InstanceData `json:"instance,omitempty"`
}

// InstanceData is what an instance is told about itself where no Nova does it. It comes from
// the key "instance" of the port's binding:profile.
type InstanceData struct {
	HostName   string   `json:"hostname,omitempty"`
	PublicKeys []string `json:"public_keys,omitempty"` // OpenSSH, one a string
	UserData   string   `json:"user_data,omitempty"`   // as cloud-init takes it
}

// Equal reports whether a and b say the same; nil equals nil only.
func (a *InstanceData) Equal(b *InstanceData) bool {
	if a == nil || b == nil || a == b {
		return a == b
	}
	return a.HostName == b.HostName && a.UserData == b.UserData && slices.Equal(a.PublicKeys, b.PublicKeys)
}

// Equal reports whether two filters allow the same by the same rules, in the same order.
func (f *Filter) Equal(o *Filter) bool {
	if f == nil || o == nil || f == o {
		return f == o
	}
	return slices.EqualFunc(f.Rules, o.Rules, func(a, b FilterRule) bool { return a.equal(&b) })
}

func (r *FilterRule) equal(o *FilterRule) bool {
	return r.Egress == o.Egress && r.IPv6 == o.IPv6 && r.Protocol == o.Protocol && r.Stateless == o.Stateless &&
		sameInt(r.PortMin, o.PortMin) && sameInt(r.PortMax, o.PortMax) &&
		(r.Remotes == nil) == (o.Remotes == nil) && slices.Equal(r.Remotes, o.Remotes)
}

func sameInt(a, b *int) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
