package neutron_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"neutrino/internal/model"
	"neutrino/internal/neutron"
)

// schedule runs the schedulers of the services until the test ends.
func schedule(t *testing.T, services ...*neutron.Service) {
	t.Helper()
	running, cancel := context.WithCancel(context.Background())
	done := make(chan error, len(services))
	for _, s := range services {
		go func() { done <- s.RunScheduler(running) }()
	}
	t.Cleanup(func() {
		cancel()
		for range services {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

func (r *rig) dhcpPorts(network string) []*model.Port {
	var out []*model.Port
	for p := range r.tab.Ports.By(r.db.Snapshot(), neutron.ByNetwork, network) {
		if p.DeviceOwner == model.OwnerDHCP {
			out = append(out, p)
		}
	}
	return out
}

// servedBy reports whether the network has exactly one DHCP port, bound on the host.
func (r *rig) servedBy(network, host string) bool {
	ports := r.dhcpPorts(network)
	return len(ports) == 1 && ports[0].Binding.Host == host && ports[0].Binding.VIFType == model.VIFHWVEB
}

func TestScheduler(t *testing.T) {
	r := newRig(t, neutron.Options{})
	schedule(t, r.s)
	n := r.network("p1")
	sub := r.subnet(n, "10.0.0.0/24")
	// First the DHCP agent, whose port waits; then the NIC switch that plugs it.
	agent, lease := r.agentUp(dhcpAgent("net1"))
	r.eventually("a port that waits", func() bool { return len(r.dhcpPorts(n.ID)) == 1 })
	r.agentUp(nicAgent("net1"))
	r.eventually("a bound DHCP port", func() bool { return r.servedBy(n.ID, "net1") })
	p := r.dhcpPorts(n.ID)[0]
	if p.Binding.VnicType != "direct" || p.PortSecurity || p.ProjectID != "p1" || p.FixedIPs[0].IP != netip.MustParseAddr("10.0.0.2") {
		t.Errorf("DHCP port %+v", p)
	}

	vm := r.port(port(n))
	served, changed := r.s.DHCPNetworks(r.db.Snapshot(), agent.ID)
	if len(served) != 1 || served[0].PortID != p.ID || len(served[0].Hosts) != 1 || served[0].Hosts[0].PortID != vm.ID || len(served[0].Subnets) != 1 {
		t.Fatalf("the agent serves %+v", served)
	}
	if name := served[0].Hosts[0].HostName; name[:12] != "host-10-0-0-" {
		t.Errorf("host name %q", name)
	}
	r.port(port(n))
	<-changed

	// A second subnet: one more address. DHCP off there: it goes.
	second := r.subnet(n, "10.1.0.0/24")
	r.eventually("a second address", func() bool { return len(r.dhcpPorts(n.ID)[0].FixedIPs) == 2 })
	must[*model.Subnet](t)(r.s.UpdateSubnet(ctx, admin, second.ID, change(func(s *model.Subnet) { s.EnableDHCP = false }, "enable_dhcp")))
	r.eventually("one address again", func() bool { return len(r.dhcpPorts(n.ID)[0].FixedIPs) == 1 })

	// The agent dies while another lives: the port moves and keeps its address.
	other, _ := r.agentUp(dhcpAgent("net2"))
	r.agentUp(nicAgent("net2"))
	if err := lease.Revoke(ctx); err != nil {
		t.Fatal(err)
	}
	r.eventually("the network on the other agent", func() bool { return r.servedBy(n.ID, "net2") })
	moved := r.dhcpPorts(n.ID)[0]
	if moved.ID != p.ID || moved.FixedIPs[0] != p.FixedIPs[0] || moved.MAC != p.MAC {
		t.Errorf("the port that moved %+v", moved)
	}
	if nets, _ := r.s.DHCPNetworks(r.db.Snapshot(), other.ID); len(nets) != 1 {
		t.Errorf("the other agent serves %d networks", len(nets))
	}
	if nets, _ := r.s.DHCPNetworks(r.db.Snapshot(), agent.ID); len(nets) != 0 {
		t.Errorf("the dead agent serves %d networks", len(nets))
	}

	// No subnet with DHCP: no port, no binding.
	must[*model.Subnet](t)(r.s.UpdateSubnet(ctx, admin, sub.ID, change(func(s *model.Subnet) { s.EnableDHCP = false }, "enable_dhcp")))
	r.eventually("no DHCP port", func() bool {
		return len(r.dhcpPorts(n.ID)) == 0 && r.tab.DHCPBindings.Len(r.db.Snapshot()) == 0
	})
}

func TestSchedulerDisabledAgent(t *testing.T) {
	r := newRig(t, neutron.Options{})
	schedule(t, r.s)
	a, _ := r.agentUp(dhcpAgent("net1"))
	r.agentUp(nicAgent("net1"))
	r.agentUp(nicAgent("net2"))
	n := r.network("p1")
	r.subnet(n, "10.0.0.0/24")
	r.eventually("the network is served", func() bool { return r.servedBy(n.ID, "net1") })
	r.agentUp(dhcpAgent("net2"))
	must[*model.Agent](t)(r.s.UpdateAgent(ctx, admin, a.ID, change(func(a *model.Agent) { a.AdminStateUp = false })))
	r.eventually("the network left the disabled agent", func() bool { return r.servedBy(n.ID, "net2") })
	zones := r.s.AvailabilityZones(r.db.Snapshot())
	if len(zones) != 1 || zones[0] != (neutron.Zone{Name: "nova", Resource: "network", State: "available"}) {
		t.Errorf("zones %v", zones)
	}
	if z := r.s.NetworkZones(r.db.Snapshot(), n.ID); len(z) != 1 || z[0] != "nova" {
		t.Errorf("zones of the network %v", z)
	}
}

func TestNetworksStayWhileAgentsComeBack(t *testing.T) {
	r := newRig(t, neutron.Options{AgentDownTime: 6 * time.Second})
	_, lease := r.agentUp(dhcpAgent("net1"))
	r.agentUp(nicAgent("net1"))
	n := r.network("p1")
	r.subnet(n, "10.0.0.0/24")
	before, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.s.RunScheduler(before) }()
	r.eventually("the network is served", func() bool { return r.servedBy(n.ID, "net1") })
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := lease.Revoke(ctx); err != nil {
		t.Fatal(err)
	}
	// All controllers were away, and the other agent is quicker to come back.
	_, lease = r.agentUp(dhcpAgent("net2"))
	r.agentUp(nicAgent("net2"))
	schedule(t, r.s)
	other := r.network("p1")
	r.subnet(other, "10.0.0.0/24")
	r.eventually("a new network is served", func() bool { return r.servedBy(other.ID, "net2") })
	if !r.servedBy(n.ID, "net1") {
		t.Fatal("a network moved before its agent had time to come back")
	}
	// One that was seen and dies is dead.
	r.agentUp(dhcpAgent("net3"))
	r.agentUp(nicAgent("net3"))
	if err := lease.Revoke(ctx); err != nil {
		t.Fatal(err)
	}
	r.eventually("the network of an agent that was seen moves", func() bool { return r.servedBy(other.ID, "net3") })
	if !r.servedBy(n.ID, "net1") {
		t.Fatal("a network moved before its agent had time to come back")
	}
	r.eventually("an agent that did not come back loses its network", func() bool { return r.servedBy(n.ID, "net3") })
}
