package veb

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

// reaches waits for an answer: a device that just got its carrier may take a second to
// send.
func (g *guest) reaches(to netip.Addr) bool {
	g.t.Helper()
	for range 4 {
		if g.ping(to) {
			return true
		}
	}
	return false
}

// both ways of attaching must carry traffic alike.
func bothWays(t *testing.T, test func(t *testing.T, edit func(*Spec))) {
	for _, a := range []Attach{AttachTCX, AttachClsact} {
		t.Run(string(a), func(t *testing.T) {
			t.Parallel()
			needRoot(t)
			if got, err := attachMode(a); err != nil || got != a {
				t.Skipf("needs a kernel with %s", a)
			}
			test(t, func(s *Spec) { s.Attach = a })
		})
	}
}

func TestSameVLANAnswersOtherDoesNot(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, edit func(*Spec)) {
		r := newRig(t, 3, edit)
		for i, v := range []int{10, 10, 20} {
			r.port(i, v)
		}
		a, b, c := r.plug(0, "10.9.0.1/24"), r.plug(1, "10.9.0.2/24"), r.plug(2, "10.9.0.3/24")
		if !a.reaches(b.addr) {
			t.Fatal("same VLAN does not answer")
		}
		r.waitPeer(0)
		r.waitPeer(1)
		if !a.reaches(b.addr) {
			t.Fatal("same VLAN does not answer by direct delivery")
		}
		if a.ping(c.addr) {
			t.Error("other VLAN answers")
		}
	})
}

// A VF that stays in the host's namespace, or comes back to it, is reached as well.
func TestPlaceOfNetdev(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.port(0, 10)
	r.port(1, 10)
	a := r.plug(0, "10.9.0.1/24")
	r.host.address(t, "eth6v1", "10.9.0.2/24")
	to := netip.MustParseAddr("10.9.0.2")
	if !a.reaches(to) {
		t.Fatal("a VF in the host's namespace does not answer")
	}
	if r.vf(0).Netdev != "" || r.vf(1).Netdev != "eth6v1" {
		t.Errorf("netdevs %q, %q", r.vf(0).Netdev, r.vf(1).Netdev)
	}
	g := r.plug(1, "10.9.0.2/24")
	r.waitPeer(1)
	if !a.reaches(to) {
		t.Fatal("moved away, it does not answer")
	}
	must(t, g.l.LinkSetName(down(g), "back"))
	must(t, g.l.LinkSetNsFd(g.link("back"), r.host.ns.fd()))
	r.host.address(t, "back", "10.9.0.2/24")
	eventually(t, "delivery by the representor", func() bool {
		v, err := r.sw.nics[0].vf(1)
		return err == nil && v.Flags&vfPeer == 0
	})
	if !a.reaches(to) {
		t.Fatal("moved back, it does not answer")
	}
}

func down(g *guest) netlink.Link {
	l := g.link("eth0")
	must(g.t, g.l.LinkSetDown(l))
	return l
}

func TestSpoofedTrafficIsCut(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.checked(0, 10, "10.9.0.1")
	r.checked(1, 10, "10.9.0.2")
	a, b := r.plug(0, "10.9.0.1/24"), r.plug(1, "10.9.0.2/24")
	if !a.reaches(b.addr) {
		t.Fatal("no answer with its own addresses")
	}
	eth0 := a.link("eth0")

	must(t, a.l.LinkSetHardwareAddr(eth0, hw("02:66:66:66:66:66")))
	if a.ping(b.addr) {
		t.Error("answer with another MAC")
	}
	if c := r.vf(0).Counters; c.TxSpoofed == 0 {
		t.Error("MAC spoofing was not counted")
	}
	must(t, a.l.LinkSetHardwareAddr(eth0, hw(a.mac)))
	if !a.reaches(b.addr) {
		t.Fatal("no answer with its own MAC again")
	}

	before := r.vf(0).Counters.TxSpoofed
	must(t, a.l.AddrDel(eth0, mustAddr(t, "10.9.0.1/24")))
	a.address(t, "eth0", "10.9.0.77/24")
	if a.ping(b.addr) {
		t.Error("answer with another address")
	}
	if c := r.vf(0).Counters; c.TxSpoofed == before {
		t.Error("address spoofing was not counted")
	}
}

func mustAddr(t testing.TB, s string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(s)
	must(t, err)
	return a
}

func TestTagsOnTheWire(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, edit func(*Spec)) {
		r := newRig(t, 3, edit)
		for i, v := range []int{10, 20, 0} {
			r.port(i, v)
		}
		wire := r.far.listen("wire")
		for i, want := range []uint16{10, 20, 0} {
			g := r.plug(i, "")
			g.send("eth0", frame("02:99:00:00:00:01", g.mac))
			got := wire.frames(60 * time.Millisecond)
			if len(got) != 1 {
				t.Fatalf("VF %d: %d frames on the wire", i, len(got))
			}
			if got[0].vlan != want || got[0].tagged != (want != 0) || got[0].tagged && got[0].tpid != 0x8100 {
				t.Errorf("VF %d: on the wire as %+v", i, got[0])
			}
			// and the way back
			c := g.listen("eth0")
			var tags []uint16
			if want != 0 {
				tags = []uint16{want}
			}
			r.far.send("wire", frame(g.mac, "02:99:00:00:00:01", tags...))
			if back := c.frames(60 * time.Millisecond); len(back) != 1 || back[0].tagged {
				t.Errorf("VF %d: got %+v from the wire", i, back)
			}
		}
	})
}

func TestVLANHopIsCut(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.port(0, 10)
	r.port(1, 20)
	a, victim := r.plug(0, ""), r.plug(1, "")
	wire, c := r.far.listen("wire"), victim.listen("eth0")
	for _, tags := range [][]uint16{{20}, {10, 20}, {20 | 0x8000}, {0}, {20, 20}, {10 | 0x8000, 20}} {
		a.send("eth0", frame(victim.mac, a.mac, tags...))
	}
	if n := c.count(); n != 0 {
		t.Errorf("the victim got %d", n)
	}
	if n := wire.count(); n != 0 {
		t.Errorf("the wire got %d", n)
	}
	if d := r.vf(0).Counters.TxDropped; d != 6 {
		t.Errorf("counted %d drops of 6", d)
	}
}

// A trusted VF without a VLAN is a trunk: it tags for itself, as on a NIC.
func TestTrustedTrunk(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3)
	r.port(0, 0)
	r.port(1, 10)
	r.port(2, 20)
	a, b, c := r.plug(0, ""), r.plug(1, ""), r.plug(2, "")
	ca, cb, cc, wire := a.listen("eth0"), b.listen("eth0"), c.listen("eth0"), r.far.listen("wire")
	a.send("eth0", frame(broadcast, a.mac, 10))
	if n := cb.count() + wire.count(); n != 0 {
		t.Fatalf("untrusted, its tagged frame went to %d", n)
	}
	r.set(0, eswitch.Attrs{Trust: eswitch.Set(true)})
	a.send("eth0", frame(broadcast, a.mac, 10))
	if got := cb.frames(60 * time.Millisecond); len(got) != 1 || got[0].tagged {
		t.Errorf("VLAN 10 got %+v", got)
	}
	if n := cc.count(); n != 0 {
		t.Errorf("VLAN 20 got %d", n)
	}
	if got := wire.frames(60 * time.Millisecond); len(got) != 1 || got[0].vlan != 10 {
		t.Errorf("the wire got %+v", got)
	}
	b.send("eth0", frame(a.mac, b.mac)) // learned in VLAN 10 by now
	if got := ca.frames(60 * time.Millisecond); len(got) != 1 || got[0].vlan != 10 {
		t.Errorf("the trunk got %+v", got)
	}
	c.send("eth0", frame(broadcast, c.mac))
	if got := ca.frames(60 * time.Millisecond); len(got) != 1 || got[0].vlan != 20 {
		t.Errorf("the trunk got %+v of VLAN 20", got)
	}
}

// A further MAC of a VF that may have one is reachable, until it appears elsewhere.
func TestFurtherMACIsLearned(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.port(0, 10)
	r.port(1, 10)
	const shared = "00:00:5e:00:01:07"
	r.set(0, eswitch.Attrs{Allowed: eswitch.Set([]model.AllowedSource{
		{MAC: shared, Prefix: netip.MustParsePrefix("10.9.0.100/32")}, {MAC: mac(0), Prefix: netip.MustParsePrefix("10.9.0.1/32")},
	})})
	a, b := r.plug(0, ""), r.plug(1, "")
	ca, wire := a.listen("eth0"), r.far.listen("wire")
	b.send("eth0", frame(shared, b.mac))
	if n, w := ca.count(), wire.count(); n != 0 || w != 1 {
		t.Fatalf("before it was seen: VF %d, wire %d", n, w)
	}
	a.send("eth0", frame(broadcast, shared))
	wire.count()
	b.send("eth0", frame(shared, b.mac))
	if n, w := ca.count(), wire.count(); n != 1 || w != 0 {
		t.Errorf("after it was seen: VF %d, wire %d", n, w)
	}
	r.far.send("wire", frame(broadcast, shared, 10))
	ca.count()
	b.send("eth0", frame(shared, b.mac))
	if n, w := ca.count(), wire.count(); n != 0 || w != 1 {
		t.Errorf("after it moved away: VF %d, wire %d", n, w)
	}
}

func TestFloodReachesEveryPortOnce(t *testing.T) {
	t.Parallel()
	const ports = 100
	r := newRig(t, ports)
	var changes []eswitch.Change
	for i := range ports {
		vlan := 10
		if i%10 == 9 {
			vlan = 20
		}
		changes = append(changes, eswitch.Change{VF: eswitch.VFID{PF: "eth6", Index: i}, Attrs: eswitch.Attrs{
			MAC: eswitch.Set(mac(i)), VLAN: eswitch.Set(vlan), LinkState: eswitch.Set(model.LinkEnable),
		}})
	}
	for _, res := range r.sw.Apply(context.Background(), changes) {
		must(t, res.Err)
	}
	for i := 1; i < ports; i++ {
		must(t, r.host.l.LinkSetUp(r.host.link(r.spec.vfName(i)))) // moving a hundred would only cost time
	}
	a := r.plug(0, "")
	wire := r.far.listen("wire")
	const n = 3
	for range n {
		a.send("eth0", frame(broadcast, a.mac))
	}
	if got := wire.count(); got != n {
		t.Errorf("the wire got %d of %d", got, n)
	}
	st, err := r.sw.Observe(t.Context())
	must(t, err)
	for i, v := range st.PFs[0].VFs {
		want := uint64(n)
		if i == 0 || i%10 == 9 {
			want = 0
		}
		if i == 0 {
			continue
		}
		// Beside the test's frames there is the neighbours' IPv6, which is multicast.
		got := r.host.link(r.spec.vfName(i)).Attrs().Statistics.RxPackets
		if v.Counters.RxBroadcast != want || got < want || got > v.Counters.RxPackets+uint64(ports) {
			t.Errorf("VF %d: netdev got %d, counted %+v, want %d", i, got, v.Counters, want)
		}
	}
}

func TestLinkState(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.port(0, 10)
	g := r.plug(0, "")
	carrier := func() bool {
		d, ok, err := g.l.get(g.link("eth0").Attrs().Index)
		return err == nil && ok && d.carrier
	}
	r.set(0, eswitch.Attrs{LinkState: eswitch.Set(model.LinkEnable)})
	eventually(t, "carrier with link enabled", carrier)
	r.set(0, eswitch.Attrs{LinkState: eswitch.Set(model.LinkDisable)})
	eventually(t, "loss of carrier with link disabled", func() bool { return !carrier() })
	wire := r.far.listen("wire")
	g.send("eth0", frame(broadcast, g.mac))
	if n := wire.count(); n != 0 {
		t.Error("a disabled VF sends")
	}
	r.set(0, eswitch.Attrs{LinkState: eswitch.Set(model.LinkAuto)})
	eventually(t, "carrier with link auto", carrier)
	must(t, r.far.l.LinkSetDown(r.far.link("wire")))
	eventually(t, "loss of carrier with the uplink", func() bool { return !carrier() })
	if l, _ := r.vf(0).Attrs.LinkState.Get(); l != model.LinkAuto {
		t.Errorf("observed link state %d, not auto", l)
	}
	r.set(0, eswitch.Attrs{LinkState: eswitch.Set(model.LinkEnable)})
	eventually(t, "carrier with link enabled and no uplink", carrier)
	r.set(0, eswitch.Attrs{LinkState: eswitch.Set(model.LinkAuto)})
	eventually(t, "no carrier with link auto and no uplink", func() bool { return !carrier() })
	must(t, r.far.l.LinkSetUp(r.far.link("wire")))
	eventually(t, "carrier after the uplink", carrier)
}

func TestMTUIsALimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.port(0, 10)
	r.port(1, 10)
	r.set(0, eswitch.Attrs{MTU: eswitch.Set(1200)})
	if m := r.host.link("eth6v0").Attrs().MTU; m != 1200 {
		t.Errorf("the netdev's MTU is %d", m)
	}
	a, b := r.plug(0, "10.9.0.1/24"), r.plug(1, "10.9.0.2/24")
	must(t, a.l.LinkSetMTU(a.link("eth0"), 1500))
	if !a.reaches(b.addr) {
		t.Fatal("no answer")
	}
	const headers = 20 + 8 // IPv4, ICMP
	if !a.echo(b.addr, 1200-headers, 1) {
		t.Error("1200 bytes do not pass")
	}
	if a.echo(b.addr, 1201-headers, 1) {
		t.Error("1201 bytes pass")
	}
	if r.vf(0).Counters.TxDropped == 0 {
		t.Error("the drop was not counted")
	}
	if err := r.try(0, eswitch.Attrs{MTU: eswitch.Set(1501)}); err == nil {
		t.Error("an MTU above the uplink's was accepted")
	}
}
