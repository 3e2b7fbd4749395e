package ipam

import (
	"encoding/binary"
	"math/big"
	"math/bits"
	"net/netip"

	"neutrino/internal/model"
)

// u128 is an address as a number; IPv4 uses the low 32 bits.
type u128 struct{ hi, lo uint64 }

func numberOf(a netip.Addr) u128 {
	if a.Is4() {
		b := a.As4()
		return u128{0, uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return u128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// addrOf is the inverse of numberOf; v4 says the family.
func addrOf(n u128, v4 bool) netip.Addr {
	if v4 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(n.lo))
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], n.hi)
	binary.BigEndian.PutUint64(b[8:], n.lo)
	return netip.AddrFrom16(b)
}

func (n u128) add(m u128) u128 {
	lo, carry := bits.Add64(n.lo, m.lo, 0)
	hi, _ := bits.Add64(n.hi, m.hi, carry)
	return u128{hi, lo}
}

func (n u128) sub(m u128) u128 {
	lo, borrow := bits.Sub64(n.lo, m.lo, 0)
	hi, _ := bits.Sub64(n.hi, m.hi, borrow)
	return u128{hi, lo}
}

// hostMask is the number with the low n bits set, n in 0..128.
func hostMask(n int) u128 {
	switch {
	case n >= 128:
		return u128{^uint64(0), ^uint64(0)}
	case n >= 64:
		return u128{1<<(n-64) - 1, ^uint64(0)}
	}
	return u128{0, 1<<n - 1}
}

// plus returns the address n after a. The caller knows that it exists.
func plus(a netip.Addr, n uint64) netip.Addr {
	return addrOf(numberOf(a).add(u128{0, n}), a.Is4())
}

// lastOf returns the highest address of a masked prefix.
func lastOf(p netip.Prefix) netip.Addr {
	first := p.Masked().Addr()
	return addrOf(numberOf(first).add(hostMask(first.BitLen()-p.Bits())), first.Is4())
}

// familyOf returns 4 or 6.
func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 6
}

// plain reports whether an address can be an address of a network: valid, without a
// zone, and not an IPv4 address in IPv6's clothes.
func plain(a netip.Addr) bool { return a.IsValid() && a.Zone() == "" && !a.Is4In6() }

func inRange(r model.IPRange, a netip.Addr) bool {
	return a.BitLen() == r.Start.BitLen() && !a.Less(r.Start) && !r.End.Less(a)
}

func rangeText(r model.IPRange) string { return r.Start.String() + "-" + r.End.String() }

// rangeSize returns the number of addresses of a range that is one.
func rangeSize(r model.IPRange) *big.Int {
	n := numberOf(r.End).sub(numberOf(r.Start))
	size := new(big.Int).SetUint64(n.hi)
	size.Lsh(size, 64)
	size.Add(size, new(big.Int).SetUint64(n.lo))
	return size.Add(size, big.NewInt(1))
}

// Sizes returns how many addresses the subnet's allocation pools hold together: the
// total of network-ip-availability.
func Sizes(s *model.Subnet) (total *big.Int) {
	total = new(big.Int)
	for _, r := range s.AllocationPools {
		if plain(r.Start) && plain(r.End) && inRange(r, r.End) {
			total.Add(total, rangeSize(r))
		}
	}
	return total
}
