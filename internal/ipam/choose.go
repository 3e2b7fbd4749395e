package ipam

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

// Taken reports whether an address of a subnet is held by any port.
type Taken func(subnetID string, a netip.Addr) bool

// Request is what a port asks for.
type Request struct {
	NetworkID   string
	MAC         string          // of the port, for EUI-64 addresses
	DeviceOwner string          // decides service subnets, the lowest-free rule, router exceptions
	Fixed       []model.FixedIP // fixed_ips of the request; either field may be zero
	Given       bool            // fixed_ips was in the request; given and empty means no address
	Current     []model.FixedIP // update: what the port has now
}

// Owners whose ports have only the addresses they ask for, also on subnets where
// hosts form their own.
var routerOwners = []string{
	"network:router_interface",
	"network:router_interface_distributed",
	"network:ha_router_replicated_interface",
	"network:router_centralized_snat",
}

// Owners that get the lowest free address.
var lowestOwners = []string{model.OwnerDHCP, "network:distributed"}

// ChooseAddresses chooses a port's addresses on the subnets of its network.
//
// Not given: one IPv4 address, one IPv6 address of subnets where the server assigns
// them (the first subnet with space), and the EUI-64 address of every subnet where
// hosts form their own. Given: what each entry asks for, in the order of the request,
// and the EUI-64 addresses. On an update, an entry that names an address the port has
// keeps it, and one that names only a subnet keeps the port's address there.
//
// Subnets reserved for the port's device_owner (service_types) come before general
// ones; those reserved for others are no candidates. subnets should be in a fixed
// order, oldest first. A nil rnd gives the lowest free addresses.
//
// Errors are Neutron's faults: InvalidInput, InvalidIpForSubnet, InvalidIpForNetwork,
// AllocationOnAutoAddressSubnet (400), IpAddressAlreadyAllocated,
// IpAddressGenerationFailure and -NoMatchingSubnet (409).
func ChooseAddresses(req Request, subnets []*model.Subnet, taken Taken, rnd *rand.Rand) ([]model.FixedIP, error) {
	if req.Given && len(req.Fixed) == 0 || len(subnets) == 0 && len(req.Fixed) == 0 {
		return nil, nil
	}
	if slices.Contains(lowestOwners, req.DeviceOwner) {
		rnd = nil
	}
	c := &chooser{req: req, all: subnets, taken: taken, rnd: rnd, chosen: make(map[model.FixedIP]bool)}
	c.subnets = candidates(subnets, req.DeviceOwner)
	c.router = slices.Contains(routerOwners, req.DeviceOwner)
	if len(c.subnets) == 0 && len(subnets) > 0 {
		return nil, fault.IPAddressGenerationFailureNoMatchingSubnet(req.NetworkID, req.DeviceOwner)
	}
	choose := c.automatic
	if req.Given {
		choose = c.asked
	}
	ips, err := choose()
	if err != nil {
		return nil, err
	}
	formed, err := c.formed()
	if err != nil {
		return nil, err
	}
	return append(ips, formed...), nil
}

// candidates returns the subnets that a port of the owner may use, those reserved for
// it first.
func candidates(subnets []*model.Subnet, owner string) []*model.Subnet {
	var reserved, general []*model.Subnet
	for _, s := range subnets {
		switch {
		case len(s.ServiceTypes) == 0:
			general = append(general, s)
		case slices.ContainsFunc(s.ServiceTypes, func(t string) bool { return t != "" && strings.HasPrefix(owner, t) }):
			reserved = append(reserved, s)
		}
	}
	return append(reserved, general...)
}

type chooser struct {
	req     Request
	all     []*model.Subnet // of the network
	subnets []*model.Subnet // those that the port may use
	taken   Taken
	rnd     *rand.Rand
	router  bool
	chosen  map[model.FixedIP]bool
}

// mine reports whether the port has the address now.
func (c *chooser) mine(f model.FixedIP) bool { return slices.Contains(c.req.Current, f) }

// claim takes a specific address.
func (c *chooser) claim(f model.FixedIP) error {
	if c.chosen[f] || !c.mine(f) && c.taken(f.SubnetID, f.IP) {
		return fault.IPAddressAlreadyAllocated(f.IP, f.SubnetID)
	}
	c.chosen[f] = true
	return nil
}

// next takes any free address of the first of the subnets that has one.
func (c *chooser) next(subnets []*model.Subnet) (model.FixedIP, error) {
	for _, s := range subnets {
		a, ok := pickFree(s.AllocationPools, func(a netip.Addr) bool {
			f := model.FixedIP{SubnetID: s.ID, IP: a}
			return !c.chosen[f] && !c.mine(f) && !c.taken(s.ID, a)
		}, c.rnd)
		if ok {
			f := model.FixedIP{SubnetID: s.ID, IP: a}
			c.chosen[f] = true
			return f, nil
		}
	}
	return model.FixedIP{}, fault.IPAddressGenerationFailure(c.req.NetworkID)
}

// automatic is the choice for a request without fixed_ips.
func (c *chooser) automatic() ([]model.FixedIP, error) {
	var v4, v6 []*model.Subnet
	for _, s := range c.subnets {
		switch {
		case s.IPVersion == 4:
			v4 = append(v4, s)
		case !s.AutoAddress():
			v6 = append(v6, s)
		}
	}
	var ips []model.FixedIP
	for _, family := range [][]*model.Subnet{v4, v6} {
		if len(family) == 0 {
			continue
		}
		f, err := c.next(family)
		if err != nil {
			return nil, err
		}
		ips = append(ips, f)
	}
	return ips, nil
}

// formed returns the addresses that the host forms by itself.
func (c *chooser) formed() ([]model.FixedIP, error) {
	if c.router {
		return nil, nil
	}
	var ips []model.FixedIP
	for _, s := range c.subnets {
		if !s.AutoAddress() {
			continue
		}
		a, err := EUI64(s.CIDR, c.req.MAC)
		if err != nil {
			return nil, fault.InvalidInput("%v", err)
		}
		f := model.FixedIP{SubnetID: s.ID, IP: a}
		if err = c.claim(f); err != nil {
			return nil, err
		}
		ips = append(ips, f)
	}
	return ips, nil
}

// asked is the choice for a request with fixed_ips. Specific addresses are settled
// first, lest an entry that takes any address takes one of them.
func (c *chooser) asked() ([]model.FixedIP, error) {
	slots := make([]model.FixedIP, len(c.req.Fixed)) // zero: nothing for this entry
	var open []int
	for i, f := range c.req.Fixed {
		s, err := c.subnetFor(f)
		if err != nil {
			return nil, err
		}
		want := model.FixedIP{SubnetID: s.ID, IP: f.IP}
		switch {
		case s.AutoAddress() && !c.router && c.subnet(c.subnets, s.ID) != nil:
			if f.IP.IsValid() && !c.mine(want) {
				return nil, fault.AllocationOnAutoAddressSubnet(f.IP, s.ID)
			}
			// formed gives the address, of this and of every such subnet.
		case f.IP.IsValid():
			if err = c.claim(want); err != nil {
				return nil, err
			}
			slots[i] = want
		default:
			slots[i].SubnetID = s.ID
			open = append(open, i)
		}
	}
	c.keep(slots, open)
	for _, i := range open {
		if slots[i].IP.IsValid() {
			continue
		}
		f, err := c.next([]*model.Subnet{c.subnet(c.all, slots[i].SubnetID)})
		if err != nil {
			return nil, err
		}
		slots[i] = f
	}
	return slices.DeleteFunc(slots, func(f model.FixedIP) bool { return !f.IP.IsValid() }), nil
}

// keep gives entries that name only a subnet the addresses that the port has there.
func (c *chooser) keep(slots []model.FixedIP, open []int) {
	for _, i := range open {
		for _, f := range c.req.Current {
			if f.SubnetID == slots[i].SubnetID && f.IP.IsValid() && !c.chosen[f] {
				slots[i] = f
				c.chosen[f] = true
				break
			}
		}
	}
}

func (c *chooser) subnet(among []*model.Subnet, id string) *model.Subnet {
	for _, s := range among {
		if s.ID == id {
			return s
		}
	}
	return nil
}

// subnetFor returns the subnet that an entry of fixed_ips is for.
func (c *chooser) subnetFor(f model.FixedIP) (*model.Subnet, error) {
	if f.SubnetID != "" && f.IP.IsValid() && c.mine(f) {
		if s := c.subnet(c.all, f.SubnetID); s != nil {
			return s, nil // what the port has it may keep, whatever the rules are now
		}
	}
	switch {
	case len(c.subnets) == 0:
		return nil, fault.InvalidInput("IP allocation requires subnets for network")
	case f.SubnetID != "":
		s := c.subnet(c.subnets, f.SubnetID)
		if s == nil {
			return nil, fault.InvalidInput("Failed to create port on network %s, because fixed_ips included invalid subnet %s",
				c.req.NetworkID, f.SubnetID)
		}
		if f.IP.IsValid() && !c.fits(s, f.IP) {
			return nil, fault.InvalidIPForSubnet(f.IP)
		}
		return s, nil
	case !f.IP.IsValid():
		return nil, fault.InvalidInput("IP allocation requires subnet_id or ip_address")
	}
	for _, s := range c.subnets {
		if c.fits(s, f.IP) || c.mine(model.FixedIP{SubnetID: s.ID, IP: f.IP}) {
			return s, nil
		}
	}
	return nil, fault.InvalidIPForNetwork(f.IP)
}

// fits reports whether a port may have the address on the subnet: inside the cidr, a
// pool or not, and a host's address. The IPv6 subnet-router address is for routers
// (and for ports whose owner nobody knows yet).
func (c *chooser) fits(s *model.Subnet, a netip.Addr) bool {
	if !plain(a) || !s.CIDR.Contains(a) {
		return false
	}
	if a.Is6() && a == s.CIDR.Addr() {
		return c.router || c.req.DeviceOwner == "" || c.req.DeviceOwner == "network:router_gateway"
	}
	return inRange(usable(s.CIDR), a)
}

// FollowMAC returns a port's present addresses after a change of its MAC: those that
// its host forms by itself are formed anew, the others stay. The port keeps having no
// address where it had none.
func FollowMAC(current []model.FixedIP, mac, deviceOwner string, subnets []*model.Subnet, taken Taken) ([]model.FixedIP, error) {
	if slices.Contains(routerOwners, deviceOwner) {
		return slices.Clone(current), nil
	}
	c := &chooser{req: Request{Current: current}, taken: taken, chosen: make(map[model.FixedIP]bool)}
	ips := slices.Clone(current)
	for i, f := range ips {
		s := c.subnet(subnets, f.SubnetID)
		if s == nil || !s.AutoAddress() {
			continue
		}
		a, err := EUI64(s.CIDR, mac)
		if err != nil {
			return nil, fault.InvalidInput("%v", err)
		}
		ips[i].IP = a
		if err = c.claim(ips[i]); err != nil {
			return nil, err
		}
	}
	return ips, nil
}
