package ml2

import (
	"math/rand/v2"

	"neutrino/internal/model"
)

// Config is what [ml2], [ml2_type_*], [ovs_driver], [sriov_driver], [eswitch] and
// [securitygroup] say, with oslo.config's defaults already applied; see Defaults.
type Config struct {
	TypeDrivers         []string // [ml2] type_drivers
	TenantNetworkTypes  []string // [ml2] tenant_network_types (project_network_types), tried in order
	MechanismDrivers    []string // [ml2] mechanism_drivers, tried in order
	ExternalNetworkType string   // [ml2] external_network_type; "" = as for tenants

	VLANRanges   []string // [ml2_type_vlan] network_vlan_ranges: "phys" or "phys:min:max"
	FlatNetworks []string // [ml2_type_flat] flat_networks; "*" = any name, empty = none
	VNIRanges    []string // [ml2_type_vxlan] vni_ranges: "min:max"

	GlobalPhysnetMTU    int            // bytes, 0 = not limited
	PathMTU             int            // bytes, 0 = not limited
	OverlayIPVersion    int            // 4 or 6; 0 = 4
	PhysicalNetworkMTUs map[string]int // bytes by physical network

	EswitchVnicType   string // [eswitch] vnic_type: "", "hostdev" or "mlnx_direct"
	ApplyProfilePatch bool   // [eswitch] apply_profile_patch

	SecurityGroups bool // [securitygroup] enable_security_group

	// VnicTypeProhibit is vnic_type_prohibit_list by mechanism driver: [ovs_driver]
	// for openvswitch, [sriov_driver] for sriovnicswitch and mlnx.
	VnicTypeProhibit map[string][]string
}

// Names of the request attributes that "given" maps speak of.
const (
	AttrNetworkType     = "provider:network_type"
	AttrPhysicalNetwork = "provider:physical_network"
	AttrSegmentationID  = "provider:segmentation_id"
)

// ML2 is the configured set of drivers.
type ML2 struct {
	cfg Config
}

// Claim is a name that only one network may hold. Kinds: "vlan" (key "phys/105"),
// "flat" (key "phys"), "vni" (key "77").
type Claim struct{ Kind, Key string }

// AgentView is an agent and whether it is alive now.
type AgentView struct {
	*model.Agent
	Alive bool
}

// BindResult is what Bind decided.
type BindResult struct {
	Binding model.Binding // complete: host, vnic_type and profile are the port's
	Status  string        // the status the port takes: DOWN, or ACTIVE for direct-physical
	MAC     string        // direct-physical: the MAC the port takes (profile device_mac_address), else ""
	Tried   []string      // in words, per driver in order, why it did not bind
}

// Taken reports whether a claim is held.
type Taken func(Claim) bool

// Rebinding says what a change of a port means for its binding.
type Rebinding int

// Kinds of Rebinding.
const (
	KeepBinding Rebinding = iota // nothing to do
	BindNow                      // not bound yet though a host is set: try (again)
	BindAnew                     // host, vnic_type or profile changed: unbind, status DOWN, bind
	Unbind                       // the host was taken away: unbind, status DOWN
)

var _ = rand.New
