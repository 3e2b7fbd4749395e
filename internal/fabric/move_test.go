package fabric

import (
	"context"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"neutrino/internal/agent"
	"neutrino/internal/ml2"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
)

// startService is a control plane on a store of its own, with its router scheduler.
func startService(t *testing.T) *neutron.Service {
	t.Helper()
	c := ml2.Defaults()
	c.TypeDrivers, c.TenantNetworkTypes, c.MechanismDrivers = []string{"vlan"}, []string{"vlan"}, []string{"sriovnicswitch"}
	c.VLANRanges = []string{"default:100:199"}
	drivers, err := ml2.New(c)
	if err != nil {
		t.Fatal(err)
	}
	tables := neutron.NewTables()
	db, err := store.Open(t.Context(), store.Config{DataDir: filepath.Join(t.TempDir(), "etcd"), Log: quiet}, tables.All()...)
	if err != nil {
		t.Fatal(err)
	}
	svc := neutron.New(db, tables, drivers, neutron.Options{}, quiet)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if serr := svc.RunRouterScheduler(ctx); serr != nil {
			t.Error(serr)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		svc.Close()
		if cerr := db.Close(); cerr != nil {
			t.Error(cerr)
		}
	})
	return svc
}

// A router goes to another host when its agent dies, its floating IP works again there, and
// the first host gives it up when it comes back.
func TestARouterMovesWhenItsAgentDies(t *testing.T) {
	svc := startService(t)
	admin := model.Actor{ProjectID: "p1", Admin: true}
	network := func(external bool, cidr string) (*model.Network, *model.Subnet) {
		n := &model.Network{Meta: model.Meta{ProjectID: "p1"}, AdminStateUp: true, External: external}
		nets, err := svc.CreateNetworks(t.Context(), admin, []neutron.Draft[model.Network]{{Value: n}})
		if err != nil {
			t.Fatal(err)
		}
		sub := &model.Subnet{Meta: model.Meta{ProjectID: "p1"}, NetworkID: nets[0].ID, IPVersion: 4, CIDR: netip.MustParsePrefix(cidr)}
		subs, err := svc.CreateSubnets(t.Context(), admin, []neutron.Draft[model.Subnet]{{Value: sub, Given: map[string]bool{"cidr": true}}})
		if err != nil {
			t.Fatal(err)
		}
		return nets[0], subs[0]
	}
	ext, _ := network(true, "203.0.113.0/24")
	inside, sub := network(false, "10.0.0.0/24")
	rows, err := svc.CreateRouters(t.Context(), admin, []neutron.Draft[model.Router]{{
		Value: &model.Router{Meta: model.Meta{ProjectID: "p1"}, AdminStateUp: true},
		Extra: map[string]any{"external_gateway_info": &neutron.GatewayInfo{NetworkID: ext.ID}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	router := rows[0].ID
	if _, err = svc.AddInterface(t.Context(), admin, router, sub.ID, ""); err != nil {
		t.Fatal(err)
	}
	ports, err := svc.CreatePorts(t.Context(), admin, []neutron.Draft[model.Port]{{Value: &model.Port{Meta: model.Meta{ProjectID: "p1"}, NetworkID: inside.ID, AdminStateUp: true}}})
	if err != nil {
		t.Fatal(err)
	}
	floating, err := svc.CreateFloatingIPs(t.Context(), admin, []neutron.Draft[model.FloatingIP]{{
		Value: &model.FloatingIP{Meta: model.Meta{ProjectID: "p1"}, FloatingNetworkID: ext.ID, PortID: ports[0].ID},
	}})
	if err != nil {
		t.Fatal(err)
	}
	status := func() string {
		f, _ := svc.Tables().FloatingIPs.Get(svc.DB().Snapshot(), floating[0].ID)
		return f.Status
	}
	on := func(host string) bool {
		n := 0
		for p := range svc.Tables().Ports.By(svc.DB().Snapshot(), neutron.ByDevice, router) {
			if n++; p.Binding.Host != host || p.Status != model.StatusActive {
				return false
			}
		}
		return n == 2
	}

	const downTime = 2 * time.Second
	c := startController(t, servicePlane{svc}, socket(t, "f.sock"), Options{AgentDownTime: downTime})
	host := func(name, file string) (*routerServer, func()) {
		server := newRouterServer()
		stop := startAgent(t, nic(4), agent.Config{Host: name, Controllers: []string{c.address}, L3: true, StateFile: file},
			agent.WithRouters(func(agent.FindVF) (agent.RouterServer, error) { return server, nil }))
		return server, stop
	}
	file := filepath.Join(t.TempDir(), "one.db")
	one, stop := host("one", file)
	one.has(t, router)
	eventually(t, "ports and floating IP are ACTIVE", func() bool { return on("one") && status() == model.StatusActive })
	two, _ := host("two", "")
	two.has(t)
	stop()
	two.has(t, router)
	eventually(t, "all of it is ACTIVE on the other host", func() bool { return on("two") && status() == model.StatusActive })

	one, _ = host("one", file)
	one.has(t)
	two.has(t, router)
	if !on("two") {
		t.Error("the router did not stay where it was well")
	}
}
