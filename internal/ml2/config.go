package ml2

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"neutrino/internal/model"
)

// ErrConfig is in the chain of every error of New.
var ErrConfig = errors.New("configuration")

// Mechanism drivers.
const (
	DriverOpenVSwitch = "openvswitch"
	DriverMlnx        = "mlnx"
	DriverSRIOV       = "sriovnicswitch"
)

// Values of [eswitch] vnic_type: what a normal port becomes on a host that has a NIC
// switch agent and no Open vSwitch agent.
const (
	EswitchHostdev    = "hostdev"     // a VF passed through, as a direct port
	EswitchMlnxDirect = "mlnx_direct" // macvtap in passthrough mode on a VF, as a macvtap port
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

	EswitchVnicType   string // [eswitch] vnic_type: "", EswitchHostdev or EswitchMlnxDirect
	ApplyProfilePatch bool   // [eswitch] apply_profile_patch: copy physical_network into binding:profile

	SecurityGroups bool // [securitygroup] enable_security_group

	// VnicTypeProhibit is vnic_type_prohibit_list by mechanism driver: [ovs_driver]
	// for openvswitch, [sriov_driver] for sriovnicswitch and mlnx.
	VnicTypeProhibit map[string][]string
}

// Defaults returns Neutron's defaults, less the network types that neutrino has not.
func Defaults() Config {
	return Config{
		TypeDrivers:        []string{model.TypeLocal, model.TypeFlat, model.TypeVLAN, model.TypeVXLAN},
		TenantNetworkTypes: []string{model.TypeLocal},
		FlatNetworks:       []string{"*"},
		GlobalPhysnetMTU:   1500,
		OverlayIPVersion:   4,
		SecurityGroups:     true,
	}
}

// ML2 is the configured set of drivers. It is immutable.
type ML2 struct {
	drivers    map[string]bool // loaded type drivers
	tenant     []string
	external   string
	vlans      vlanRanges
	flatAny    bool
	flat       []string
	vnis       []idRange
	mtu        mtuRules
	mechanisms []mechanism
	profile    bool // apply_profile_patch
}

// New checks a configuration. Its errors name section and option and are ErrConfig.
func New(c Config) (*ML2, error) {
	m := &ML2{drivers: make(map[string]bool), profile: c.ApplyProfilePatch}
	steps := []func(Config) error{m.setTypes, m.setRanges, m.setMTU, m.setMechanisms}
	for _, step := range steps {
		if err := step(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func configError(section, option, format string, args ...any) error {
	return fmt.Errorf("%w: [%s] %s: %w", ErrConfig, section, option, fmt.Errorf(format, args...))
}

var knownTypes = []string{model.TypeFlat, model.TypeLocal, model.TypeVLAN, model.TypeVXLAN}

func (m *ML2) setTypes(c Config) error {
	for _, t := range c.TypeDrivers {
		if !slices.Contains(knownTypes, t) {
			return configError("ml2", "type_drivers", "network type %q is not one of %s", t, strings.Join(knownTypes, ", "))
		}
		m.drivers[t] = true
	}
	for _, t := range c.TenantNetworkTypes {
		if !m.drivers[t] {
			return configError("ml2", "tenant_network_types", "no type driver for tenant network type %q: it is not in type_drivers", t)
		}
	}
	if t := c.ExternalNetworkType; t != "" && !m.drivers[t] {
		return configError("ml2", "external_network_type", "no type driver for external network type %q: it is not in type_drivers", t)
	}
	m.tenant, m.external = slices.Clone(c.TenantNetworkTypes), c.ExternalNetworkType
	return nil
}

func (m *ML2) setRanges(c Config) (err error) {
	if m.vlans, err = parseVLANRanges(c.VLANRanges); err != nil {
		return configError("ml2_type_vlan", "network_vlan_ranges", "%w", err)
	}
	if m.vnis, err = parseVNIRanges(c.VNIRanges); err != nil {
		return configError("ml2_type_vxlan", "vni_ranges", "%w", err)
	}
	for _, name := range c.FlatNetworks {
		switch name = strings.TrimSpace(name); name {
		case "*":
			m.flatAny = true
		case "":
			return configError("ml2_type_flat", "flat_networks", "Empty physical network name.")
		default:
			m.flat = append(m.flat, name)
		}
	}
	return nil
}

func (m *ML2) setMTU(c Config) error {
	for option, v := range map[string]int{"path_mtu": c.PathMTU, "global_physnet_mtu": c.GlobalPhysnetMTU} {
		if v < 0 {
			return configError("ml2", option, "%d is negative", v)
		}
	}
	for name, v := range c.PhysicalNetworkMTUs {
		if v < 0 || name == "" {
			return configError("ml2", "physical_network_mtus", "%q:%d is not a physical network with its MTU", name, v)
		}
	}
	switch c.OverlayIPVersion {
	case 0, 4, 6:
	default:
		return configError("ml2", "overlay_ip_version", "%d is neither 4 nor 6", c.OverlayIPVersion)
	}
	m.mtu = newMTURules(c)
	return nil
}

func (m *ML2) setMechanisms(c Config) error {
	switch c.EswitchVnicType {
	case "", EswitchHostdev, EswitchMlnxDirect:
	default:
		return configError("eswitch", "vnic_type", "%q is neither %s nor %s", c.EswitchVnicType, EswitchHostdev, EswitchMlnxDirect)
	}
	withOVS := slices.Contains(c.MechanismDrivers, DriverOpenVSwitch)
	for i, name := range c.MechanismDrivers {
		if slices.Contains(c.MechanismDrivers[:i], name) {
			return configError("ml2", "mechanism_drivers", "%q is named twice", name)
		}
		var mech mechanism
		section := "sriov_driver"
		switch name {
		case DriverOpenVSwitch:
			mech, section = &openVSwitch{securityGroups: c.SecurityGroups}, "ovs_driver"
		case DriverMlnx, DriverSRIOV:
			mech = &nicSwitch{driver: name, normalAs: c.EswitchVnicType, yieldToOVS: withOVS}
		default:
			return configError("ml2", "mechanism_drivers", "%q is not one of %s, %s, %s", name, DriverMlnx, DriverOpenVSwitch, DriverSRIOV)
		}
		allowed, err := allowedVnicTypes(mech.vnicTypes(), c.VnicTypeProhibit[name])
		if err != nil {
			return configError(section, "vnic_type_prohibit_list", "%w", err)
		}
		m.mechanisms = append(m.mechanisms, prohibiting{mech, allowed})
	}
	for name := range c.VnicTypeProhibit {
		if !slices.Contains([]string{DriverOpenVSwitch, DriverMlnx, DriverSRIOV}, name) {
			return fmt.Errorf("%w: vnic_type_prohibit_list for an unknown mechanism driver %q", ErrConfig, name)
		}
	}
	return nil
}

func allowedVnicTypes(all, prohibited []string) ([]string, error) {
	for _, t := range prohibited {
		if !slices.Contains(all, t) {
			return nil, fmt.Errorf("vnic_type %q is not one of this driver's (%s)", t, strings.Join(all, ", "))
		}
	}
	allowed := slices.DeleteFunc(slices.Clone(all), func(t string) bool { return slices.Contains(prohibited, t) })
	if len(allowed) == 0 {
		return nil, errors.New("every vnic_type of the driver is prohibited")
	}
	return allowed, nil
}

// MechanismDrivers returns the configured drivers in order.
func (m *ML2) MechanismDrivers() []string {
	names := make([]string, len(m.mechanisms))
	for i, d := range m.mechanisms {
		names[i] = d.name()
	}
	return names
}
