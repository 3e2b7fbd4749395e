package fabric

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"neutrino/internal/model"
)

const (
	firstCommitRetry = 50 * time.Millisecond
	lastCommitRetry  = 5 * time.Second
	commitDeadline   = 10 * time.Second
)

// commit brings reports to the store and acknowledges them once they are there. While
// one batch is being committed the next gathers. It begins when it is known what the host
// is asked for: an agent that has just joined is quicker with its first reports than we are
// with that, and would not say them again.
func (s *session) commit() error {
	select {
	case <-s.ctx.Done():
		return nil
	case <-s.asked:
	}
	select {
	case <-s.ctx.Done():
		return nil
	case <-s.routersAsked:
	}
	retry := time.NewTimer(0)
	if !retry.Stop() {
		<-retry.C
	}
	defer retry.Stop()
	fails := 0
	for {
		select {
		case <-s.ctx.Done():
			return nil
		case <-s.inbox.ready:
			if fails > 0 {
				continue // the retry takes what has come meanwhile
			}
		case <-retry.C:
		}
		reports, seq, first := s.inbox.take()
		failed := s.commitBatch(reports)
		failedRouters := s.commitRouters(s.inbox.takeRouters())
		if s.ctx.Err() != nil {
			return nil
		}
		if len(failed)+len(failedRouters) > 0 {
			fails++
			s.inbox.giveBack(failed, first)
			s.inbox.addRouters(true, failedRouters)
			wait := firstCommitRetry << min(fails-1, 10)
			wait = min(wait, lastCommitRetry)
			retry.Reset(wait/2 + rand.N(wait/2+1))
			continue
		}
		fails = 0
		if len(reports) > 0 {
			s.f.metrics.reportSeconds.Observe(time.Since(first).Seconds())
		}
		if seq > s.acked.Load() {
			s.acked.Store(seq)
			wake(s.tell)
		}
	}
}

// commitBatch returns the reports that could not be committed. When a batch fails, its
// reports are tried one by one, so that none holds up the others.
func (s *session) commitBatch(all []model.PortReport) (failed []model.PortReport) {
	reports := s.own(all)
	if len(reports) == 0 {
		return nil
	}
	s.heard(reports)
	err := s.report(reports)
	if err == nil {
		s.settled(reports)
		return nil
	}
	if s.ctx.Err() != nil {
		return reports
	}
	if len(reports) == 1 {
		s.complain(err, 1)
		return reports
	}
	for i := range reports {
		if err = s.report(reports[i : i+1]); err != nil {
			failed = append(failed, reports[i])
			if len(failed) > 2 && len(failed) == i+1 { // it is the store, not a report
				failed = append(failed, reports[i+1:]...)
				break
			}
			continue
		}
		s.settled(reports[i : i+1])
	}
	if len(failed) > 0 {
		s.complain(err, len(failed))
	}
	return failed
}

func (s *session) complain(err error, n int) {
	s.f.metrics.reports.WithLabelValues("failed").Add(float64(n))
	if s.ctx.Err() == nil {
		s.log.Warn("reports cannot be committed yet", "reports", n, "error", err)
	}
}

func (s *session) report(reports []model.PortReport) error {
	ctx, cancel := context.WithTimeout(s.ctx, commitDeadline)
	defer cancel()
	if err := s.f.plane.ReportPorts(ctx, s.name, reports); err != nil {
		return fmt.Errorf("commit %d port reports: %w", len(reports), err)
	}
	return nil
}

// own leaves out reports of ports that are not on the host. One that just left is no
// offence: its report and its removal crossed.
func (s *session) own(all []model.PortReport) []model.PortReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]model.PortReport, 0, len(all))
	for _, r := range all {
		if _, ok := s.current[r.PortID]; !ok {
			s.f.metrics.reports.WithLabelValues("foreign").Inc()
			s.log.Info("report of a port that is not on this host is ignored", "port", r.PortID)
			continue
		}
		if t := s.told[r.PortID]; t.revision == r.Revision {
			r.Moments.Told = t.at
		}
		out = append(out, r)
	}
	return out
}

// heard notes the host's last word on each port. It is noted before it is committed: once
// it is in the port's row, settle may look at the row, and must not hold an older word
// against it.
func (s *session) heard(reports []model.PortReport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range reports {
		if _, ok := s.current[r.PortID]; ok {
			s.reported[r.PortID] = r
		}
	}
}

// settled counts what was committed.
func (s *session) settled(reports []model.PortReport) {
	s.f.metrics.reports.WithLabelValues("committed").Add(float64(len(reports)))
}

// settle takes note of what the host is asked for now, and looks whether the ports'
// status still says what the host said. It may not: a port that was unbound and bound
// again is DOWN, while for the host nothing has changed and nothing is to be reported.
func (s *session) settle(list []*model.Attachment, refused []model.PortReport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	current := make(map[string]int64, len(list))
	again := refused
	for _, a := range list {
		current[a.PortID] = a.Revision
		r, ok := s.reported[a.PortID]
		if !ok || r.Revision != a.Revision || a.LinkState == model.LinkDisable {
			continue
		}
		p, ok := s.f.plane.Port(a.PortID)
		if !ok || (p.Status == model.StatusActive) == r.Up || s.argued[a.PortID] == p.Revision {
			continue
		}
		s.argued[a.PortID] = p.Revision
		again = append(again, r)
	}
	for id := range s.reported {
		if _, ok := current[id]; !ok {
			delete(s.reported, id)
			delete(s.argued, id)
		}
	}
	for id := range s.told {
		if _, ok := current[id]; !ok {
			delete(s.told, id)
		}
	}
	if s.current == nil {
		close(s.asked)
	}
	s.current = current
	if len(again) > 0 {
		s.inbox.add(0, again)
	}
}
