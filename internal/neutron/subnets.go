package neutron

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/ipam"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// CreateSubnets makes all of d or none. Ports of the network get their address on a new
// subnet where hosts form their own.
func (s *Service) CreateSubnets(ctx context.Context, who model.Actor, d []Draft[model.Subnet]) ([]*model.Subnet, error) {
	ids, release, err := reserve(s, quotaSubnet, d)
	if err != nil {
		return nil, err
	}
	defer release()
	out := make([]*model.Subnet, len(d))
	err = s.update(ctx, "creating subnets", func(tx *store.Tx) error {
		a := s.begin(tx)
		for i := range d {
			sub, draftErr := s.createSubnet(a, who, d[i], ids[i])
			if draftErr != nil {
				return draftErr
			}
			out[i] = sub
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, sub := range out {
		if err := s.spreadAutoAddress(ctx, sub); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// createSubnet writes the network row too, so that subnets of one network are made one
// after the other and each sees those before it.
func (s *Service) createSubnet(a *attempt, who model.Actor, d Draft[model.Subnet], id string) (*model.Subnet, error) {
	sub := d.Value.Clone()
	n, ok := s.t.Networks.Read(a.Tx, sub.NetworkID)
	if !ok || !seesNetwork(who, n) {
		return nil, fault.NetworkNotFound(sub.NetworkID)
	}
	s.stamp(&sub.Meta)
	sub.ID = id
	siblings := s.subnetsOf(a, sub.NetworkID)
	given := d.Given
	if err := s.cutFromPool(a, who, sub, &given, d.Extra, siblings); err != nil {
		return nil, err
	}
	if err := ipam.CheckLimits(sub, s.o.MaxDNSNameservers, s.o.MaxHostRoutes); err != nil {
		return nil, err
	}
	if err := ipam.CompleteSubnet(sub, given, siblings); err != nil {
		return nil, err
	}
	s.t.Subnets.Put(a.Tx, sub)
	a.subnets = append(a.subnets, sub)
	s.touchNetwork(a, n)
	if ports := s.formingPorts(a.snap, sub); len(ports) <= portsPerTx {
		for _, p := range ports {
			s.addAutoAddress(a, p, sub)
		}
	}
	return sub, nil
}

// touchNetwork marks the network as changed because one of its subnets did.
func (s *Service) touchNetwork(a *attempt, n *model.Network) {
	n = n.Clone()
	s.bump(&n.Meta)
	s.t.Networks.Put(a.Tx, n)
	s.relayout(a, n.ID)
}

// subnetsOf returns the network's subnets, with those made in this attempt.
func (s *Service) subnetsOf(a *attempt, network string) []*model.Subnet {
	var subnets []*model.Subnet
	for sub := range s.t.Subnets.By(a.snap, ByNetwork, network) {
		subnets = append(subnets, sub)
	}
	for _, sub := range a.subnets {
		if sub.NetworkID == network {
			subnets = append(subnets, sub)
		}
	}
	return subnets
}

// cutFromPool gives the subnet its prefix when it names a pool, asks for the default pool,
// or has no cidr but a default pool exists.
func (s *Service) cutFromPool(a *attempt, who model.Actor, sub *model.Subnet, given *map[string]bool, extra map[string]any, siblings []*model.Subnet) error {
	prefixLen, lenGiven := extra["prefixlen"].(int)
	if useDefault, _ := extra["use_default_subnetpool"].(bool); useDefault {
		if sub.SubnetPoolID != "" {
			return fault.BadRequest("subnets", "subnetpool_id and use_default_subnetpool cannot both be specified")
		}
		if sub.SubnetPoolID = s.defaultPool(a.snap, sub.IPVersion); sub.SubnetPoolID == "" {
			return fault.BadRequest("subnets", "No default subnetpool found for IPv%d", sub.IPVersion)
		}
	}
	if sub.CIDR.IsValid() && lenGiven {
		return fault.BadRequest("subnets", "cidr and prefixlen must not be supplied together")
	}
	if sub.SubnetPoolID == "" {
		if !sub.CIDR.IsValid() {
			return fault.BadRequest("subnets", "a subnetpool must be specified in the absence of a cidr")
		}
		return poolAffinity(sub, siblings)
	}
	pool, ok := s.t.SubnetPools.Read(a.Tx, sub.SubnetPoolID)
	if !ok || (pool.ProjectID != who.ProjectID && !pool.Shared && !who.HasRole("service")) {
		return fault.SubnetPoolNotFound(sub.SubnetPoolID)
	}
	if pool.IPVersion != sub.IPVersion {
		return fault.BadRequest("subnets", "Subnet pool %s is of IPv%d", pool.ID, pool.IPVersion)
	}
	if err := poolAffinity(sub, siblings); err != nil {
		return err
	}
	if err := s.takePrefix(a, pool, sub, prefixLen, lenGiven); err != nil {
		return err
	}
	// Written unchanged: subnets are cut from a pool one after the other.
	s.t.SubnetPools.Put(a.Tx, pool.Clone())
	*given = withGiven(*given, "cidr")
	return nil
}

func (s *Service) takePrefix(a *attempt, pool *model.SubnetPool, sub *model.Subnet, prefixLen int, lenGiven bool) error {
	var used, own []netip.Prefix
	count := func(other *model.Subnet) {
		used = append(used, other.CIDR)
		if other.ProjectID == sub.ProjectID {
			own = append(own, other.CIDR)
		}
	}
	for other := range s.t.Subnets.By(a.snap, ByPool, pool.ID) {
		count(other)
	}
	for _, other := range a.subnets {
		if other.SubnetPoolID == pool.ID {
			count(other)
		}
	}
	if sub.CIDR.IsValid() {
		if err := ipam.ClaimPrefix(pool, sub.CIDR, used); err != nil {
			return err
		}
		return ipam.CheckPoolQuota(pool, own, sub.CIDR.Bits())
	}
	bits, err := ipam.PoolPrefixLen(pool, prefixLen, lenGiven)
	if err != nil {
		return err
	}
	if err = ipam.CheckPoolQuota(pool, own, bits); err != nil {
		return err
	}
	sub.CIDR, err = ipam.CutPrefix(pool, bits, used)
	return err
}

func withGiven(given map[string]bool, name string) map[string]bool {
	out := make(map[string]bool, len(given)+1)
	for k, v := range given {
		out[k] = v
	}
	out[name] = true
	return out
}

// poolAffinity: subnets of one family on one network all come from the same pool, or none does.
func poolAffinity(sub *model.Subnet, siblings []*model.Subnet) error {
	for _, other := range siblings {
		if other.IPVersion == sub.IPVersion && other.SubnetPoolID != sub.SubnetPoolID {
			return fault.SubnetPoolAffinity()
		}
	}
	return nil
}

// UpdateSubnet changes a subnet and marks its network as changed.
func (s *Service) UpdateSubnet(ctx context.Context, who model.Actor, id string, c Change[model.Subnet]) (*model.Subnet, error) {
	var out *model.Subnet
	err := s.update(ctx, "updating subnet "+id, func(tx *store.Tx) error {
		a := s.begin(tx)
		old, ok := s.t.Subnets.Read(tx, id)
		if !ok {
			return fault.SubnetNotFound(id)
		}
		if err := checkMatch(c.IfMatch, old.Revision); err != nil {
			return err
		}
		n, ok := s.t.Networks.Read(tx, old.NetworkID)
		if !ok {
			return fault.NetworkNotFound(old.NetworkID)
		}
		sub := old.Clone()
		c.Apply(sub)
		if err := s.changeSubnet(a, old, sub, c.Given); err != nil {
			return err
		}
		if out = old; same(old, sub) {
			return nil
		}
		s.bump(&sub.Meta)
		s.t.Subnets.Put(tx, sub)
		s.touchNetwork(a, n)
		out = sub
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) changeSubnet(a *attempt, old, sub *model.Subnet, given map[string]bool) error {
	if err := ipam.CheckLimits(sub, s.o.MaxDNSNameservers, s.o.MaxHostRoutes); err != nil {
		return err
	}
	siblings := slices.DeleteFunc(s.subnetsOf(a, old.NetworkID), func(o *model.Subnet) bool { return o.ID == old.ID })
	if err := ipam.UpdateSubnet(old, sub, given, siblings); err != nil {
		return err
	}
	if !given["gateway_ip"] || old.GatewayIP == sub.GatewayIP || !old.GatewayIP.IsValid() {
		return nil
	}
	owner, held := a.Claimed(claimIP, ipKey(model.FixedIP{SubnetID: old.ID, IP: old.GatewayIP}))
	if !held {
		return nil
	}
	if p, ok := s.t.Ports.Get(a.snap, owner); ok && strings.HasPrefix(p.DeviceOwner, ownerRouterPrefix) {
		return fault.GatewayIPInUse(old.GatewayIP.String(), p.ID)
	}
	return nil
}

// ownerRouterPrefix begins the device_owner of every router's port.
const ownerRouterPrefix = "network:router"

// DeleteSubnet deletes a subnet. Addresses of ports that serve the network, and those that
// hosts formed themselves, go with it; any other makes it fail.
func (s *Service) DeleteSubnet(ctx context.Context, who model.Actor, id string, ifMatch *int64) error {
	for range deleteTries {
		var again bool
		err := s.update(ctx, "deleting subnet "+id, func(tx *store.Tx) error {
			var err error
			again, err = s.deleteSubnet(s.begin(tx), id, ifMatch)
			return err
		})
		if err != nil || !again {
			return err
		}
	}
	return fault.SubnetInUse(id)
}

func (s *Service) deleteSubnet(a *attempt, id string, ifMatch *int64) (again bool, err error) {
	sub, ok := s.t.Subnets.Read(a.Tx, id)
	if !ok {
		return false, fault.SubnetNotFound(id)
	}
	if err := checkMatch(ifMatch, sub.Revision); err != nil {
		return false, err
	}
	var freed []*model.Port
	for p := range s.t.Ports.By(a.snap, BySubnet, id) {
		router := strings.HasPrefix(p.DeviceOwner, ownerRouterPrefix)
		if !autoDeleted(p.DeviceOwner) && (!sub.AutoAddress() || router) {
			return false, fault.SubnetInUse(id)
		}
		freed = append(freed, p)
	}
	for _, p := range freed[:min(len(freed), portsPerTx)] {
		if err := s.dropSubnetAddresses(a, p.ID, id); err != nil {
			return false, err
		}
	}
	if len(freed) > portsPerTx || !a.NoneUnder(claimIP, id+"/") {
		return true, nil
	}
	n, ok := s.t.Networks.Read(a.Tx, sub.NetworkID)
	if !ok {
		return false, fault.NetworkNotFound(sub.NetworkID)
	}
	s.t.Subnets.Delete(a.Tx, id)
	s.touchNetwork(a, n)
	return false, nil
}

// dropSubnetAddresses takes a port's addresses on a subnet away.
func (s *Service) dropSubnetAddresses(a *attempt, port, subnet string) error {
	old, ok := s.t.Ports.Read(a.Tx, port)
	if !ok {
		return nil
	}
	p := old.Clone()
	p.FixedIPs = slices.DeleteFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == subnet })
	if err := s.moveAddresses(a, old, p); err != nil {
		return err
	}
	s.bump(&p.Meta)
	s.t.Ports.Put(a.Tx, p)
	return nil
}

// formingPorts are the ports that have no address on the subnet though their hosts form
// their own there.
func (s *Service) formingPorts(snap store.Snapshot, sub *model.Subnet) []string {
	var ports []string
	if !sub.AutoAddress() {
		return nil
	}
	for p := range s.t.Ports.By(snap, ByNetwork, sub.NetworkID) {
		if !strings.HasPrefix(p.DeviceOwner, ownerRouterPrefix) && !hasAddressOn(p, sub.ID) {
			ports = append(ports, p.ID)
		}
	}
	return ports
}

func hasAddressOn(p *model.Port, subnet string) bool {
	return slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == subnet })
}

// spreadAutoAddress gives the ports of a network with many of them their address on a new
// subnet where hosts form their own; with few, the subnet's own transaction did. Ports made
// since the subnet was committed have it already.
func (s *Service) spreadAutoAddress(ctx context.Context, sub *model.Subnet) error {
	ports := s.formingPorts(s.db.Snapshot(), sub)
	for batch := range slices.Chunk(ports, portsPerTx) {
		err := s.update(ctx, "giving ports their address on subnet "+sub.ID, func(tx *store.Tx) error {
			a := s.begin(tx)
			if _, ok := s.t.Subnets.Require(tx, sub.ID); !ok {
				return nil
			}
			for _, id := range batch {
				s.addAutoAddress(a, id, sub)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) addAutoAddress(a *attempt, port string, sub *model.Subnet) {
	old, ok := s.t.Ports.Read(a.Tx, port)
	if !ok || hasAddressOn(old, sub.ID) {
		return
	}
	addr, err := ipam.EUI64(sub.CIDR, old.MAC)
	if err != nil {
		s.log.Warn("port has no address of its own on the subnet", "port", port, "subnet", sub.ID, "err", err)
		return
	}
	p := old.Clone()
	f := model.FixedIP{SubnetID: sub.ID, IP: addr}
	if !a.take(claimIP, ipKey(f), port) {
		return
	}
	p.FixedIPs = append(p.FixedIPs, f)
	p.IPAllocation = ipAllocation(p.FixedIPs)
	s.bump(&p.Meta)
	s.t.Ports.Put(a.Tx, p)
}
