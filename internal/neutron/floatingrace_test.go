package neutron_test

import (
	"net/netip"
	"path/filepath"
	"sync"
	"testing"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
)

// Floating IPs taken by two controllers at once all differ, and of those that want one fixed
// IP exactly one gets it.
func TestFloatingIPsAtOnce(t *testing.T) {
	first, second := openPair(t, filepath.Join(tempDir(t), "etcd"))
	defer first.close()
	defer second.close()
	ext := first.external("203.0.113.0/24")
	n := first.network("p1")
	sub := first.subnet(n, "10.0.0.0/24")
	rt := first.router("p1", ext)
	must[*neutron.RouterInterface](t)(first.s.AddInterface(ctx, member("p1"), rt.ID, sub.ID, ""))
	var ports []*model.Port
	for range 24 {
		ports = append(ports, first.port(port(n)))
	}
	contested := first.port(port(n))
	second.catchUp()

	var mu sync.Mutex
	taken := make(map[netip.Addr]string)
	won := 0
	var wg sync.WaitGroup
	for w := range 8 {
		r := []*rig{first, second}[w%2]
		wg.Go(func() {
			for _, p := range ports[w*3 : w*3+3] {
				f, err := r.floating("p1", ext, p.ID)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if other := taken[f.FloatingIP]; other != "" {
					t.Errorf("%s is of %s and %s", f.FloatingIP, other, f.ID)
				}
				taken[f.FloatingIP] = f.ID
				mu.Unlock()
			}
			_, err := r.floating("p1", ext, contested.ID)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !fault.HasType(err, "FloatingIPPortAlreadyAssociated") {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 || len(taken) != len(ports) {
		t.Errorf("%d got the contested address, %d of %d the others", won, len(taken), len(ports))
	}
	first.catchUp()
	first.checkRouters(t)
	first.checkConsistent()
}

// What an L3 agent is to carry: 45 routers (as many as the rig has VLANs for) with a gateway,
// two interfaces and ten instances each, half of them with five floating IPs.
func BenchmarkRouterSpecs(b *testing.B) {
	r := newRig(b, neutron.Options{DefaultQuotas: unlimitedRouters()})
	ext := r.external("10.200.0.0/16")
	agent, _ := r.agentUp(l3Agent("net1"))
	r.agentUp(nicAgent("net1"))
	for i := range 45 {
		rt := r.router("p1", ext)
		for j := range 2 {
			n := r.network("p1")
			sub := r.subnet(n, []string{"10.0.0.0/24", "10.1.0.0/24"}[j])
			must[*neutron.RouterInterface](b)(r.s.AddInterface(ctx, admin, rt.ID, sub.ID, ""))
			for range 5 {
				p := port(n)
				p.DeviceID = "vm"
				p = r.port(p)
				if j == 0 && i%2 == 0 {
					must[*model.FloatingIP](b)(r.floating("p1", ext, p.ID))
				}
			}
		}
		if err := r.s.ScheduleRouter(ctx, admin, agent.ID, rt.ID); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for b.Loop() {
		if specs, _ := r.s.RouterSpecs(r.db.Snapshot(), agent.ID); len(specs) != 45 {
			b.Fatalf("%d routers", len(specs))
		}
	}
}
