package router

import (
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"neutrino/internal/model"
	"neutrino/internal/netspace"
)

// waitFor waits until something about the node is so; its events do not tell of all of it.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// value of a counter or a gauge.
func value(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.GetCounter().GetValue() + out.GetGauge().GetValue()
}

func (n *Node) report(id string) model.RouterReport {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.routers[id]; c != nil {
		return c.report
	}
	return model.RouterReport{}
}

// TestUnchangedRoutersAreLeftAlone: the kernel is asked of a router only where something is
// different from before.
func TestUnchangedRoutersAreLeftAlone(t *testing.T) {
	r := newRig(t)
	r.site()
	n := r.node()
	other := &model.RouterSpec{RouterID: "bbbbbbbb-0000-4000-8000-000000000000", Revision: 1}
	looked := func(why string, want int, specs ...*model.RouterSpec) {
		t.Helper()
		before := value(t, n.m.looked)
		set(t, n, specs...)
		if got := int(value(t, n.m.looked) - before); got != want {
			t.Errorf("%s: %d routers were looked at, want %d", why, got, want)
		}
	}
	looked("both are new", 2, twoSubnets(), other)
	waitFor(t, "announcements are over", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.routers[twoSubnets().RouterID].tell) == 0
	})
	looked("nothing is new", 0, twoSubnets(), other)
	routed := twoSubnets()
	routed.EnableSNAT = false
	looked("one is asked for in another way", 1, routed, other)
	looked("nothing is new", 0, routed, other)
	r.mu.Lock()
	vf := r.netdevs[portOf+"1"]
	vf.Ifindex = 4711
	r.netdevs[portOf+"1"] = vf
	r.mu.Unlock()
	looked("a netdev was made anew", 1, routed, other)
	if up := value(t, n.m.routers.WithLabelValues("up")); up != 2 {
		t.Errorf("%v routers count as up", up)
	}
	looked("one goes", 0, routed)
	if up, down := value(t, n.m.routers.WithLabelValues("up")), value(t, n.m.routers.WithLabelValues("down")); up != 1 || down != 0 {
		t.Errorf("%v routers count as up, %v as down", up, down)
	}
}

// TestTakenMetadataPortKeepsNoRouterDown: the router forwards, what is missing is said, and
// it is tried again.
func TestTakenMetadataPortKeepsNoRouterDown(t *testing.T) {
	r := newRig(t)
	a, _, outside := r.site()
	r.serve(outside, 80)
	var free atomic.Bool
	n := r.node(func(o *Options) {
		o.Beside = func(name string, ns netns.NsHandle) (Companion, error) {
			if !free.Load() {
				return nil, errors.New("listen on port 9697: address already in use")
			}
			return startCompanion(name, ns)
		}
	})
	spec := twoSubnets()
	set(t, n, spec)
	if got := n.report(spec.RouterID); !got.Up || !strings.Contains(got.Reason, "9697") {
		t.Errorf("the report is %+v, want up, with what is missing", got)
	}
	r.sees(r.dial(a, "203.0.113.1:80"), "203.0.113.10")
	for len(n.Events()) > 0 {
		<-n.Events()
	}
	free.Store(true)
	select {
	case <-n.Events():
	case <-time.After(30 * time.Second):
		t.Fatal("no event after the port was free")
	}
	waitFor(t, "nothing is missing", func() bool { return n.report(spec.RouterID).Reason == "" })
	r.sees(r.dial(a, "169.254.169.254:80"), "10.0.1.5")
}

// TestNamespaceThatIsMadeAnew: somebody removes the router's namespace by hand. What ran in
// it lets go of it, and runs in the new one.
func TestNamespaceThatIsMadeAnew(t *testing.T) {
	r := newRig(t)
	a := r.machine("a", portOf+"1", "10.0.1.5/24", "10.0.1.1")
	made := 0
	n := r.node(func(o *Options) {
		o.AuditEvery = 100 * time.Millisecond
		o.Beside = func(name string, ns netns.NsHandle) (Companion, error) {
			made++
			return startCompanion(name, ns)
		}
	})
	spec := twoSubnets()
	spec.Gateway, spec.Interfaces = nil, spec.Interfaces[:1]
	v6 := spec.Interfaces[0].Subnets[1]
	v6.IPv6RAMode, v6.IPv6AddressMode = model.ModeSLAAC, model.ModeSLAAC
	set(t, n, spec)
	c := r.dial(a, "169.254.169.254:80")
	r.sees(c, "10.0.1.5")
	_ = c.Close() // it would hold the companion, and with it the namespace
	if err := netspace.Delete(r.prefix + "aaaaaaaa"); err != nil {
		t.Fatal(err)
	}
	// The netdevs of this test go with their namespace, once nothing holds it any more.
	waitFor(t, "the namespace is gone for good", func() bool {
		gone := false
		r.in(a, func() error {
			_, err := netlink.LinkByName("eth0")
			gone = errors.As(err, &netlink.LinkNotFoundError{})
			return nil
		})
		return gone
	})
	r.attach(a, portOf+"1")
	r.in(a, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err = netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 0, 1, 5), Mask: net.CIDRMask(24, 32)}}); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.IPv4(10, 0, 1, 1)})
	})
	waitFor(t, "the router is up", func() bool { return n.report(spec.RouterID).Up })
	r.sees(r.dial(a, "169.254.169.254:80"), "10.0.1.5")
	waitFor(t, "it is advertised", func() bool { return r.hasSLAAC(a) })
	n.mu.Lock()
	defer n.mu.Unlock()
	if made != 2 {
		t.Errorf("%d companions were made", made)
	}
}
