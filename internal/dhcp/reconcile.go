package dhcp

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"

	"neutrino/internal/model"
	"neutrino/internal/netspace"
	"neutrino/internal/portspace"
)

// reconcile brings the host to what is wanted. The lock is held.
func (n *Node) reconcile(ctx context.Context) error {
	var errs []error
	errs = append(errs, n.removeOthers(ctx)...)
	ids := make([]string, 0, len(n.want))
	for id := range n.want {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	counts := map[State]int{Serving: 0, Pending: 0, Failed: 0}
	for _, id := range ids {
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		s := n.nets[id]
		if s == nil {
			s = &served{problems: map[string]bool{}}
			n.nets[id] = s
		}
		err := n.ensure(n.want[id], s)
		n.note(id, s, err)
		if err != nil && !errors.Is(err, errPending) {
			errs = append(errs, fmt.Errorf("network %s: %w", id, err))
		}
		counts[s.status.State]++
	}
	for state, c := range counts {
		n.m.networks.WithLabelValues(string(state)).Set(float64(c))
	}
	return errors.Join(errs...)
}

// note keeps the outcome and logs what changed.
func (n *Node) note(id string, s *served, err error) {
	was := s.status
	s.status.Err = err
	switch {
	case err == nil:
		s.status.State = Serving
	case errors.Is(err, errPending):
		s.status.State = Pending
	default:
		s.status.State = Failed
	}
	if s.status.State == was.State && fmt.Sprint(was.Err) == fmt.Sprint(err) {
		return
	}
	switch s.status.State {
	case Serving:
		n.log.Info("serving DHCP", "network", id, "namespace", s.status.Namespace)
	case Pending:
		n.log.Debug("DHCP waits", "network", id, "for", err)
	default:
		n.log.Warn("DHCP not served", "network", id, "err", err)
	}
}

func (n *Node) namespace(networkID string) string { return n.o.Prefix + clip(networkID, 8) }

// removeOthers takes down what this host has and is not asked for.
func (n *Node) removeOthers(ctx context.Context) []error {
	names, err := netspace.List(n.o.Prefix)
	if err != nil {
		return []error{err}
	}
	var errs []error
	for _, name := range names {
		if ctx.Err() != nil {
			break
		}
		if err := n.removeUnwanted(name); err != nil {
			errs = append(errs, err)
		}
	}
	for id, s := range n.nets {
		if n.want[id] == nil {
			errs = append(errs, s.stopAll())
			delete(n.nets, id)
		}
	}
	return slices.DeleteFunc(errs, func(e error) bool { return e == nil })
}

func (n *Node) removeUnwanted(name string) error {
	p, err := spaces.Open(name)
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer p.Close()
	if p.Host != n.homeID || n.want[p.Owner] != nil {
		return nil
	}
	if s := n.nets[p.Owner]; s != nil {
		if err = s.stopAll(); err != nil {
			return err
		}
	}
	if err := p.GiveAllBack(n.home, n.homeNL); err != nil {
		return err
	}
	n.log.Info("DHCP namespace removed", "network", p.Owner, "namespace", name)
	return netspace.Delete(name)
}

// ensure brings one network to where it is served.
func (n *Node) ensure(want *model.DHCPNetwork, s *served) error {
	view, problems := NewView(want, n.defaults())
	n.report(want.NetworkID, s, problems)
	vf, found := n.o.FindVF(want.PortID)
	p, err := n.enter(want, s, found && vf.Netdev != "")
	if err != nil {
		return err
	}
	defer p.Close()
	s.status.Namespace = p.Name
	h, err := n.holdVF(p, want, vf, found, s)
	if err != nil {
		return errors.Join(err, s.stop())
	}
	l, err := p.configure(h, want)
	if err != nil {
		return errors.Join(err, s.stop())
	}
	if err := n.startServer(p, l, view, s); err != nil {
		return err
	}
	n.startBeside(p, want, s)
	return n.advertise(p, l, want, s)
}

// defaults are what every network here is served with.
func (n *Node) defaults() Defaults {
	return Defaults{
		LeaseTime: n.o.LeaseTime, DNSDomain: n.o.DNSDomain, DNSServers: n.o.DNSServers,
		Metadata: n.o.Beside != nil && n.o.IsolatedMetadata, MetadataEverywhere: n.o.Beside != nil && n.o.ForceMetadata,
	}
}

// enter opens the network's namespace, or makes it when there is a VF to put in. What this
// process has running in one that is gone ends first: as long as it is there, so is the VF.
func (n *Node) enter(want *model.DHCPNetwork, has *served, create bool) (*place, error) {
	name := n.namespace(want.NetworkID)
	s, err := spaces.Enter(name, n.homeID, want.NetworkID)
	if isNotExist(err) {
		if err = has.stopAll(); err != nil {
			return nil, err
		}
		if !create {
			return nil, fmt.Errorf("%w for a VF for port %s", errPending, want.PortID)
		}
		s, err = spaces.Create(name, n.homeID, want.NetworkID, func() error { return hostOnly("default") })
	}
	if err != nil {
		return nil, err
	}
	return &place{s}, nil
}

// holdVF makes sure that the namespace holds the port's VF and no other.
func (n *Node) holdVF(p *place, want *model.DHCPNetwork, vf VF, found bool, s *served) (portspace.Held, error) {
	ports, err := p.Ports()
	if err != nil {
		return portspace.Held{}, err
	}
	for id, h := range ports {
		if id == want.PortID && (!found || h.Mark.PF == vf.PF && h.Mark.Index == vf.Index) {
			continue
		}
		if err := errors.Join(s.stop(), p.GiveBack(n.home, n.homeNL, h)); err != nil {
			return portspace.Held{}, err
		}
		delete(ports, id)
	}
	if h, ok := ports[want.PortID]; ok {
		return h, nil
	}
	if !found || vf.Netdev == "" {
		return portspace.Held{}, fmt.Errorf("%w for a VF for port %s", errPending, want.PortID)
	}
	return p.Take(n.homeNL, vf, want.PortID)
}

func (n *Node) startServer(p *place, l netlink.Link, view *View, s *served) error {
	a := l.Attrs()
	if s.server != nil && s.alive() && s.ifindex == a.Index && s.mac == a.HardwareAddr.String() {
		s.server.Update(view)
		return nil
	}
	if err := s.stop(); err != nil {
		return err
	}
	return netspace.DoAt(p.NS, func() error {
		log := n.log.With("network", view.networkID)
		srv, err := newServer(a.Name, view, log, n.m, n.Kick)
		if err != nil {
			return err
		}
		s.server, s.ifindex, s.mac = srv, a.Index, a.HardwareAddr.String()
		return nil
	})
}

func (s *served) alive() bool {
	select {
	case <-s.server.Done():
		return false
	default:
		return true
	}
}

func (s *served) stop() error {
	var errs []error
	if srv := s.server; srv != nil {
		s.server = nil
		errs = append(errs, srv.Close())
	}
	errs = append(errs, s.stopAdverts())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stop DHCP server: %w", err)
	}
	return nil
}

// report logs each problem once.
func (n *Node) report(id string, s *served, problems []Problem) {
	s.status.Problems = problems
	seen := map[string]bool{}
	for _, p := range problems {
		text := p.String()
		seen[text] = true
		if !s.problems[text] {
			n.log.Warn("part of a network's DHCP set-up is left out", "network", id, "what", text)
		}
	}
	s.problems = seen
}
