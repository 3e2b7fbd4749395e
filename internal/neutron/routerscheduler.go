package neutron

import (
	"context"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// RunRouterScheduler keeps every router on one live L3 agent, with its ports on that agent's
// host, until ctx ends (which is no error). Any number of controllers may run it: whoever
// comes first does the work, and the others find it done.
// An agent that it has not seen yet keeps its routers for a while (patience).
func (s *Service) RunRouterScheduler(ctx context.Context) error {
	p, stop := s.newPatience()
	defer stop()
	r := &routerScheduler{Service: s, patience: p}
	return s.keepScheduled(ctx, r.watchRouters, r.scheduleRouters)
}

// routerScheduler is one run of the scheduler. One goroutine uses it.
type routerScheduler struct {
	*Service
	*patience
}

func (s *routerScheduler) watchRouters(snap store.Snapshot) (wake, agents <-chan struct{}) {
	_, routers := s.t.Routers.WatchAll(snap)
	_, bindings := s.t.RouterBindings.WatchAll(snap)
	_, liveness := s.t.Liveness.WatchAll(snap)
	_, interfaces := s.t.Ports.WatchBy(snap, ByOwner, model.OwnerRouterInterface)
	_, gateways := s.t.Ports.WatchBy(snap, ByOwner, model.OwnerRouterGateway)
	_, agents = s.t.Agents.WatchAll(snap)
	return s.merges.any(routers, bindings, liveness, interfaces, gateways, s.ends()), agents
}

// scheduleRouters looks at every router once and repairs those that are not as they should be.
func (s *routerScheduler) scheduleRouters(ctx context.Context, snap store.Snapshot) (failed bool) {
	load := make(map[string]int)
	for b := range s.t.RouterBindings.All(snap) {
		load[b.AgentID]++
	}
	for r := range s.t.Routers.All(snap) {
		if ctx.Err() != nil {
			return false
		}
		if s.placed(snap, r, load) {
			continue
		}
		moved := &move{}
		again := true
		for try := 0; again && try < deleteTries && ctx.Err() == nil; try++ {
			err := s.update(ctx, "scheduling router "+r.ID, func(tx *store.Tx) error {
				var err error
				again, err = s.place(s.begin(tx), r.ID, load, moved)
				return err
			})
			if err != nil && ctx.Err() == nil {
				s.log.Warn("scheduling a router on an L3 agent", "router", r.ID, "err", err)
				failed = true
				break
			}
		}
		if moved.from != moved.to {
			load[moved.from]--
			load[moved.to]++
			s.log.Info("router has an agent", "router", r.ID, "agent", moved.to, "before", moved.from)
		}
	}
	return failed
}

// move is what placing a router changed.
type move struct{ from, to string } // agents; "" = none

// wantAgent chooses the agent of a router: the one it has while that is usable, then the
// usable one with the least routers, then the one it has.
func (s *routerScheduler) wantAgent(snap store.Snapshot, r *model.Router, have string, load map[string]int) *model.Agent {
	var own, best *model.Agent
	for a := range s.t.Agents.All(snap) {
		if a.Type != model.AgentL3 {
			continue
		}
		alive := s.Alive(snap, a.ID)
		waited := s.mayComeBack(a, alive)
		usable := a.AdminStateUp && alive &&
			(len(r.AvailabilityZoneHints) == 0 || slices.Contains(r.AvailabilityZoneHints, s.zoneOf(a)))
		if a.ID == have {
			if own = a; usable {
				return a
			}
			if waited {
				return a
			}
		}
		if usable && (best == nil || load[a.ID] < load[best.ID]) {
			best = a
		}
	}
	if best == nil {
		return own
	}
	return best
}

// placed reports whether there is nothing to do for a router in the view.
func (s *routerScheduler) placed(snap store.Snapshot, r *model.Router, load map[string]int) bool {
	b, bound := s.t.RouterBindings.Get(snap, r.ID)
	if bound && b.AgentID == "" {
		return len(s.misplaced(snap, r.ID, nil)) == 0
	}
	have := ""
	if bound {
		have = b.AgentID
	}
	agent := s.wantAgent(snap, r, have, load)
	if agent == nil {
		return !bound
	}
	return agent.ID == have && len(s.misplaced(snap, r.ID, agent)) == 0
}

// misplaced are the router's ports that are not bound where they should be: on the agent's
// host, or nowhere without an agent.
func (s *Service) misplaced(snap store.Snapshot, router string, agent *model.Agent) []*model.Port {
	var out []*model.Port
	for _, p := range s.routerPorts(snap, router) {
		switch {
		case agent == nil && p.Binding.Host == "":
		case agent != nil && p.Binding.Host == agent.Host &&
			(p.Binding.Bound() || p.Binding.VnicType == s.dhcpVnicType(snap, agent.Host)):
		default:
			out = append(out, p)
		}
	}
	return out
}

// place makes a router's binding and its ports as they should be, a few ports at a time:
// again says that there are more.
func (s *routerScheduler) place(a *attempt, router string, load map[string]int, moved *move) (again bool, err error) {
	r, ok := s.t.Routers.Require(a.Tx, router)
	if !ok {
		return false, nil
	}
	b, bound := s.t.RouterBindings.Read(a.Tx, router)
	if bound && b.AgentID == "" {
		return s.movePorts(a, router, nil)
	}
	have := ""
	if bound {
		have = b.AgentID
	}
	agent := s.wantAgent(a.snap, r, have, load)
	switch {
	case agent == nil && bound:
		s.t.RouterBindings.Delete(a.Tx, router)
	case agent != nil && agent.ID != have:
		s.t.RouterBindings.Put(a.Tx, &model.RouterBinding{RouterID: router, AgentID: agent.ID})
		*moved = move{from: have, to: agent.ID}
	case agent != nil:
		// Written unchanged: whoever else moves ports does it before or after.
		s.t.RouterBindings.Put(a.Tx, b)
	}
	return s.movePorts(a, router, agent)
}

// movePorts binds ports on the agent's host, or unbinds them without one.
func (s *Service) movePorts(a *attempt, router string, agent *model.Agent) (again bool, err error) {
	ports := s.misplaced(a.snap, router, agent)
	for _, p := range ports[:min(len(ports), portsPerTx)] {
		old, ok := s.t.Ports.Read(a.Tx, p.ID)
		if !ok {
			continue
		}
		p = old.Clone()
		if agent == nil {
			p.Binding = model.Binding{VnicType: model.VnicNormal}
			s.unbind(p)
		} else {
			n, known := s.t.Networks.Get(a.snap, p.NetworkID)
			if !known {
				continue
			}
			if err := s.bindOn(a, n, p, agent.Host); err != nil {
				return false, err
			}
		}
		if same(old, p) {
			continue
		}
		s.bump(&p.Meta)
		s.t.Ports.Put(a.Tx, p)
	}
	return len(ports) > portsPerTx, nil
}

// ScheduleRouter puts a router that has no agent on one, as an operator says.
func (s *Service) ScheduleRouter(ctx context.Context, who model.Actor, agentID, router string) error {
	return s.update(ctx, "scheduling router "+router+" on agent "+agentID, func(tx *store.Tx) error {
		a := s.begin(tx)
		agent, ok := s.t.Agents.Read(tx, agentID)
		if !ok {
			return fault.AgentNotFound(agentID)
		}
		if _, ok = s.t.Routers.Require(tx, router); !ok {
			return fault.RouterNotFound(router)
		}
		if agent.Type != model.AgentL3 || !agent.AdminStateUp {
			return fault.InvalidL3Agent(agentID)
		}
		if b, bound := s.t.RouterBindings.Read(tx, router); bound && b.AgentID != "" {
			if b.AgentID == agentID {
				return nil
			}
			return fault.RouterHostedByL3Agent(router, b.AgentID)
		}
		s.t.RouterBindings.Put(tx, &model.RouterBinding{RouterID: router, AgentID: agentID})
		_, err := s.movePorts(a, router, agent)
		return err
	})
}

// UnscheduleRouter takes a router off its agent. It stays off until the next change of its
// ports, or until somebody schedules it.
func (s *Service) UnscheduleRouter(ctx context.Context, who model.Actor, agentID, router string) error {
	return s.update(ctx, "taking router "+router+" off agent "+agentID, func(tx *store.Tx) error {
		if _, ok := s.t.Agents.Get(tx.Snapshot(), agentID); !ok {
			return fault.AgentNotFound(agentID)
		}
		if _, ok := s.t.Routers.Require(tx, router); !ok {
			return fault.RouterNotFound(router)
		}
		if b, bound := s.t.RouterBindings.Read(tx, router); !bound || b.AgentID != agentID {
			return fault.RouterNotHostedByL3Agent(router, agentID)
		}
		s.t.RouterBindings.Put(tx, &model.RouterBinding{RouterID: router})
		_, err := s.movePorts(s.begin(tx), router, nil)
		return err
	})
}
