package agent

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	"neutrino/internal/model"
	"neutrino/internal/rpc"
	"neutrino/internal/rpc/fabricv1"
)

const (
	welcomeDeadline = 10 * time.Second
	firstReconnect  = 50 * time.Millisecond
	lastReconnect   = 5 * time.Second
)

// errLeft: the controller ended the stream without a word.
var errLeft = errors.New("it has ended the stream")

// stream is the agent's side of Join.
type stream = *connect.BidiStreamForClient[fabricv1.FromAgent, fabricv1.FromController]

// link keeps one stream to one of the controllers. One goroutine runs it.
type link struct {
	host, instance, version string
	controllers             []controller
	tls                     *tls.Config
	report                  time.Duration // asked for between heartbeats; 0 = as the controller says
	roles                   func() []model.Agent
	table                   *table
	outbox                  *outbox
	probes                  *probeDesk
	log                     *slog.Logger
	metrics                 *metrics
	connected               func(error) // nil: a controller has accepted the agent
}

// run joins one controller after the other until ctx ends.
func (l *link) run(ctx context.Context) {
	next, fails := rand.N(len(l.controllers)), 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		c := l.controllers[next]
		accepted, err := l.join(ctx, c)
		if ctx.Err() != nil {
			return
		}
		next = (next + 1) % len(l.controllers)
		if errors.Is(err, errOutOfStep) || errors.Is(err, rpc.ErrInvalid) {
			l.table.forget()
		}
		outcome := "refused"
		if accepted {
			fails, outcome = 0, "lost"
		}
		fails++
		l.metrics.connects.WithLabelValues(outcome).Inc()
		if l.connected != nil {
			l.connected(fmt.Errorf("no controller: %w", cmp.Or(err, errLeft)))
		}
		wait := backoff((fails+len(l.controllers)-1)/len(l.controllers), firstReconnect, lastReconnect)
		l.log.Warn("no controller", "controller", c.name, "outcome", outcome, "error", err, "next", l.controllers[next].name, "in", wait)
		timer.Reset(wait)
	}
}

// join is one stream from Hello to its end. accepted says whether there was a Welcome.
func (l *link) join(ctx context.Context, c controller) (accepted bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	client, done := c.dial(l.tls)
	defer done()
	patience := time.AfterFunc(welcomeDeadline, func() { cancel(fmt.Errorf("no welcome within %s", welcomeDeadline)) })
	defer patience.Stop()

	s := client.Join(ctx)
	defer func() {
		cancel(nil) // first, so that closing waits for nothing
		_ = s.CloseRequest()
		_ = s.CloseResponse()
	}()
	epoch, revision := l.table.position()
	hello, err := rpc.EncodeHello(rpc.Hello{
		Host: l.host, Instance: l.instance, Version: l.version, Roles: l.roles(), Epoch: epoch, Revision: revision, SharedFilters: true,
	})
	if err != nil {
		return false, err
	}
	if err = s.Send(&fabricv1.FromAgent{Message: &fabricv1.FromAgent_Hello{Hello: hello}}); err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("say hello: %w", because(ctx, err))
	}
	first, err := s.Receive()
	if err != nil {
		return false, fmt.Errorf("wait for the welcome: %w", because(ctx, err))
	}
	patience.Stop()
	w := first.GetWelcome()
	if w == nil || w.GetBeatIntervalMs() == 0 {
		return false, fmt.Errorf("%w: the first message is no welcome", rpc.ErrInvalid)
	}
	beat, cut := beatInterval(l.report, time.Duration(w.GetBeatIntervalMs())*time.Millisecond, time.Duration(w.GetLeaseTtlMs())*time.Millisecond)
	if cut {
		l.log.Warn("report_interval is longer than half of the controller's agent_down_time; the host would count as dead in between",
			"report_interval", l.report, "used", beat)
	}
	l.log.Info("controller has accepted this host", "address", c.name, "controller", w.GetController(), "beat", beat)
	l.metrics.connected.Set(1)
	l.metrics.connects.WithLabelValues("accepted").Inc()
	defer l.metrics.connected.Set(0)
	if l.connected != nil {
		l.connected(nil)
	}
	l.outbox.restart()
	l.probes.restart()

	var talker sync.WaitGroup
	defer talker.Wait()
	defer cancel(nil)
	talker.Go(func() {
		// The HTTP/2 client looks at ctx only when the request body has ended: without
		// this, Receive below would not return when ctx ends.
		defer func() { _ = s.CloseRequest() }()
		if terr := l.talk(ctx, s, beat, hello.GetRoles()); terr != nil {
			cancel(terr)
		}
	})
	for {
		m, rerr := s.Receive()
		if rerr != nil {
			return true, because(ctx, rerr)
		}
		if rerr = l.hear(m); rerr != nil {
			return true, rerr
		}
	}
}

// beatInterval is the time between two heartbeats: what the operator asked for, else what
// the controller offers. More than half of the lease is not waited, so that one late
// heartbeat does not make a living host a dead one; cut says that this was the reason.
func beatInterval(asked, offered, lease time.Duration) (beat time.Duration, cut bool) {
	beat = offered
	if asked > 0 {
		beat = asked
	}
	if lease > 0 && beat > lease/2 {
		beat, cut = lease/2, true
	}
	return max(beat, 10*time.Millisecond), cut
}

// because prefers the reason a stream was given up over what that did to it.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

func (l *link) hear(m *fabricv1.FromController) error {
	switch b := m.GetMessage().(type) {
	case *fabricv1.FromController_Snapshot:
		if err := l.table.snapshot(b.Snapshot); err != nil {
			return err
		}
		there := map[string]bool{}
		for _, a := range b.Snapshot.GetAttachments() {
			there[a.GetPortId()] = true
		}
		l.outbox.retell(func(portID string) bool { return !there[portID] })
		l.outbox.retellRouters(func(id string) bool {
			return !slices.ContainsFunc(b.Snapshot.GetRouters(), func(r *fabricv1.Router) bool { return r.GetRouterId() == id })
		})
		return nil
	case *fabricv1.FromController_Delta:
		if err := l.table.delta(b.Delta); err != nil {
			return err
		}
		l.outbox.retell(func(portID string) bool { return slices.Contains(b.Delta.GetRemovedPorts(), portID) })
		l.outbox.retellRouters(func(id string) bool { return slices.Contains(b.Delta.GetRemovedRouters(), id) })
		return nil
	case *fabricv1.FromController_Ack:
		l.outbox.ack(b.Ack.GetSeq())
		return nil
	case *fabricv1.FromController_Probe:
		l.probes.order(b.Probe)
		return nil
	default:
		// A newer controller may have more to say; what is not understood is not needed.
		l.log.Debug("message is not understood", "type", fmt.Sprintf("%T", b))
		return nil
	}
}

// talk sends reports as they come up and heartbeats in between.
func (l *link) talk(ctx context.Context, s stream, beat time.Duration, told []*fabricv1.Role) error {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.outbox.ready:
			seq, reports, routers := l.outbox.take()
			if len(reports)+len(routers) == 0 {
				continue
			}
			m := &fabricv1.Reports{Seq: seq}
			for i := range reports {
				m.Reports = append(m.Reports, rpc.EncodeReport(&reports[i]))
			}
			for i := range routers {
				m.Routers = append(m.Routers, rpc.EncodeRouterReport(&routers[i]))
			}
			if err := s.Send(&fabricv1.FromAgent{Message: &fabricv1.FromAgent_Reports{Reports: m}}); err != nil {
				return fmt.Errorf("send reports: %w", err)
			}
		case <-l.probes.ready:
			r := l.probes.take()
			if r == nil {
				continue
			}
			m := &fabricv1.FromAgent_ProbeResult{ProbeResult: rpc.EncodeProbeResult(r)}
			if err := s.Send(&fabricv1.FromAgent{Message: m}); err != nil {
				return fmt.Errorf("send what was probed: %w", err)
			}
		case <-ticker.C:
			roles, err := rpc.EncodeRoles(l.roles())
			if err != nil {
				return err
			}
			m := &fabricv1.Heartbeat{}
			if !sameRoles(roles, told) {
				m.Roles, told = roles, roles
			}
			if err = s.Send(&fabricv1.FromAgent{Message: &fabricv1.FromAgent_Heartbeat{Heartbeat: m}}); err != nil {
				return fmt.Errorf("send heartbeat: %w", err)
			}
		}
	}
}
