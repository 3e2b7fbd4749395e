package neutron_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
)

// pair opens two controllers over one etcd: the first has it inside.
func openPair(t testing.TB, dir string) (*rig, *rig) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err = l.Close(); err != nil {
		t.Fatal(err)
	}
	o := neutron.Options{DefaultQuotas: unlimited}
	first := open(t, store.Config{DataDir: dir, ListenClient: addr}, o)
	second := open(t, store.Config{Endpoints: []string{addr}}, o)
	return first, second
}

// storm does random operations through one Service, on whatever it sees.
type storm struct {
	*rig
	rnd *rand.Rand
}

func pick[T any](rnd *rand.Rand, rows func(func(*T) bool)) *T {
	all := slices.Collect(rows)
	if len(all) == 0 {
		return nil
	}
	return all[rnd.IntN(len(all))]
}

// step does one operation; what another did first is no error.
func (s *storm) step() error {
	snap := s.db.Snapshot()
	n := pick(s.rnd, s.tab.Networks.All(snap))
	p := pick(s.rnd, s.tab.Ports.All(snap))
	sub := pick(s.rnd, s.tab.Subnets.All(snap))
	g := pick(s.rnd, s.tab.SecurityGroups.All(snap))
	var err error
	switch op := s.rnd.IntN(20); {
	case op < 3 || n == nil:
		err = s.makeNetwork()
	case op < 4:
		err = s.s.DeleteNetwork(ctx, admin, n.ID, nil)
	case op < 7:
		err = s.makeSubnet(n)
	case op < 8 && sub != nil:
		err = s.s.DeleteSubnet(ctx, admin, sub.ID, nil)
	case op < 9 && g != nil:
		err = s.s.DeleteSecurityGroup(ctx, admin, g.ID, nil)
	case op < 10:
		_, err = s.s.CreateSecurityGroups(ctx, admin, []neutron.Draft[model.SecurityGroup]{
			draft(&model.SecurityGroup{Meta: model.Meta{ProjectID: "p1", Name: "g"}, Stateful: true}),
		})
	case op < 12 && p != nil:
		err = s.s.DeletePort(ctx, admin, p.ID, nil)
	case op < 14 && p != nil:
		err = s.changePort(p, sub, g)
	default:
		err = s.makePort(n, sub, g)
	}
	var f *fault.Fault
	if errors.As(err, &f) && !errors.Is(err, store.ErrUnavailable) {
		return nil
	}
	return err
}

func (s *storm) makeNetwork() error {
	d := draft(network("p" + itoa(s.rnd.IntN(2)+1)))
	if s.rnd.IntN(2) == 0 { // few VLANs, so that they are fought for
		d = draft(vlan("default", 100+s.rnd.IntN(5)), netType, netPhys, netSeg)
	}
	_, err := s.s.CreateNetworks(ctx, admin, []neutron.Draft[model.Network]{d})
	return err
}

func (s *storm) makeSubnet(n *model.Network) error {
	sub := subnet(n, fmt.Sprintf("10.0.%d.0/28", s.rnd.IntN(3)))
	given := []string{"cidr"}
	if s.rnd.IntN(3) == 0 {
		sub = subnet(n, fmt.Sprintf("2001:db8:%x::/64", s.rnd.IntN(2)))
		sub.IPv6RAMode, sub.IPv6AddressMode = model.ModeSLAAC, model.ModeSLAAC
		given = append(given, "ipv6_ra_mode", "ipv6_address_mode")
	}
	_, err := s.s.CreateSubnets(ctx, admin, []neutron.Draft[model.Subnet]{draft(sub, given...)})
	return err
}

func (s *storm) makePort(n *model.Network, sub *model.Subnet, g *model.SecurityGroup) error {
	p := port(n)
	var given []string
	if s.rnd.IntN(3) == 0 {
		p.MAC = fmt.Sprintf("fa:16:3e:ff:ff:%02x", s.rnd.IntN(4))
		given = append(given, "mac_address")
	}
	if sub != nil && sub.IPVersion == 4 && s.rnd.IntN(3) == 0 {
		p.NetworkID = sub.NetworkID
		p.FixedIPs = []model.FixedIP{{SubnetID: sub.ID, IP: nth(sub.CIDR, 5)}}
		given = append(given, "fixed_ips")
	}
	if g != nil && s.rnd.IntN(2) == 0 {
		p.SecurityGroups = []string{g.ID}
		given = append(given, "security_groups")
	}
	if s.rnd.IntN(6) == 0 {
		p.DeviceOwner = model.OwnerDHCP
		given = nil
		p.SecurityGroups, p.FixedIPs = nil, nil
	}
	_, err := s.s.CreatePorts(ctx, admin, []neutron.Draft[model.Port]{draft(p, given...)})
	return err
}

func (s *storm) changePort(p *model.Port, sub *model.Subnet, g *model.SecurityGroup) error {
	c := change(func(p *model.Port) { p.MAC = "" }, "mac_address")
	switch {
	case sub != nil && s.rnd.IntN(2) == 0:
		c = change(func(p *model.Port) { p.FixedIPs = []model.FixedIP{{SubnetID: sub.ID}} }, "fixed_ips")
	case g != nil:
		c = change(func(p *model.Port) { p.SecurityGroups = []string{g.ID} }, "security_groups")
	}
	_, err := s.s.UpdatePort(ctx, admin, p.ID, c)
	return err
}

func nth(prefix netip.Prefix, n int) netip.Addr {
	a := prefix.Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// Two controllers, many clients, restarts: no VLAN, address or MAC is ever given twice, and
// nothing is left of what was deleted.
func TestConcurrentChanges(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dir := filepath.Join(tempDir(t), "etcd")
	const rounds, workers, steps = 3, 4, 120
	for round := range rounds {
		first, second := openPair(t, dir)
		if round > 0 {
			first.checkConsistent()
		}
		var wg sync.WaitGroup
		for w := range 2 * workers {
			r := first
			if w%2 == 1 {
				r = second
			}
			s := &storm{rig: r, rnd: rand.New(rand.NewPCG(seed, uint64(round*100+w)))}
			wg.Go(func() {
				for range steps {
					if err := s.step(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		first.catchUp()
		first.checkConsistent()
		if round == rounds-1 {
			first.deleteEverything()
		}
		second.close()
		first.close()
	}
}

// catchUp returns when this controller has seen everything that was committed before: its
// own write comes after it.
func (r *rig) catchUp() {
	r.t.Helper()
	if _, err := r.s.SetQuota(ctx, admin, "nobody", map[string]int{"network": int(r.db.Revision())}); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) deleteEverything() {
	r.t.Helper()
	for p := range r.tab.Ports.All(r.db.Snapshot()) {
		if err := r.s.DeletePort(ctx, admin, p.ID, nil); err != nil {
			r.t.Error(err)
		}
	}
	for n := range r.tab.Networks.All(r.db.Snapshot()) {
		if err := r.s.DeleteNetwork(ctx, admin, n.ID, nil); err != nil {
			r.t.Error(err)
		}
	}
	for g := range r.tab.SecurityGroups.All(r.db.Snapshot()) {
		if err := r.s.DeleteSecurityGroup(ctx, admin, g.ID, nil); err != nil {
			r.t.Error(err)
		}
	}
	r.wantEmpty()
	if n := r.tab.SecurityGroupRules.Len(r.db.Snapshot()); n != 0 {
		r.t.Errorf("%d rules are left", n)
	}
}

// checkConsistent compares rows with rows and claims, both ways.
func (r *rig) checkConsistent() {
	r.t.Helper()
	snap := r.db.Snapshot()
	want := make(map[string]string) // kind/key -> owner
	hold := func(claim, owner string) {
		if other, twice := want[claim]; twice {
			r.t.Errorf("%s belongs to %s and to %s", claim, other, owner)
		}
		want[claim] = owner
	}
	for n := range r.tab.Networks.All(snap) {
		for _, seg := range n.Segments {
			hold(fmt.Sprintf("vlan/%s/%d", seg.PhysicalNetwork, seg.SegmentationID), n.ID)
		}
		if _, ok := r.tab.Layouts.Get(snap, n.ID); !ok {
			r.t.Errorf("network %s has no layout", n.ID)
		}
	}
	if a, b := r.tab.Networks.Len(snap), r.tab.Layouts.Len(snap); a != b {
		r.t.Errorf("%d networks, %d layouts", a, b)
	}
	r.checkSubnets(snap)
	for p := range r.tab.Ports.All(snap) {
		r.checkPort(snap, p, hold)
	}
	for g := range r.tab.SecurityGroups.All(snap) {
		if g.Name == "default" {
			hold("default-sg/"+g.ProjectID, g.ID)
		}
	}
	for rule := range r.tab.SecurityGroupRules.All(snap) {
		for _, id := range []string{rule.SecurityGroupID, rule.RemoteGroupID} {
			if _, ok := r.tab.SecurityGroups.Get(snap, id); id != "" && !ok {
				r.t.Errorf("rule %s names group %s, which is gone", rule.ID, id)
			}
		}
	}
	for _, kind := range []string{"vlan", "mac", "ip", "sg", "default-sg"} {
		for key, owner := range r.db.ClaimsUnder(snap, kind, "") {
			if want[kind+"/"+key] != owner {
				r.t.Errorf("claim %s/%s of %s, should be of %q", kind, key, owner, want[kind+"/"+key])
			}
			delete(want, kind+"/"+key)
		}
	}
	for claim, owner := range want {
		r.t.Errorf("%s has no claim %s", owner, claim)
	}
}

func (r *rig) checkSubnets(snap store.Snapshot) {
	r.t.Helper()
	for sub := range r.tab.Subnets.All(snap) {
		if _, ok := r.tab.Networks.Get(snap, sub.NetworkID); !ok {
			r.t.Errorf("subnet %s is of network %s, which is gone", sub.ID, sub.NetworkID)
		}
		for other := range r.tab.Subnets.By(snap, neutron.ByNetwork, sub.NetworkID) {
			if other.ID != sub.ID && other.CIDR.Overlaps(sub.CIDR) {
				r.t.Errorf("subnets %s and %s overlap", sub.CIDR, other.CIDR)
			}
		}
		if !sub.AutoAddress() {
			continue
		}
		for p := range r.tab.Ports.By(snap, neutron.ByNetwork, sub.NetworkID) {
			on := slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == sub.ID })
			if !on && len(p.FixedIPs) > 0 {
				r.t.Errorf("port %s has no address of its own on %s: %v", p.ID, sub.CIDR, p.FixedIPs)
			}
		}
	}
}

func (r *rig) checkPort(snap store.Snapshot, p *model.Port, hold func(claim, owner string)) {
	r.t.Helper()
	if _, ok := r.tab.Networks.Get(snap, p.NetworkID); !ok {
		r.t.Errorf("port %s is on network %s, which is gone", p.ID, p.NetworkID)
	}
	hold("mac/"+p.NetworkID+"/"+model.CanonicalMAC(p.MAC), p.ID)
	for _, f := range p.FixedIPs {
		if sub, ok := r.tab.Subnets.Get(snap, f.SubnetID); !ok || sub.NetworkID != p.NetworkID {
			r.t.Errorf("port %s has %s on subnet %s, which is not its network's", p.ID, f.IP, f.SubnetID)
		}
		hold("ip/"+f.SubnetID+"/"+f.IP.String(), p.ID)
	}
	for _, id := range p.SecurityGroups {
		if _, ok := r.tab.SecurityGroups.Get(snap, id); !ok {
			r.t.Errorf("port %s has group %s, which is gone", p.ID, id)
		}
		hold("sg/"+id+"/"+p.ID, p.ID)
	}
}

// Ports of one network are made by two controllers at the same time without conflict, and
// the network is not deleted under them.
func TestPortsAgainstNetworkDelete(t *testing.T) {
	first, second := openPair(t, filepath.Join(tempDir(t), "etcd"))
	defer first.close()
	defer second.close()
	for range 10 {
		n := first.network("p1")
		first.subnet(n, "10.0.0.0/24")
		second.eventuallySees(n.ID)
		var wg sync.WaitGroup
		for _, r := range []*rig{first, second} {
			wg.Go(func() {
				for range 3 {
					_, err := r.s.CreatePorts(ctx, admin, []neutron.Draft[model.Port]{draft(port(n))})
					if err != nil && !fault.HasType(err, "NetworkNotFound") {
						t.Error(err)
					}
				}
			})
		}
		wg.Go(func() {
			err := second.s.DeleteNetwork(ctx, admin, n.ID, nil)
			if err != nil && !fault.HasType(err, "NetworkInUse") {
				t.Error(err)
			}
		})
		wg.Wait()
		first.catchUp()
		first.checkConsistent()
	}
}

func (r *rig) eventuallySees(network string) {
	for {
		_, ok, changed := r.tab.Networks.WatchGet(r.db.Snapshot(), network)
		if ok {
			return
		}
		<-changed
	}
}

// Schedulers of two controllers give every network one DHCP port, not one each.
func TestTwoSchedulers(t *testing.T) {
	first, second := openPair(t, filepath.Join(tempDir(t), "etcd"))
	defer first.close()
	defer second.close()
	t.Run("networks", func(t *testing.T) {
		schedule(t, first.s, second.s)
		first.agentUp(dhcpAgent("net1"))
		first.agentUp(nicAgent("net1"))
		var ids []string
		for range 10 {
			n := first.network("p1")
			first.subnet(n, "10.0.0.0/24")
			ids = append(ids, n.ID)
		}
		first.eventually("every network is served", func() bool {
			return !slices.ContainsFunc(ids, func(id string) bool { return !first.servedBy(id, "net1") })
		})
	})
	for n := range first.tab.Networks.All(first.db.Snapshot()) {
		if got := len(first.dhcpPorts(n.ID)); got != 1 {
			t.Errorf("network %s has %d DHCP ports", n.ID, got)
		}
	}
	first.catchUp()
	first.checkConsistent()
}

// An agent that comes up while a port is being made for its host binds it, whichever of
// the two is first.
func TestAgentUpAgainstCreate(t *testing.T) {
	first, second := openPair(t, filepath.Join(tempDir(t), "etcd"))
	defer first.close()
	defer second.close()
	n := first.network("p1")
	second.eventuallySees(n.ID)
	for i := range 10 {
		host := "h" + itoa(i)
		var wg sync.WaitGroup
		var p *model.Port
		wg.Go(func() { p = second.port(direct(n, host)) })
		wg.Go(func() { first.agentUp(nicAgent(host)) })
		wg.Wait()
		first.eventually("the port is bound", func() bool {
			now := first.getPort(p.ID)
			return now != nil && now.Binding.VIFType == model.VIFHWVEB
		})
	}
}
