package fabric

import (
	"context"
	"fmt"
	"strings"
	"time"

	"neutrino/internal/model"
	"neutrino/internal/rpc"
	"neutrino/internal/rpc/fabricv1"
)

// send tells the agent what its host has to carry, and keeps telling.
func (s *session) send() error {
	beat := min(s.f.o.AgentDownTime/5, 15*time.Second)
	err := s.write("welcome", &fabricv1.FromController{Message: &fabricv1.FromController_Welcome{Welcome: &fabricv1.Welcome{
		LeaseTtlMs: uint32(s.f.o.AgentDownTime.Milliseconds()), BeatIntervalMs: uint32(max(beat.Milliseconds(), 10)), Controller: strings.TrimSpace(s.f.o.Name + " " + s.f.o.Version),
	}}})
	if err != nil {
		return err
	}
	v := s.host.sent
	resume := v != nil && s.hello.Epoch != "" && v.epoch == s.hello.Epoch && v.revision == s.hello.Revision
	if !resume {
		v = newView()
	}
	v.sharing = s.hello.SharedFilters
	s.host.sent = nil // until it is known what the agent holds
	d := &fabricv1.Delta{BaseRevision: v.revision}
	ports, networks, routers := s.derivePorts(v, d), s.deriveNetworks(v, d), s.deriveRouters(v, d)
	if resume {
		err = s.writeDelta(v, d)
	} else {
		v.revision = 1
		snapshot := v.snapshot()
		s.tellNow(snapshot.GetAttachments())
		err = s.write("snapshot", &fabricv1.FromController{Message: &fabricv1.FromController_Snapshot{Snapshot: snapshot}})
	}
	if err == nil {
		err = s.tellProbes()
	}
	for err == nil {
		s.host.sent = v
		d = &fabricv1.Delta{BaseRevision: v.revision}
		select {
		case <-s.ctx.Done():
			return nil
		case <-s.tell:
			err = s.write("ack", &fabricv1.FromController{Message: &fabricv1.FromController_Ack{Ack: &fabricv1.Ack{Seq: s.acked.Load()}}})
			continue
		case <-s.probes.changed:
			err = s.tellProbes()
			continue
		case <-ports.changed:
			if ports.hold() {
				continue
			}
			ports = s.derivePorts(v, d)
		case <-ports.ripe:
			ports = s.derivePorts(v, d)
		case <-networks.changed:
			if networks.hold() {
				continue
			}
			networks = s.deriveNetworks(v, d)
		case <-networks.ripe:
			networks = s.deriveNetworks(v, d)
		case <-routers.changed:
			if routers.hold() {
				continue
			}
			routers = s.deriveRouters(v, d)
		case <-routers.ripe:
			routers = s.deriveRouters(v, d)
		}
		s.host.sent = nil
		err = s.writeDelta(v, d)
	}
	return err
}

func (s *session) writeDelta(v *view, d *fabricv1.Delta) error {
	if empty(d) {
		return nil
	}
	v.revision++
	d.Revision = v.revision
	s.f.metrics.ports.Add(float64(len(d.GetAttachments())))
	s.tellNow(d.GetAttachments())
	return s.write("delta", &fabricv1.FromController{Message: &fabricv1.FromController_Delta{Delta: d}})
}

// tellNow notes what is about to be sent. It is noted before, since the host may be quicker
// with its report than we are with a note.
func (s *session) tellNow(attachments []*fabricv1.Attachment) {
	now := model.MomentOf(time.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range attachments {
		s.told[a.GetPortId()] = telling{revision: a.GetRevision(), at: now}
	}
}

// write sends one message. An agent that takes none for writeDeadline is stuck.
func (s *session) write(what string, m *fabricv1.FromController) error {
	start := time.Now()
	_ = s.peer.control.SetWriteDeadline(start.Add(s.f.writeDeadline))
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	if err := s.stream.Send(m); err != nil {
		if time.Since(start) >= s.f.writeDeadline {
			s.f.metrics.stuck.Inc()
			return fmt.Errorf("%w: no room for a %s in %s", errStuck, what, s.f.writeDeadline)
		}
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		return fmt.Errorf("write a %s: %w", what, err)
	}
	// HTTP/2 resets a stream whose deadline passes, idle or not: take it back. If the
	// session was ended meanwhile, finish sets the last one.
	_ = s.peer.control.SetWriteDeadline(time.Time{})
	s.f.metrics.sent.WithLabelValues(what).Inc()
	return nil
}

// watch says when a part of the desired state is to be derived again. Looks are spread
// so that deriving takes a quarter of a core at most: a burst of changes becomes few
// deltas, and a single change waits for nothing.
type watch struct {
	changed <-chan struct{}
	ripe    <-chan time.Time // set while a change waits
	next    time.Time        // not before
}

func newWatch(changed <-chan struct{}, start time.Time) *watch {
	now := time.Now()
	return &watch{changed: changed, next: now.Add(min(3*now.Sub(start), time.Second))}
}

// hold notes that changed has fired; it reports whether the change has to wait.
func (w *watch) hold() bool {
	w.changed = nil
	wait := time.Until(w.next)
	if wait > 0 {
		w.ripe = time.After(wait)
	}
	return wait > 0
}

// derivePorts brings the view's attachments up to date.
func (s *session) derivePorts(v *view, d *fabricv1.Delta) *watch {
	start := time.Now()
	list, changed := s.f.plane.Attachments(s.name)
	want := make(map[string]*model.Attachment, len(list))
	var refused []model.PortReport
	var checker rpc.Checker
	for _, a := range list {
		old := v.attachments[a.PortID]
		if old != nil && sameAttachment(old, a) {
			want[a.PortID] = old
			continue
		}
		if err := checker.Check(a); err != nil {
			s.log.Error("port cannot be sent to its host", "port", a.PortID, "error", err)
			refused = append(refused, model.PortReport{PortID: a.PortID, Revision: a.Revision, Reason: "the port cannot be sent to its host: " + err.Error()})
			if old != nil {
				want[a.PortID] = old // what runs goes on
			}
			continue
		}
		want[a.PortID] = a
	}
	v.setAttachments(want, d)
	s.settle(list, refused)
	s.f.metrics.deriveSeconds.WithLabelValues("attachments").Observe(time.Since(start).Seconds())
	return newWatch(changed, start)
}

// deriveNetworks brings the view's DHCP networks up to date.
func (s *session) deriveNetworks(v *view, d *fabricv1.Delta) *watch {
	start := time.Now()
	if s.dhcp == "" {
		v.setNetworks(map[string]*model.DHCPNetwork{}, d)
		return newWatch(nil, start)
	}
	list, changed := s.f.plane.DHCPNetworks(s.dhcp)
	want := make(map[string]*model.DHCPNetwork, len(list))
	left, cut := &room{maxInstanceData}, 0
	for _, n := range list {
		if hosts, without := left.trim(n.Hosts); without > 0 {
			c := *n
			c.Hosts = hosts
			n, cut = &c, cut+without
		}
		if n = s.fit(n, v.networks[n.NetworkID]); n != nil {
			want[n.NetworkID] = n
		}
	}
	s.note("networks", &s.cutNetworks, cut)
	v.setNetworks(want, d)
	s.f.metrics.deriveSeconds.WithLabelValues("dhcp").Observe(time.Since(start).Seconds())
	return newWatch(changed, start)
}

// fit leaves out of a network what no agent would accept; old is what the agent has.
func (s *session) fit(n, old *model.DHCPNetwork) *model.DHCPNetwork {
	if old != nil && sameHead(old, n) && changedHosts(old, n) == nil {
		return old
	}
	if rpc.CheckDHCPNetwork(n) == nil {
		return n
	}
	c := *n
	c.Hosts = nil
	if err := rpc.CheckDHCPNetwork(&c); err != nil {
		s.log.Error("network cannot be sent to its DHCP agent", "network", n.NetworkID, "error", err)
		return old
	}
	c.Hosts = s.fitHosts(n.Hosts, "DHCP agent", "network", n.NetworkID)
	return &c
}

// fitHosts leaves out what an agent would not accept, and what is too much for it.
func (s *session) fitHosts(hosts []model.DHCPHost, agent, of, id string) (out []model.DHCPHost) {
	for i := range hosts {
		if _, err := rpc.DecodeDHCPHost(rpc.EncodeDHCPHost(&hosts[i])); err != nil {
			s.log.Error("port cannot be sent to its agent", "agent", agent, "port", hosts[i].PortID, "error", err)
			continue
		}
		out = append(out, hosts[i])
	}
	if len(out) > rpc.MaxHosts {
		s.log.Error("more ports than one agent takes: the rest are left out",
			"agent", agent, of, id, "ports", len(out), "most", rpc.MaxHosts)
		out = out[:rpc.MaxHosts]
	}
	return out
}
