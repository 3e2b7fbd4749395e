package neutron_test

import (
	"net/netip"
	"slices"
	"strconv"
	"testing"

	"neutrino/internal/model"
	"neutrino/internal/neutron"
)

func itoa(n int) string { return strconv.Itoa(n) }

func contains(list []string, s string) bool { return slices.Contains(list, s) }

func TestSubnets(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	sub := r.subnet(n, "10.7.0.0/24")
	if sub.GatewayIP != netip.MustParseAddr("10.7.0.1") || len(sub.AllocationPools) != 1 {
		t.Errorf("subnet %+v", sub)
	}
	if got := r.getNetwork(n.ID).Revision; got != 2 {
		t.Errorf("a new subnet made the network's revision %d, want 2", got)
	}
	create := func(sub *model.Subnet, given ...string) error {
		_, err := r.s.CreateSubnets(ctx, admin, []neutron.Draft[model.Subnet]{draft(sub, given...)})
		return err
	}
	wantFault(t, create(subnet(n, "10.7.0.128/25"), "cidr"), "InvalidInput", 400, "")
	missing := subnet(n, "10.9.0.0/24")
	missing.NetworkID = "gone"
	wantFault(t, create(missing, "cidr"), "NetworkNotFound", 404, "Network gone could not be found.")
	if _, err := r.s.CreateSubnets(ctx, member("p9"), []neutron.Draft[model.Subnet]{draft(subnet(n, "10.9.0.0/24"), "cidr")}); err == nil {
		t.Error("a stranger made a subnet on the network")
	}
	none := &model.Subnet{Meta: model.Meta{ProjectID: "p1"}, NetworkID: n.ID, IPVersion: 4}
	wantFault(t, create(none), "BadRequest", 400, "Bad subnets request: a subnetpool must be specified in the absence of a cidr.")
	manyDNS := subnet(n, "10.9.0.0/24")
	for i := range 6 {
		manyDNS.DNSNameservers = append(manyDNS.DNSNameservers, netip.AddrFrom4([4]byte{9, 9, 9, byte(i)}))
	}
	wantFault(t, create(manyDNS, "cidr"), "DNSNameServersExhausted", 400, "")

	p := r.port(port(n))
	wantFault(t, r.s.DeleteSubnet(ctx, admin, sub.ID, nil), "SubnetInUse", 409,
		"Unable to complete operation on subnet "+sub.ID+": One or more ports have an IP allocation from this subnet.")
	if err := r.s.DeletePort(ctx, admin, p.ID, nil); err != nil {
		t.Fatal(err)
	}
	dhcp := port(n)
	dhcp.DeviceOwner = model.OwnerDHCP
	kept := r.port(dhcp)
	if err := r.s.DeleteSubnet(ctx, admin, sub.ID, nil); err != nil {
		t.Fatal(err)
	}
	if got := r.getPort(kept.ID); len(got.FixedIPs) != 0 || got.IPAllocation != "none" {
		t.Errorf("the DHCP port kept %v", got.FixedIPs)
	}
}

func TestBulkSubnetsSeeEachOther(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	_, err := r.s.CreateSubnets(ctx, admin, []neutron.Draft[model.Subnet]{
		draft(subnet(n, "10.0.0.0/24"), "cidr"), draft(subnet(n, "10.0.0.0/25"), "cidr"),
	})
	wantFault(t, err, "InvalidInput", 400, "")
	if got := r.tab.Subnets.Len(r.db.Snapshot()); got != 0 {
		t.Errorf("%d subnets after a failed bulk create", got)
	}
}

func TestAutoAddressSpreads(t *testing.T) {
	r := newRig(t, neutron.Options{DefaultQuotas: unlimited})
	n := r.network("p1")
	var ids []string
	for range 20 {
		ids = append(ids, r.port(port(n)).ID)
	}
	slaac := subnet(n, "2001:db8::/64")
	slaac.IPv6RAMode, slaac.IPv6AddressMode = model.ModeSLAAC, model.ModeSLAAC
	sub := r.addSubnet(slaac, "cidr", "ipv6_ra_mode", "ipv6_address_mode")
	for _, id := range ids {
		if p := r.getPort(id); len(p.FixedIPs) != 1 || p.FixedIPs[0].SubnetID != sub.ID || p.IPAllocation != "immediate" {
			t.Errorf("port %s has %v", id, p.FixedIPs)
		}
	}
	if err := r.s.DeleteSubnet(ctx, admin, sub.ID, nil); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if p := r.getPort(id); len(p.FixedIPs) != 0 {
			t.Errorf("port %s kept %v", id, p.FixedIPs)
		}
	}
}

func TestUpdateSubnet(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	narrow := subnet(n, "10.0.0.0/24")
	narrow.AllocationPools = []model.IPRange{{Start: netip.MustParseAddr("10.0.0.2"), End: netip.MustParseAddr("10.0.0.200")}}
	sub := r.addSubnet(narrow, "cidr", "allocation_pools")
	router := port(n)
	router.DeviceOwner = "network:router_interface"
	router.FixedIPs = []model.FixedIP{{SubnetID: sub.ID, IP: sub.GatewayIP}}
	held := r.port(router, "fixed_ips")
	move := change(func(s *model.Subnet) { s.GatewayIP = netip.MustParseAddr("10.0.0.254") }, "gateway_ip")
	_, err := r.s.UpdateSubnet(ctx, admin, sub.ID, move)
	wantFault(t, err, "GatewayIpInUse", 409, "Current gateway ip 10.0.0.1 already in use by port "+held.ID+". Unable to update.")
	before := r.getNetwork(n.ID).Revision
	off := must[*model.Subnet](t)(r.s.UpdateSubnet(ctx, admin, sub.ID, change(func(s *model.Subnet) { s.EnableDHCP = false }, "enable_dhcp")))
	if off.EnableDHCP || off.Revision != 2 || r.getNetwork(n.ID).Revision != before+1 {
		t.Errorf("subnet %+v", off)
	}
}

func pool(prefixes ...string) *model.SubnetPool {
	p := &model.SubnetPool{Meta: model.Meta{ProjectID: "p1", Name: "pool"}}
	for _, text := range prefixes {
		p.Prefixes = append(p.Prefixes, netip.MustParsePrefix(text))
	}
	return p
}

func TestSubnetPools(t *testing.T) {
	r := newRig(t, neutron.Options{})
	def := pool("10.10.0.0/16")
	def.DefaultPrefixLen, def.IsDefault = 24, true
	p := one[model.SubnetPool](t)(r.s.CreateSubnetPools(ctx, admin, []neutron.Draft[model.SubnetPool]{draft(def, "prefixes", "default_prefixlen")}))
	_, err := r.s.CreateSubnetPools(ctx, admin, []neutron.Draft[model.SubnetPool]{draft(def, "prefixes", "default_prefixlen")})
	wantFault(t, err, "InvalidInput", 400, "")

	n := r.network("p1")
	cut := func(extra map[string]any, poolID string) (*model.Subnet, error) {
		d := draft(&model.Subnet{Meta: model.Meta{ProjectID: "p1"}, NetworkID: n.ID, IPVersion: 4, EnableDHCP: true, SubnetPoolID: poolID}, "subnetpool_id")
		d.Extra = extra
		rows, cutErr := r.s.CreateSubnets(ctx, admin, []neutron.Draft[model.Subnet]{d})
		if cutErr != nil {
			return nil, cutErr
		}
		return rows[0], nil
	}
	a := must[*model.Subnet](t)(cut(nil, p.ID))
	b := must[*model.Subnet](t)(cut(map[string]any{"prefixlen": 26}, p.ID))
	c := must[*model.Subnet](t)(cut(map[string]any{"use_default_subnetpool": true}, ""))
	if a.CIDR.String() != "10.10.0.0/24" || b.CIDR.String() != "10.10.1.0/26" || c.CIDR.String() != "10.10.2.0/24" || c.SubnetPoolID != p.ID {
		t.Errorf("cut %s, %s, %s", a.CIDR, b.CIDR, c.CIDR)
	}
	_, err = cut(nil, "nope")
	wantFault(t, err, "SubnetPoolNotFound", 404, "Subnet pool nope could not be found.")
	_, err = r.s.CreateSubnets(ctx, admin, []neutron.Draft[model.Subnet]{draft(subnet(n, "192.168.0.0/24"), "cidr")})
	wantFault(t, err, "NetworkSubnetPoolAffinityError", 400, "Subnets hosted on the same network must be allocated from the same subnet pool.")
	wantFault(t, r.s.DeleteSubnetPool(ctx, admin, p.ID, nil), "SubnetPoolDeleteError", 400, "Unable to delete subnet pool: Subnet pool has existing allocations.")

	_, err = r.s.RemovePrefixes(ctx, admin, p.ID, []string{"10.10.0.0/16"})
	wantFault(t, err, "IllegalSubnetPoolPrefixUpdate", 400, "")
	grown := must[*model.SubnetPool](t)(r.s.AddPrefixes(ctx, admin, p.ID, []string{"10.20.0.0/16"}))
	if len(grown.Prefixes) != 2 {
		t.Errorf("prefixes %v", grown.Prefixes)
	}
	if err = r.s.DeleteNetwork(ctx, admin, n.ID, nil); err != nil {
		t.Fatal(err)
	}
	if err = r.s.DeleteSubnetPool(ctx, admin, p.ID, nil); err != nil {
		t.Fatal(err)
	}
	r.wantEmpty("default-sg")
}

func TestAvailability(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	r.subnet(n, "10.0.0.0/24")
	r.subnet(n, "fd00::/120")
	r.port(port(n))
	row, ok := r.s.NetworkIPAvailability(r.db.Snapshot(), n.ID)
	if !ok || row.Used != 2 || len(row.Subnets) != 2 || row.Total.Int64() != 253+255 && row.Total.Int64() != 253+254 {
		t.Errorf("availability %+v total %s", row, row.Total)
	}
	if rows := r.s.IPAvailability(r.db.Snapshot(), 4); len(rows) != 1 || rows[0].Used != 1 || rows[0].Total.Int64() != 253 {
		t.Errorf("IPv4 availability %+v", rows)
	}
}
