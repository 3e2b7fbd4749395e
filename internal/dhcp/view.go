package dhcp

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"neutrino/internal/model"
)

// DefaultLeaseTime is Neutron's dhcp_lease_duration.
const DefaultLeaseTime = 24 * time.Hour

// infinite is the lease time that means "for ever" (RFC 2131, 3.3).
const infinite = math.MaxUint32

// Defaults are what a whole agent answers alike.
type Defaults struct {
	LeaseTime  time.Duration // 0 = DefaultLeaseTime, negative = infinite
	DNSDomain  string        // "" = none
	DNSServers []netip.Addr  // for subnets that name none

	// Metadata: instances reach MetadataAddr through the DHCP port's address, on subnets that no
	// router of ours is on, or (MetadataEverywhere) on all.
	Metadata, MetadataEverywhere bool
}

// MetadataAddr is where instances look for what they are told about themselves.
var MetadataAddr = netip.AddrFrom4([4]byte{169, 254, 169, 254})

// metadataOn reports whether the subnet's instances reach the metadata service through the
// DHCP port.
func (d Defaults) metadataOn(s *model.Subnet, n *model.DHCPNetwork) bool {
	if s.IPVersion != 4 || !s.EnableDHCP || !d.Metadata && !d.MetadataEverywhere {
		return false
	}
	return d.MetadataEverywhere || !slices.Contains(n.RoutedSubnets, s.ID)
}

// View is a network as the server sees it: prepared once per change, read by any
// number of goroutines, never changed.
type View struct {
	networkID string
	mtu       uint16
	lease     uint32 // seconds
	domain    string
	own       []netip.Addr // the server's addresses, IPv4
	subnets   map[string]*subnetView
	byMAC     map[string]*host
	byClient  map[string]*host // by option 61, for hosts that were given a client-id
	six       *view6           // nil = no DHCPv6 here
}

// subnetView holds the ready-made options of one subnet.
type subnetView struct {
	cidr   netip.Prefix
	server netip.Addr // the server identifier towards this subnet's clients
	opts   dhcpv4.Options
}

type host struct {
	portID string
	name   string
	leases []lease // only of subnets served here
	opts   dhcpv4.Options
	hidden []uint8    // options that must not be sent
	next   netip.Addr // siaddr; the zero Addr = none
	file   string     // the boot file header field
}

type lease struct {
	addr   netip.Addr
	subnet *subnetView
}

// Problem is something asked of the server that it cannot carry out.
type Problem struct {
	PortID string // "" = of the network
	What   string
}

// String says it in one line.
func (p Problem) String() string {
	if p.PortID == "" {
		return p.What
	}
	return "port " + p.PortID + ": " + p.What
}

// NewView prepares a network. What cannot be carried out is left out and returned.
func NewView(n *model.DHCPNetwork, d Defaults) (*View, []Problem) {
	v := &View{
		networkID: n.NetworkID,
		lease:     leaseSeconds(d.LeaseTime),
		domain:    d.DNSDomain,
		subnets:   map[string]*subnetView{},
		byMAC:     map[string]*host{},
		byClient:  map[string]*host{},
	}
	var problems []Problem
	if n.MTU > 0 && n.MTU <= math.MaxUint16 {
		v.mtu = uint16(n.MTU)
	}
	for _, a := range n.Addresses {
		if a.IP.Is4() {
			v.own = append(v.own, a.IP)
		}
	}
	v.six, problems = newView6(n, d)
	for _, s := range n.Subnets {
		if s.IPVersion == 4 && s.EnableDHCP && s.CIDR.IsValid() && s.CIDR.Addr().Is4() {
			if len(v.own) == 0 {
				problems = append(problems, Problem{What: "the DHCP port has no IPv4 address: nobody is answered"})
				break
			}
			sv, probs := newSubnetView(s, n, v, d)
			v.subnets[s.ID] = sv
			problems = append(problems, probs...)
		}
	}
	for i := range n.Hosts {
		problems = append(problems, v.addHost(&n.Hosts[i])...)
	}
	return v, problems
}

func leaseSeconds(d time.Duration) uint32 {
	switch {
	case d < 0:
		return infinite
	case d == 0:
		d = DefaultLeaseTime
	}
	return uint32(min(max(d/time.Second, 1), infinite))
}

func newSubnetView(s *model.Subnet, n *model.DHCPNetwork, v *View, d Defaults) (*subnetView, []Problem) {
	sv := &subnetView{cidr: s.CIDR, server: v.own[0], opts: dhcpv4.Options{}}
	for _, a := range n.Addresses {
		if a.IP.Is4() && a.SubnetID == s.ID {
			sv.server = a.IP
			break
		}
	}
	sv.opts.Update(dhcpv4.OptSubnetMask(net.CIDRMask(s.CIDR.Bits(), 32)))
	if s.CIDR.Bits() < 31 {
		sv.opts.Update(dhcpv4.OptBroadcastAddress(lastAddr(s.CIDR).AsSlice()))
	}
	routes, gateway, problems := subnetRoutes(s, n)
	if d.metadataOn(s, n) && s.CIDR.Contains(sv.server) {
		routes = withMetadata(routes, gateway, sv.server)
	}
	if gateway.IsValid() {
		sv.opts.Update(dhcpv4.OptRouter(gateway.AsSlice()))
	}
	if len(routes) > 0 {
		setRoutes(sv.opts, routes)
	}
	dns := onlyIPv4(s.DNSNameservers)
	if len(s.DNSNameservers) == 0 {
		dns = onlyIPv4(d.DNSServers)
	}
	if len(dns) > 0 && !dns[0].IsUnspecified() { // 0.0.0.0 is Neutron's way to say "none"
		sv.opts.Update(dhcpv4.OptGeneric(dhcpv4.OptionDomainNameServer, joinAddrs(dns)))
	}
	return sv, problems
}

// subnetRoutes follows Neutron: the subnet's host routes, the network's other
// subnets as on-link, and, because a client that takes option 121 ignores option 3
// (RFC 3442), the default route with them. A gateway outside the subnet is made
// reachable by a host route.
func subnetRoutes(s *model.Subnet, n *model.DHCPNetwork) (routes []model.Route, gateway netip.Addr, problems []Problem) {
	if s.GatewayIP.Is4() {
		gateway = s.GatewayIP
	}
	for _, r := range s.HostRoutes {
		switch {
		case !r.Destination.IsValid() || !r.Destination.Addr().Is4() || !r.NextHop.Is4():
			problems = append(problems, Problem{What: fmt.Sprintf("subnet %s: host route %s via %s is not IPv4", s.ID, r.Destination, r.NextHop)})
		case r.Destination.Bits() == 0:
			gateway = r.NextHop
		default:
			routes = append(routes, model.Route{Destination: r.Destination.Masked(), NextHop: r.NextHop})
		}
	}
	onlink := netip.IPv4Unspecified()
	for _, other := range n.Subnets {
		if other.ID != s.ID && other.IPVersion == 4 && other.CIDR.IsValid() && other.CIDR.Addr().Is4() {
			routes = append(routes, model.Route{Destination: other.CIDR.Masked(), NextHop: onlink})
		}
	}
	if gateway.IsValid() && !s.CIDR.Contains(gateway) {
		routes = append(routes, model.Route{Destination: netip.PrefixFrom(gateway, 32), NextHop: onlink})
	}
	if len(routes) > 0 && gateway.IsValid() {
		routes = append(routes, model.Route{Destination: netip.PrefixFrom(onlink, 0), NextHop: gateway})
	}
	return routes, gateway, problems
}

// withMetadata adds the way to the metadata service, unless the subnet's own routes have one; a
// default route stays the last.
func withMetadata(routes []model.Route, gateway, via netip.Addr) []model.Route {
	dst := netip.PrefixFrom(MetadataAddr, 32)
	if slices.ContainsFunc(routes, func(r model.Route) bool { return r.Destination == dst }) {
		return routes
	}
	way := model.Route{Destination: dst, NextHop: via}
	if n := len(routes); n > 0 && routes[n-1].Destination.Bits() == 0 {
		return slices.Insert(routes, n-1, way)
	}
	routes = append(routes, way)
	if gateway.IsValid() {
		routes = append(routes, model.Route{Destination: netip.PrefixFrom(netip.IPv4Unspecified(), 0), NextHop: gateway})
	}
	return routes
}

func (v *View) addHost(m *model.DHCPHost) []Problem {
	h := &host{portID: m.PortID, name: m.HostName, opts: dhcpv4.Options{}}
	mac, err := net.ParseMAC(m.MAC)
	if err != nil || len(mac) != 6 {
		return []Problem{{m.PortID, fmt.Sprintf("%q is not an Ethernet address", m.MAC)}}
	}
	for _, a := range m.Addresses {
		if s, ok := v.subnets[a.SubnetID]; ok && a.IP.Is4() {
			h.leases = append(h.leases, lease{a.IP, s})
		}
	}
	var problems []Problem
	for _, o := range m.Options {
		if o.IPVersion == 6 {
			continue
		}
		if clientID, ok, err := clientIdentifier(o); ok {
			if err != nil {
				problems = append(problems, Problem{m.PortID, err.Error()})
				continue
			}
			v.byClient[string(clientID)] = h
			continue
		}
		if err := h.setExtra(o); err != nil {
			problems = append(problems, Problem{m.PortID, err.Error()})
		}
	}
	v.byMAC[mac.String()] = h
	return problems
}

// lookup finds the port a request comes from: by the client identifier the port was
// given, else by MAC.
func (v *View) lookup(req *dhcpv4.DHCPv4) *host {
	if id := req.Options.Get(dhcpv4.OptionClientIdentifier); len(id) > 0 {
		if h, ok := v.byClient[string(id)]; ok {
			return h
		}
	}
	return v.byMAC[req.ClientHWAddr.String()]
}

// lease picks the address for a client behind the given relay (the zero Addr = on
// the link), preferring one of wish.
func (h *host) lease(relay netip.Addr, wish ...netip.Addr) (lease, bool) {
	var found []lease
	for _, l := range h.leases {
		if !relay.IsValid() || l.subnet.cidr.Contains(relay) {
			found = append(found, l)
		}
	}
	for _, l := range found {
		if slices.Contains(wish, l.addr) {
			return l, true
		}
	}
	if len(found) == 0 {
		return lease{}, false
	}
	return found[0], true
}

// hostName is what Neutron's dnsmasq gives a port without a DNS name.
func (h *host) hostName(a netip.Addr) string {
	if h.name != "" {
		return h.name
	}
	return "host-" + strings.ReplaceAll(a.String(), ".", "-")
}

func onlyIPv4(in []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(in), func(a netip.Addr) bool { return !a.Is4() })
}

func joinAddrs(in []netip.Addr) []byte {
	var out []byte
	for _, a := range in {
		out = append(out, a.AsSlice()...)
	}
	return out
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := range b {
		for bit := range 8 {
			if i*8+bit >= p.Bits() {
				b[i] |= 0x80 >> bit
			}
		}
	}
	return netip.AddrFrom4(b)
}
