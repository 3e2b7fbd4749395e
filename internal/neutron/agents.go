package neutron

import (
	"context"
	"reflect"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// Alive reports whether somebody vouches for the agent: a lease that is being kept.
func (s *Service) Alive(snap store.Snapshot, agentID string) bool {
	_, ok := s.t.Liveness.Get(snap, agentID)
	return ok
}

// AgentUp records that an agent is there: it makes or refreshes the row of its type and
// host, ties its liveness to the lease, and binds the ports that waited for it. Of a, the
// ID and what an operator sets (admin_state_up, description) are ignored.
func (s *Service) AgentUp(ctx context.Context, a model.Agent, lease store.Lease) (*model.Agent, error) {
	var out *model.Agent
	err := s.update(ctx, "recording agent "+a.Type+" of host "+a.Host, func(tx *store.Tx) error {
		try := s.begin(tx)
		now := s.now()
		row := a.Clone()
		row.StartedAt, row.Heartbeat = now, now
		key := a.Type + "/" + a.Host
		if owner, ok := try.Claimed(claimAgent, key); ok {
			row.ID = owner
		} else {
			row.ID = newID()
			try.take(claimAgent, key, row.ID)
		}
		if old, ok := s.t.Agents.Read(tx, row.ID); ok {
			row.AdminStateUp, row.Description, row.CreatedAt = old.AdminStateUp, old.Description, old.CreatedAt
		} else {
			row.AdminStateUp, row.Description, row.CreatedAt = true, "", now
		}
		set(&row.AvailabilityZone, s.o.AvailabilityZone)
		s.t.Agents.Put(tx, row)
		s.t.Liveness.Read(tx, row.ID)
		s.t.Liveness.PutLeased(tx, &model.Liveness{AgentID: row.ID, Controller: s.o.ControllerID, Since: now}, lease)
		out = row
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, s.RebindHost(ctx, a.Host)
}

// AgentBeat refreshes an agent's heartbeat_timestamp, at most once in a third of
// agent_down_time. AgentNotFound means that an operator deleted the agent: it has to come
// up again.
func (s *Service) AgentBeat(ctx context.Context, agentID string) error {
	a, ok := s.t.Agents.Get(s.db.Snapshot(), agentID)
	if !ok {
		return fault.AgentNotFound(agentID)
	}
	if s.o.Clock().Sub(a.Heartbeat) < s.o.AgentDownTime/3 {
		return nil
	}
	return s.update(ctx, "refreshing agent "+agentID, func(tx *store.Tx) error {
		old, ok := s.t.Agents.Read(tx, agentID)
		if !ok {
			return fault.AgentNotFound(agentID)
		}
		row := old.Clone()
		row.Heartbeat = s.now()
		s.t.Agents.Put(tx, row)
		return nil
	})
}

// UpdateAgent changes what an operator may change: admin_state_up and description.
func (s *Service) UpdateAgent(ctx context.Context, who model.Actor, id string, c Change[model.Agent]) (*model.Agent, error) {
	var out *model.Agent
	err := s.update(ctx, "updating agent "+id, func(tx *store.Tx) error {
		old, ok := s.t.Agents.Read(tx, id)
		if !ok {
			return fault.AgentNotFound(id)
		}
		changed := old.Clone()
		c.Apply(changed)
		row := old.Clone()
		row.AdminStateUp, row.Description = changed.AdminStateUp, changed.Description
		if out = old; reflect.DeepEqual(old, row) {
			return nil
		}
		s.t.Agents.Put(tx, row)
		out = row
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteAgent forgets an agent. One that is alive appears again.
func (s *Service) DeleteAgent(ctx context.Context, who model.Actor, id string) error {
	return s.update(ctx, "deleting agent "+id, func(tx *store.Tx) error {
		a, ok := s.t.Agents.Read(tx, id)
		if !ok {
			return fault.AgentNotFound(id)
		}
		s.begin(tx).drop(claimAgent, a.Type+"/"+a.Host, id)
		if _, ok := s.t.Liveness.Read(tx, id); ok {
			s.t.Liveness.Delete(tx, id)
		}
		s.t.Agents.Delete(tx, id)
		return nil
	})
}
