package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Tables of the two tests, as printed in every book: the greatest c with P(statistic <= c) <= 0.025.
func TestDistributionsAreThoseOfTheTables(t *testing.T) {
	critical := func(p []float64) int {
		sum, c := 0.0, -1
		for i, x := range p {
			if sum += x; sum > 0.025 {
				return c
			}
			c = i
		}
		return c
	}
	for _, x := range []struct{ n, m, want int }{{3, 3, -1}, {4, 4, 0}, {5, 5, 2}, {4, 8, 4}, {8, 8, 13}, {10, 10, 23}, {20, 20, 127}} {
		if got := critical(mannWhitney(x.n, x.m)); got != x.want {
			t.Errorf("Mann-Whitney of %d and %d: %d, the table has %d", x.n, x.m, got, x.want)
		}
	}
	for _, x := range []struct{ n, want int }{{5, -1}, {6, 0}, {7, 2}, {8, 3}, {10, 8}, {15, 25}, {20, 52}} {
		if got := critical(signedRank(x.n)); got != x.want {
			t.Errorf("signed ranks of %d: %d, the table has %d", x.n, got, x.want)
		}
	}
}

func TestDistributionsAddUpAndMeetTheNormalOne(t *testing.T) {
	for name, p := range map[string][]float64{"5,7": mannWhitney(5, 7), "60,60": mannWhitney(60, 60), "9": signedRank(9), "100": signedRank(100)} {
		sum := 0.0
		for _, x := range p {
			sum += x
		}
		if math.Abs(sum-1) > 1e-6 {
			t.Errorf("%s adds up to %g", name, sum)
		}
	}
	exactly := mannWhitney(50, 50)
	about := normal(2501, 1250, math.Sqrt(1250*101.0/6))
	a, b := 0.0, 0.0
	for i := range 970 {
		a, b = a+exactly[i], b+about[i]
	}
	if math.Abs(a-b) > 0.001 {
		t.Errorf("tails %g and %g", a, b)
	}
}

func TestIntervalsCoverTheTruth(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	draw := func(n int, scale float64) (out []float64) {
		for range n {
			out = append(out, scale*math.Exp(rnd.NormFloat64()*0.1))
		}
		return out
	}
	const rounds, truth = 2000, 1.3
	covered, pairedCovered := 0, 0
	for range rounds {
		i, ok := independent(draw(5, 10), draw(6, 10*truth))
		if !ok || i.Confidence < 0.95 || i.Confidence > 0.99 {
			t.Fatalf("%+v", i)
		}
		if i.Low <= truth && truth <= i.High {
			covered++
		}
		x := draw(8, 10) // what disturbs a round disturbs both
		y := slices.Clone(x)
		for k := range y {
			common := math.Exp(rnd.NormFloat64())
			x[k], y[k] = x[k]*common, y[k]*common*truth*math.Exp(rnd.NormFloat64()*0.01)
		}
		i, ok = paired(x, y)
		if !ok || !i.Enough() || i.High/i.Low > 1.1 {
			t.Fatalf("%+v", i)
		}
		if i.Low <= truth && truth <= i.High {
			pairedCovered++
		}
	}
	for name, n := range map[string]int{"independent": covered, "paired": pairedCovered} {
		if share := float64(n) / rounds; share < 0.94 {
			t.Errorf("%s: the truth is within %.3f of the intervals", name, share)
		}
	}
}

func TestIntervalProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(1e-3, 1e6), 1, 60)
		x, y := values.Draw(t, "x"), values.Draw(t, "y")
		for name, ratio := range map[string]func(x, y []float64) (Interval, bool){"independent": independent, "paired": paired} {
			i, ok := ratio(x, y)
			if !ok || !(i.Low <= i.Ratio*(1+1e-9)) || !(i.Ratio <= i.High*(1+1e-9)) || i.Confidence < 0 || i.Confidence > 1 {
				t.Fatalf("%s: %+v", name, i)
			}
			back, _ := ratio(y, x)
			if inv := back.invert(); math.Abs(inv.Low/i.Low-1) > 1e-6 || math.Abs(inv.High/i.High-1) > 1e-6 {
				t.Fatalf("%s the other way round: %+v, %+v", name, i, inv)
			}
			if _, ok := ratio(append(slices.Clone(x), 0), y); ok && name == "independent" {
				t.Fatal("a ratio to 0")
			}
		}
		if same, _ := independent(x, x); same.Differs() {
			t.Fatalf("it differs from itself: %+v", same)
		}
	})
}

func TestTooFewRunsAreNoProof(t *testing.T) {
	i, ok := independent([]float64{1, 1.1, 1.2}, []float64{10, 11, 12})
	if !ok || i.Enough() || i.Differs() || math.Abs(i.Confidence-0.9) > 1e-9 {
		t.Errorf("%+v", i)
	}
	if i, _ = independent([]float64{1, 1.1, 1.2, 1.3}, []float64{10, 11, 12, 13}); !i.Differs() || verdict(i, true) != Better || verdict(i, false) != Worse {
		t.Errorf("%+v", i)
	}
}
