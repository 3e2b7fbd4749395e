package ipam

import (
	"math/big"
	"net/netip"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

// CompleteSubnetPool validates a subnet pool that is to be created: it masks, compacts
// and sorts the prefixes, takes ip_version from them, and fills in the prefix lengths
// that were not given (IPv4 8 and 32, IPv6 64 and 128; the default is the minimum).
// Errors are Neutron's faults (400).
func CompleteSubnetPool(p *model.SubnetPool, given map[string]bool) error {
	if len(p.Prefixes) == 0 {
		return fault.EmptySubnetPoolPrefixList()
	}
	for _, prefix := range p.Prefixes {
		if !prefix.IsValid() || !plain(prefix.Addr()) {
			return fault.InvalidInput("'%s' is not a valid IP subnet", prefix)
		}
		if prefix.Addr().BitLen() != p.Prefixes[0].Addr().BitLen() {
			return fault.PrefixVersionMismatch()
		}
	}
	p.IPVersion = familyOf(p.Prefixes[0].Addr())
	p.Prefixes = Compact(p.Prefixes)
	lowest, highest := 8, 32
	if p.IPVersion == 6 {
		lowest, highest = 64, 128
	}
	if !given["min_prefixlen"] {
		p.MinPrefixLen = lowest
	}
	if !given["max_prefixlen"] {
		p.MaxPrefixLen = highest
	}
	if !given["default_prefixlen"] {
		p.DefaultPrefixLen = p.MinPrefixLen
	}
	return checkBounds(p, highest)
}

func checkBounds(p *model.SubnetPool, highest int) error {
	switch {
	case p.MinPrefixLen < 0:
		return fault.UnsupportedMinSubnetPoolPrefix(p.MinPrefixLen, p.IPVersion)
	case p.MinPrefixLen > p.MaxPrefixLen:
		return fault.IllegalSubnetPoolPrefixBounds("min_prefixlen", p.MinPrefixLen, "max_prefixlen", p.MaxPrefixLen)
	case p.MaxPrefixLen > highest:
		return fault.IllegalSubnetPoolPrefixBounds("max_prefixlen", p.MaxPrefixLen, "ip_version_max", highest)
	case p.DefaultPrefixLen < p.MinPrefixLen:
		return fault.IllegalSubnetPoolPrefixBounds("default_prefixlen", p.DefaultPrefixLen, "min_prefixlen", p.MinPrefixLen)
	case p.DefaultPrefixLen > p.MaxPrefixLen:
		return fault.IllegalSubnetPoolPrefixBounds("default_prefixlen", p.DefaultPrefixLen, "max_prefixlen", p.MaxPrefixLen)
	}
	return nil
}

// UpdateSubnetPool validates a changed pool: changed is old with the request applied,
// given names the attributes of the request. Prefixes may be added, never taken out.
func UpdateSubnetPool(old, changed *model.SubnetPool, given map[string]bool) error {
	if given["prefixes"] {
		for _, p := range changed.Prefixes {
			if !p.IsValid() || !plain(p.Addr()) {
				return fault.InvalidInput("'%s' is not a valid IP subnet", p)
			}
		}
		all := Compact(changed.Prefixes)
		for _, p := range old.Prefixes {
			if !slices.ContainsFunc(all, func(q netip.Prefix) bool { return covers(q, p) }) {
				return fault.IllegalSubnetPoolPrefixUpdate("Existing prefixes must be a subset of the new prefixes")
			}
		}
	}
	everything := map[string]bool{"min_prefixlen": true, "max_prefixlen": true, "default_prefixlen": true}
	return CompleteSubnetPool(changed, everything)
}

// covers reports whether every address of inner is one of outer.
func covers(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// Compact returns the fewest prefixes that hold the same addresses, sorted, IPv4
// first.
func Compact(prefixes []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range sortedPrefixes(prefixes) {
		if n := len(out); n > 0 && covers(out[n-1], p) {
			continue
		}
		out = append(out, p)
		for n := len(out); n >= 2; n = len(out) { // two halves of one prefix become it
			a, b := out[n-2], out[n-1]
			if a.Bits() != b.Bits() || a.Bits() == 0 || a.Addr().BitLen() != b.Addr().BitLen() {
				break
			}
			whole := netip.PrefixFrom(a.Addr(), a.Bits()-1).Masked()
			if !covers(whole, b) {
				break
			}
			out = append(out[:n-2], whole)
		}
	}
	return out
}

// sortedPrefixes returns valid prefixes masked, by address and then the wide first.
func sortedPrefixes(prefixes []netip.Prefix) []netip.Prefix {
	sorted := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		if p.IsValid() {
			sorted = append(sorted, p.Masked())
		}
	}
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	return sorted
}

// CheckPoolVersion refuses a subnet of the other family than the pool's (400).
func CheckPoolVersion(pool *model.SubnetPool, ipVersion int) error {
	if ipVersion != 0 && ipVersion != pool.IPVersion {
		return fault.BadRequest("subnets", "Cannot allocate IPv%d subnet from IPv%d subnet pool", ipVersion, pool.IPVersion)
	}
	return nil
}

// PoolPrefixLen returns the prefix length of a subnet that is to be cut from the pool:
// asked if given, else the pool's default. Outside the pool's bounds it is a 400.
func PoolPrefixLen(pool *model.SubnetPool, asked int, given bool) (int, error) {
	if !given {
		asked = pool.DefaultPrefixLen
	}
	switch {
	case asked > pool.MaxPrefixLen:
		return 0, fault.MaxPrefixSubnetAllocationError(asked, pool.MaxPrefixLen)
	case asked < pool.MinPrefixLen:
		return 0, fault.MinPrefixSubnetAllocationError(asked, pool.MinPrefixLen)
	}
	return asked, nil
}

// CutPrefix returns the lowest prefix of the length that the pool has and that
// overlaps none of used, the subnets already cut from it (any order). When there is
// none it is SubnetAllocationError (409; Neutron says 500).
func CutPrefix(pool *model.SubnetPool, prefixLen int, used []netip.Prefix) (netip.Prefix, error) {
	if _, err := PoolPrefixLen(pool, prefixLen, true); err != nil {
		return netip.Prefix{}, err
	}
	busy := sortedPrefixes(used)
	for _, space := range sortedPrefixes(pool.Prefixes) {
		if space.Bits() > prefixLen {
			continue
		}
		if p, ok := cutFrom(space, prefixLen, busy); ok {
			return p, nil
		}
	}
	return netip.Prefix{}, fault.SubnetAllocationError("Insufficient prefix space to allocate subnet size /%d", prefixLen)
}

// cutFrom looks for the first free place in one prefix. It steps over what is used,
// so its cost is that of the used list.
func cutFrom(space netip.Prefix, prefixLen int, busy []netip.Prefix) (netip.Prefix, bool) {
	end := lastOf(space)
	at := netip.PrefixFrom(space.Addr(), prefixLen)
	i := 0
	for {
		for i < len(busy) && lastOf(busy[i]).Less(at.Addr()) { // entirely below
			i++
		}
		if i == len(busy) || lastOf(at).Less(busy[i].Addr()) {
			return at, true
		}
		// The next place is after both this one and what is in its way.
		past := lastOf(at)
		if b := lastOf(busy[i]); past.Less(b) {
			past = lastOf(netip.PrefixFrom(b, prefixLen))
		}
		if !past.Less(end) {
			return netip.Prefix{}, false
		}
		at = netip.PrefixFrom(past.Next(), prefixLen)
	}
}

// ClaimPrefix checks that the pool can give the very prefix: of an allowed length,
// inside the pool, free.
func ClaimPrefix(pool *model.SubnetPool, want netip.Prefix, used []netip.Prefix) error {
	if _, err := PoolPrefixLen(pool, want.Bits(), true); err != nil {
		return err
	}
	inside := slices.ContainsFunc(pool.Prefixes, func(p netip.Prefix) bool { return covers(p, want) })
	if !inside || slices.ContainsFunc(used, want.Overlaps) {
		return fault.SubnetAllocationError("Cannot allocate requested subnet from the available set of prefixes")
	}
	return nil
}

// CheckPoolQuota checks the pool's default_quota for a project that has the prefixes
// have and wants another: IPv4 counts addresses, IPv6 /64s (smaller subnets their
// share of one). No quota and 0 mean no limit.
func CheckPoolQuota(pool *model.SubnetPool, have []netip.Prefix, prefixLen int) error {
	if pool.DefaultQuota == nil || *pool.DefaultQuota == 0 {
		return nil
	}
	width := 32
	limit := big.NewInt(int64(*pool.DefaultQuota))
	if pool.IPVersion == 6 {
		width = 128
		limit.Lsh(limit, 64) // from /64s to addresses
	}
	sum := new(big.Int)
	for _, p := range have {
		sum.Add(sum, addresses(width, p.Bits()))
	}
	if sum.Add(sum, addresses(width, prefixLen)).Cmp(limit) > 0 {
		return fault.SubnetPoolQuotaExceeded()
	}
	return nil
}

func addresses(width, prefixLen int) *big.Int {
	return new(big.Int).Lsh(big.NewInt(1), uint(max(width-prefixLen, 0)))
}
