package neutron

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/store"
	"neutrino/internal/trunk"
)

// ProbeResult is what one host said of a run.
type ProbeResult struct {
	RunID string `json:"run_id"`
	trunk.Result
}

// ProbeTurn is held by the run that is under way on a physical network.
type ProbeTurn struct {
	PhysicalNetwork string    `json:"physical_network"`
	RunID           string    `json:"run_id"`
	Until           time.Time `json:"until"`
}

// VerifyRequest asks for a verification of the trunk. Zero values are the defaults named
// beside them.
type VerifyRequest struct {
	PhysicalNetwork string        // the only one of network_vlan_ranges
	VLANs           trunk.VLANs   // network_vlan_ranges of it
	MTU             int           // bytes; the physical network's, else 1500
	Sizes           []int         // bytes behind the tag; trunk.MinSize and the MTU
	Hosts           []string      // all with a living agent and an uplink there
	Rate            int           // frames a second; trunk.DefaultRate
	Rounds          int           // trunk.DefaultRounds
	Listen          time.Duration // after the last frame; 0
	Limit           time.Duration // for all of it; trunk.DefaultLimit
}

// Verification is a run and what came of it so far.
type Verification struct {
	Run      *trunk.Run
	Results  map[string]*trunk.Result // by host
	Finished bool
	Elapsed  time.Duration
}

const (
	defaultSize = 1500
	keepRuns    = 15 * time.Minute // how long a run can be asked for after its end
	resultGrace = 10 * time.Second // for the last result to come
)

// PlanVerify plans a run and starts nothing.
func (s *Service) PlanVerify(q VerifyRequest) (*trunk.Run, error) {
	known := s.ml2.PhysicalNetworks()
	if q.PhysicalNetwork == "" {
		if len(known) != 1 {
			return nil, fault.InvalidInput("physical_network has to be given: network_vlan_ranges names %d (%s)", len(known), strings.Join(known, ", "))
		}
		q.PhysicalNetwork = known[0]
	}
	run := &trunk.Run{PhysicalNetwork: q.PhysicalNetwork, VLANs: q.VLANs, Sizes: slices.Clone(q.Sizes), Rounds: q.Rounds, Rate: q.Rate, Listen: q.Listen}
	if run.VLANs.Len() == 0 {
		for _, r := range s.ml2.VLANRanges(q.PhysicalNetwork) {
			for id := r.Min; id <= r.Max; id++ {
				run.VLANs.Add(id)
			}
		}
		if run.VLANs.Len() == 0 {
			return nil, fault.InvalidInput("network_vlan_ranges has no VLANs of physical network %s: say which", q.PhysicalNetwork)
		}
	}
	if len(run.Sizes) == 0 {
		set(&q.MTU, s.ml2.PhysicalMTU(q.PhysicalNetwork))
		set(&q.MTU, defaultSize)
		run.Sizes = []int{trunk.MinSize, q.MTU}
	}
	set(&run.Rate, trunk.DefaultRate)
	set(&run.Rounds, trunk.DefaultRounds)
	set(&q.Limit, trunk.DefaultLimit)
	var err error
	if run.Hosts, err = s.probeHosts(q.PhysicalNetwork, q.Hosts); err != nil {
		return nil, err
	}
	if err = run.Plan(q.Limit); err != nil {
		text := strings.TrimPrefix(err.Error(), trunk.ErrPlan.Error()+": ")
		return nil, fmt.Errorf("%w (%w)", fault.InvalidInput("%s", text), err)
	}
	return run, nil
}

// probeHosts are the hosts with an uplink on the physical network, in the order of names.
func (s *Service) probeHosts(physicalNetwork string, asked []string) ([]trunk.Host, error) {
	snap := s.db.Snapshot()
	uplinks := map[string]int{}
	for a := range s.t.Agents.All(snap) {
		if s.Alive(snap, a.ID) {
			uplinks[a.Host] += uplinksOf(a, physicalNetwork)
		}
	}
	if len(asked) == 0 {
		for host, n := range uplinks {
			if n > 0 {
				asked = append(asked, host)
			}
		}
		if len(asked) == 0 {
			return nil, fault.InvalidInput("no host with a living agent has physical network %s", physicalNetwork)
		}
	}
	asked = slices.Clone(asked)
	slices.Sort(asked)
	var out []trunk.Host
	for _, host := range slices.Compact(asked) {
		n, alive := uplinks[host]
		switch {
		case !alive:
			return nil, fault.InvalidInput("host %s has no living agent", host)
		case n == 0:
			return nil, fault.InvalidInput("host %s has no uplink on physical network %s", host, physicalNetwork)
		}
		out = append(out, trunk.Host{Host: host, Uplinks: min(n, trunk.MaxUplinks)})
	}
	return out, nil
}

// uplinksOf counts the uplinks an agent has on a physical network: its NICs, or its
// bridge's. A bridge on one of the NICs counts twice; that costs only time.
func uplinksOf(a *model.Agent, physicalNetwork string) int {
	of := func(mapping string) any {
		m, _ := a.Configurations[mapping].(map[string]any)
		return m[physicalNetwork]
	}
	n := 0
	switch devices := of("device_mappings").(type) {
	case []any:
		n = len(devices)
	case string:
		n = 1
	}
	if bridge, ok := of("bridge_mappings").(string); ok && bridge != "" {
		n++
	}
	return n
}

// StartVerify plans a run and starts it. Only one is under way on a physical network.
func (s *Service) StartVerify(ctx context.Context, q VerifyRequest) (*trunk.Run, error) {
	run, err := s.PlanVerify(q)
	if err != nil {
		return nil, err
	}
	run.Key = make([]byte, 32)
	_, _ = rand.Read(run.ID[:]) // never fails (crypto/rand)
	_, _ = rand.Read(run.Key)
	turn, err := s.db.NewLease(ctx, run.Duration+time.Second)
	if err != nil {
		return nil, s.leaseFault(err)
	}
	keep, err := s.db.NewLease(ctx, run.Duration+keepRuns)
	if err != nil {
		_ = turn.Revoke(ctx)
		return nil, s.leaseFault(err)
	}
	err = s.update(ctx, "starting a verification of the trunk", func(tx *store.Tx) error {
		key := url.PathEscape(run.PhysicalNetwork)
		if busy, ok := s.t.ProbeTurns.Read(tx, key); ok && !s.verified(busy.RunID) {
			return fault.New("Conflict", http.StatusConflict, "A verification of physical network %s is under way: %s, until %s.",
				busy.PhysicalNetwork, busy.RunID, busy.Until.UTC().Format(time.RFC3339))
		}
		run.CreatedAt = s.o.Clock().UTC()
		s.t.ProbeTurns.PutLeased(tx, &ProbeTurn{run.PhysicalNetwork, run.ID.String(), run.CreatedAt.Add(run.Duration)}, turn)
		s.t.Probes.PutLeased(tx, run, keep)
		return nil
	})
	if err != nil {
		_, _ = turn.Revoke(ctx), keep.Revoke(ctx)
		return nil, err
	}
	return run, nil
}

// verified reports whether a run is over and every host has told of it: the next one need
// not wait for its turn to run out.
func (s *Service) verified(id string) bool {
	v, err := s.Verification(id)
	return err == nil && v.Finished && len(v.Results) == len(v.Run.Hosts)
}

func (s *Service) leaseFault(err error) error {
	return fmt.Errorf("%w (%w)", fault.Unavailable("The store is unavailable while starting a verification of the trunk."), err)
}

func runNotFound(id string) error {
	return fault.New("VerificationNotFound", http.StatusNotFound, "Verification %s could not be found. They are kept for %s.", id, keepRuns)
}

// Verification returns a run with what came of it.
func (s *Service) Verification(id string) (*Verification, error) {
	snap := s.db.Snapshot()
	run, ok := s.t.Probes.Get(snap, id)
	if !ok {
		return nil, runNotFound(id)
	}
	v := &Verification{Run: run, Results: map[string]*trunk.Result{}, Elapsed: s.o.Clock().Sub(run.CreatedAt)}
	for r := range s.t.ProbeResults.By(snap, ByRun, id) {
		v.Results[r.Host] = &r.Result
	}
	over := v.Elapsed - run.Duration
	v.Finished = over >= resultGrace || over >= 0 && len(v.Results) == len(run.Hosts)
	return v, nil
}

// CancelVerify takes a run back: its hosts stop.
func (s *Service) CancelVerify(ctx context.Context, id string) error {
	return s.update(ctx, "taking back verification "+id, func(tx *store.Tx) error {
		run, ok := s.t.Probes.Read(tx, id)
		if !ok {
			return runNotFound(id)
		}
		s.t.Probes.Delete(tx, id)
		key := url.PathEscape(run.PhysicalNetwork)
		if turn, ok := s.t.ProbeTurns.Read(tx, key); ok && turn.RunID == id {
			s.t.ProbeTurns.Delete(tx, key)
		}
		return nil
	})
}

// Probes returns the runs there are, and a channel that closes when they may have
// changed. They are shared: do not change them.
func (s *Service) Probes(snap store.Snapshot) ([]*trunk.Run, <-chan struct{}) {
	all, changed := s.t.Probes.WatchAll(snap)
	return slices.Collect(all), changed
}

// RecordProbe keeps what a host said of a run. What is of no run that names the host is
// dropped; the host's own word counts more than a controller's on why there is none.
func (s *Service) RecordProbe(ctx context.Context, host string, r *trunk.Result) error {
	id := r.Run.String()
	run, ok := s.t.Probes.Get(s.db.Snapshot(), id)
	if !ok || run.Place(host) < 0 {
		return nil
	}
	left := run.Duration - s.o.Clock().Sub(run.CreatedAt)
	lease, err := s.db.NewLease(ctx, max(left, 0)+keepRuns)
	if err != nil {
		return fmt.Errorf("record what %s heard: %w", host, err)
	}
	kept := errors.New("kept")
	err = s.update(ctx, "recording what "+host+" heard", func(tx *store.Tx) error {
		old, have := s.t.ProbeResults.Read(tx, id+"."+host)
		if _, there := s.t.Probes.Require(tx, id); !there || have && len(old.Uplinks) > 0 {
			return kept
		}
		row := &ProbeResult{RunID: id, Result: *r}
		row.Host = host
		s.t.ProbeResults.PutLeased(tx, row, lease)
		return nil
	})
	if err != nil {
		_ = lease.Revoke(ctx)
	}
	if errors.Is(err, kept) {
		return nil
	}
	return err
}
