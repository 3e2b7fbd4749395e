package model

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// vnic types (binding:vnic_type). All that Neutron knows are accepted; which of
// them can be bound is for the mechanism drivers to say.
const (
	VnicNormal         = "normal"
	VnicDirect         = "direct"
	VnicMacvtap        = "macvtap"
	VnicDirectPhysical = "direct-physical"
)

// vif types (binding:vif_type).
const (
	VIFUnbound         = "unbound"
	VIFBindingFailed   = "binding_failed"
	VIFHWVEB           = "hw_veb"
	VIFHostdevPhysical = "hostdev_physical"
	VIFOVS             = "ovs"
)

// Device owners with a meaning to neutrino.
const (
	OwnerDHCP          = "network:dhcp"
	OwnerComputePrefix = "compute:"
	OwnerNetworkPrefix = "network:"
)

// FixedIP is one address of a port. In a request either field may be zero.
type FixedIP struct {
	SubnetID string     `json:"subnet_id"`
	IP       netip.Addr `json:"ip_address"`
}

// AddressPair is an additional address that a port may send from. IP is an address
// or a prefix, kept as it was sent.
type AddressPair struct {
	IP  string `json:"ip_address"`
	MAC string `json:"mac_address"`
}

// DHCPOpt is one extra DHCP option of a port. Name is an option number or a dnsmasq
// option name.
type DHCPOpt struct {
	Name      string `json:"opt_name"`
	Value     string `json:"opt_value"`
	IPVersion int    `json:"ip_version"` // 4 or 6
}

// Binding says on which host a port lives and how the host is to plug it.
type Binding struct {
	Host       string         `json:"host,omitempty"`
	VnicType   string         `json:"vnic_type"`
	Profile    map[string]any `json:"profile,omitempty"`
	VIFType    string         `json:"vif_type"`
	VIFDetails map[string]any `json:"vif_details,omitempty"`
	Driver     string         `json:"driver,omitempty"`     // the mechanism driver that bound it
	SegmentID  string         `json:"segment_id,omitempty"` // the segment it is bound to
}

// Bound reports whether a mechanism driver has bound the port.
func (b *Binding) Bound() bool {
	return b.VIFType != "" && b.VIFType != VIFUnbound && b.VIFType != VIFBindingFailed
}

// PCISlot returns the VF that Nova (or the operator) chose, "dddd:bb:ss.f", or "".
func (b *Binding) PCISlot() string {
	s, _ := b.Profile["pci_slot"].(string)
	return s
}

// Port is an attachment point of a network.
type Port struct {
	Meta
	NetworkID             string        `json:"network_id"`
	MAC                   string        `json:"mac_address"` // as sent by the client; see CanonicalMAC
	FixedIPs              []FixedIP     `json:"fixed_ips"`
	AdminStateUp          bool          `json:"admin_state_up"`
	Status                string        `json:"status"`
	StatusReason          string        `json:"status_reason,omitempty"` // the agent's words when the port is not ACTIVE
	DeviceID              string        `json:"device_id,omitempty"`
	DeviceOwner           string        `json:"device_owner,omitempty"`
	SecurityGroups        []string      `json:"security_groups,omitempty"`
	PortSecurity          bool          `json:"port_security_enabled"`
	AllowedAddressPairs   []AddressPair `json:"allowed_address_pairs,omitempty"`
	ExtraDHCPOpts         []DHCPOpt     `json:"extra_dhcp_opts,omitempty"`
	Trusted               *bool         `json:"trusted,omitempty"` // port-trusted-vif; nil = not said
	PropagateUplinkStatus bool          `json:"propagate_uplink_status"`
	IPAllocation          string        `json:"ip_allocation"` // immediate | none
	Binding               Binding       `json:"binding"`
	Journey               Journey       `json:"journey,omitzero"`
}

// Clone returns a deep copy; values inside binding maps are shared and must not be changed.
func (p *Port) Clone() *Port {
	c := *p
	c.Meta = p.Meta.clone()
	c.FixedIPs = slices.Clone(p.FixedIPs)
	c.SecurityGroups = slices.Clone(p.SecurityGroups)
	c.AllowedAddressPairs = slices.Clone(p.AllowedAddressPairs)
	c.ExtraDHCPOpts = slices.Clone(p.ExtraDHCPOpts)
	c.Binding.Profile = maps.Clone(p.Binding.Profile)
	c.Binding.VIFDetails = maps.Clone(p.Binding.VIFDetails)
	if p.Trusted != nil {
		t := *p.Trusted
		c.Trusted = &t
	}
	return &c
}

// CanonicalMAC returns mac in lower case with colons. It does not validate.
func CanonicalMAC(mac string) string {
	return strings.ReplaceAll(strings.ToLower(mac), "-", ":")
}
