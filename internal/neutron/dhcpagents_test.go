package neutron_test

import (
	"slices"
	"testing"

	"neutrino/internal/model"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
)

// servers are the hosts of the network's DHCP ports, sorted.
func (r *rig) servers(network string) []string {
	var out []string
	for _, p := range r.dhcpPorts(network) {
		out = append(out, p.Binding.Host)
	}
	slices.Sort(out)
	return out
}

// TestTwoAgentsPerNetwork: one of two dies and a third takes its port over, MAC and address;
// the dead one comes back and nothing moves; all die but one, and no port is left without
// purpose.
func TestTwoAgentsPerNetwork(t *testing.T) {
	r := newRig(t, neutron.Options{DHCPAgentsPerNetwork: 2})
	schedule(t, r.s)
	lease := map[string]store.Lease{}
	for _, host := range []string{"net1", "net2"} {
		r.agentUp(nicAgent(host))
		_, lease[host] = r.agentUp(dhcpAgent(host))
	}
	n := r.network("p1")
	r.subnet(n, "10.0.0.0/24")
	on := func(hosts ...string) {
		t.Helper()
		r.eventually("the network on its agents", func() bool { return slices.Equal(r.servers(n.ID), hosts) })
	}
	on("net1", "net2")
	where := map[string]*model.Port{}
	for _, p := range r.dhcpPorts(n.ID) {
		where[p.Binding.Host] = p
	}
	if where["net1"].FixedIPs[0] == where["net2"].FixedIPs[0] {
		t.Fatal("both have the same address")
	}
	r.agentUp(nicAgent("net3"))
	r.agentUp(dhcpAgent("net3"))
	if err := lease["net1"].Revoke(ctx); err != nil {
		t.Fatal(err)
	}
	on("net2", "net3")
	for _, p := range r.dhcpPorts(n.ID) {
		was := where[p.Binding.Host]
		if was == nil {
			was = where["net1"]
		}
		if p.ID != was.ID || p.MAC != was.MAC || p.FixedIPs[0] != was.FixedIPs[0] {
			t.Errorf("on %s: %+v, was %+v", p.Binding.Host, p, was)
		}
	}
	// Back again: whoever serves goes on. Another network makes the scheduler look, and shows
	// that it has.
	before := r.dhcpPorts(n.ID)
	r.agentUp(dhcpAgent("net1"))
	other := r.network("p1")
	r.subnet(other, "10.1.0.0/24")
	r.eventually("the other network is served", func() bool { return len(r.servers(other.ID)) == 2 })
	if !slices.Contains(r.servers(other.ID), "net1") {
		t.Errorf("the agent that came back has the least to do, and the other network is on %v", r.servers(other.ID))
	}
	after := r.dhcpPorts(n.ID)
	for i := range before {
		if before[i].ID != after[i].ID || before[i].Binding.Host != after[i].Binding.Host || before[i].Revision != after[i].Revision {
			t.Errorf("the agent that came back moved %+v to %+v", before[i], after[i])
		}
	}
}

// TestRoutedSubnets: a DHCP node hears which subnets a router of ours is on, and when that ends.
func TestRoutedSubnets(t *testing.T) {
	r := newRig(t, neutron.Options{})
	schedule(t, r.s)
	agent, _ := r.agentUp(dhcpAgent("net1"))
	r.agentUp(nicAgent("net1"))
	n := r.network("p1")
	sub := r.subnet(n, "10.0.0.0/24")
	r.subnet(n, "10.1.0.0/24")
	routed := func() []string {
		nets, _ := r.s.DHCPNetworks(r.db.Snapshot(), agent.ID)
		if len(nets) != 1 {
			return []string{"not served"}
		}
		return nets[0].RoutedSubnets
	}
	r.eventually("served, without a router", func() bool { return len(routed()) == 0 })
	rt := r.router("p1", nil)
	must[*neutron.RouterInterface](t)(r.s.AddInterface(ctx, member("p1"), rt.ID, sub.ID, ""))
	r.eventually("one subnet is routed", func() bool { return slices.Equal(routed(), []string{sub.ID}) })
	must[*neutron.RouterInterface](t)(r.s.RemoveInterface(ctx, member("p1"), rt.ID, sub.ID, ""))
	r.eventually("none again", func() bool { return len(routed()) == 0 })
}
