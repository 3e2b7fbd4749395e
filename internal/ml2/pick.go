package ml2

import "math/rand/v2"

// probes is how many random ids are tried before the ranges are walked. With one id
// in a hundred free, a probe fails this often once in 10^18; so a walk of a large
// range happens only when it is practically full.
const probes = 4096

// pick returns a free id, each free one as likely as any other, or false when none
// is. It takes constant memory. A nil rnd picks the lowest.
func pick(ranges []idRange, free func(id int) bool, rnd *rand.Rand) (int, bool) {
	total := 0
	for _, r := range ranges {
		total += r.size()
	}
	if rnd != nil {
		// A draw that is rejected when taken is uniform over the free ones; when the
		// ranges are small a walk is cheaper than many vain draws.
		for range min(probes, total/2) {
			if id := nth(ranges, rnd.IntN(total)); free(id) {
				return id, true
			}
		}
	}
	chosen, seen := 0, 0
	for _, r := range ranges {
		for id := r.min; id <= r.max; id++ {
			if !free(id) {
				continue
			}
			if rnd == nil {
				return id, true
			}
			if seen++; rnd.IntN(seen) == 0 { // reservoir of one
				chosen = id
			}
		}
	}
	return chosen, seen > 0
}

func nth(ranges []idRange, n int) int {
	for _, r := range ranges {
		if n < r.size() {
			return r.min + n
		}
		n -= r.size()
	}
	return 0 // not reached: n is below the total size
}
