package veb

import (
	"net/netip"
	"os/exec"
	"testing"
)

// ping reports whether one of a few echo requests is answered.
func (g *guest) ping(to netip.Addr) bool {
	g.t.Helper()
	err := g.ns.do(func() error {
		return exec.Command("ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", to.String()).Run()
	})
	return err == nil
}

func TestSameVLANAnswersOtherDoesNot(t *testing.T) {
	r := newRig(t, 3)
	for i, v := range []int{10, 10, 20} {
		r.port(i, v)
	}
	a, b, c := r.plug(0, "10.9.0.1/24"), r.plug(1, "10.9.0.2/24"), r.plug(2, "10.9.0.3/24")
	if !a.ping(b.addr) {
		t.Fatal("same VLAN does not answer")
	}
	r.waitPeer(0)
	r.waitPeer(1)
	if !a.ping(b.addr) {
		t.Fatal("same VLAN does not answer by direct delivery")
	}
	if a.ping(c.addr) {
		t.Error("other VLAN answers")
	}
}
