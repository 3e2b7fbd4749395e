package ipam

import (
	"net/netip"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

// usable returns the addresses of a subnet that hosts may have: IPv4 without the
// network and broadcast address (a /31 and a /32 have neither), IPv6 without the
// subnet-router anycast address.
func usable(cidr netip.Prefix) model.IPRange {
	first, last := cidr.Addr(), lastOf(cidr)
	if first.Is4() && cidr.Bits() <= 30 {
		return model.IPRange{Start: first.Next(), End: last.Prev()}
	}
	if first.Is6() && cidr.Bits() <= 127 {
		return model.IPRange{Start: first.Next(), End: last}
	}
	return model.IPRange{Start: first, End: last}
}

// DefaultPools returns every usable address of the subnet but the gateway's, in at
// most two ranges. The one address of a /32 or /128 is a pool even if it is the
// gateway's.
func DefaultPools(cidr netip.Prefix, gateway netip.Addr) []model.IPRange {
	cidr = cidr.Masked()
	all := usable(cidr)
	if all.Start == all.End && cidr.IsSingleIP() || !gateway.IsValid() || !inRange(all, gateway) {
		return []model.IPRange{all}
	}
	var pools []model.IPRange
	if gateway != all.Start {
		pools = append(pools, model.IPRange{Start: all.Start, End: gateway.Prev()})
	}
	if gateway != all.End {
		pools = append(pools, model.IPRange{Start: gateway.Next(), End: all.End})
	}
	return pools
}

// checkPools validates pools that a request gave and returns them in order.
func checkPools(pools []model.IPRange, cidr netip.Prefix) ([]model.IPRange, error) {
	all := usable(cidr)
	for _, r := range pools {
		switch {
		case !plain(r.Start) || !plain(r.End) || r.Start.BitLen() != r.End.BitLen() || r.End.Less(r.Start):
			// Neutron prints the pool as Python prints what was sent.
			return nil, fault.InvalidAllocationPool("{'start': '" + r.Start.String() + "', 'end': '" + r.End.String() + "'}")
		case r.Start.BitLen() != cidr.Addr().BitLen():
			return nil, fault.InvalidAllocationPool(rangeText(r))
		case !inRange(all, r.Start) || !inRange(all, r.End):
			return nil, fault.OutOfBoundsAllocationPool(rangeText(r), cidr)
		}
	}
	sorted := slices.Clone(pools)
	slices.SortFunc(sorted, func(a, b model.IPRange) int { return a.Start.Compare(b.Start) })
	for i := 1; i < len(sorted); i++ {
		if !sorted[i-1].End.Less(sorted[i].Start) {
			return nil, fault.OverlappingAllocationPools(rangeText(sorted[i-1]), rangeText(sorted[i]), cidr)
		}
	}
	return sorted, nil
}

// checkGatewayOutside refuses a gateway inside a pool.
func checkGatewayOutside(gateway netip.Addr, pools []model.IPRange) error {
	for _, r := range pools {
		if gateway.IsValid() && inRange(r, gateway) {
			return fault.GatewayConflictWithAllocationPools(gateway, rangeText(r))
		}
	}
	return nil
}
