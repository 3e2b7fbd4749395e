package neutron

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"neutrino/internal/model"
	"neutrino/internal/store"
)

// filters derives what security groups allow ports, once per set of groups, and gathers what
// that rests on: the groups, their rules, the ports that are members of remote groups, and remote
// address groups. Nothing else wakes whoever waits for a change.
type filters struct {
	s         *Service
	snap      store.Snapshot
	channels  []<-chan struct{}
	made      map[string]*model.Filter
	members   map[string][]netip.Prefix // by id of a remote group
	addresses map[string][]netip.Prefix // by id of a remote address group
	rules     map[string][]model.FilterRule
}

func (s *Service) filtersOf(snap store.Snapshot) *filters {
	return &filters{
		s: s, snap: snap, made: make(map[string]*model.Filter), members: make(map[string][]netip.Prefix),
		addresses: make(map[string][]netip.Prefix), rules: make(map[string][]model.FilterRule),
	}
}

// of returns what the port's groups allow, nil where they are not enforced. Ports of the
// network itself (DHCP, routers) are not filtered, as in Neutron.
func (f *filters) of(p *model.Port) *model.Filter {
	if f.s.o.NoFilters || !p.PortSecurity || strings.HasPrefix(p.DeviceOwner, model.OwnerNetworkPrefix) {
		return nil
	}
	groups := slices.Sorted(slices.Values(p.SecurityGroups))
	key := strings.Join(groups, " ")
	if made := f.made[key]; made != nil {
		return made
	}
	out := &model.Filter{}
	for _, id := range groups {
		out.Rules = append(out.Rules, f.group(id)...)
	}
	slices.SortStableFunc(out.Rules, compareRules)
	out.Rules = slices.CompactFunc(out.Rules, func(a, b model.FilterRule) bool { return compareRules(a, b) == 0 })
	f.made[key] = out
	return out
}

// group returns the rules of one group.
func (f *filters) group(id string) []model.FilterRule {
	if out, seen := f.rules[id]; seen {
		return out
	}
	g, ok, changed := f.s.t.SecurityGroups.WatchGet(f.snap, id)
	f.channels = append(f.channels, changed)
	rules, changed := f.s.t.SecurityGroupRules.WatchBy(f.snap, ByGroup, id)
	f.channels = append(f.channels, changed)
	var out []model.FilterRule
	for r := range rules {
		if ok {
			out = append(out, f.rule(g, r))
		}
	}
	f.rules[id] = out
	return out
}

func (f *filters) rule(g *model.SecurityGroup, r *model.SecurityGroupRule) model.FilterRule {
	out := model.FilterRule{
		Egress: r.Direction == "egress", IPv6: r.EtherType == "IPv6", Protocol: model.AnyProtocol,
		PortMin: r.PortRangeMin, PortMax: r.PortRangeMax, Stateless: !g.Stateful,
	}
	// Protocol 0 is every one, as for iptables.
	if n, ok := protocolNumber(r.Protocol); ok && n != 0 {
		out.Protocol = n
		if n == protoICMP && out.IPv6 {
			out.Protocol = protoICMPv6
		}
	}
	var remotes []netip.Prefix
	switch {
	case r.RemoteGroupID != "":
		remotes = f.membersOf(r.RemoteGroupID)
	case r.RemoteAddressGroupID != "":
		remotes = f.addressesOf(r.RemoteAddressGroupID)
	case r.RemoteIPPrefix != "":
		remotes, _ = prefixOf(nil, r.RemoteIPPrefix) // one that is no prefix got in some other way: nobody
	default:
		return out
	}
	out.Remotes = []netip.Prefix{}
	for _, p := range remotes {
		if p.Addr().Is6() == out.IPv6 {
			out.Remotes = append(out.Remotes, p)
		}
	}
	return out
}

// membersOf returns the addresses of the ports of a group: their fixed IPs and allowed address
// pairs, sorted. A pair that is every address says nothing about who is a member.
func (f *filters) membersOf(group string) []netip.Prefix {
	if out, seen := f.members[group]; seen {
		return out
	}
	ports, changed := f.s.t.Ports.WatchBy(f.snap, ByGroup, group)
	f.channels = append(f.channels, changed)
	var out []netip.Prefix
	for p := range ports {
		for _, fixed := range p.FixedIPs {
			if fixed.IP.IsValid() {
				out = append(out, netip.PrefixFrom(fixed.IP, fixed.IP.BitLen()))
			}
		}
		for _, pair := range p.AllowedAddressPairs {
			if more, ok := prefixOf(out, pair.IP); ok && more[len(more)-1].Bits() > 0 {
				out = more
			}
		}
	}
	out = sortedPrefixes(out)
	f.members[group] = out
	return out
}

func (f *filters) addressesOf(id string) []netip.Prefix {
	if out, seen := f.addresses[id]; seen {
		return out
	}
	g, ok, changed := f.s.t.AddressGroups.WatchGet(f.snap, id)
	f.channels = append(f.channels, changed)
	var out []netip.Prefix
	if ok {
		for _, a := range g.Addresses {
			out, _ = prefixOf(out, a)
		}
	}
	out = sortedPrefixes(out)
	f.addresses[id] = out
	return out
}

// prefixOf appends what a text says, a prefix or an address.
func prefixOf(to []netip.Prefix, text string) ([]netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return append(to, p.Masked()), true
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return append(to, netip.PrefixFrom(a.WithZone(""), a.BitLen())), true
	}
	return to, false
}

func sortedPrefixes(list []netip.Prefix) []netip.Prefix {
	slices.SortFunc(list, comparePrefixes)
	return slices.Compact(list)
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// compareRules orders rules by what they allow.
func compareRules(a, b model.FilterRule) int {
	number := func(v *int) int {
		if v == nil {
			return -1
		}
		return *v
	}
	truth := func(x, y bool) int {
		switch {
		case x == y:
			return 0
		case y:
			return -1
		}
		return 1
	}
	return cmp.Or(
		truth(a.Egress, b.Egress), truth(a.IPv6, b.IPv6), cmp.Compare(a.Protocol, b.Protocol),
		cmp.Compare(number(a.PortMin), number(b.PortMin)), cmp.Compare(number(a.PortMax), number(b.PortMax)),
		truth(a.Stateless, b.Stateless), truth(a.Remotes != nil, b.Remotes != nil),
		slices.CompareFunc(a.Remotes, b.Remotes, comparePrefixes),
	)
}
