package neutron

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/ml2"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// hostAgents are the agents of a host with their liveness in the view.
func (s *Service) hostAgents(snap store.Snapshot, host string) []ml2.AgentView {
	var views []ml2.AgentView
	for a := range s.t.Agents.By(snap, ByHost, host) {
		views = append(views, ml2.AgentView{Agent: a, Alive: s.Alive(snap, a.ID)})
	}
	return views
}

// changeBinding does to a changed port what its new host, vnic_type and profile mean.
func (s *Service) changeBinding(a *attempt, old, p *model.Port, n *model.Network) error {
	if reflect.DeepEqual(old.Binding.Profile, p.Binding.Profile) {
		p.Binding.Profile = old.Binding.Profile
	}
	if old.Binding.Host != p.Binding.Host {
		p.Journey = model.Journey{Created: p.Journey.Created}
	}
	what, _ := s.ml2.Rebind(old, p)
	switch what {
	case ml2.KeepBinding:
		return nil
	case ml2.BindAnew, ml2.Unbind:
		s.unbind(p)
		if what == ml2.Unbind {
			return s.releaseDeviceMAC(a, old, p)
		}
	}
	return s.bind(a, p, n)
}

// unbind leaves the binding with what a client may write: host, vnic_type and profile.
func (s *Service) unbind(p *model.Port) {
	p.Binding = model.Binding{
		Host: p.Binding.Host, VnicType: p.Binding.VnicType, Profile: p.Binding.Profile, VIFType: model.VIFUnbound,
	}
	p.Status, p.StatusReason = model.StatusDown, ""
	p.Journey = model.Journey{Created: p.Journey.Created}
}

// releaseDeviceMAC gives a port that had a physical function's own MAC a new one, so that
// the function may go to another port of the network.
func (s *Service) releaseDeviceMAC(a *attempt, old, p *model.Port) error {
	if old.Binding.VIFType != model.VIFHostdevPhysical {
		return nil
	}
	profile, err := ml2.ParseProfile(old.Binding.Profile)
	if err != nil || profile.DeviceMAC == "" || model.CanonicalMAC(profile.DeviceMAC) != model.CanonicalMAC(p.MAC) {
		return nil //nolint:nilerr // a profile that says nothing of a MAC asks for nothing
	}
	p.MAC = ""
	return s.swapMAC(a, old, p)
}

// bind asks the mechanism drivers; a port that none of them binds is kept with vif_type
// binding_failed, as in Neutron. The commit rests on the segments being as they are.
func (s *Service) bind(a *attempt, p *model.Port, n *model.Network) error {
	if !s.restOn(a, p.NetworkID) {
		return fault.NetworkNotFound(p.NetworkID)
	}
	r := s.ml2.Bind(p, n, s.hostAgents(a.snap, p.Binding.Host))
	if !r.Binding.Bound() {
		s.log.Info("port could not be bound", "port", p.ID, "host", p.Binding.Host,
			"vnic_type", p.Binding.VnicType, "tried", strings.Join(r.Tried, "; "))
	}
	before := p.StatusReason
	p.Binding = r.Binding
	p.Status = r.Status
	set(&p.Status, model.StatusDown)
	p.StatusReason = ""
	if !r.Binding.Bound() {
		p.StatusReason = strings.Join(r.Tried, "; ")
	}
	if p.Binding.Bound() || p.Journey.Bind == 0 || p.StatusReason != before { // else the answer is the one it had
		p.Journey = model.Journey{Created: p.Journey.Created, Bind: s.moment()}
		if p.Status == model.StatusActive {
			p.Journey.Active = p.Journey.Bind
		}
	}
	if r.MAC != "" && model.CanonicalMAC(r.MAC) != model.CanonicalMAC(p.MAC) {
		old := p.Clone()
		p.MAC = r.MAC
		if err := s.swapMAC(a, old, p); err != nil {
			return err
		}
		return s.moveAddresses(a, old, p)
	}
	return nil
}

func waitsForHost(p *model.Port) bool { return p.Binding.Host != "" && !p.Binding.Bound() }

// secondChance binds a port that was committed as failed while an agent of its host came
// alive. Whichever of the two commits comes second sees the other: the agent's RebindHost
// the port, or this the agent.
func (s *Service) secondChance(ctx context.Context, p *model.Port) *model.Port {
	if !waitsForHost(p) {
		return p
	}
	snap := s.db.Snapshot()
	n, ok := s.t.Networks.Get(snap, p.NetworkID)
	if !ok {
		return p
	}
	if r := s.ml2.Bind(p, n, s.hostAgents(snap, p.Binding.Host)); !r.Binding.Bound() {
		return p
	}
	if err := s.rebindPorts(ctx, []string{p.ID}); err != nil {
		s.log.Warn("binding a port again", "port", p.ID, "err", err)
		return p
	}
	if now, ok := s.t.Ports.Get(s.db.Snapshot(), p.ID); ok {
		return now
	}
	return p
}

// RebindHost tries again to bind every port that waits for the host. Call it when an agent
// of the host comes alive or changes what it offers.
func (s *Service) RebindHost(ctx context.Context, host string) error {
	var waiting []string
	for p := range s.t.Ports.By(s.db.Snapshot(), ByHost, host) {
		if waitsForHost(p) {
			waiting = append(waiting, p.ID)
		}
	}
	for batch := range slices.Chunk(waiting, portsPerTx) {
		if err := s.rebindPorts(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) rebindPorts(ctx context.Context, ids []string) error {
	return s.update(ctx, "binding ports again", func(tx *store.Tx) error {
		a := s.begin(tx)
		for _, id := range ids {
			old, ok := s.t.Ports.Read(tx, id)
			if !ok || !waitsForHost(old) {
				continue
			}
			n, ok := s.t.Networks.Get(a.snap, old.NetworkID)
			if !ok {
				continue
			}
			p := old.Clone()
			if err := s.bind(a, p, n); err != nil {
				s.log.Warn("binding a port again", "port", id, "err", err)
				continue
			}
			if same(old, p) {
				continue
			}
			s.bump(&p.Meta)
			s.t.Ports.Put(tx, p)
		}
		return nil
	})
}
