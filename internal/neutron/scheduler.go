package neutron

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"time"

	"neutrino/internal/fault"
	"neutrino/internal/ipam"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// Bounds of the wait before the scheduler tries again what failed. Nothing else makes it
// run but changes of the tables.
const (
	scheduleRetryMin = time.Second
	scheduleRetryMax = time.Minute
)

// RunScheduler keeps every network that has a subnet with DHCP on live DHCP agents, with a
// port for each, until ctx ends (which is no error). Any number of controllers may run it:
// whoever comes first does the work, and the others find it done. An agent that it has not
// seen yet keeps its networks for a while (patience).
func (s *Service) RunScheduler(ctx context.Context) error {
	p, stop := s.newPatience()
	defer stop()
	d := &dhcpScheduler{Service: s, patience: p}
	return s.keepScheduled(ctx, d.watchSchedule, d.schedule)
}

// dhcpScheduler is one run of the scheduler. One goroutine uses it.
type dhcpScheduler struct {
	*Service
	*patience
}

// keepScheduled runs a pass over the view whenever what it rests on has changed, and again
// after a while where one failed, until ctx ends.
func (s *Service) keepScheduled(ctx context.Context, watch func(store.Snapshot) (wake, agents <-chan struct{}),
	pass func(context.Context, store.Snapshot) (failed bool),
) error {
	retry := scheduleRetryMin
	var agents map[string]bool
	for {
		snap := s.db.Snapshot()
		wake, agentsChanged := watch(snap)
		failed := pass(ctx, snap)
		agents = s.agentStates(snap)
		var again <-chan time.Time
		if failed {
			again, retry = time.After(retry), min(2*retry, scheduleRetryMax)
		} else {
			retry = scheduleRetryMin
		}
		for woken := false; !woken; {
			select {
			case <-ctx.Done():
				return nil
			case <-wake:
				woken = true
			case <-again:
				woken = true
			case <-agentsChanged:
				// Mostly a heartbeat.
				now := s.db.Snapshot()
				_, agentsChanged = s.t.Agents.WatchAll(now)
				woken = !maps.Equal(agents, s.agentStates(now))
			}
		}
	}
}

func (s *dhcpScheduler) watchSchedule(snap store.Snapshot) (wake, agents <-chan struct{}) {
	_, networks := s.t.Networks.WatchAll(snap)
	_, subnets := s.t.Subnets.WatchAll(snap)
	_, liveness := s.t.Liveness.WatchAll(snap)
	_, bindings := s.t.DHCPBindings.WatchAll(snap)
	_, ports := s.t.Ports.WatchBy(snap, ByOwner, model.OwnerDHCP)
	_, agents = s.t.Agents.WatchAll(snap)
	return s.merges.any(networks, subnets, liveness, bindings, ports, s.ends()), agents
}

// agentStates is what of the agents matters to the scheduler.
func (s *Service) agentStates(snap store.Snapshot) map[string]bool {
	states := make(map[string]bool)
	for a := range s.t.Agents.All(snap) {
		states[a.ID+" "+a.Host+" "+a.AvailabilityZone] = a.AdminStateUp
	}
	return states
}

// schedule looks at every network once and repairs those that are not as they should be.
func (s *dhcpScheduler) schedule(ctx context.Context, snap store.Snapshot) (failed bool) {
	load := make(map[string]int)
	for b := range s.t.DHCPBindings.All(snap) {
		for _, id := range b.AgentIDs {
			load[id]++
		}
	}
	for n := range s.t.Networks.All(snap) {
		if ctx.Err() != nil {
			return false
		}
		if s.served(snap, n, load) {
			continue
		}
		var agents []string
		err := s.update(ctx, "scheduling network "+n.ID, func(tx *store.Tx) error {
			var err error
			agents, err = s.serve(s.begin(tx), n.ID, load)
			return err
		})
		if err != nil && ctx.Err() == nil {
			s.log.Warn("scheduling a network on DHCP agents", "network", n.ID, "err", err)
			failed = true
			continue
		}
		for _, id := range agents {
			load[id]++
		}
	}
	return failed
}

// dhcpSubnets are the subnets of a network on which an agent has to answer.
func (s *Service) dhcpSubnets(snap store.Snapshot, network string) []*model.Subnet {
	var out []*model.Subnet
	for sub := range s.t.Subnets.By(snap, ByNetwork, network) {
		if sub.EnableDHCP {
			out = append(out, sub)
		}
	}
	return out
}

// wantAgents chooses the agents of a network: those it has that are usable, or may still be,
// then the usable ones with the least networks; dead ones only where nobody can take their
// place.
func (s *dhcpScheduler) wantAgents(snap store.Snapshot, n *model.Network, have []string, load map[string]int) []*model.Agent {
	var keep, fresh, dead []*model.Agent
	for a := range s.t.Agents.All(snap) {
		if a.Type != model.AgentDHCP {
			continue
		}
		alive := s.Alive(snap, a.ID)
		waited := s.mayComeBack(a, alive)
		usable := a.AdminStateUp && alive &&
			(len(n.AvailabilityZoneHints) == 0 || slices.Contains(n.AvailabilityZoneHints, s.zoneOf(a)))
		switch bound := slices.Contains(have, a.ID); {
		case bound && (usable || waited):
			keep = append(keep, a)
		case bound:
			dead = append(dead, a)
		case usable:
			fresh = append(fresh, a)
		}
	}
	slices.SortStableFunc(fresh, func(x, y *model.Agent) int { return load[x.ID] - load[y.ID] })
	all := slices.Concat(keep, fresh, dead)
	return all[:min(len(all), s.o.DHCPAgentsPerNetwork)]
}

// agentPorts are the network's ports that were made for DHCP agents.
func (s *Service) agentPorts(snap store.Snapshot, network string) []*model.Port {
	var out []*model.Port
	for p := range s.t.Ports.By(snap, ByNetwork, network) {
		if isAgentPort(p) {
			out = append(out, p)
		}
	}
	return out
}

// served reports whether there is nothing to do for a network in the view.
func (s *dhcpScheduler) served(snap store.Snapshot, n *model.Network, load map[string]int) bool {
	subnets := s.dhcpSubnets(snap, n.ID)
	b, bound := s.t.DHCPBindings.Get(snap, n.ID)
	if len(subnets) == 0 && !bound {
		return true
	}
	var have []string
	if bound {
		have = b.AgentIDs
	}
	var agents []*model.Agent
	if len(subnets) > 0 {
		agents = s.wantAgents(snap, n, have, load)
	}
	if !sameAgents(have, agents) || bound != (len(agents) > 0) {
		return false
	}
	ports := s.agentPorts(snap, n.ID)
	if len(ports) != len(agents) {
		return false
	}
	for _, agent := range agents {
		i := slices.IndexFunc(ports, func(p *model.Port) bool { return p.DeviceID == dhcpDeviceID(agent.Host, n.ID) })
		if i < 0 || !s.portServes(snap, ports[i], agent, subnets) {
			return false
		}
	}
	return true
}

func sameAgents(ids []string, agents []*model.Agent) bool {
	if len(ids) != len(agents) {
		return false
	}
	for _, a := range agents {
		if !slices.Contains(ids, a.ID) {
			return false
		}
	}
	return true
}

// portServes reports whether an agent's port is on its host, of the right kind, and has an
// address on exactly the subnets with DHCP (and where hosts form their own).
func (s *Service) portServes(snap store.Snapshot, p *model.Port, agent *model.Agent, subnets []*model.Subnet) bool {
	if p.Binding.Host != agent.Host || (!p.Binding.Bound() && p.Binding.VnicType != s.dhcpVnicType(snap, agent.Host)) {
		return false
	}
	for _, sub := range subnets {
		if !slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == sub.ID }) {
			return false
		}
	}
	for _, f := range p.FixedIPs {
		sub, ok := s.t.Subnets.Get(snap, f.SubnetID)
		if !ok || (!sub.EnableDHCP && !sub.AutoAddress()) {
			return false
		}
	}
	return true
}

// dhcpVnicType is how a DHCP port plugs on a host: on a VF where the NIC switch is all
// that there is.
func (s *Service) dhcpVnicType(snap store.Snapshot, host string) string {
	nic := false
	for a := range s.t.Agents.By(snap, ByHost, host) {
		switch a.Type {
		case model.AgentOpenVSwitch:
			return model.VnicNormal
		case model.AgentNICSwitch:
			nic = nic || s.Alive(snap, a.ID)
		}
	}
	if nic {
		return model.VnicDirect
	}
	return model.VnicNormal
}

// serve makes a network's DHCP as it should be, within one transaction that rests on the
// network's layout and on its DHCP binding. It returns the agents that are new to it.
func (s *dhcpScheduler) serve(a *attempt, network string, load map[string]int) (added []string, err error) {
	b, bound := s.t.DHCPBindings.Read(a.Tx, network)
	n, ok := s.t.Networks.Get(a.snap, network)
	if !ok || !s.restOn(a, network) {
		return nil, nil
	}
	var have []string
	if bound {
		have = b.AgentIDs
	}
	subnets := s.dhcpSubnets(a.snap, network)
	var agents []*model.Agent
	if len(subnets) > 0 {
		agents = s.wantAgents(a.snap, n, have, load)
	}
	spare := s.agentPorts(a.snap, network)
	own := make([]*model.Port, len(agents))
	for i, agent := range agents {
		device := dhcpDeviceID(agent.Host, network)
		if j := slices.IndexFunc(spare, func(p *model.Port) bool { return p.DeviceID == device }); j >= 0 {
			own[i] = spare[j]
			spare = slices.Delete(spare, j, j+1)
		}
	}
	for i, agent := range agents {
		// A port that lost its agent goes to the next one: the server keeps its address.
		if own[i] == nil && len(spare) > 0 {
			own[i], spare = spare[0], spare[1:]
		}
		if err := s.servePort(a, n, agent, own[i], subnets); err != nil {
			return nil, err
		}
	}
	for _, p := range spare {
		s.removePort(a, p.ID)
	}
	if len(agents) == 0 {
		if bound {
			s.t.DHCPBindings.Delete(a.Tx, network)
		}
		return nil, nil
	}
	// Written even when unchanged: two controllers never make a port each.
	next := &model.DHCPBinding{NetworkID: network}
	for _, agent := range agents {
		next.AgentIDs = append(next.AgentIDs, agent.ID)
		if !slices.Contains(have, agent.ID) {
			added = append(added, agent.ID)
		}
	}
	s.t.DHCPBindings.Put(a.Tx, next)
	return added, nil
}

// servePort makes or changes an agent's port on a network.
func (s *Service) servePort(a *attempt, n *model.Network, agent *model.Agent, have *model.Port, subnets []*model.Subnet) error {
	if have == nil {
		p := &model.Port{
			Meta: model.Meta{ID: newID(), ProjectID: n.ProjectID}, NetworkID: n.ID, AdminStateUp: true,
			DeviceOwner: model.OwnerDHCP, PropagateUplinkStatus: true, Status: model.StatusDown,
		}
		s.stamp(&p.Meta)
		if err := s.takeMAC(a, p); err != nil {
			return err
		}
		return s.placePort(a, n, agent, &model.Port{}, p, subnets)
	}
	old, ok := s.t.Ports.Read(a.Tx, have.ID)
	if !ok {
		return nil
	}
	return s.placePort(a, n, agent, old, old.Clone(), subnets)
}

// placePort gives an agent's port its device, host, binding and addresses, and writes it.
func (s *Service) placePort(a *attempt, n *model.Network, agent *model.Agent, old, p *model.Port, subnets []*model.Subnet) error {
	p.DeviceID = dhcpDeviceID(agent.Host, n.ID)
	fixed, err := s.dhcpAddresses(a, p, subnets)
	if err != nil {
		return err
	}
	p.FixedIPs = fixed
	if err := s.moveAddresses(a, old, p); err != nil {
		return err
	}
	vnic := s.dhcpVnicType(a.snap, agent.Host)
	if p.Binding.Host != agent.Host || (!p.Binding.Bound() && p.Binding.VnicType != vnic) {
		p.Binding = model.Binding{Host: agent.Host, VnicType: vnic}
		s.unbind(p)
		if err := s.bind(a, p, n); err != nil {
			return err
		}
	}
	if reflect.DeepEqual(old, p) {
		return nil
	}
	if old.ID != "" {
		s.bump(&p.Meta)
	}
	s.t.Ports.Put(a.Tx, p)
	return nil
}

// dhcpAddresses chooses the agent port's addresses: what it has on subnets with DHCP, and
// one more on each of them where it has none. A subnet without a free address is left out.
func (s *Service) dhcpAddresses(a *attempt, p *model.Port, subnets []*model.Subnet) ([]model.FixedIP, error) {
	all := s.subnetsOf(a, p.NetworkID)
	choose := func(fixed []model.FixedIP) ([]model.FixedIP, error) {
		return ipam.ChooseAddresses(ipam.Request{
			NetworkID: p.NetworkID, MAC: p.MAC, DeviceOwner: model.OwnerDHCP,
			Fixed: fixed, Given: true, Current: p.FixedIPs,
		}, all, a.heldAddress, a.rnd)
	}
	var asked []model.FixedIP
	for _, sub := range subnets {
		if sub.AutoAddress() {
			continue // given without asking
		}
		want := model.FixedIP{SubnetID: sub.ID}
		if i := slices.IndexFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == sub.ID }); i >= 0 {
			want = p.FixedIPs[i]
		}
		if _, err := choose(append(slices.Clone(asked), want)); err != nil {
			if fault.As(err) == nil {
				return nil, err
			}
			s.log.Warn("no address for the DHCP port on a subnet", "network", p.NetworkID, "subnet", sub.ID, "err", err)
			continue
		}
		asked = append(asked, want)
	}
	fixed, err := choose(asked)
	return notNil(fixed), err
}
