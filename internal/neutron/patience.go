package neutron

import (
	"time"

	"neutrino/internal/model"
)

// patience is a scheduler's with agents that it has not seen yet: after an outage of all
// controllers their leases are gone, and they come back one by one. So an agent that has not
// been seen alive since the scheduler's start keeps what it has for agent_down_time.
type patience struct {
	over <-chan struct{} // closed once agents that were not seen count as dead; nil = they do
	seen map[string]bool // agents that were alive in some view
}

func (s *Service) newPatience() (p *patience, stop func() bool) {
	over := make(chan struct{})
	timer := time.AfterFunc(s.o.AgentDownTime, func() { close(over) })
	return &patience{over: over, seen: make(map[string]bool)}, timer.Stop
}

// ends returns what is closed when patience ends, and nil when it has ended.
func (p *patience) ends() <-chan struct{} {
	select {
	case <-p.over:
		p.over = nil
	default:
	}
	return p.over
}

// mayComeBack notes whether the agent is alive, and reports whether one that is not is still
// waited for.
func (p *patience) mayComeBack(a *model.Agent, alive bool) bool {
	p.seen[a.ID] = p.seen[a.ID] || alive
	return a.AdminStateUp && !p.seen[a.ID] && p.over != nil
}
