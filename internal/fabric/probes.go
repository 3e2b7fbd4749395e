package fabric

import (
	"context"
	"fmt"
	"time"

	"neutrino/internal/rpc"
	"neutrino/internal/rpc/fabricv1"
	"neutrino/internal/trunk"
)

// probing is what a session has told its host of verifications.
type probing struct {
	told    map[trunk.ID]bool
	changed <-chan struct{}
	expect  chan *trunk.Result // from the reader to the recorder
}

const (
	mostResults    = 16               // waiting to be recorded
	recordDeadline = 10 * time.Second // of one try
	recordTries    = 6
)

// tellProbes tells the host of runs that have begun, and of those that were taken back. A
// run that has gone on for too long is not joined: what the host missed would count as
// lost.
func (s *session) tellProbes() error {
	runs, changed := s.f.plane.Probes()
	s.probes.changed = changed
	there := map[trunk.ID]bool{}
	for _, r := range runs {
		there[r.ID] = true
		elapsed := time.Since(r.CreatedAt)
		if r.Place(s.name) < 0 || s.probes.told[r.ID] || elapsed > r.Duration {
			continue
		}
		s.probes.told[r.ID] = true
		if elapsed > trunk.Margin*3/4 || elapsed < -trunk.Margin {
			s.log.Warn("a verification of the trunk began too long ago for this host to join", "began", elapsed)
			s.expectResult(&trunk.Result{Run: r.ID, Host: s.name, Error: fmt.Sprintf(
				"the order was %s old when it could be given to the host: it had just joined, or the controllers' clocks differ", elapsed.Round(time.Millisecond))})
			continue
		}
		if err := s.write("probe", &fabricv1.FromController{Message: &fabricv1.FromController_Probe{Probe: rpc.EncodeProbe(r, elapsed)}}); err != nil {
			return err
		}
	}
	for id := range s.probes.told {
		if there[id] {
			continue
		}
		delete(s.probes.told, id)
		if err := s.write("probe", &fabricv1.FromController{Message: &fabricv1.FromController_Probe{Probe: rpc.CancelProbe(id)}}); err != nil {
			return err
		}
	}
	return nil
}

// expectResult hands a result to the recorder. A host that sends more than anybody asked
// for loses the rest.
func (s *session) expectResult(r *trunk.Result) {
	select {
	case s.probes.expect <- r:
	default:
		s.log.Warn("too many results of verifications at once; one is dropped")
	}
}

// record brings results to the store.
func (s *session) record() error {
	for {
		select {
		case <-s.ctx.Done():
			return nil
		case r := <-s.probes.expect:
			s.recordOne(r)
		}
	}
}

func (s *session) recordOne(r *trunk.Result) {
	for try := range recordTries {
		ctx, cancel := context.WithTimeout(s.ctx, recordDeadline)
		err := s.f.plane.RecordProbe(ctx, s.name, r)
		cancel()
		if err == nil || s.ctx.Err() != nil {
			return
		}
		s.log.Warn("cannot record what the host heard on the trunk", "error", err)
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(firstCommitRetry << try):
		}
	}
}
