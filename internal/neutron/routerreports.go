package neutron

import (
	"context"
	"slices"

	"neutrino/internal/model"
	"neutrino/internal/store"
)

// ReportRouters takes what a host says of its routers: the floating IPs of one that is
// carried out as it is asked for now become ACTIVE, those of one that is not DOWN, and the
// host's words are kept. What a host says of another host's routers, or of what is not asked
// for any more, is ignored.
func (s *Service) ReportRouters(ctx context.Context, host string, reports []model.RouterReport) error {
	for _, r := range reports {
		if spec := s.specOn(s.db.Snapshot(), host, r.RouterID); spec == nil || spec.Revision != r.Revision || s.RouterSettled(spec, r) {
			continue
		}
		err := s.update(ctx, "recording the report of router "+r.RouterID+" by host "+host, func(tx *store.Tx) error {
			s.reportRouter(tx, host, r)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// RouterSettled reports whether a report of a router as spec has it would change nothing.
func (s *Service) RouterSettled(spec *model.RouterSpec, r model.RouterReport) bool {
	snap := s.db.Snapshot()
	b, ok := s.t.RouterBindings.Get(snap, r.RouterID)
	return !ok || b.Reason == r.Reason && len(s.unsettled(snap, spec, r)) == 0
}

// specOn is what a host is asked for one router, in the view and without metadata.
func (s *Service) specOn(snap store.Snapshot, host, router string) *model.RouterSpec {
	b, ok := s.t.RouterBindings.Get(snap, router)
	if !ok {
		return nil
	}
	if agent, known := s.t.Agents.Get(snap, b.AgentID); !known || agent.Host != host {
		return nil
	}
	w := &watched{s: s, snap: snap, networks: make(map[string]*watchedNetwork), bare: true}
	return w.router(router, host)
}

// unsettled are the floating IPs of a spec whose status is not as the report has it.
func (s *Service) unsettled(snap store.Snapshot, spec *model.RouterSpec, r model.RouterReport) []string {
	var out []string
	for _, pair := range spec.Floating {
		if f, ok := s.t.FloatingIPs.Get(snap, pair.ID); ok && f.Status != floatingStatus(r) {
			out = append(out, f.ID)
		}
	}
	return out
}

func floatingStatus(r model.RouterReport) string {
	if r.Up {
		return model.StatusActive
	}
	return model.StatusDown
}

// reportRouter applies a report. That each floating IP still is what the spec of this
// revision says is compared with its row.
func (s *Service) reportRouter(tx *store.Tx, host string, r model.RouterReport) {
	spec := s.specOn(tx.Snapshot(), host, r.RouterID)
	if spec == nil || spec.Revision != r.Revision {
		return
	}
	b, ok := s.t.RouterBindings.Read(tx, r.RouterID)
	if !ok {
		return
	}
	if b.Reason != r.Reason {
		next := *b
		next.Reason = r.Reason
		s.t.RouterBindings.Put(tx, &next)
	}
	ids := s.unsettled(tx.Snapshot(), spec, r)
	// The rest is found unsettled by the next look.
	for _, id := range slices.Clone(ids)[:min(len(ids), reportsPerTx)] {
		old, found := s.t.FloatingIPs.Read(tx, id)
		if !found || old.RouterID != r.RouterID {
			continue
		}
		f := old.Clone()
		f.Status = floatingStatus(r)
		s.bump(&f.Meta)
		s.t.FloatingIPs.Put(tx, f)
	}
}
