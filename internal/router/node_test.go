package router

import (
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"neutrino/internal/model"
	"neutrino/internal/netspace"
)

func TestInstancesReachEachOtherAndOutside(t *testing.T) {
	r := newRig(t)
	a, b, outside := r.site()
	n := r.node()
	set(t, n, twoSubnets())
	r.serve(outside, 80)
	r.serve(b, 80)
	r.ping(a, "10.0.2.5")
	r.ping(a, "2001:db8:2::5")
	r.sees(r.dial(a, "10.0.2.5:80"), "10.0.1.5") // not translated between subnets
	r.sees(r.dial(a, "203.0.113.1:80"), "203.0.113.10")
	r.sees(r.dial(b, "203.0.113.1:80"), "203.0.113.10")

	// Somebody outside who sends to a tenant's address by way of the router gets nowhere.
	r.ping(outside, "203.0.113.10")
	r.in(outside, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		_, dst, _ := net.ParseCIDR("10.0.1.0/24")
		return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst, Gw: net.ParseIP("203.0.113.10")})
	})
	r.silent(outside, "10.0.1.5")

	routed := twoSubnets()
	routed.EnableSNAT = false
	set(t, n, routed)
	r.ping(outside, "10.0.1.5")
	r.sees(r.dial(a, "203.0.113.1:80"), "10.0.1.5")
}

func TestFloatingIPs(t *testing.T) {
	r := newRig(t)
	a, b, outside := r.site()
	n := r.node()
	spec := twoSubnets()
	spec.Floating = []model.FloatingPair{floating("203.0.113.20", "10.0.1.5"), floating("203.0.113.21", "10.0.2.5")}
	set(t, n, spec)
	for _, ns := range []string{a, b, outside} {
		r.serve(ns, 80)
	}
	r.ping(outside, "203.0.113.20")
	in := r.dial(outside, "203.0.113.20:80")
	r.sees(in, "203.0.113.1")
	r.sees(r.dial(a, "203.0.113.1:80"), "203.0.113.20")
	// From inside to a floating IP, one's own router's, one's own even.
	hairpin := r.dial(a, "203.0.113.21:80")
	r.sees(hairpin, "203.0.113.20")
	r.sees(r.dial(a, "203.0.113.20:80"), "203.0.113.20")

	// One that has none itself comes as the gateway.
	spec = twoSubnets()
	spec.Floating = []model.FloatingPair{floating("203.0.113.20", "10.0.1.5")}
	set(t, n, spec)
	r.sees(in, "203.0.113.1") // the other's end cuts nothing here
	r.sees(r.dial(b, "203.0.113.20:80"), "203.0.113.10")
	if got, err := whoami(hairpin, 3*time.Second); err == nil {
		t.Errorf("a flow to a floating IP that was taken away goes on: the server sees %s", got)
	}
	r.silent(outside, "203.0.113.21")

	// The same address for another instance: the flow to the first one ends.
	spec = twoSubnets()
	spec.Floating = []model.FloatingPair{floating("203.0.113.20", "10.0.2.5")}
	set(t, n, spec)
	if got, err := whoami(in, 3*time.Second); err == nil {
		t.Errorf("a flow to the instance that had the floating IP goes on: the server sees %s", got)
	}
	r.sees(r.dial(b, "203.0.113.1:80"), "203.0.113.20")
}

func TestSNATChangeEndsItsFlowsOnly(t *testing.T) {
	r := newRig(t)
	a, b, outside := r.site()
	n := r.node()
	set(t, n, twoSubnets())
	r.serve(outside, 80)
	r.serve(b, 80)
	out, across := r.dial(a, "203.0.113.1:80"), r.dial(a, "10.0.2.5:80")
	r.sees(out, "203.0.113.10")
	r.sees(across, "10.0.1.5")

	more := twoSubnets()
	more.Floating = []model.FloatingPair{floating("203.0.113.20", "10.0.1.5")}
	set(t, n, more)
	r.sees(out, "203.0.113.10") // as it began
	r.sees(r.dial(a, "203.0.113.1:80"), "203.0.113.20")

	moved := twoSubnets()
	gw := testPort(gwOf+"1", 0x10, 1500, "203.0.113.11/24", "203.0.113.1")
	moved.Gateway = &gw
	set(t, n, moved)
	if got, err := whoami(out, 3*time.Second); err == nil {
		t.Errorf("a flow from the gateway address that was taken away goes on: the server sees %s", got)
	}
	r.sees(across, "10.0.1.5")
	r.sees(r.dial(a, "203.0.113.1:80"), "203.0.113.11")
}

func TestTenantsWithTheSameSubnet(t *testing.T) {
	r := newRig(t)
	a, _, outside := r.site()
	other := twoSubnets()
	other.RouterID, other.Gateway = routerB, nil
	other.Interfaces = []model.RouterPort{testPort(portOf+"3", 0x03, 1500, "10.0.1.1/24", "10.0.1.1")}
	twin := r.machine("t", portOf+"3", "10.0.1.6/24", "10.0.1.1")
	n := r.node()
	set(t, n, twoSubnets(), other)
	r.serve(outside, 80)
	r.sees(r.dial(a, "203.0.113.1:80"), "203.0.113.10")
	r.ping(twin, "10.0.1.1")
	r.silent(twin, "10.0.2.5")
	r.silent(twin, "10.0.1.5")
	r.silent(twin, "203.0.113.1")
	r.silent(a, "10.0.1.6")
}

// companion takes what was asked of 169.254.169.254.
type companion struct {
	ln    net.Listener
	done  chan struct{}
	hosts []model.DHCPHost
}

func startCompanion(_ string, ns netns.NsHandle) (*companion, error) {
	c := &companion{done: make(chan struct{})}
	err := netspace.DoAt(ns, func() (err error) {
		c.ln, err = net.Listen("tcp", ":9697")
		return err
	})
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(c.done)
		for {
			conn, err := c.ln.Accept()
			if err != nil {
				return
			}
			answer(conn)
		}
	}()
	return c, nil
}

func (c *companion) Set(hosts []model.DHCPHost) { c.hosts = hosts }

func (c *companion) Close() error {
	err := c.ln.Close()
	<-c.done
	return err
}

func TestMetadataGoesToTheCompanion(t *testing.T) {
	r := newRig(t)
	a, _, outside := r.site()
	var beside *companion
	n := r.node(func(o *Options) {
		o.Beside = func(name string, ns netns.NsHandle) (_ Companion, err error) {
			beside, err = startCompanion(name, ns)
			return beside, err
		}
	})
	spec := twoSubnets()
	spec.Metadata = []model.DHCPHost{{PortID: "p5", HostName: "five"}}
	set(t, n, spec)
	c := r.dial(a, "169.254.169.254:80")
	r.sees(c, "10.0.1.5")
	_ = c.Close()
	if len(beside.hosts) != 1 || beside.hosts[0].HostName != "five" {
		t.Errorf("the companion was told of %v", beside.hosts)
	}
	r.ping(outside, "203.0.113.10")
	refused := make(chan error, 1)
	go func() {
		conn, err := r.tryDialFor(outside, "203.0.113.10:9697", 2*time.Second)
		if err == nil {
			_ = conn.Close()
		}
		refused <- err
	}()
	if err := <-refused; err == nil {
		t.Error("the companion's own port is open to the outside")
	}
}

func (r *rig) tryDialFor(ns, to string, d time.Duration) (c net.Conn, err error) {
	_ = netspace.Do(ns, func() error {
		c, err = net.DialTimeout("tcp4", to, d)
		return nil
	})
	return c, err
}

func TestRestartCutsNothingAndRemovalGivesBack(t *testing.T) {
	r := newRig(t)
	a, _, outside := r.site()
	first := r.node()
	spec := twoSubnets()
	spec.Floating = []model.FloatingPair{floating("203.0.113.20", "10.0.2.5")}
	set(t, first, spec)
	r.serve(outside, 80)
	c := r.dial(a, "203.0.113.1:80")
	r.sees(c, "203.0.113.10")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	r.sees(c, "203.0.113.10") // no process of ours is there
	second := r.node()
	before := r.dump(r.prefix + "aaaaaaaa")
	set(t, second, spec)
	if after := r.dump(r.prefix + "aaaaaaaa"); after != before {
		t.Errorf("a restart changed what is there:\n%s\nwas\n%s", after, before)
	}
	r.sees(c, "203.0.113.10")
	set(t, second)
	if _, err := netspace.Open(r.prefix + "aaaaaaaa"); !isNotExist(err) {
		t.Errorf("the namespace of a router that is gone: %v", err)
	}
	r.in(r.home, func() error {
		for _, vf := range r.netdevs {
			l, err := netlink.LinkByName(vf.Netdev)
			if err != nil {
				t.Errorf("%s was not given back: %v", vf.Netdev, err)
			} else if l.Attrs().Alias != "" || l.Attrs().Flags&net.FlagUp != 0 {
				t.Errorf("%s was given back with alias %q, flags %v", vf.Netdev, l.Attrs().Alias, l.Attrs().Flags)
			}
		}
		return nil
	})
}

func TestPendingPortsAndDrift(t *testing.T) {
	r := newRig(t)
	n := r.node(func(o *Options) { o.AuditEvery = 100 * time.Millisecond })
	reports, err := n.Set(t.Context(), []*model.RouterSpec{twoSubnets()})
	if err != nil || len(reports) != 1 || reports[0].Up || reports[0].Reason == "" || reports[0].Revision != 7 {
		t.Fatalf("without netdevs: %+v, %v", reports, err)
	}
	a, b, _ := r.site()
	select {
	case <-n.Events():
	case <-time.After(30 * time.Second):
		t.Fatal("no event after the netdevs came")
	}
	set(t, n, twoSubnets())
	r.ping(a, "10.0.2.5")

	r.in(r.prefix+"aaaaaaaa", func() error {
		l, err := netlink.LinkByName(deviceName(portOf+"2", false))
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(l)
	})
	r.ping(a, "10.0.2.5")
	r.ping(b, "10.0.1.5")
}

func TestAdvertisementsOnInterfaces(t *testing.T) {
	r := newRig(t)
	spec := twoSubnets()
	spec.Gateway = nil
	for i := range spec.Interfaces {
		v6 := spec.Interfaces[i].Subnets[1]
		v6.IPv6RAMode, v6.IPv6AddressMode = model.ModeSLAAC, model.ModeSLAAC
	}
	a := r.machine("a", portOf+"1", "10.0.1.5/24", "")
	b := r.machine("b", portOf+"2", "10.0.2.5/24", "")
	n := r.node()
	set(t, n, spec)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if r.hasSLAAC(a) && r.hasSLAAC(b) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no instance formed an address and a default route from advertisements")
		}
	}
	r.ping(a, "2001:db8:2::1")
}

// hasSLAAC: the machine has an address and a default route by router advertisement.
func (r *rig) hasSLAAC(ns string) bool {
	address, route := false, false
	r.in(ns, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V6)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			address = address || a.IP.IsGlobalUnicast()
		}
		routes, err := netlink.RouteList(l, netlink.FAMILY_V6)
		for i := range routes {
			route = route || target(&routes[i]).Bits() == 0 && routes[i].Gw != nil
		}
		return err
	})
	return address && route
}
