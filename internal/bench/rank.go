package bench

import (
	"math"
	"slices"
)

// level is the confidence of intervals.
const level = 0.95

// Interval is a ratio and what it may as well be.
type Interval struct {
	Ratio float64 `json:"ratio"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	// Confidence that the true ratio is within, 0.95 or the next above it that ranks allow. Below 0.95 there are too
	// few runs: Low and High are then the widest that there is.
	Confidence float64 `json:"confidence"`
}

// Enough runs for the confidence that is wanted.
func (i Interval) Enough() bool { return i.Confidence >= level }

// Differs: 1 is outside.
func (i Interval) Differs() bool { return i.Enough() && (i.Low > 1 || i.High < 1) }

// Invert is the ratio the other way round.
func (i Interval) invert() Interval {
	return Interval{Ratio: 1 / i.Ratio, Low: 1 / i.High, High: 1 / i.Low, Confidence: i.Confidence}
}

// independent is the ratio of y to x, runs of which have nothing to do with each other: the median of all ratios of
// pairs (Hodges and Lehmann) with the interval of the Mann-Whitney test. ok is false where there is no ratio.
func independent(x, y []float64) (i Interval, ok bool) {
	lx, ly, ok := logs(x, y)
	if !ok {
		return i, false
	}
	all := make([]float64, 0, len(lx)*len(ly))
	for _, a := range lx {
		for _, b := range ly {
			all = append(all, b-a)
		}
	}
	return interval(all, mannWhitney(len(lx), len(ly))), true
}

// paired is the ratio of y to x where y[i] belongs to x[i]: the median of the means of all pairs of ratios, with the
// interval of Wilcoxon's signed ranks.
func paired(x, y []float64) (i Interval, ok bool) {
	n := min(len(x), len(y))
	lx, ly, ok := logs(x[:n], y[:n])
	if !ok {
		return i, false
	}
	var all []float64
	for i := range n {
		for k := i; k < n; k++ {
			all = append(all, (ly[i]-lx[i]+ly[k]-lx[k])/2)
		}
	}
	return interval(all, signedRank(n)), true
}

// logs is false where a value is not above zero, or there is none.
func logs(x, y []float64) (lx, ly []float64, ok bool) {
	of := func(in []float64) (out []float64) {
		for _, v := range in {
			if !(v > 0) || math.IsInf(v, 1) {
				return nil
			}
			out = append(out, math.Log(v))
		}
		return out
	}
	lx, ly = of(x), of(y)
	return lx, ly, len(lx) > 0 && len(ly) > 0
}

// interval takes from all differences those between which the true one is, by the distribution of the statistic that
// counts how many of them are below it.
func interval(all []float64, below []float64) Interval {
	slices.Sort(all)
	out := Interval{Ratio: math.Exp(median(all))}
	sum, tail, cut := 0.0, 0.0, 0 // cut differences are left out on each side, plus one is the bound
	for c := range len(all) / 2 {
		if sum += below[c]; sum > (1-level)/2 {
			break
		}
		cut, tail = c, sum
	}
	if tail == 0 {
		tail = below[0]
	}
	out.Low, out.High = math.Exp(all[cut]), math.Exp(all[len(all)-1-cut])
	out.Confidence = max(0, 1-2*tail)
	return out
}

// exact is up to how many pairs of runs the distributions are counted out; above, the normal one is as good.
const exact = 2500

// mannWhitney is the distribution of U of n and m values: at u the probability of exactly u.
func mannWhitney(n, m int) []float64 {
	if n*m > exact {
		mean := float64(n*m) / 2
		return normal(n*m+1, mean, math.Sqrt(mean*float64(n+m+1)/6))
	}
	// p[j] is the distribution for i of the one and j of the other. The greatest of all values is of the one with
	// probability i/(i+j), and is then above j others.
	p := make([][]float64, m+1)
	for j := range p {
		p[j] = make([]float64, n*m+1)
		p[j][0] = 1
	}
	for i := 1; i <= n; i++ {
		for j := 1; j <= m; j++ {
			one := float64(i) / float64(i+j)
			now := make([]float64, n*m+1)
			for u := range i*j + 1 {
				now[u] = (1 - one) * p[j-1][u]
				if u >= j {
					now[u] += one * p[j][u-j]
				}
			}
			p[j] = now
		}
	}
	return p[m]
}

// signedRank is the distribution of the sum of positive ranks of n values.
func signedRank(n int) []float64 {
	all := n * (n + 1) / 2
	if all > exact {
		return normal(all+1, float64(all)/2, math.Sqrt(float64(n*(n+1)*(2*n+1))/24))
	}
	p := make([]float64, all+1)
	p[0] = 1
	for r := 1; r <= n; r++ {
		for s := all; s >= 0; s-- {
			p[s] /= 2
			if s >= r {
				p[s] += p[s-r] / 2
			}
		}
	}
	return p
}

// normal is a distribution over 0 to n-1, with half a step to either side of each.
func normal(n int, mean, deviation float64) []float64 {
	up := func(x float64) float64 { return math.Erfc((mean-x)/deviation/math.Sqrt2) / 2 }
	out := make([]float64, n)
	for i := range out {
		out[i] = up(float64(i)+0.5) - up(float64(i)-0.5)
	}
	return out
}
