package veb

import (
	"testing"

	"golang.org/x/sys/unix"

	"neutrino/internal/eswitch"
)

// joinGroup adds a group to the receive filter of eth0.
func (g *guest) joinGroup(group string) {
	g.t.Helper()
	must(g.t, g.ns.do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		g.t.Cleanup(func() { _ = unix.Close(fd) })
		m := &unix.PacketMreq{Ifindex: int32(g.link("eth0").Attrs().Index), Type: unix.PACKET_MR_MULTICAST, Alen: 6}
		copy(m.Address[:], hw(group))
		return unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, m)
	}))
}

func TestMulticastGoesToThoseWhoAsked(t *testing.T) {
	t.Parallel()
	r := newRig(t, 4)
	all, err := List(r.dir)
	must(t, err)
	if !all[0].MulticastFilter {
		t.Skip("needs kernel 6.2 or newer")
	}
	for i, v := range []int{10, 10, 10, 20} {
		r.port(i, v)
	}
	const group = "01:00:5e:01:02:03"
	a, asked, other, far := r.plug(0, ""), r.plug(1, ""), r.plug(2, ""), r.plug(3, "")
	asked.joinGroup(group)
	far.joinGroup(group)
	ca, co, cf, cw := asked.listen("eth0"), other.listen("eth0"), far.listen("eth0"), r.far.listen("wire")
	for range 3 {
		a.send("eth0", frame(group, a.mac))
	}
	if n := ca.count(); n != 3 {
		t.Errorf("who asked got %d of 3", n)
	}
	if n := cw.count(); n != 3 {
		t.Errorf("the wire got %d of 3", n)
	}
	if n := co.count(); n != 0 {
		t.Errorf("who did not ask got %d", n)
	}
	if n := cf.count(); n != 0 {
		t.Errorf("another VLAN got %d", n)
	}
	if c := r.vf(1).Counters; c.RxMulticast < 3 {
		t.Errorf("counted %d multicast", c.RxMulticast)
	}
}

func TestUnknownUnicastGoesToTheWireAndThePromiscuous(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3)
	all, err := List(r.dir)
	must(t, err)
	if !all[0].MulticastFilter {
		t.Skip("needs kernel 6.2 or newer")
	}
	for i := range 3 {
		r.port(i, 10)
	}
	a, b, c := r.plug(0, ""), r.plug(1, ""), r.plug(2, "")
	must(t, b.l.SetPromiscOn(b.link("eth0")))
	must(t, c.l.SetPromiscOn(c.link("eth0")))
	r.set(1, eswitch.Attrs{Trust: eswitch.Set(true)})
	cb, cc, cw := b.listen("eth0"), c.listen("eth0"), r.far.listen("wire")
	const nobody = "02:00:00:00:99:99"
	a.send("eth0", frame(nobody, a.mac))
	if n := cw.count(); n != 1 {
		t.Errorf("the wire got %d of 1", n)
	}
	if n := cb.count(); n != 1 {
		t.Errorf("the trusted promiscuous VF got %d of 1", n)
	}
	if n := cc.count(); n != 0 {
		t.Errorf("the untrusted promiscuous VF got %d", n)
	}
	r.far.send("wire", frame(nobody, "02:00:00:00:77:77", 10))
	if n := cb.count(); n != 1 {
		t.Errorf("from the wire the trusted promiscuous VF got %d of 1", n)
	}
	if n := cc.count(); n != 0 {
		t.Errorf("from the wire the untrusted one got %d", n)
	}
}
