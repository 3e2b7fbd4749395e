package fabric

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"neutrino/internal/model"
	"neutrino/internal/rpc"
	"neutrino/internal/rpc/fabricv1"
	"neutrino/internal/trunk"
)

type serverStream = *connect.BidiStream[fabricv1.FromAgent, fabricv1.FromController]

// session is one stream of one host. Four goroutines work for it beside the one that
// reads: sender is the only one that writes to the stream, committer brings reports to
// the store, recorder what was heard on the trunk, beater keeps the host alive. None waits for another, so an agent that does
// not read holds up its own sender only.
type session struct {
	f        *Fabric
	host     *host
	name     string
	instance string
	hello    rpc.Hello
	peer     peer
	stream   serverStream
	log      *slog.Logger
	ctx      context.Context // of the session; its cause is why it ends
	cancel   context.CancelCauseFunc
	gone     chan struct{} // closed when the session has ended

	inbox *inbox
	beats chan []model.Agent // capacity 1: a heartbeat came, perhaps with new roles
	acked atomic.Uint64
	asked chan struct{} // closed once it is known what the host is asked for
	tell  chan struct{} // capacity 1: acked has risen

	ending sync.Mutex
	over   bool // the handler is about to return

	agents []agentRow // of the beater, after run has brought them up
	dhcp   string     // id of the DHCP agent, or ""
	l3     string     // id of the L3 agent, or ""

	cutNetworks, cutRouters int // instances told of without their data; of the sender

	mu       sync.Mutex
	current  map[string]int64            // port -> revision the host is asked for; nil = not known yet
	reported map[string]model.PortReport // last word of the host, committed or about to be
	told     map[string]telling          // what was sent last of each port, and when
	argued   map[string]int64            // port -> its revision_number when that word was last put forward again

	routers      map[string]bool               // which the host is asked for; nil = not known yet
	routerSaid   map[string]model.RouterReport // last word of the host, committed or about to be
	routersAsked chan struct{}                 // closed once routers is known

	probes probing // of the sender, expect apart
}

// telling is an attachment that went out to the host.
type telling struct {
	revision int64
	at       model.Moment
}

type agentRow struct {
	id   string
	role model.Agent
}

func newSession(ctx context.Context, f *Fabric, p peer, st serverStream, h rpc.Hello) *session {
	s := &session{
		f: f, name: h.Host, instance: h.Instance, hello: h, peer: p, stream: st,
		log:  f.log.With("host", h.Host),
		gone: make(chan struct{}), inbox: newInbox(), beats: make(chan []model.Agent, 1), tell: make(chan struct{}, 1), asked: make(chan struct{}),
		reported: map[string]model.PortReport{}, argued: map[string]int64{}, told: map[string]telling{},
		routerSaid: map[string]model.RouterReport{}, routersAsked: make(chan struct{}),
		probes: probing{told: map[trunk.ID]bool{}, expect: make(chan *trunk.Result, mostResults)},
	}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	return s
}

// end makes the session end; run returns soon after. Whoever reads is woken at once.
// Whoever writes gets lastWords: what is being written, and the reason for the end after
// it, may still get through.
func (s *session) end(why error) {
	s.cancel(why)
	s.ending.Lock()
	defer s.ending.Unlock()
	if s.over {
		return // the stream is not to be touched any more
	}
	_ = s.peer.control.SetReadDeadline(time.Unix(1, 0))
	_ = s.peer.control.SetWriteDeadline(time.Now().Add(lastWords))
}

// run serves the stream until it ends, and waits for all who work for it.
func (s *session) run() error {
	defer s.finish()
	if err := s.bringUp(); err != nil {
		s.log.Error("cannot bring the host's agents up", "error", err)
		return connect.NewError(connect.CodeUnavailable, fmt.Errorf("bring the host's agents up: %w", err))
	}
	s.log.Info("host has joined", "version", s.hello.Version, "instance", s.instance)
	var workers sync.WaitGroup
	for _, work := range []func() error{s.send, s.commit, s.beat, s.record} {
		workers.Go(func() {
			if err := work(); err != nil {
				s.end(err)
			}
		})
	}
	err := s.read()
	s.end(err)
	workers.Wait()
	why := context.Cause(s.ctx)
	s.log.Info("host has left", "why", why)
	switch {
	case errors.Is(why, rpc.ErrInvalid):
		return connect.NewError(connect.CodeInvalidArgument, why)
	case errors.Is(why, errReplaced):
		return connect.NewError(connect.CodeAborted, why)
	default:
		return connect.NewError(connect.CodeUnavailable, why)
	}
}

// finish lets go of the stream.
func (s *session) finish() {
	s.cancel(nil)
	s.ending.Lock()
	defer s.ending.Unlock()
	_ = s.peer.control.SetWriteDeadline(time.Now().Add(lastWords))
	s.over = true
}

// read takes what the agent says until it stops or is silent for too long.
func (s *session) read() error {
	for {
		if err := s.peer.control.SetReadDeadline(time.Now().Add(s.f.o.AgentDownTime)); err != nil {
			return err
		}
		if s.ctx.Err() != nil { // end may have set its deadline just before ours
			return context.Cause(s.ctx)
		}
		m, err := s.stream.Receive()
		switch {
		case s.ctx.Err() != nil:
			return context.Cause(s.ctx)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("silent for %s", s.f.o.AgentDownTime)
		case err != nil:
			return fmt.Errorf("read: %w", err)
		}
		if err = s.hear(m); err != nil {
			s.log.Warn("agent sent what it must not", "error", err)
			return err
		}
	}
}

func (s *session) hear(m *fabricv1.FromAgent) error {
	switch b := m.GetMessage().(type) {
	case *fabricv1.FromAgent_Hello:
		return fmt.Errorf("%w: a second hello", rpc.ErrInvalid)
	case *fabricv1.FromAgent_Reports:
		reports, err := rpc.DecodeReports(b.Reports)
		if err != nil {
			return err
		}
		now := model.MomentOf(time.Now())
		for i := range reports {
			reports[i].Moments.Heard = now
		}
		routers, err := rpc.DecodeRouterReports(b.Reports)
		if err != nil {
			return err
		}
		s.inbox.addRouters(false, routers)
		s.inbox.add(b.Reports.GetSeq(), reports)
	case *fabricv1.FromAgent_ProbeResult:
		result, err := rpc.DecodeProbeResult(s.name, b.ProbeResult)
		if err != nil {
			return err
		}
		s.expectResult(result)
	case *fabricv1.FromAgent_Heartbeat:
		roles, err := rpc.DecodeRoles(s.name, b.Heartbeat.GetRoles())
		if err != nil {
			return err
		}
		select {
		case old := <-s.beats:
			if len(roles) == 0 {
				roles = old
			}
		default:
		}
		s.beats <- roles // there is room: only this goroutine sends
	default:
		s.log.Debug("message is not understood", "type", fmt.Sprintf("%T", b))
	}
	return nil
}

// bringUp makes the host's agents live: a lease, and a row per role under it.
func (s *session) bringUp() error {
	ctx, cancel := context.WithTimeout(s.ctx, helloDeadline)
	defer cancel()
	if s.host.lease == nil || s.host.lease.KeepAlive(ctx) != nil {
		l, err := s.f.plane.NewLease(ctx, s.f.o.AgentDownTime)
		if err != nil {
			return fmt.Errorf("get a lease: %w", err)
		}
		s.host.lease = l
	}
	s.agents, s.dhcp, s.l3 = nil, "", ""
	for _, role := range s.hello.Roles {
		a, err := s.f.plane.AgentUp(ctx, role, s.host.lease)
		if err != nil {
			return fmt.Errorf("%s: %w", role.Type, err)
		}
		s.agents = append(s.agents, agentRow{a.ID, role})
		switch role.Type {
		case model.AgentDHCP:
			s.dhcp = a.ID
		case model.AgentL3:
			s.l3 = a.ID
		}
	}
	return nil
}

// beat renews the lease at each heartbeat. One that is gone (this controller was away
// for too long, or somebody deleted the agent) is got anew.
func (s *session) beat() error {
	for {
		select {
		case <-s.ctx.Done():
			return nil
		case roles := <-s.beats:
			if err := s.renew(roles); err != nil && s.ctx.Err() == nil {
				s.log.Warn("cannot keep the host alive", "error", err)
			}
		}
	}
}

func (s *session) renew(roles []model.Agent) error {
	ctx, cancel := context.WithTimeout(s.ctx, helloDeadline)
	defer cancel()
	again := false
	if err := s.host.lease.KeepAlive(ctx); err != nil {
		l, lerr := s.f.plane.NewLease(ctx, s.f.o.AgentDownTime)
		if lerr != nil {
			return fmt.Errorf("renew the lease: %w", errors.Join(err, lerr))
		}
		s.host.lease, again = l, true
	}
	for i := range s.agents {
		row, changed := &s.agents[i], false
		for _, r := range roles {
			if r.Type == row.role.Type {
				row.role, changed = r, true
			}
		}
		if !again && !changed {
			if err := s.f.plane.AgentBeat(ctx, row.id); err == nil {
				continue
			}
		}
		a, err := s.f.plane.AgentUp(ctx, row.role, s.host.lease)
		if err != nil {
			return fmt.Errorf("%s: %w", row.role.Type, err)
		}
		if a.ID != row.id && (row.role.Type == model.AgentDHCP || row.role.Type == model.AgentL3) {
			return fmt.Errorf("%s: it has become agent %s: %w", row.role.Type, a.ID, errReplaced)
		}
		row.id = a.ID
	}
	return nil
}
