package fabric

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"neutrino/internal/agent"
	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

func TestPortBecomesActive(t *testing.T) {
	p := newPlane()
	first := p.bind("h1", 1, 10)
	c := startController(t, p, socket(t, "s"), Options{AgentDownTime: 2 * time.Second})
	sw := nic(8)
	startAgent(t, sw, agent.Config{Host: "h1", Controllers: []string{c.address}})
	p.wantStatus(t, first, model.StatusActive)
	foreign := p.bind("h2", 2, 10)
	for i := 3; i < 8; i++ {
		start := time.Now()
		p.wantStatus(t, p.bind("h1", i, 10), model.StatusActive)
		t.Logf("bound to ACTIVE in %s", time.Since(start))
	}
	if s, _ := p.status(foreign); s != model.StatusDown {
		t.Errorf("another host's port is %s", s)
	}
	// No VF is left for the ninth.
	p.bind("h1", 8, 10)
	p.bind("h1", 9, 10)
	ninth := p.bind("h1", 10, 10)
	eventually(t, "a word why", func() bool { _, r := p.status(ninth); return strings.Contains(r, "no free VF") })
	p.edit(func() { delete(p.atts, first) })
	p.wantStatus(t, ninth, model.StatusActive)
	eventually(t, "heartbeats", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.beats > 0 && p.kept > 0 })
	if a := p.agents[model.AgentNICSwitch+"@h1"]; a.Binary != model.BinaryNICSwitch || a.Topic != "N/A" {
		t.Errorf("agent row %+v", a)
	}
	eventually(t, "the number of devices in use", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return fmt.Sprint(p.agents[model.AgentNICSwitch+"@h1"].Configurations["devices"]) == "8"
	})
}

// A port that was unbound and bound again is DOWN, while for the host nothing changed.
func TestStatusThatSomethingElseChanged(t *testing.T) {
	p := newPlane()
	c := startController(t, p, socket(t, "s"), Options{})
	sw := nic(2)
	startAgent(t, sw, agent.Config{Host: "h1", Controllers: []string{c.address}})
	id := p.bind("h1", 1, 10)
	p.wantStatus(t, id, model.StatusActive)
	p.bind("h1", 1, 10) // same content, status DOWN again
	p.wantStatus(t, id, model.StatusActive)
}

// A burst of changes is few looks at the tables, and ends in the last state.
func TestBurstIsCoalesced(t *testing.T) {
	p := newPlane()
	c := startController(t, p, socket(t, "s"), Options{})
	sw := nic(250)
	startAgent(t, sw, agent.Config{Host: "h1", Controllers: []string{c.address}})
	for i := range 200 {
		p.bind("h1", i, int64(i+1))
	}
	for i := range 200 {
		p.wantStatus(t, fmt.Sprintf("port-%03d", i), model.StatusActive)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t.Logf("200 ports: %d looks at the tables, %d commits of reports", p.derived, p.calls)
	if p.calls > 150 {
		t.Errorf("%d commits of reports for 200 ports", p.calls)
	}
}

func TestControllerRestartAndFailOver(t *testing.T) {
	p := newPlane()
	a1, a2 := socket(t, "s1"), socket(t, "s2")
	c1 := startController(t, p, a1, Options{})
	sw := nic(8)
	startAgent(t, sw, agent.Config{Host: "h1", Controllers: []string{a1, a2}})
	p.wantStatus(t, p.bind("h1", 1, 10), model.StatusActive)
	applied, _ := sw.Counts()

	c1.stop()
	second := p.bind("h1", 2, 10)
	c2 := startController(t, p, a2, Options{})
	p.wantStatus(t, second, model.StatusActive)
	c2.stop()
	third := p.bind("h1", 3, 10)
	p.edit(func() { delete(p.atts, "port-001") })
	startController(t, p, a1, Options{})
	p.wantStatus(t, third, model.StatusActive)
	if now, _ := sw.Counts(); now-applied != 3 {
		t.Errorf("%d changes of VFs for two new ports and one that left", now-applied)
	}
}

// While the store does not answer, reports wait; nothing is acknowledged that is not
// committed.
func TestReportsAreRetriedUntilCommitted(t *testing.T) {
	p := newPlane()
	c := startController(t, p, socket(t, "s"), Options{})
	sw := nic(8)
	startAgent(t, sw, agent.Config{Host: "h1", Controllers: []string{c.address}})
	p.wantStatus(t, p.bind("h1", 1, 10), model.StatusActive)
	p.edit(func() { p.failing = errors.New("etcd is gone") })
	ids := []string{p.bind("h1", 2, 10), p.bind("h1", 3, 10)}
	eventually(t, "a few tries", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.calls > 5 })
	p.edit(func() { p.failing = nil })
	for _, id := range ids {
		p.wantStatus(t, id, model.StatusActive)
	}
}

func TestStaleReportIsNotTaken(t *testing.T) {
	p := newPlane()
	c := startController(t, p, socket(t, "s"), Options{})
	sw := nic(2)
	hold := make(chan struct{})
	var once sync.Once
	sw.FailWith(func(ch eswitch.Change) error {
		if vlan, ok := ch.Attrs.VLAN.Get(); ok && vlan == 100 {
			once.Do(func() { <-hold })
		}
		return nil
	})
	startAgent(t, sw, agent.Config{Host: "h1", Controllers: []string{c.address}})
	id := p.bind("h1", 1, 10)
	eventually(t, "joined", func() bool { return c.Hosts() == 1 })
	time.Sleep(20 * time.Millisecond) // the agent is at work on revision 10
	p.edit(func() {
		next := *p.atts[id]
		next.VLAN, next.Revision = 200, 11
		p.atts[id] = &next
	})
	close(hold)
	p.wantStatus(t, id, model.StatusActive)
	if v := sw.VF(eswitch.VFID{PF: "eth6"}).Attrs.VLAN; v.String() != "200" {
		t.Errorf("ACTIVE with vlan %s", v)
	}
}

func TestLeaseThatIsGoneIsGotAnew(t *testing.T) {
	p := newPlane()
	c := startController(t, p, socket(t, "s"), Options{AgentDownTime: time.Second})
	startAgent(t, nic(1), agent.Config{Host: "h1", Controllers: []string{c.address}})
	eventually(t, "joined", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.kept > 0 })
	p.edit(func() { p.gone = true })
	eventually(t, "a second lease", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.leases == 2 })
	p.edit(func() { clear(p.agents) }) // an operator deleted the agent
	eventually(t, "the agent's row is back", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.agents) == 1 })
}

func TestReconnectReusesTheLease(t *testing.T) {
	p := newPlane()
	c := startController(t, p, socket(t, "s"), Options{})
	cfg := agent.Config{Host: "h1", Controllers: []string{c.address}, StateFile: filepath.Join(t.TempDir(), "state")}
	for range 3 {
		stop := startAgent(t, nic(1), cfg)
		eventually(t, "joined", func() bool { return c.Hosts() == 1 })
		stop()
		eventually(t, "left", func() bool { return c.Hosts() == 0 })
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leases != 1 {
		t.Errorf("%d leases", p.leases)
	}
}

// dhcp remembers the networks it was set to.
type dhcp struct {
	mu   sync.Mutex
	nets map[string]*model.DHCPNetwork
	find agent.FindVF
}

func (d *dhcp) Set(_ context.Context, want []*model.DHCPNetwork) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nets = map[string]*model.DHCPNetwork{}
	for _, n := range want {
		d.nets[n.NetworkID] = n
	}
	return nil
}

func TestDHCPNetworksFollow(t *testing.T) {
	p := newPlane()
	c := startController(t, p, socket(t, "s"), Options{})
	d := &dhcp{}
	startAgent(t, nic(4), agent.Config{Host: "h1", Controllers: []string{c.address}, DHCP: true},
		agent.WithDHCP(func(find agent.FindVF) (agent.DHCPServer, error) { d.find = find; return d, nil }))
	hosts := func(n int) func() bool {
		return func() bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.nets["n1"] != nil && len(d.nets["n1"].Hosts) == n
		}
	}
	host := func(i int) model.DHCPHost {
		return model.DHCPHost{PortID: fmt.Sprintf("q%d", i), MAC: fmt.Sprintf("fa:16:3e:01:00:%02x", i), HostName: "x"}
	}
	set := func(hs ...model.DHCPHost) {
		p.edit(func() {
			p.nets["n1"] = &model.DHCPNetwork{
				NetworkID: "n1", PortID: "port-001", MAC: "fa:16:3e:00:00:01", Hosts: hs,
				Subnets: []*model.Subnet{{Meta: model.Meta{ID: "s"}, IPVersion: 4, CIDR: netip.MustParsePrefix("10.0.0.0/24"), EnableDHCP: true}},
			}
		})
	}
	set(host(1), host(2))
	eventually(t, "two hosts", hosts(2))
	set(host(2), host(3), host(4))
	eventually(t, "three hosts", hosts(3))
	bad := host(5)
	bad.MAC = "01:00:00:00:00:00" // one that no agent accepts holds nobody up
	set(host(2), bad)
	eventually(t, "one host", hosts(1))
	id := p.bind("h1", 1, 10)
	p.wantStatus(t, id, model.StatusActive)
	eventually(t, "the VF of the DHCP port", func() bool { v, ok := d.find(id); return ok && v.Netdev != "" })
	p.edit(func() { clear(p.nets) })
	eventually(t, "nothing to serve", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return len(d.nets) == 0 })
}

// A port that cannot be sent says so in its status and holds up no other.
func TestPortThatCannotBeSent(t *testing.T) {
	p := newPlane()
	c := startController(t, p, socket(t, "s"), Options{})
	startAgent(t, nic(4), agent.Config{Host: "h1", Controllers: []string{c.address}})
	bad := p.bind("h1", 1, 10)
	p.edit(func() { next := *p.atts[bad]; next.PhysicalNetwork = ""; p.atts[bad] = &next })
	p.wantStatus(t, p.bind("h1", 2, 10), model.StatusActive)
	eventually(t, "a word why", func() bool { _, r := p.status(bad); return strings.Contains(r, "physical_network") })
}

// An agent says when it has a controller and when it has none.
func TestAgentTellsOfItsConnection(t *testing.T) {
	p := newPlane()
	a := socket(t, "s1")
	c := startController(t, p, a, Options{})
	told := make(chan error, 16)
	startAgent(t, nic(1), agent.Config{Host: "h1", Controllers: []string{a}}, agent.WithConnection(func(err error) {
		select {
		case told <- err:
		default:
		}
	}))
	next := func(want bool) {
		t.Helper()
		for {
			select {
			case err := <-told:
				if (err == nil) == want {
					return
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("not told that it is connected %v", want)
			}
		}
	}
	next(true)
	c.stop()
	next(false)
	startController(t, p, a, Options{})
	next(true)
}
