package neutron_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
)

// chooser decides what a storm does next: a random source, or rapid.
type chooser interface{ IntN(n int) int }

type drawn struct{ t *rapid.T }

func (d drawn) IntN(n int) int { return rapid.IntRange(0, n-1).Draw(d.t, "choice") }

// routerStorm does random operations on routers and what they rest on, through one Service.
type routerStorm struct {
	*rig
	c chooser
}

func choose[T any](c chooser, rows func(func(*T) bool)) *T {
	all := slices.Collect(rows)
	if len(all) == 0 {
		return nil
	}
	return all[c.IntN(len(all))]
}

// step does one operation on whatever there is; what the API refuses is no error.
func (s *routerStorm) step() error {
	snap := s.db.Snapshot()
	n, sub := choose(s.c, s.tab.Networks.All(snap)), choose(s.c, s.tab.Subnets.All(snap))
	p, rt := choose(s.c, s.tab.Ports.All(snap)), choose(s.c, s.tab.Routers.All(snap))
	f := choose(s.c, s.tab.FloatingIPs.All(snap))
	var err error
	switch op := s.c.IntN(24); {
	case n == nil || op == 0:
		x := network("p1")
		x.External = s.c.IntN(2) == 0
		_, err = s.s.CreateNetworks(ctx, admin, []neutron.Draft[model.Network]{draft(x, "router:external")})
	case op < 3:
		cidr := fmt.Sprintf("10.0.%d.0/%d", s.c.IntN(3), 27+s.c.IntN(2))
		if s.c.IntN(4) == 0 {
			cidr = fmt.Sprintf("2001:db8:%x::/64", s.c.IntN(3))
		}
		_, err = s.s.CreateSubnets(ctx, admin, []neutron.Draft[model.Subnet]{draft(subnet(n, cidr), "cidr")})
	case op < 5:
		err = s.makePort(n, sub)
	case rt == nil || op == 5:
		d := draft(router("p1"))
		if s.c.IntN(2) == 0 {
			d.Extra = gateway(&neutron.GatewayInfo{NetworkID: n.ID})
		}
		_, err = s.s.CreateRouters(ctx, admin, []neutron.Draft[model.Router]{d})
	case op < 10 && sub != nil:
		err = s.addOrRemove(rt, sub, p)
	case op < 13:
		err = s.changeGateway(rt, n, sub)
	case op < 16:
		err = s.makeFloating(n, p)
	case op < 18 && f != nil:
		err = s.changeFloating(f, p)
	case op == 18 && p != nil:
		err = s.changePorts(p, sub)
	case op == 19 && f != nil:
		err = s.s.DeleteFloatingIP(ctx, admin, f.ID, nil)
	case op == 20:
		err = s.s.DeleteRouter(ctx, admin, rt.ID, nil)
	case op == 21 && sub != nil:
		_, err = s.setRoutes(rt.ID, model.Route{Destination: netip.MustParsePrefix("172.16.0.0/16"), NextHop: nth(sub.CIDR, 1+s.c.IntN(4))})
	case op == 22:
		_, err = s.s.UpdateNetwork(ctx, admin, n.ID, change(func(n *model.Network) { n.External = !n.External }, "router:external"))
	case sub != nil && s.c.IntN(2) == 0:
		err = s.s.DeleteSubnet(ctx, admin, sub.ID, nil)
	default:
		err = s.s.DeleteNetwork(ctx, admin, n.ID, nil)
	}
	var bad *fault.Fault
	if errors.As(err, &bad) && !errors.Is(err, store.ErrUnavailable) {
		return nil
	}
	return err
}

func (s *routerStorm) makePort(n *model.Network, sub *model.Subnet) error {
	p := port(n)
	var given []string
	if sub != nil && s.c.IntN(2) == 0 {
		p.NetworkID, p.FixedIPs = sub.NetworkID, []model.FixedIP{{SubnetID: sub.ID}, {SubnetID: sub.ID}}[:1+s.c.IntN(2)]
		given = append(given, "fixed_ips")
	}
	_, err := s.s.CreatePorts(ctx, admin, []neutron.Draft[model.Port]{draft(p, given...)})
	return err
}

func (s *routerStorm) addOrRemove(rt *model.Router, sub *model.Subnet, p *model.Port) error {
	byPort := p != nil && s.c.IntN(3) == 0
	do := s.s.AddInterface
	if s.c.IntN(3) == 0 {
		do = s.s.RemoveInterface
	}
	var err error
	if byPort {
		_, err = do(ctx, admin, rt.ID, "", p.ID)
	} else {
		_, err = do(ctx, admin, rt.ID, sub.ID, "")
	}
	return err
}

func (s *routerStorm) changeGateway(rt *model.Router, n *model.Network, sub *model.Subnet) error {
	info := &neutron.GatewayInfo{NetworkID: n.ID}
	switch {
	case s.c.IntN(4) == 0:
		info = nil
	case sub != nil && s.c.IntN(2) == 0:
		info.NetworkID = sub.NetworkID
		info.FixedIPs = []model.FixedIP{{SubnetID: sub.ID, IP: nth(sub.CIDR, 2+s.c.IntN(4))}}
	}
	_, err := s.setGateway(rt.ID, info)
	return err
}

func (s *routerStorm) makeFloating(n *model.Network, p *model.Port) error {
	f := &model.FloatingIP{Meta: model.Meta{ProjectID: "p1"}, FloatingNetworkID: n.ID}
	if p != nil && s.c.IntN(2) == 0 {
		f.PortID = p.ID
	}
	_, err := s.s.CreateFloatingIPs(ctx, admin, []neutron.Draft[model.FloatingIP]{draft(f)})
	return err
}

func (s *routerStorm) changeFloating(f *model.FloatingIP, p *model.Port) error {
	to := ""
	var fixed netip.Addr
	if p != nil && s.c.IntN(4) > 0 {
		to = p.ID
		if len(p.FixedIPs) > 1 {
			fixed = p.FixedIPs[s.c.IntN(2)].IP
		}
	}
	_, err := s.s.UpdateFloatingIP(ctx, admin, f.ID, change(func(f *model.FloatingIP) { f.PortID, f.FixedIP = to, fixed }, "port_id", "fixed_ip_address"))
	return err
}

func (s *routerStorm) changePorts(p *model.Port, sub *model.Subnet) error {
	if sub == nil || s.c.IntN(2) == 0 {
		return s.s.DeletePort(ctx, admin, p.ID, nil)
	}
	_, err := s.s.UpdatePort(ctx, admin, p.ID, change(func(p *model.Port) { p.FixedIPs = []model.FixedIP{{SubnetID: sub.ID}} }, "fixed_ips"))
	return err
}

// checkRouters compares routers, their ports, floating IPs and claims, both ways.
func (r *rig) checkRouters(t interface{ Errorf(string, ...any) }) {
	snap := r.db.Snapshot()
	want := make(map[string]string)
	hold := func(claim, owner string) {
		if other, twice := want[claim]; twice {
			t.Errorf("%s belongs to %s and to %s", claim, other, owner)
		}
		want[claim] = owner
	}
	for rt := range r.tab.Routers.All(snap) {
		r.checkRouter(t, snap, rt, hold)
	}
	for f := range r.tab.FloatingIPs.All(snap) {
		r.checkFloating(t, snap, f, hold)
	}
	for p := range r.tab.Ports.All(snap) {
		switch p.DeviceOwner {
		case model.OwnerRouterInterface, model.OwnerRouterGateway:
			rt, ok := r.tab.Routers.Get(snap, p.DeviceID)
			if !ok || p.DeviceOwner == model.OwnerRouterGateway && (rt.Gateway == nil || rt.Gateway.PortID != p.ID) {
				t.Errorf("port %s (%s) is of router %s, which does not know", p.ID, p.DeviceOwner, p.DeviceID)
			}
		case model.OwnerFloatingIP:
			if f, ok := r.tab.FloatingIPs.Get(snap, p.DeviceID); !ok || f.FloatingPortID != p.ID {
				t.Errorf("port %s is of floating IP %s, which does not know", p.ID, p.DeviceID)
			}
		}
	}
	for b := range r.tab.RouterBindings.All(snap) {
		if _, ok := r.tab.Routers.Get(snap, b.RouterID); !ok {
			t.Errorf("router %s is gone and has agent %q", b.RouterID, b.AgentID)
		}
	}
	for _, kind := range []string{"external", "floating", "floating-via"} {
		for key, owner := range r.db.ClaimsUnder(snap, kind, "") {
			if want[kind+"/"+key] != owner {
				t.Errorf("claim %s/%s of %s, should be of %q", kind, key, owner, want[kind+"/"+key])
			}
			delete(want, kind+"/"+key)
		}
	}
	for claim, owner := range want {
		t.Errorf("%s has no claim %s", owner, claim)
	}
}

func (r *rig) checkRouter(t interface{ Errorf(string, ...any) }, snap store.Snapshot, rt *model.Router, hold func(claim, owner string)) {
	var on []netip.Prefix
	var own []netip.Addr
	for p := range r.tab.Ports.By(snap, neutron.ByDevice, rt.ID) {
		if p.DeviceOwner != model.OwnerRouterInterface && p.DeviceOwner != model.OwnerRouterGateway {
			continue
		}
		var subnets []string
		for _, f := range p.FixedIPs {
			own = append(own, f.IP)
			if slices.Contains(subnets, f.SubnetID) {
				continue
			}
			subnets = append(subnets, f.SubnetID)
			sub, ok := r.tab.Subnets.Get(snap, f.SubnetID)
			if !ok {
				t.Errorf("router %s is on subnet %s, which is gone", rt.ID, f.SubnetID)
				continue
			}
			if slices.ContainsFunc(on, sub.CIDR.Overlaps) {
				t.Errorf("router %s is on overlapping subnets: %v and %s", rt.ID, on, sub.CIDR)
			}
			on = append(on, sub.CIDR)
		}
	}
	if g := rt.Gateway; g != nil {
		p, ok := r.tab.Ports.Get(snap, g.PortID)
		if !ok || p.DeviceID != rt.ID || p.NetworkID != g.NetworkID {
			t.Errorf("router %s has gateway %s, which is %+v", rt.ID, g.PortID, p)
		}
		if n, known := r.tab.Networks.Get(snap, g.NetworkID); !known || !n.External {
			t.Errorf("router %s leads to network %s, which is not external", rt.ID, g.NetworkID)
		}
		hold("external/"+g.NetworkID+"/"+rt.ID, rt.ID)
	}
	for _, x := range rt.Routes {
		if !slices.ContainsFunc(on, func(p netip.Prefix) bool { return p.Contains(x.NextHop) }) || slices.Contains(own, x.NextHop) {
			t.Errorf("router %s on %v has a route by way of %s", rt.ID, on, x.NextHop)
		}
	}
}

func (r *rig) checkFloating(t interface{ Errorf(string, ...any) }, snap store.Snapshot, f *model.FloatingIP, hold func(claim, owner string)) {
	hold("external/"+f.FloatingNetworkID+"/"+f.ID, f.ID)
	if n, ok := r.tab.Networks.Get(snap, f.FloatingNetworkID); !ok || !n.External {
		t.Errorf("floating IP %s is of network %s, which is not external", f.ID, f.FloatingNetworkID)
	}
	p, ok := r.tab.Ports.Get(snap, f.FloatingPortID)
	if !ok || !slices.ContainsFunc(p.FixedIPs, func(x model.FixedIP) bool { return x.IP == f.FloatingIP }) {
		t.Errorf("floating IP %s is not at its port: %+v", f.FloatingIP, p)
	}
	if f.PortID == "" {
		if f.RouterID != "" || f.FixedIP.IsValid() || f.Status != model.StatusDown {
			t.Errorf("floating IP %s stands for nothing: %+v", f.ID, f)
		}
		return
	}
	hold("floating/"+f.PortID+"/"+f.FixedIP.String()+"/"+f.FloatingNetworkID, f.ID)
	hold("floating-via/"+f.RouterID+"/"+f.SubnetID+"/"+f.ID, f.ID)
	inside, ok := r.tab.Ports.Get(snap, f.PortID)
	if !ok || !slices.Contains(inside.FixedIPs, model.FixedIP{SubnetID: f.SubnetID, IP: f.FixedIP}) {
		t.Errorf("floating IP %s stands for %s of port %s, which is %+v", f.ID, f.FixedIP, f.PortID, inside)
	}
	rt, ok := r.tab.Routers.Get(snap, f.RouterID)
	if !ok || rt.Gateway == nil || rt.Gateway.NetworkID != f.FloatingNetworkID {
		t.Errorf("floating IP %s is behind router %s, which is %+v", f.ID, f.RouterID, rt)
		return
	}
	connected := false
	for p := range r.tab.Ports.By(snap, neutron.ByDevice, rt.ID) {
		connected = connected || p.DeviceOwner == model.OwnerRouterInterface &&
			slices.ContainsFunc(p.FixedIPs, func(x model.FixedIP) bool { return x.SubnetID == f.SubnetID })
	}
	if !connected {
		t.Errorf("floating IP %s: router %s is not on subnet %s", f.ID, f.RouterID, f.SubnetID)
	}
}

// Any sequence of operations keeps what holds of routers and floating IPs.
func TestRouterInvariants(t *testing.T) {
	r := newRig(t, neutron.Options{DefaultQuotas: unlimitedRouters()})
	rapid.Check(t, func(t *rapid.T) {
		r.clearRouters()
		r.landscape()
		s := &routerStorm{rig: r, c: drawn{t}}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			if err := s.step(); err != nil {
				t.Fatal(err)
			}
			r.checkRouters(t)
		}
	})
	r.checkConsistent()
	r.clearRouters()
	for _, kind := range []string{"external", "floating", "floating-via"} {
		for key := range r.db.ClaimsUnder(r.db.Snapshot(), kind, "") {
			t.Errorf("claim %s/%s is left", kind, key)
		}
	}
	r.deleteEverything()
}

// landscape is where floating IPs can be had: an external network, a router, and ports on a
// network behind it.
func (r *rig) landscape() {
	r.t.Helper()
	ext := r.external("10.0.2.0/27")
	n := r.network("p1")
	sub := r.subnet(n, "10.0.0.0/27")
	rt := r.router("p1", ext)
	must[*neutron.RouterInterface](r.t)(r.s.AddInterface(ctx, admin, rt.ID, sub.ID, ""))
	p := r.port(port(n))
	must[*model.FloatingIP](r.t)(r.floating("p1", ext, p.ID))
	two := port(n)
	two.FixedIPs = []model.FixedIP{{SubnetID: sub.ID}, {SubnetID: sub.ID}}
	r.port(two, "fixed_ips")
}

// clearRouters deletes all networks, and routers with all that belongs to them.
func (r *rig) clearRouters() {
	r.t.Helper()
	check := func(err error) {
		r.t.Helper()
		if err != nil {
			r.t.Fatal(err)
		}
	}
	for f := range r.tab.FloatingIPs.All(r.db.Snapshot()) {
		check(r.s.DeleteFloatingIP(ctx, admin, f.ID, nil))
	}
	for rt := range r.tab.Routers.All(r.db.Snapshot()) {
		_, err := r.setRoutes(rt.ID)
		check(err)
		for p := range r.tab.Ports.By(r.db.Snapshot(), neutron.ByDevice, rt.ID) {
			if p.DeviceOwner == model.OwnerRouterInterface {
				_, err = r.s.RemoveInterface(ctx, admin, rt.ID, "", p.ID)
				check(err)
			}
		}
		check(r.s.DeleteRouter(ctx, admin, rt.ID, nil))
	}
	for p := range r.tab.Ports.All(r.db.Snapshot()) {
		check(r.s.DeletePort(ctx, admin, p.ID, nil))
	}
	for n := range r.tab.Networks.All(r.db.Snapshot()) {
		check(r.s.DeleteNetwork(ctx, admin, n.ID, nil))
	}
}

func unlimitedRouters() map[string]int {
	q := map[string]int{"router": -1, "floatingip": -1}
	for k, v := range unlimited {
		q[k] = v
	}
	return q
}

// Two controllers, many clients, agents that come and go: no address is given twice, no
// router has two agents, and nothing rests on what is gone.
func TestRouterStorm(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	first, second := openPair(t, filepath.Join(tempDir(t), "etcd"))
	defer first.close()
	defer second.close()
	t.Run("storm", func(t *testing.T) {
		scheduleRouters(t, first.s, second.s)
		first.landscape()
		var wg sync.WaitGroup
		const workers, steps = 8, 100
		for w := range workers {
			r := first
			if w%2 == 1 {
				r = second
			}
			s := &routerStorm{rig: r, c: rand.New(rand.NewPCG(seed, uint64(w)))}
			wg.Go(func() {
				for range steps {
					if err := s.step(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		hosts := []string{"net1", "net2"}
		for round := range 6 {
			host := hosts[round%2]
			first.agentUp(nicAgent(host))
			_, lease := first.agentUp(l3Agent(host))
			if round < 4 {
				if err := lease.Revoke(ctx); err != nil {
					t.Error(err)
				}
			}
		}
		wg.Wait()
		first.catchUp()
		first.checkRouters(t)
		first.checkConsistent()
		first.eventually("every router is on the host of its one agent", func() bool { return first.allPlaced() })
	})
	first.catchUp()
	first.checkRouters(t)
}

// allPlaced reports whether each router is asked of exactly one host, with all its ports.
func (r *rig) allPlaced() bool {
	snap := r.db.Snapshot()
	seen := make(map[string]int)
	for a := range r.tab.Agents.All(snap) {
		if a.Type != model.AgentL3 {
			continue
		}
		specs, _ := r.s.RouterSpecs(snap, a.ID)
		for _, spec := range specs {
			seen[spec.RouterID]++
			ports := 0
			for p := range r.tab.Ports.By(snap, neutron.ByDevice, spec.RouterID) {
				if ports++; p.Binding.Host != a.Host {
					return false
				}
			}
		}
	}
	for rt := range r.tab.Routers.All(snap) {
		if seen[rt.ID] != 1 {
			return false
		}
	}
	return true
}
