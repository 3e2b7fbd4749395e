package metadata

import (
	"net/netip"

	"neutrino/internal/model"
)

// clients are those who can ask at one proxy. It is immutable.
type clients struct {
	byIP    map[netip.Addr]*model.DHCPHost
	byMAC   map[string]*model.DHCPHost
	subnets map[string]*model.Subnet // by id; may lack some
}

func newClients(hosts []model.DHCPHost, subnets []*model.Subnet) *clients {
	c := &clients{
		byIP: make(map[netip.Addr]*model.DHCPHost, len(hosts)), byMAC: make(map[string]*model.DHCPHost, len(hosts)),
		subnets: make(map[string]*model.Subnet, len(subnets)),
	}
	twice := map[netip.Addr]bool{}
	for i := range hosts {
		h := &hosts[i]
		c.byMAC[h.MAC] = h
		for _, a := range h.Addresses {
			if c.byIP[a.IP] != nil {
				twice[a.IP] = true
			}
			c.byIP[a.IP] = h
		}
	}
	for ip := range twice { // whose it is cannot be said, so it is nobody's
		delete(c.byIP, ip)
	}
	for _, s := range subnets {
		c.subnets[s.ID] = s
	}
	return c
}

// find returns who is at the address; nil = nobody known. macOf is asked only for
// link-local IPv6, where addresses are the instances' own choice.
func (c *clients) find(from netip.Addr, macOf func(netip.Addr) string) *model.DHCPHost {
	from = from.Unmap().WithZone("")
	if from.Is6() && from.IsLinkLocalUnicast() {
		return c.byMAC[macOf(from)]
	}
	return c.byIP[from]
}

// addressOf is what Nova is told of where the request came from: the instance's fixed IP,
// even if it asked from a link-local one.
func addressOf(h *model.DHCPHost, from netip.Addr) netip.Addr {
	from = from.Unmap().WithZone("")
	for _, a := range h.Addresses {
		if a.IP == from {
			return from
		}
	}
	for _, a := range h.Addresses {
		if a.IP.Is4() {
			return a.IP
		}
	}
	if len(h.Addresses) > 0 {
		return h.Addresses[0].IP
	}
	return from
}
