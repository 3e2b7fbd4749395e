package dhcp

import (
	"testing"
	"time"

	"neutrino/internal/netspace"
)

// TestNamespaceThatIsMadeAnew: somebody removes a network's namespace by hand. The server lets
// go of it, so that what is in there comes free, and serves in a new one.
func TestNamespaceThatIsMadeAnew(t *testing.T) {
	r := newRig(t)
	n := r.node()
	set(t, n, testNetwork())
	if err := netspace.Delete(r.namespace()); err != nil {
		t.Fatal(err)
	}
	n.Kick()
	waitState(t, n, Pending)
	// The netdevs of this test go with their namespace, once nothing holds it any more.
	for end := time.Now().Add(30 * time.Second); r.hasLink(r.client, "c0"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("something holds the namespace that was removed")
		}
	}
	r.addVeth("eth6v3", "c1", redMAC)
	waitState(t, n, Serving)
	dir, script := hook(t)
	expect(t, r.run(dir, "udhcpc", "-f", "-n", "-q", "-i", "c1", "-s", script, "-t", "5", "-T", "1"), "ip=10.0.0.5")
}
