package ml2

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"neutrino/internal/model"
)

// vnic types that only some driver binds; model has the others.
const (
	vnicAcceleratorDirect = "accelerator-direct"
	vnicSmartNIC          = "smart-nic"
	vnicVDPA              = "vdpa"
)

// Keys of vif_details.
const (
	detailPortFilter      = "port_filter"
	detailConnectivity    = "connectivity"
	detailVLAN            = "vlan"
	detailPhysicalNetwork = "physical_network"
	detailVnicType        = "vnic_type"
	detailBoundDrivers    = "bound_drivers"
)

// AgentView is an agent and whether it is alive now.
type AgentView struct {
	*model.Agent
	Alive bool
}

// BindResult is what Bind decided.
type BindResult struct {
	Binding model.Binding // complete; host, vnic_type and profile are the port's (see Bind)
	Status  string        // the status the port takes: DOWN, or ACTIVE for direct-physical
	MAC     string        // direct-physical: the MAC the port takes (profile device_mac_address), else ""
	Tried   []string      // in words and in order, why drivers did not bind
}

// plug is how a driver would have a host plug a port.
type plug struct {
	vifType string
	details map[string]any
	status  string
	segment model.Segment
}

// mechanism is one mechanism driver. Implementations are immutable.
type mechanism interface {
	name() string
	vnicTypes() []string                // all that the driver can bind, for the prohibit list
	followsSegmentationID() []string    // vif types whose VLAN may change under a bound port
	bind(t try) (p plug, reason string) // a reason means it does not bind
}

// try is one attempt to bind.
type try struct {
	port    *model.Port
	network *model.Network
	agents  []AgentView // of the port's host, in a fixed order
	host    string
}

// prohibiting is a driver without the vnic types that the operator took from it.
type prohibiting struct {
	mechanism
	allowed []string
}

func (d prohibiting) bind(t try) (plug, string) {
	vnic := t.port.Binding.VnicType
	if slices.Contains(d.vnicTypes(), vnic) && !slices.Contains(d.allowed, vnic) {
		return plug{}, fmt.Sprintf("vnic_type %s is in its vnic_type_prohibit_list", vnic)
	}
	return d.mechanism.bind(t)
}

// Bind decides how a port is bound on the host that its binding names. agents are
// those of the host; any order will do, and agents of other hosts are passed over.
//
// The mechanism drivers are asked in the configured order and the first that can
// binds. When none can, vif_type is binding_failed, which is no error: the request
// that set the host succeeds, as in Neutron, and Tried says why in words. Without a
// host the port is unbound. With apply_profile_patch a port bound by an SR-IOV driver
// has physical_network in its profile.
//
// The result depends on nothing but the arguments and shares no map with them.
func (m *ML2) Bind(p *model.Port, n *model.Network, agents []AgentView) BindResult {
	r := BindResult{Status: model.StatusDown, Binding: model.Binding{
		Host:     p.Binding.Host,
		VnicType: p.Binding.VnicType,
		Profile:  maps.Clone(p.Binding.Profile),
		VIFType:  model.VIFUnbound,
	}}
	if r.Binding.VnicType == "" {
		r.Binding.VnicType = model.VnicNormal
	}
	if r.Binding.Host == "" {
		return r
	}
	asked := *p
	asked.Binding = r.Binding
	t := try{port: &asked, network: n, agents: onHost(agents, r.Binding.Host), host: r.Binding.Host}
	for _, d := range m.mechanisms {
		pl, reason := d.bind(t)
		if reason != "" {
			r.Tried = append(r.Tried, d.name()+": "+reason)
			continue
		}
		m.accept(&r, d, pl)
		return r
	}
	if len(m.mechanisms) == 0 {
		r.Tried = append(r.Tried, "no mechanism driver is configured")
	}
	r.Binding.VIFType = model.VIFBindingFailed
	return r
}

func (m *ML2) accept(r *BindResult, d mechanism, pl plug) {
	r.Status = pl.status
	b := &r.Binding
	b.VIFType, b.VIFDetails = pl.vifType, pl.details
	b.VIFDetails[detailBoundDrivers] = map[string]any{"0": d.name()}
	b.Driver, b.SegmentID = d.name(), pl.segment.ID
	if d.name() == DriverOpenVSwitch {
		return
	}
	if _, ok := b.Profile[detailPhysicalNetwork]; m.profile && !ok && pl.segment.PhysicalNetwork != "" {
		if b.Profile == nil {
			b.Profile = make(map[string]any)
		}
		b.Profile[detailPhysicalNetwork] = pl.segment.PhysicalNetwork
	}
	if b.VnicType == model.VnicDirectPhysical {
		if mac, ok := b.Profile["device_mac_address"].(string); ok && macText.MatchString(mac) {
			r.MAC = mac
		}
	}
}

// onHost returns the agents of a host in an order that does not depend on theirs.
func onHost(agents []AgentView, host string) []AgentView {
	var own []AgentView
	for _, a := range agents {
		if a.Agent != nil && a.Host == host {
			own = append(own, a)
		}
	}
	slices.SortFunc(own, func(a, b AgentView) int {
		if a.Alive != b.Alive {
			if a.Alive {
				return -1
			}
			return 1
		}
		return strings.Compare(a.ID, b.ID)
	})
	return own
}

// live returns the live agents of a type on the host, or why there is none.
func (t try) live(agentType string) ([]AgentView, string) {
	var live []AgentView
	dead := false
	for _, a := range t.agents {
		if a.Type != agentType {
			continue
		}
		if a.Alive {
			live = append(live, a)
		} else {
			dead = true
		}
	}
	switch {
	case len(live) > 0:
		return live, ""
	case dead:
		return nil, fmt.Sprintf("the %s on host %s is not alive", agentType, t.host)
	}
	return nil, fmt.Sprintf("host %s has no %s", t.host, agentType)
}

// has reports whether the host has an agent of a type, dead or alive.
func (t try) has(agentType string) bool {
	return slices.ContainsFunc(t.agents, func(a AgentView) bool { return a.Type == agentType })
}

// segment returns the network's first segment that fits.
func (t try) segment(fits func(model.Segment) (reason string)) (model.Segment, string) {
	var reasons []string
	for _, s := range t.network.Segments {
		reason := fits(s)
		if reason == "" {
			return s, ""
		}
		if !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	if len(reasons) == 0 {
		return model.Segment{}, "the network has no segment"
	}
	return model.Segment{}, strings.Join(reasons, "; ")
}

// EffectiveVnicType is what a bound port is on its host: its vnic_type, or for a
// normal port that [eswitch] vnic_type put on a VF, direct or macvtap.
func EffectiveVnicType(b *model.Binding) string {
	if v, ok := b.VIFDetails[detailVnicType].(string); ok && b.VnicType == model.VnicNormal {
		return v
	}
	return b.VnicType
}
