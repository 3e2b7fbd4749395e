package model

import "slices"

// SecurityGroup is a named set of rules.
type SecurityGroup struct {
	Meta
	Stateful bool `json:"stateful"`
	Shared   bool `json:"shared"`
}

// Clone returns a deep copy.
func (g *SecurityGroup) Clone() *SecurityGroup {
	c := *g
	c.Meta = g.Meta.clone()
	return &c
}

// SecurityGroupRule allows one kind of traffic.
type SecurityGroupRule struct {
	Meta
	SecurityGroupID      string `json:"security_group_id"`
	Direction            string `json:"direction"` // ingress | egress
	EtherType            string `json:"ethertype"` // IPv4 | IPv6
	Protocol             string `json:"protocol,omitempty"`
	PortRangeMin         *int   `json:"port_range_min,omitempty"`
	PortRangeMax         *int   `json:"port_range_max,omitempty"`
	RemoteIPPrefix       string `json:"remote_ip_prefix,omitempty"` // as sent
	RemoteGroupID        string `json:"remote_group_id,omitempty"`
	RemoteAddressGroupID string `json:"remote_address_group_id,omitempty"`
}

// Clone returns a deep copy.
func (r *SecurityGroupRule) Clone() *SecurityGroupRule {
	c := *r
	c.Meta = r.Meta.clone()
	if r.PortRangeMin != nil {
		v := *r.PortRangeMin
		c.PortRangeMin = &v
	}
	if r.PortRangeMax != nil {
		v := *r.PortRangeMax
		c.PortRangeMax = &v
	}
	return &c
}

// AddressGroup is a named set of addresses that rules refer to.
type AddressGroup struct {
	Meta
	Addresses []string `json:"addresses"`
}

// Clone returns a deep copy.
func (g *AddressGroup) Clone() *AddressGroup {
	c := *g
	c.Meta = g.Meta.clone()
	c.Addresses = slices.Clone(g.Addresses)
	return &c
}

// Quota holds the limits that a project was given in place of the defaults.
type Quota struct {
	ProjectID string         `json:"project_id"`
	Limits    map[string]int `json:"limits"` // resource -> limit; -1 = none
}
