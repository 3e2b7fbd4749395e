package plot

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// Series is one line or one bar of a plot.
type Series struct {
	Name string
	// Points of a line: X is a percentile. Of a bar: the Y of the first is the value, the others are its spread.
	Points []Point
	Strong bool // drawn heavier than the others
}

// Point of a series.
type Point struct{ X, Y float64 }

// Size is for whom a plot is drawn: text keeps its size, so a small screen gets a drawing of its own.
type Size struct {
	width, height float64
	name          float64 // width of the names beside bars; 0 = they stand above them
	ticks         []float64
}

// Wide is for a page on a desk, Narrow for a telephone.
var (
	Wide   = Size{720, 320, 220, []float64{25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99, 99.999}}
	Narrow = Size{360, 260, 0, []float64{50, 90, 99, 99.9, 99.99}}
)

// Colors that differ in print and for the color-blind (Okabe and Ito, the blue lighter for dark pages). Series beyond them are dashed.
var palette = []string{"#1f88c9", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"}

func stroke(i int, width float64) string {
	s := fmt.Sprintf(`stroke="%s" stroke-width="%g"`, palette[i%len(palette)], width)
	if n := i / len(palette); n > 0 {
		s += fmt.Sprintf(` stroke-dasharray="%d 3"`, max(1, 8/n))
	}
	return s
}

const (
	padLeft, padRight, padTop, padBottom = 62.0, 20.0, 16.0, 30.0
	legendHeight                         = 20.0
	barHeight, barGap, nameHeight        = 22.0, 12.0, 17.0
	valueWidth, tickWidth                = 110.0, 36.0
)

type svg struct{ strings.Builder }

func (b *svg) open(w, h float64, kind, title string) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" class="plot %s" viewBox="0 0 %g %g" role="img" aria-label="%s" font-family="system-ui, sans-serif" font-size="12">`+"\n",
		kind, w, h, html.EscapeString(title))
}

func (b *svg) text(x, y float64, anchor, text, extra string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="currentColor"%s>%s</text>`+"\n", x, y, anchor, extra, html.EscapeString(text))
}

func (b *svg) line(x1, y1, x2, y2 float64, style string) {
	fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" %s/>`+"\n", x1, y1, x2, y2, style)
}

func (b *svg) end() string {
	b.WriteString("</svg>")
	return b.String()
}

const faint = `stroke="currentColor" stroke-opacity="0.14"`

// Percentiles draws latency by percentile, the tail stretched: the x axis is the number of nines. The y axis is
// logarithmic, so points of 0 and less are left out.
func (z Size) Percentiles(list []Series, unit string) string {
	var b svg
	list = positive(list)
	b.open(z.width, z.height+legendHeight*float64(len(list)), "percentiles", "latency by percentile")
	lo, hi, top := bounds(list)
	if hi <= 0 {
		return b.end()
	}
	lo, hi = lo*0.85, hi*1.2
	right, bottom := z.width-padRight, z.height-padBottom
	sx := func(p float64) float64 { return padLeft + nines(p)/nines(top)*(right-padLeft) }
	sy := func(v float64) float64 { return bottom - math.Log(v/lo)/math.Log(hi/lo)*(bottom-padTop) }
	last := 0.0
	for _, p := range z.ticks {
		if p <= top && sx(p)-last > tickWidth {
			last = sx(p)
			b.line(sx(p), padTop, sx(p), bottom, faint)
			b.text(sx(p), bottom+16, "middle", fmt.Sprintf("%g%%", p), ` fill-opacity="0.75"`)
		}
	}
	for _, v := range logTicks(lo, hi) {
		b.line(padLeft, sy(v), right, sy(v), faint)
		b.text(padLeft-6, sy(v)+4, "end", fmt.Sprintf("%g %s", v, unit), ` fill-opacity="0.75"`)
	}
	for i, s := range list {
		style := stroke(i, weight(s))
		var d strings.Builder
		for k, p := range s.Points {
			fmt.Fprintf(&d, "%s%.1f %.1f", map[bool]string{true: "M", false: " L"}[k == 0], sx(p.X), sy(p.Y))
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke-linejoin="round" %s><title>%s</title></path>`+"\n", d.String(), style, html.EscapeString(s.Name))
		y := z.height + legendHeight*(float64(i)+0.5)
		b.line(padLeft, y-4, padLeft+24, y-4, style)
		b.text(padLeft+32, y, "start", s.Name, "")
	}
	return b.end()
}

func weight(s Series) float64 {
	if s.Strong {
		return 3
	}
	return 1.6
}

// positive leaves out what a logarithm cannot show.
func positive(list []Series) []Series {
	out := slices.Clone(list)
	for i := range out {
		out[i].Points = slices.DeleteFunc(slices.Clone(out[i].Points), func(p Point) bool { return !(p.Y > 0) || math.IsInf(p.Y, 1) })
	}
	return out
}

// furthest is the last percentile that the axis can show.
const furthest = 99.9999

// nines stretches the tail: 0 % -> 0, 90 % -> 1, 99 % -> 2.
func nines(p float64) float64 { return -math.Log10(1 - max(0, min(p, furthest))/100) }

// logTicks are 1, 2 and 5 times the powers of ten within the range; of a wide one the powers alone.
func logTicks(lo, hi float64) []float64 {
	steps := []float64{1, 2, 5}
	if hi/lo > 2000 {
		steps = []float64{1}
	}
	var out []float64
	for e := math.Floor(math.Log10(lo)); e <= math.Ceil(math.Log10(hi)); e++ {
		for _, m := range steps {
			if v := m * math.Pow(10, e); v >= lo && v <= hi {
				out = append(out, v)
			}
		}
	}
	return out
}

// bounds of all points: lowest and highest value, and the last percentile. Without points all are 0.
func bounds(list []Series) (lo, hi, top float64) {
	lo = math.Inf(1)
	for _, s := range list {
		for _, p := range s.Points {
			lo, hi, top = min(lo, p.Y), max(hi, p.Y), max(top, p.X)
		}
	}
	if math.IsInf(lo, 1) {
		return 0, 0, 0
	}
	return lo, hi, max(1, min(top, furthest))
}

// Bars draws one bar per series, with a whisker over its spread.
func (z Size) Bars(list []Series, unit string) string {
	var b svg
	each := barHeight + barGap
	if z.name == 0 {
		each += nameHeight
	}
	b.open(z.width, float64(len(list))*each+barGap, "bars", "bars, "+unit)
	_, hi, _ := bounds(list)
	if hi <= 0 {
		hi = 1
	}
	sx := func(v float64) float64 { return z.name + 2 + max(0, v)/hi*(z.width-z.name-valueWidth) }
	for i, s := range list {
		if len(s.Points) == 0 {
			continue
		}
		y := barGap + float64(i)*each
		if z.name > 0 {
			b.text(z.name-8, y+barHeight/2+4, "end", s.Name, "")
		} else {
			b.text(2, y+nameHeight-5, "start", s.Name, "")
			y += nameHeight
		}
		b.bar(sx, y, i, s)
		_, top, _ := bounds([]Series{s})
		b.text(sx(top)+8, y+barHeight/2+4, "start", digits(s.Points[0].Y)+" "+unit, "")
	}
	return b.end()
}

func (b *svg) bar(sx func(float64) float64, y float64, i int, s Series) {
	opacity := 0.6
	if s.Strong {
		opacity = 1
	}
	fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%g" rx="2" fill="%s" fill-opacity="%g"><title>%s</title></rect>`+"\n",
		sx(0), y, sx(s.Points[0].Y)-sx(0), barHeight, palette[i%len(palette)], opacity, html.EscapeString(s.Name))
	lo, top, _ := bounds([]Series{s})
	const whisker = `class="whisker" stroke="currentColor" stroke-width="1.5"`
	b.line(sx(lo), y+barHeight/2, sx(top), y+barHeight/2, whisker)
	for _, x := range []float64{lo, top} {
		b.line(sx(x), y+6, sx(x), y+barHeight-6, whisker)
	}
}

func digits(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10 || v == 0:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
