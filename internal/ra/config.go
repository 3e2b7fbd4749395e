package ra

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mdlayher/ndp"

	"neutrino/internal/model"
)

// The intervals and lifetimes that Neutron's routers use, and RFC 4861's limits.
const (
	DefaultMinInterval = 30 * time.Second
	DefaultMaxInterval = 100 * time.Second
	DefaultLifetime    = 3 * DefaultMaxInterval // of a default router

	validLifetime     = 30 * 24 * time.Hour // AdvValidLifetime (RFC 4861, 6.2.1)
	preferredLifetime = 7 * 24 * time.Hour  // AdvPreferredLifetime
	leastMTU          = 1280                // RFC 8200, 5
	hopLimit          = 64
	maxPrefixes       = 32
	maxNames          = 8
)

// Config is what hosts are told. The zero value tells nothing but that somebody is there.
type Config struct {
	RouterLifetime time.Duration // as a default router; 0 = none, at most 9000 s
	Managed        bool          // M: addresses come by DHCPv6
	Other          bool          // O: other settings come by DHCPv6
	MTU            int           // bytes; 0 = not told
	Prefixes       []Prefix      // at most 32 are told
	DNS            []netip.Addr  // RDNSS; at most 32 are told
	Search         []string      // DNSSL; at most 8 are told
	MinInterval    time.Duration // between unasked advertisements; 0 = DefaultMinInterval
	MaxInterval    time.Duration // 0 = DefaultMaxInterval
}

// Prefix is one that hosts reach without a router.
type Prefix struct {
	Prefix     netip.Prefix
	Autonomous bool // hosts form addresses of it
}

// Settings are what Of cannot see in the subnets.
type Settings struct {
	Lifetime time.Duration // DefaultLifetime for a router, 0 for who is none
	MTU      int           // of the network
	DNS      []netip.Addr  // for networks whose subnets name none
	Search   []string
}

// Advertised reports whether the subnet's hosts are to be told of it by us: its ipv6_ra_mode
// is set. One without is advertised by somebody else's router, or by nobody.
func Advertised(s *model.Subnet) bool {
	return s.IPVersion == 6 && s.IPv6RAMode != "" && s.CIDR.IsValid() && s.CIDR.Addr().Is6()
}

// Of returns what is told of the subnets; ok is false when none of them is [Advertised].
func Of(subnets []*model.Subnet, set Settings) (c Config, ok bool) {
	c = Config{RouterLifetime: set.Lifetime, MTU: set.MTU, Search: set.Search}
	for _, s := range subnets {
		if !Advertised(s) {
			continue
		}
		ok = true
		auto := s.IPv6RAMode != model.ModeStateful
		c.Prefixes = append(c.Prefixes, Prefix{s.CIDR.Masked(), auto})
		c.Managed = c.Managed || s.IPv6RAMode == model.ModeStateful
		c.Other = c.Other || s.IPv6RAMode == model.ModeStateless
		for _, a := range s.DNSNameservers {
			if a.Is6() && !a.IsUnspecified() && !slices.Contains(c.DNS, a) {
				c.DNS = append(c.DNS, a)
			}
		}
	}
	if len(c.DNS) == 0 {
		c.DNS = slices.DeleteFunc(slices.Clone(set.DNS), func(a netip.Addr) bool { return !a.Is6() || a.Is4In6() })
	}
	return c, ok
}

// Equal reports whether both tell the same.
func (c Config) Equal(o Config) bool {
	return c.RouterLifetime == o.RouterLifetime && c.Managed == o.Managed && c.Other == o.Other && c.MTU == o.MTU &&
		c.MinInterval == o.MinInterval && c.MaxInterval == o.MaxInterval && slices.Equal(c.Prefixes, o.Prefixes) &&
		slices.Equal(c.DNS, o.DNS) && slices.Equal(c.Search, o.Search)
}

// intervals are within RFC 4861, 6.2.1: at most 1800 s, and the least between 3 s and three
// quarters of the most.
func (c Config) intervals() (least, most time.Duration) {
	least, most = c.MinInterval, c.MaxInterval
	if most == 0 {
		most = DefaultMaxInterval
	}
	most = min(max(most, 4*time.Second), 1800*time.Second)
	if least == 0 {
		least = DefaultMinInterval
	}
	return min(max(least, 3*time.Second), most*3/4), most
}

// Compose makes the advertisement of the interface with that MAC.
func Compose(c Config, mac net.HardwareAddr) *ndp.RouterAdvertisement {
	m := &ndp.RouterAdvertisement{
		CurrentHopLimit: hopLimit, ManagedConfiguration: c.Managed, OtherConfiguration: c.Other,
		RouterLifetime: min(max(c.RouterLifetime, 0), 9000*time.Second).Truncate(time.Second),
	}
	if len(mac) == 6 {
		m.Options = append(m.Options, &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac})
	}
	if c.MTU >= leastMTU && c.MTU <= 65535 {
		m.Options = append(m.Options, ndp.NewMTU(uint32(c.MTU)))
	}
	for _, p := range clip(c.Prefixes, maxPrefixes) {
		if !p.Prefix.IsValid() || !p.Prefix.Addr().Is6() {
			continue
		}
		m.Options = append(m.Options, &ndp.PrefixInformation{
			PrefixLength: uint8(p.Prefix.Bits()), Prefix: p.Prefix.Masked().Addr(), OnLink: true,
			AutonomousAddressConfiguration: p.Autonomous, ValidLifetime: validLifetime, PreferredLifetime: preferredLifetime,
		})
	}
	// RFC 8106, 5: three times the interval, so that one that goes is forgotten in time.
	_, most := c.intervals()
	if dns := clip(c.DNS, maxPrefixes); len(dns) > 0 {
		m.Options = append(m.Options, &ndp.RecursiveDNSServer{Lifetime: 3 * most, Servers: dns})
	}
	if names := names(c.Search); len(names) > 0 {
		m.Options = append(m.Options, &ndp.DNSSearchList{Lifetime: 3 * most, DomainNames: names})
	}
	return m
}

// names are those that the option can hold.
func names(in []string) []string {
	var out []string
	for _, n := range clip(in, maxNames) {
		n = strings.Trim(n, ".")
		bad := n == "" || len(n) > 253 || strings.ContainsFunc(n, func(r rune) bool { return r <= ' ' || r > '~' })
		for label := range strings.SplitSeq(n, ".") {
			bad = bad || label == "" || len(label) > 63
		}
		if !bad {
			out = append(out, n)
		}
	}
	return out
}

func clip[T any](in []T, most int) []T { return in[:min(len(in), most)] }

// marshal is the message on the wire, its checksum in place.
func marshal(c Config, mac net.HardwareAddr, src, dst netip.Addr) ([]byte, error) {
	b, err := ndp.MarshalMessageChecksum(Compose(c, mac), src, dst)
	if err != nil {
		return nil, fmt.Errorf("compose a router advertisement: %w", err)
	}
	return b, nil
}
