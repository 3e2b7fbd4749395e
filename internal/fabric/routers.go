package fabric

import (
	"context"
	"fmt"
	"time"

	"neutrino/internal/model"
	"neutrino/internal/rpc"
	"neutrino/internal/rpc/fabricv1"
)

// deriveRouters brings the view's routers up to date.
func (s *session) deriveRouters(v *view, d *fabricv1.Delta) *watch {
	start := time.Now()
	if s.l3 == "" {
		v.setRouters(map[string]*model.RouterSpec{}, d)
		s.settleRouters(nil, nil)
		return newWatch(nil, start)
	}
	list, changed := s.f.plane.RouterSpecs(s.l3)
	want := make(map[string]*model.RouterSpec, len(list))
	var refused []model.RouterReport
	refuse := func(r, old *model.RouterSpec, why error) {
		s.log.Error("router cannot be sent to its L3 agent", "router", r.RouterID, "error", why)
		refused = append(refused, model.RouterReport{
			RouterID: r.RouterID, Revision: r.Revision, Reason: "the router cannot be sent to its agent: " + why.Error(),
		})
		if old != nil {
			want[r.RouterID] = old // what runs goes on
		}
	}
	left, cut := &room{maxInstanceData}, 0
	for _, r := range list {
		if hosts, without := left.trim(r.Metadata); without > 0 {
			c := *r
			c.Metadata = hosts
			r, cut = &c, cut+without
		}
		old := v.routers[r.RouterID]
		if old != nil && sameRouter(old, r) {
			want[r.RouterID] = old
			continue
		}
		fit, err := s.fitRouter(r)
		if err == nil && len(want) >= rpc.MaxRouters {
			err = fmt.Errorf("it has %d routers already", len(want))
		}
		if err != nil {
			refuse(r, old, err)
			continue
		}
		want[r.RouterID] = fit
	}
	s.note("routers", &s.cutRouters, cut)
	v.setRouters(want, d)
	s.settleRouters(list, refused)
	s.f.metrics.deriveSeconds.WithLabelValues("routers").Observe(time.Since(start).Seconds())
	return newWatch(changed, start)
}

// fitRouter leaves out of a router those who may ask for metadata that no agent would accept.
func (s *session) fitRouter(r *model.RouterSpec) (*model.RouterSpec, error) {
	if rpc.CheckRouter(r) == nil {
		return r, nil
	}
	c := *r
	c.Metadata = nil
	if err := rpc.CheckRouter(&c); err != nil {
		return nil, err
	}
	c.Metadata = s.fitHosts(r.Metadata, "L3 agent", "router", r.RouterID)
	return &c, nil
}

// settleRouters takes note of which routers the host is asked for now, and puts its last
// word on each forward again where the rows do not say it: a floating IP that was taken away
// and given back is DOWN, while for the host nothing has changed and nothing is to be
// reported.
func (s *session) settleRouters(list []*model.RouterSpec, refused []model.RouterReport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	current := make(map[string]bool, len(list))
	again := refused
	for _, r := range list {
		current[r.RouterID] = true
		if said, ok := s.routerSaid[r.RouterID]; ok && said.Revision == r.Revision && !s.f.plane.RouterSettled(r, said) {
			again = append(again, said)
		}
	}
	for id := range s.routerSaid {
		if !current[id] {
			delete(s.routerSaid, id)
		}
	}
	if s.routers == nil {
		close(s.routersAsked)
	}
	s.routers = current
	s.inbox.addRouters(true, again)
}

// commitRouters returns the reports that could not be committed. Those of routers that the
// host is not asked for any more are nobody's business.
func (s *session) commitRouters(all []model.RouterReport) (failed []model.RouterReport) {
	s.mu.Lock()
	own := make([]model.RouterReport, 0, len(all))
	for _, r := range all {
		if s.routers[r.RouterID] {
			s.routerSaid[r.RouterID] = r
			own = append(own, r)
		}
	}
	s.mu.Unlock()
	var last error
	for i := range own {
		if err := s.reportRouter(own[i]); err != nil {
			last = err
			failed = append(failed, own[i])
			if len(failed) > 2 && len(failed) == i+1 { // it is the store, not a report
				failed = append(failed, own[i+1:]...)
				break
			}
		}
	}
	if last != nil {
		s.complain(last, len(failed))
	}
	return failed
}

func (s *session) reportRouter(r model.RouterReport) error {
	ctx, cancel := context.WithTimeout(s.ctx, commitDeadline)
	defer cancel()
	if err := s.f.plane.ReportRouters(ctx, s.name, []model.RouterReport{r}); err != nil {
		return fmt.Errorf("commit the report of router %s: %w", r.RouterID, err)
	}
	return nil
}
