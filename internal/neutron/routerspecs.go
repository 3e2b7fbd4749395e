package neutron

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"neutrino/internal/model"
	"neutrino/internal/store"
)

// watched gathers what a derivation rests on.
type watched struct {
	s        *Service
	snap     store.Snapshot
	channels []<-chan struct{}
	networks map[string]*watchedNetwork
	bare     bool // without metadata
}

// watchedNetwork is a network as routers see it.
type watchedNetwork struct {
	row     *model.Network // nil = gone
	subnets map[string]*model.Subnet
	ports   []*model.Port // filled where metadata is served
}

func (w *watched) on(c <-chan struct{}) { w.channels = append(w.channels, c) }

// network looks a network up once per derivation, with its ports when they matter.
func (w *watched) network(id string, withPorts bool) *watchedNetwork {
	n := w.networks[id]
	if n == nil {
		n = &watchedNetwork{subnets: make(map[string]*model.Subnet)}
		row, _, changed := w.s.t.Networks.WatchGet(w.snap, id)
		w.on(changed)
		n.row = row
		subnets, changed := w.s.t.Subnets.WatchBy(w.snap, ByNetwork, id)
		w.on(changed)
		for sub := range subnets {
			n.subnets[sub.ID] = sub
		}
		w.networks[id] = n
	}
	if withPorts && n.ports == nil {
		ports, changed := w.s.t.Ports.WatchBy(w.snap, ByNetwork, id)
		w.on(changed)
		n.ports = slices.AppendSeq(make([]*model.Port, 0, 8), ports)
	}
	return n
}

// RouterSpecs returns what an L3 agent is to carry out, in the order of router ids, and a
// channel that closes when that may have changed (or when the Service is closed). A router
// that is administratively down is left out; of its ports, those that are on the agent's
// host are in.
func (s *Service) RouterSpecs(snap store.Snapshot, agentID string) ([]*model.RouterSpec, <-chan struct{}) {
	w := &watched{s: s, snap: snap, networks: make(map[string]*watchedNetwork)}
	agent, ok, changed := s.t.Agents.WatchGet(snap, agentID)
	w.on(changed)
	if !ok {
		return nil, s.merges.any(w.channels...)
	}
	bindings, changed := s.t.RouterBindings.WatchBy(snap, ByAgent, agentID)
	w.on(changed)
	var out []*model.RouterSpec
	for b := range bindings {
		if spec := w.router(b.RouterID, agent.Host); spec != nil {
			out = append(out, spec)
		}
	}
	return out, s.merges.any(w.channels...)
}

// router derives one router's spec for a host; nil = nothing is to be carried out.
func (w *watched) router(id, host string) *model.RouterSpec {
	r, ok, changed := w.s.t.Routers.WatchGet(w.snap, id)
	w.on(changed)
	ports, changed := w.s.t.Ports.WatchBy(w.snap, ByDevice, id)
	w.on(changed)
	if !ok || !r.AdminStateUp {
		return nil
	}
	spec := &model.RouterSpec{RouterID: id, Routes: r.Routes}
	for p := range ports {
		if !isRouterPort(p) || p.Binding.Host != host || !p.AdminStateUp {
			continue
		}
		rp, served := w.port(p)
		switch {
		case !served:
		case p.DeviceOwner == model.OwnerRouterInterface:
			spec.Interfaces = append(spec.Interfaces, rp)
			if !w.bare {
				w.metadata(spec, rp)
			}
		case r.Gateway != nil && r.Gateway.PortID == p.ID:
			spec.Gateway, spec.EnableSNAT = &rp, r.Gateway.EnableSNAT
		}
	}
	floating, changed := w.s.t.FloatingIPs.WatchBy(w.snap, ByRouter, id)
	w.on(changed)
	for f := range floating {
		if spec.Gateway != nil && f.PortID != "" {
			spec.Floating = append(spec.Floating, model.FloatingPair{ID: f.ID, Floating: f.FloatingIP, Fixed: f.FixedIP})
		}
	}
	slices.SortFunc(spec.Metadata, func(a, b model.DHCPHost) int { return strings.Compare(a.PortID, b.PortID) })
	spec.Revision = specRevision(spec)
	return spec
}

// port derives one port of a router: nothing while its network is down or gone.
func (w *watched) port(p *model.Port) (model.RouterPort, bool) {
	n := w.network(p.NetworkID, false)
	if n.row == nil || !n.row.AdminStateUp {
		return model.RouterPort{}, false
	}
	out := model.RouterPort{PortID: p.ID, NetworkID: p.NetworkID, MAC: model.CanonicalMAC(p.MAC), MTU: n.row.MTU}
	for _, f := range p.FixedIPs {
		sub := n.subnets[f.SubnetID]
		if sub == nil {
			continue
		}
		out.Addresses = append(out.Addresses, f)
		if !slices.Contains(out.Subnets, sub) {
			out.Subnets = append(out.Subnets, sub)
		}
	}
	return out, true
}

// metadata adds the instances on an interface's subnets, by their addresses there. One that
// several interfaces reach is there once, with all its addresses. A port without a device_id
// is an instance, too, as it is to DHCP.
func (w *watched) metadata(spec *model.RouterSpec, rp model.RouterPort) {
	for _, p := range w.network(rp.NetworkID, true).ports {
		if isNetworkOwned(p.DeviceOwner) {
			continue
		}
		addresses := onSubnets(p.FixedIPs, rp.Subnets)
		if len(addresses) == 0 {
			continue
		}
		i := slices.IndexFunc(spec.Metadata, func(h model.DHCPHost) bool { return h.PortID == p.ID })
		if i < 0 {
			spec.Metadata = append(spec.Metadata, instanceOf(p, addresses))
			continue
		}
		spec.Metadata[i].Addresses = append(spec.Metadata[i].Addresses, addresses...)
	}
}

// specRevision is a positive hash of what the router's traffic rests on: everything but
// Revision itself, Metadata, and what of a subnet no router looks at.
func specRevision(spec *model.RouterSpec) int64 {
	content := *spec
	content.Revision, content.Metadata = 0, nil
	content.Interfaces = make([]model.RouterPort, len(spec.Interfaces))
	for i := range spec.Interfaces {
		content.Interfaces[i] = plainPort(spec.Interfaces[i])
	}
	if spec.Gateway != nil {
		g := plainPort(*spec.Gateway)
		content.Gateway = &g
	}
	text, err := json.Marshal(&content)
	if err != nil {
		return 1 // cannot be: there is nothing in a spec that JSON does not know
	}
	const positive = 1<<63 - 1
	return max(1, int64(xxhash.Sum64(text)&positive)) //nolint:gosec // the top bit is masked off
}

// plainPort is the port with what travels of its subnets.
func plainPort(p model.RouterPort) model.RouterPort {
	subnets := p.Subnets
	p.Subnets = make([]*model.Subnet, len(subnets))
	for i, sub := range subnets {
		c := *sub
		c.Meta = model.Meta{ID: sub.ID}
		c.ServiceTypes, c.SubnetPoolID = nil, ""
		p.Subnets[i] = &c
	}
	return p
}
