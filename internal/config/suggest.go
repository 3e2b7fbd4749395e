package config

import (
	"slices"
	"strings"
)

// nearest returns the name most like the one that was meant, when one is like enough.
func nearest(meant string, names []string) (string, bool) {
	best, least := "", 1+max(1, len(meant)/3)
	for _, n := range names {
		if strings.EqualFold(meant, n) {
			return n, true
		}
		if d := distance(meant, n, least); d < least {
			best, least = n, d
		}
	}
	return best, best != ""
}

// distance is the number of characters to insert, delete, replace or swap that makes
// b of a (optimal string alignment), or limit if it is not less than that.
func distance(a, b string, limit int) int {
	ra, rb := []rune(a), []rune(b)
	if len(ra)-len(rb) >= limit || len(rb)-len(ra) >= limit || len(ra) > 256 || len(rb) > 256 {
		return limit
	}
	row := func(fill int) []int { return slices.Repeat([]int{fill}, len(rb)+1) }
	before, last, now := row(0), row(0), row(0)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(ra); i++ {
		now[0] = i
		for j := 1; j <= len(rb); j++ {
			cost := 1
			if ra[i-1] == rb[j-1] {
				cost = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && ra[i-1] == rb[j-2] && ra[i-2] == rb[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, before
	}
	return min(last[len(rb)], limit)
}
