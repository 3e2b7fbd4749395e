package dhcp

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"neutrino/internal/model"
)

// view6 is the network's IPv6 half; nil where DHCPv6 is not served.
type view6 struct {
	id      dhcpv6.DUID // the server's: of its port's MAC, so that it stays when the port moves
	lease   time.Duration
	search  []string
	subnets []*subnet6
	hosts   map[string]*host6 // by MAC
}

type subnet6 struct {
	id       string
	cidr     netip.Prefix
	stateful bool // addresses are given by DHCPv6
	dns      []netip.Addr
}

type host6 struct {
	addrs  []netip.Addr // leases
	dns    []netip.Addr
	opts   map[uint16][]byte
	hidden []uint16
}

// serves6 reports whether a subnet's hosts speak DHCPv6, and whether they get addresses that
// way. As in Neutron, a subnet without modes is one with addresses.
func serves6(s *model.Subnet) (served, stateful bool) {
	if s.IPVersion != 6 || !s.EnableDHCP || !s.CIDR.IsValid() || !s.CIDR.Addr().Is6() {
		return false, false
	}
	stateful = s.IPv6AddressMode == model.ModeStateful || s.IPv6AddressMode == "" && s.IPv6RAMode == ""
	return stateful || s.IPv6AddressMode == model.ModeStateless, stateful
}

func newView6(n *model.DHCPNetwork, d Defaults) (*view6, []Problem) {
	v := &view6{lease: time.Duration(leaseSeconds(d.LeaseTime)) * time.Second, hosts: map[string]*host6{}}
	for _, s := range n.Subnets {
		served, stateful := serves6(s)
		if !served {
			continue
		}
		dns := onlyIPv6(s.DNSNameservers)
		if len(s.DNSNameservers) == 0 {
			dns = onlyIPv6(d.DNSServers)
		}
		v.subnets = append(v.subnets, &subnet6{id: s.ID, cidr: s.CIDR.Masked(), stateful: stateful, dns: dns})
	}
	if len(v.subnets) == 0 {
		return nil, nil
	}
	mac, err := net.ParseMAC(n.MAC)
	if err != nil || len(mac) != 6 {
		return nil, []Problem{{What: fmt.Sprintf("the DHCP port's MAC %q is not an Ethernet address: no DHCPv6", n.MAC)}}
	}
	v.id = &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: mac}
	if d.DNSDomain != "" {
		v.search = []string{d.DNSDomain}
	}
	var problems []Problem
	for i := range n.Hosts {
		problems = append(problems, v.addHost(&n.Hosts[i])...)
	}
	return v, problems
}

func (s *view6) addHost(m *model.DHCPHost) []Problem {
	mac, err := net.ParseMAC(m.MAC)
	if err != nil || len(mac) != 6 {
		return nil // said once, of its IPv4 half
	}
	h := &host6{opts: map[uint16][]byte{}}
	on := false
	for _, a := range m.Addresses {
		i := slices.IndexFunc(s.subnets, func(n *subnet6) bool { return n.id == a.SubnetID })
		if i < 0 || !a.IP.Is6() || !s.subnets[i].cidr.Contains(a.IP) {
			continue
		}
		on = true
		if s.subnets[i].stateful {
			h.addrs = append(h.addrs, a.IP)
		}
		for _, d := range s.subnets[i].dns {
			if !slices.Contains(h.dns, d) {
				h.dns = append(h.dns, d)
			}
		}
	}
	if !on {
		return nil
	}
	var problems []Problem
	for _, o := range m.Options {
		if o.IPVersion != 6 {
			continue
		}
		if err := h.setExtra(o); err != nil {
			problems = append(problems, Problem{m.PortID, err.Error()})
		}
	}
	s.hosts[mac.String()] = h
	return problems
}

// onLink reports whether the address belongs to one of the network's subnets.
func (s *view6) onLink(a netip.Addr) bool {
	return slices.ContainsFunc(s.subnets, func(n *subnet6) bool { return n.cidr.Contains(a) })
}

func onlyIPv6(in []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(in), func(a netip.Addr) bool {
		return !a.Is6() || a.Is4In6() || a.IsUnspecified() // :: is Neutron's way to say "none"
	})
}
