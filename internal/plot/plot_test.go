package plot

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// whole fails unless a drawing is XML with numbers that are numbers.
func whole(t rapid.TB, name, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
	}
	if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
		t.Fatalf("%s: not a number\n%s", name, text)
	}
}

func TestPlotsAreXMLWithEveryName(t *testing.T) {
	list := []Series{{Name: `a & "b" <c>`, Points: []Point{{1, 4}, {50, 5}, {99.9, 800}}, Strong: true}, {Name: "empty"}}
	for size, z := range map[string]Size{"wide": Wide, "narrow": Narrow} {
		for name, text := range map[string]string{
			"percentiles": z.Percentiles(list, "µs"), "bars": z.Bars(list, "Gbit/s"),
			"percentiles of nothing": z.Percentiles(nil, "µs"), "bars of nothing": z.Bars(nil, "Gbit/s"),
		} {
			whole(t, size+" "+name, text)
			if !strings.Contains(name, "nothing") && !strings.Contains(text, "a &amp; &#34;b&#34; &lt;c&gt;") {
				t.Errorf("%s %s: no name\n%s", size, name, text)
			}
		}
	}
}

func TestPlotsOfAnyPoints(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		point := rapid.Custom(func(t *rapid.T) Point {
			return Point{rapid.Float64Range(0, 100).Draw(t, "x"), rapid.OneOf(rapid.Just(0.0), rapid.Just(-1.0), rapid.Float64Range(1e-6, 1e12)).Draw(t, "y")}
		})
		list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Series {
			return Series{Name: rapid.StringMatching(`[ -~]*`).Draw(t, "name"), Points: rapid.SliceOf(point).Draw(t, "points"), Strong: rapid.Bool().Draw(t, "strong")}
		}), 0, 9).Draw(t, "list")
		for _, z := range []Size{Wide, Narrow} {
			whole(t, "percentiles", z.Percentiles(list, "µs"))
			whole(t, "bars", z.Bars(list, "Gbit/s"))
		}
	})
}

func TestSeriesBeyondThePaletteDiffer(t *testing.T) {
	seen := map[string]bool{}
	for i := range 3 * len(palette) {
		if s := stroke(i, 1); seen[s] {
			t.Errorf("%d is drawn as another: %s", i, s)
		} else {
			seen[s] = true
		}
	}
}

func TestTheAxisIsInNines(t *testing.T) {
	for p, want := range map[float64]float64{0: 0, 90: 1, 99: 2, 99.9: 3, -5: 0, 100: nines(furthest)} {
		if got := nines(p); math.Abs(got-want) > 1e-9 {
			t.Errorf("%g: %g, not %g", p, got, want)
		}
	}
	if got := logTicks(8, 25); len(got) != 2 || got[0] != 10 || got[1] != 20 {
		t.Error(got)
	}
}
