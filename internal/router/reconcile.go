package router

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"neutrino/internal/model"
	"neutrino/internal/netspace"
	"neutrino/internal/portspace"
)

// passes over a router until nothing is left to change; a second one reads back.
const passes = 4

// reconcile brings the host to what is wanted; without all, routers of which nothing has
// changed are left out. The lock is held.
func (n *Node) reconcile(ctx context.Context, all bool) error {
	start := time.Now()
	errs := n.removeOthers(ctx, all)
	up := 0
	for _, w := range n.want {
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		c := n.routers[w.RouterID]
		if c == nil {
			c = &carried{advertisers: map[string]*advertised{}, tell: map[string]again{}}
			n.routers[w.RouterID] = c
		}
		netdevs := n.netdevsOf(w)
		if all || !c.stands(w, netdevs, start) {
			if err := n.carry(w, c, netdevs); err != nil {
				errs = append(errs, err)
			}
		} else {
			n.m.skipped.Inc()
		}
		if c.report.Up {
			up++
		}
	}
	if all {
		n.audited = start
	}
	n.m.routers.WithLabelValues("up").Set(float64(up))
	n.m.routers.WithLabelValues("down").Set(float64(len(n.want) - up))
	n.m.pass.Observe(time.Since(start).Seconds())
	return errors.Join(errs...)
}

// stands reports whether the router was found as it is asked for now, and nothing is due.
func (c *carried) stands(w *model.RouterSpec, netdevs []found, now time.Time) bool {
	if c.spec == nil || c.amiss() || c.spec != w && !reflect.DeepEqual(c.spec, w) || !slices.Equal(c.netdevs, netdevs) {
		return false
	}
	for _, a := range c.advertisers {
		if !a.alive() {
			return false
		}
	}
	for _, t := range c.tell {
		if !now.Before(t.at) {
			return false
		}
	}
	return true
}

// netdevsOf are the netdevs of a router's ports as they are to be found now.
func (n *Node) netdevsOf(w *model.RouterSpec) []found {
	ports := portsOf(w)
	out := make([]found, 0, len(ports))
	for _, p := range ports {
		vf, ok := n.o.FindVF(p.PortID)
		out = append(out, found{vf, ok})
	}
	return out
}

// carry looks at a router and notes how it stands. The error is what went wrong beyond
// waiting.
func (n *Node) carry(w *model.RouterSpec, c *carried, netdevs []found) error {
	n.m.looked.Inc()
	beside, err := n.ensure(w, c)
	c.report = model.RouterReport{RouterID: w.RouterID, Revision: w.Revision, Up: err == nil}
	c.spec, c.netdevs = w, netdevs
	why := err
	if err == nil {
		why = beside
	}
	if why != nil {
		c.report.Reason = strings.ReplaceAll(why.Error(), "\n", "; ")
	}
	if err == nil || errors.Is(err, errPending) {
		return nil
	}
	n.m.failures.Inc()
	return fmt.Errorf("router %s: %w", w.RouterID, err)
}

func (n *Node) namespace(routerID string) string { return n.o.Prefix + clip(routerID, 8) }

func (n *Node) wanted(routerID string) bool {
	return slices.ContainsFunc(n.want, func(w *model.RouterSpec) bool { return w.RouterID == routerID })
}

// removeOthers takes down what this host has and is not asked for. Without all, whose a
// namespace is that has the name of a wanted router's is not looked at.
func (n *Node) removeOthers(ctx context.Context, all bool) []error {
	var errs []error
	known := map[string]bool{}
	for id, c := range n.routers {
		if n.wanted(id) {
			known[n.namespace(id)] = true
			continue
		}
		if err := c.stop(); err != nil {
			errs = append(errs, fmt.Errorf("router %s: stop what runs beside it: %w", id, err))
		}
		delete(n.routers, id)
	}
	names, err := netspace.List(n.o.Prefix)
	if err != nil {
		return append(errs, err)
	}
	for _, name := range names {
		if ctx.Err() != nil {
			break
		}
		if known[name] && !all {
			continue
		}
		if err := n.removeUnwanted(name); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func (n *Node) removeUnwanted(name string) error {
	s, err := spaces.Open(name)
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.Close()
	if s.Host != n.homeID || n.wanted(s.Owner) {
		return nil
	}
	if err := s.GiveAllBack(n.home, n.homeNL); err != nil {
		return err
	}
	n.log.Info("router removed", "router", s.Owner, "namespace", name)
	return netspace.Delete(name)
}

// ensure brings one router to where a pass finds nothing to change. The error says what
// is not as asked, beside what is missing beside it.
func (n *Node) ensure(want *model.RouterSpec, c *carried) (beside, err error) {
	s, err := n.enter(want, c)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for range passes {
		changed, missing, err := n.pass(s, want, c)
		if err != nil {
			return nil, err
		}
		if !changed {
			c.adopted = true
			return missing, nil
		}
	}
	return nil, fmt.Errorf("%s does not stay as it is made: does somebody else change it?", s.Name)
}

// enter opens the router's namespace, or makes it when there is a netdev to put in. What this
// process has running in one that is gone ends first: as long as it is there, so are the
// netdevs.
func (n *Node) enter(want *model.RouterSpec, c *carried) (*seat, error) {
	name := n.namespace(want.RouterID)
	s, err := spaces.Enter(name, n.homeID, want.RouterID)
	if isNotExist(err) {
		if err = c.leave(""); err != nil {
			return nil, err
		}
		if id := n.nothingFor(want); id != "" {
			return nil, fmt.Errorf("%w for a netdev for port %s", errPending, id)
		}
		s, err = spaces.Create(name, n.homeID, want.RouterID, prepare)
	}
	if err != nil {
		return nil, err
	}
	if err = c.leave(portspace.HostID(s.NS)); err != nil {
		s.Close()
		return nil, err
	}
	return &seat{s}, nil
}

// leave forgets another namespace than this one, and ends what runs in it.
func (c *carried) leave(space string) error {
	if c.space == space {
		return nil
	}
	err := c.stop()
	c.space, c.adopted = space, false
	clear(c.tell)
	if err != nil {
		return fmt.Errorf("stop what ran beside the router in a namespace that is gone: %w", err)
	}
	return nil
}

// nothingFor names a port if no port of the router has a netdev yet; "" = one has, or the
// router has no ports.
func (n *Node) nothingFor(want *model.RouterSpec) string {
	first := ""
	for _, p := range portsOf(want) {
		if vf, ok := n.o.FindVF(p.PortID); ok && vf.Netdev != "" {
			return ""
		}
		if first == "" {
			first = p.PortID
		}
	}
	return first
}

func portsOf(want *model.RouterSpec) []*model.RouterPort {
	var out []*model.RouterPort
	for i := range want.Interfaces {
		out = append(out, &want.Interfaces[i])
	}
	if want.Gateway != nil {
		out = append(out, want.Gateway)
	}
	return out
}

// pass looks at all of a router once and changes what differs. What is there works, whether
// the rest is or not: pending comes last. Rules go first, so that nothing is forwarded
// without them. missing is what is not served beside the router, which forwards all the same.
func (n *Node) pass(s *seat, want *model.RouterSpec, c *carried) (changed bool, missing, err error) {
	ports, changed, pending := n.hold(s, want)
	if pending != nil && !errors.Is(pending, errPending) {
		return changed, nil, pending
	}
	names := map[string]string{}
	for id, h := range ports {
		if h.Mark.Bridged() {
			names[id] = h.Link.Attrs().Name
		}
	}
	metadataPort := uint16(0)
	if n.o.Beside != nil {
		metadataPort = n.o.MetadataPort
	}
	p := newPlan(want, names, metadataPort)
	ruled, err := ensureRules(s.NS, &p.rules)
	if err != nil {
		return changed, nil, err
	}
	settled, err := n.settle(s, p, ports, c)
	if err != nil {
		return true, nil, err
	}
	changed = changed || ruled || settled
	if ruled || !c.adopted {
		ended, err := endFlows(s.NS, &p.keep)
		if err != nil {
			return changed, nil, err
		}
		if ended > 0 {
			n.log.Info("flows ended whose translation is no longer asked for", "router", want.RouterID, "flows", ended)
		}
	}
	if err := n.advertise(s, want, ports, c); err != nil {
		return changed, nil, err
	}
	missing = n.beside(s, want, c)
	if len(p.problems) > 0 {
		return changed, missing, errors.New(strings.Join(p.problems, "; "))
	}
	return changed, missing, pending
}

// hold makes sure that the namespace holds the ports' netdevs and no others.
func (n *Node) hold(s *seat, want *model.RouterSpec) (ports map[string]held, changed bool, err error) {
	if ports, err = s.Ports(); err != nil {
		return nil, false, err
	}
	wanted := map[string]bool{}
	for _, p := range portsOf(want) {
		wanted[p.PortID] = true
	}
	for id, h := range ports {
		vf, found := n.o.FindVF(id)
		if wanted[id] && (!found || h.Mark.PF == vf.PF && h.Mark.Index == vf.Index) {
			continue
		}
		if err := s.GiveBack(n.home, n.homeNL, h); err != nil {
			return nil, true, err
		}
		delete(ports, id)
		changed = true
	}
	var errs []error
	for _, p := range portsOf(want) {
		if _, ok := ports[p.PortID]; ok {
			continue
		}
		vf, found := n.o.FindVF(p.PortID)
		if !found || vf.Netdev == "" {
			errs = append(errs, fmt.Errorf("%w for a netdev for port %s", errPending, p.PortID))
			continue
		}
		h, err := s.Take(n.homeNL, vf, p.PortID)
		if err != nil {
			if !errors.Is(err, errPending) {
				return nil, true, err
			}
			errs = append(errs, err)
			continue
		}
		ports[p.PortID], changed = h, true
	}
	return ports, changed, errors.Join(errs...)
}

// settle brings sysctls, links, addresses and routes to the plan, and tells neighbours what
// they do not know.
func (n *Node) settle(s *seat, p *plan, ports map[string]held, c *carried) (changed bool, err error) {
	fresh := map[string][]netip.Prefix{}
	for i := range p.devices {
		d := &p.devices[i]
		h, ok := ports[d.port.PortID]
		if !ok {
			continue
		}
		news, did, err := s.configure(h, d)
		if err != nil {
			return true, err
		}
		if h.Link, err = s.NL.LinkByIndex(h.Link.Attrs().Index); err != nil {
			return true, fmt.Errorf("look at %s in %s: %w", d.name, s.Name, err)
		}
		ports[d.port.PortID] = h
		changed = changed || did
		if !c.adopted {
			news = d.addresses
		}
		if len(news) > 0 {
			fresh[d.port.PortID] = news
		}
	}
	for _, do := range []func() (bool, error){
		func() (bool, error) { return s.settleSysctls(p, ports) },
		func() (bool, error) { return s.setRoutes(p, ports) },
	} {
		did, err := do()
		if err != nil {
			return true, err
		}
		changed = changed || did
	}
	n.announce(s, p, ports, fresh, c)
	return changed, nil
}

// announce tells neighbours of fresh addresses, and a moment later again of all addresses of
// that link: a first frame may be lost while a switch learns, and Linux believes no second
// word within a second (locktime, arp(7)).
func (n *Node) announce(s *seat, p *plan, ports map[string]held, fresh map[string][]netip.Prefix, c *carried) {
	now := time.Now()
	var all []notice
	for i := range p.devices {
		d := &p.devices[i]
		id := d.port.PortID
		h, ok := ports[id]
		if !ok {
			continue
		}
		if news := fresh[id]; len(news) > 0 {
			all = append(all, notices(h.Link, news)...)
			c.tell[id] = again{announceRepeat, now.Add(announceEvery)}
			continue
		}
		next, ok := c.tell[id]
		if !ok || now.Before(next.at) {
			continue
		}
		all = append(all, notices(h.Link, d.addresses)...)
		c.tell[id] = again{next.left - 1, now.Add(announceEvery)}
		if next.left <= 1 {
			delete(c.tell, id)
		}
	}
	for id := range c.tell {
		if !p.has(id) {
			delete(c.tell, id)
		}
	}
	if len(all) == 0 {
		return
	}
	if err := netspace.DoAt(s.NS, func() error { return announce(all, &n.closing) }); err != nil {
		n.log.Warn("neighbours were not told of addresses", "namespace", s.Name, "err", err)
	}
}

// beside keeps what serves metadata inside the namespace.
func (n *Node) beside(s *seat, want *model.RouterSpec, c *carried) (err error) {
	if n.o.Beside == nil {
		return nil
	}
	if c.companion == nil {
		if c.companion, err = n.o.Beside(s.Name, s.NS); err != nil {
			c.companion = nil
			return fmt.Errorf("the router works, but instances get no metadata through it: %w", err)
		}
	}
	c.companion.Set(want.Metadata)
	return nil
}
