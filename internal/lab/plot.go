package lab

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// series is one line or one bar of a plot.
type series struct {
	name   string
	points []point // x, y
	own    bool    // neutrino's: drawn in the strong color
}

type point struct{ x, y float64 }

// Colors that differ in print and for the color-blind (Okabe and Ito).
var palette = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"}

const (
	plotW, plotH             = 720.0, 300.0
	padL, padR, padT, padB   = 60.0, 20.0, 16.0, 44.0
	barHeight, barGap, nameW = 22.0, 12.0, 210.0
)

type svg struct{ strings.Builder }

func (b *svg) open(w, h float64, title string) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" role="img" aria-label="%s" font-family="system-ui, sans-serif" font-size="12">`+"\n",
		w, h, html.EscapeString(title))
}

func (b *svg) text(x, y float64, anchor, text, extra string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="currentColor"%s>%s</text>`+"\n", x, y, anchor, extra, html.EscapeString(text))
}

func (b *svg) line(x1, y1, x2, y2 float64, style string) {
	fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" %s/>`+"\n", x1, y1, x2, y2, style)
}

// percentilePlot draws latency by percentile, the tail stretched: the x axis is the
// number of nines. The y axis is logarithmic.
func percentilePlot(list []series, unit string) string {
	var b svg
	b.open(plotW, plotH+20*float64(len(list)), "latency by percentile")
	lo, hi := bounds(list)
	if lo <= 0 || hi <= 0 {
		b.WriteString("</svg>")
		return b.String()
	}
	lo, hi = lo*0.8, hi*1.25
	maxX := nines(99.9)
	sx := func(p float64) float64 { return padL + nines(p)/maxX*(plotW-padL-padR) }
	sy := func(v float64) float64 {
		return plotH - padB - math.Log(v/lo)/math.Log(hi/lo)*(plotH-padT-padB)
	}
	for _, p := range []float64{1, 25, 50, 75, 90, 95, 99, 99.5, 99.9} {
		b.line(sx(p), padT, sx(p), plotH-padB, `stroke="currentColor" stroke-opacity="0.12"`)
		b.text(sx(p), plotH-padB+16, "middle", fmt.Sprintf("%g%%", p), ` fill-opacity="0.7"`)
	}
	for _, v := range logTicks(lo, hi) {
		b.line(padL, sy(v), plotW-padR, sy(v), `stroke="currentColor" stroke-opacity="0.12"`)
		b.text(padL-6, sy(v)+4, "end", fmt.Sprintf("%g %s", v, unit), ` fill-opacity="0.7"`)
	}
	for i, s := range list {
		color, width := palette[i%len(palette)], 1.5
		if s.own {
			width = 3
		}
		var d strings.Builder
		for k, p := range s.points {
			fmt.Fprintf(&d, "%s%.1f %.1f", map[bool]string{true: "M", false: " L"}[k == 0], sx(p.x), sy(p.y))
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="%g"/>`+"\n", d.String(), color, width)
		y := plotH + 20*float64(i)
		b.line(padL, y-4, padL+24, y-4, fmt.Sprintf(`stroke="%s" stroke-width="%g"`, color, width))
		b.text(padL+32, y, "start", s.name, "")
	}
	b.WriteString("</svg>")
	return b.String()
}

// nines stretches the tail: 0 % -> 0, 90 % -> 1, 99 % -> 2.
func nines(p float64) float64 { return -math.Log10(1 - math.Min(p, 99.99)/100) }

// logTicks are 1, 2 and 5 times the powers of ten within the range.
func logTicks(lo, hi float64) []float64 {
	var out []float64
	for e := math.Floor(math.Log10(lo)); e <= math.Ceil(math.Log10(hi)); e++ {
		for _, m := range []float64{1, 2, 5} {
			if v := m * math.Pow(10, e); v >= lo && v <= hi {
				out = append(out, v)
			}
		}
	}
	return out
}

func bounds(list []series) (lo, hi float64) {
	lo = math.Inf(1)
	for _, s := range list {
		for _, p := range s.points {
			lo, hi = math.Min(lo, p.y), math.Max(hi, p.y)
		}
	}
	if math.IsInf(lo, 1) {
		lo = 0
	}
	return lo, hi
}

// barPlot draws one bar per series from its first point: y is the value, the other
// points its spread.
func barPlot(list []series, unit string) string {
	var b svg
	h := float64(len(list))*(barHeight+barGap) + barGap
	b.open(plotW, h, "throughput")
	_, hi := bounds(list)
	if hi <= 0 {
		hi = 1
	}
	sx := func(v float64) float64 { return nameW + v/hi*(plotW-nameW-110) }
	for i, s := range list {
		if len(s.points) == 0 {
			continue
		}
		y := barGap + float64(i)*(barHeight+barGap)
		opacity := "0.55"
		if s.own {
			opacity = "1"
		}
		v := s.points[0].y
		b.text(nameW-8, y+barHeight/2+4, "end", s.name, "")
		fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%g" rx="2" fill="%s" fill-opacity="%s"/>`+"\n",
			nameW, y, sx(v)-nameW, barHeight, palette[i%len(palette)], opacity)
		lo, top := bounds([]series{s})
		b.line(sx(lo), y+barHeight/2, sx(top), y+barHeight/2, `stroke="currentColor" stroke-width="1.5"`)
		for _, x := range []float64{lo, top} {
			b.line(sx(x), y+6, sx(x), y+barHeight-6, `stroke="currentColor" stroke-width="1.5"`)
		}
		b.text(sx(top)+8, y+barHeight/2+4, "start", fmt.Sprintf("%.1f %s", v, unit), "")
	}
	b.WriteString("</svg>")
	return b.String()
}
