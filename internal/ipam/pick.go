package ipam

import (
	"math/rand/v2"
	"net/netip"

	"neutrino/internal/model"
)

const (
	// window: an automatic address is one of about this many at the low end of the
	// free ones, so that addresses stay together and are still not predictable (and
	// concurrent requests seldom want the same). Neutron takes exactly the first 1000
	// free ones, which costs it a look at every taken one before them.
	window = 1000
	// probes is how many random addresses of a stretch are tried before it counts as full.
	probes = 16
	// glances is as many when a large pool is gone through quickly, since each is a look
	// into the store; firstGlances is as many for its first window, which is to be used well.
	glances      = 4
	firstGlances = 8
	// walkLimit is how many addresses are looked at one by one. That is exact for
	// pools up to this size; a larger one is full only when a million addresses and
	// all random probes of the rest are taken.
	walkLimit = 1 << 20
	// farthest bounds the part of a pool that is looked at, so that offsets fit.
	farthest = 1 << 62
)

// pickFree returns a free address of the first pool that has one. A nil rnd gives the
// lowest.
func pickFree(pools []model.IPRange, free func(netip.Addr) bool, rnd *rand.Rand) (netip.Addr, bool) {
	for _, r := range pools {
		if !plain(r.Start) || !plain(r.End) || !inRange(r, r.End) {
			continue
		}
		s := stretch{start: r.Start, size: farthest, free: free, rnd: rnd}
		if n := numberOf(r.End).sub(numberOf(r.Start)); n.hi == 0 && n.lo < farthest {
			s.size = n.lo + 1
		}
		if a, ok := s.pick(); ok {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// stretch is a run of addresses to choose from.
type stretch struct {
	start netip.Addr
	size  uint64
	free  func(netip.Addr) bool
	rnd   *rand.Rand
}

func (s stretch) pick() (netip.Addr, bool) {
	if s.rnd == nil {
		if a, ok := s.walk(1); ok {
			return a, true
		}
		s.rnd = rand.New(rand.NewPCG(0, 0)) // any address will do beyond the walk
		return s.search(probes)
	}
	if s.size > window {
		if a, ok := s.search(glances); ok {
			return a, true
		}
	}
	if a, ok := s.search(probes); ok {
		return a, true
	}
	return s.walk(window)
}

// search looks for the low end of the free addresses by random probes in windows of
// growing width, a few for each doubling of what is taken. Whatever is free in the first
// window is among the first 1000 free; later windows are reached only past ones that
// looked full, so their answer is near the low end though free addresses may lie below
// it. Those are not lost: the fuller the rest, the likelier they are found.
func (s stretch) search(tries uint64) (netip.Addr, bool) {
	for offset, width := uint64(0), uint64(window); offset < s.size; offset, width = offset+width, width*2 {
		low, high := offset, offset+min(width, s.size-offset)
		in := tries
		if offset == 0 {
			in = max(tries, firstGlances)
		}
		at, ok := s.probe(low, high, in)
		if !ok {
			continue
		}
		for high-low > window { // come down towards the full part
			mid := low + (high-low)/2
			if lower, found := s.probe(low, mid, tries); found {
				at, high = lower, mid
			} else if at < mid {
				high = mid
			} else {
				low = mid
			}
		}
		return plus(s.start, at), true
	}
	return netip.Addr{}, false
}

// probe tries some random offsets in [low, high).
func (s stretch) probe(low, high, tries uint64) (uint64, bool) {
	for range min(tries, high-low) {
		at := low + s.rnd.Uint64N(high-low)
		if s.free(plus(s.start, at)) {
			return at, true
		}
	}
	return 0, false
}

// walk looks at the addresses in order and returns one of the first n free ones,
// each as likely as any other.
func (s stretch) walk(n int) (chosen netip.Addr, ok bool) {
	seen := 0
	a := s.start
	for range min(s.size, walkLimit) {
		if s.free(a) {
			seen++
			if seen == 1 || s.rnd.IntN(seen) == 0 {
				chosen = a
			}
			if seen == n {
				break
			}
		}
		a = a.Next()
	}
	return chosen, seen > 0
}
