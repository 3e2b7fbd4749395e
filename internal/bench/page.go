package bench

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"neutrino/internal/plot"
)

//go:embed page.html.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"figure": Figure,
	"ratio":  func(i *Interval) string { return fmt.Sprintf("%.2f", i.Ratio) },
	"within": func(i *Interval) string {
		text := fmt.Sprintf("%.2f to %.2f", i.Low, i.High)
		if !i.Enough() {
			text += ", too few runs"
		}
		return text
	},
}).Parse(pageText))

// ErrNoRuns: there is nothing to draw.
var ErrNoRuns = errors.New("no run in it")

// page is what the template sees.
type page struct {
	Title    string
	Started  time.Time
	Command  string
	Names    []string // of the results
	Groups   []pageGroup
	Overview [][]string // rows of cells; the first is the head
	Machines [][]string
	Noise    []string
	Base     string // what ratios are to; "" = there is one line only
	Paired   bool
}

// pageGroup is one measurement with everybody's figures.
type pageGroup struct {
	Title string
	About string
	Plots []pagePlot
	Heads []string
	Rows  []pageRow
	Runs  string
}

type pagePlot struct {
	Class string
	SVG   template.HTML
}

type pageRow struct {
	Name  string
	Cells []pageCell
	Err   string
}

// pageCell is a spread, or a ratio.
type pageCell struct {
	Spread  *Spread
	Ratio   *Interval
	Verdict string
}

// entry is a line of a plot: a series and whose it is.
type entry struct {
	Series
	name   string
	result int
}

// Page renders results as one page that needs nothing else: no script, no network. All figures stand beside those of
// the first path of the first result.
func Page(title string, results []Named) ([]byte, error) {
	p := page{Title: title, Machines: machines(results)}
	order, byMeasurement := gather(results)
	for i, r := range results {
		p.Names = append(p.Names, r.Name)
		if loud := r.Noise(); loud != "" {
			p.Noise = append(p.Noise, r.Name+": "+loud)
		}
		if i == 0 {
			p.Started, p.Command, p.Paired = r.Started, strings.Join(r.Command, " "), len(results) == 1 && r.Interleaved
		}
	}
	overview := overviewOf{cells: map[[2]string]string{}}
	for _, m := range order {
		all := byMeasurement[m]
		if firstMeasured(all) < 0 {
			p.Groups = append(p.Groups, failures(m, all))
			continue
		}
		if len(all) > 1 && p.Base == "" {
			p.Base = all[firstMeasured(all)].name
		}
		p.Groups = append(p.Groups, drawGroup(m, all, results, &overview))
	}
	if !slices.ContainsFunc(p.Groups, func(g pageGroup) bool { return len(g.Plots) > 0 }) {
		return nil, fmt.Errorf("draw %s: %w", title, ErrNoRuns)
	}
	if p.Base != "" {
		p.Overview = overview.rows()
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, p); err != nil {
		return nil, fmt.Errorf("render page: %w", err)
	}
	return b.Bytes(), nil
}

// gather sorts all series by what they measure.
func gather(results []Named) (order []Measurement, by map[Measurement][]entry) {
	by = map[Measurement][]entry{}
	for i, r := range results {
		several := len(r.Paths()) > 1
		for _, s := range r.Series {
			e := entry{Series: s, name: s.Name(), result: i}
			switch {
			case len(results) > 1 && several:
				e.name = r.Name + ": " + s.Name()
			case len(results) > 1 || s.Path == "":
				e.name = r.Name
			}
			if by[s.Measurement] == nil {
				order = append(order, s.Measurement)
			}
			by[s.Measurement] = append(by[s.Measurement], e)
		}
	}
	return order, by
}

func firstMeasured(all []entry) int {
	return slices.IndexFunc(all, func(e entry) bool { return len(e.Runs) > 0 })
}

func failures(m Measurement, all []entry) pageGroup {
	g := pageGroup{Title: m.String()}
	for _, e := range all {
		g.Rows = append(g.Rows, pageRow{Name: e.name, Err: e.why()})
	}
	return g
}

func (e entry) why() string {
	if e.Err != "" {
		return e.Err
	}
	return "no run"
}

// drawGroup draws one measurement.
func drawGroup(m Measurement, all []entry, results []Named, o *overviewOf) pageGroup {
	base := firstMeasured(all)
	first := all[base]
	metrics := slices.DeleteFunc(first.Metrics(), func(x Metric) bool { return x.Key == remoteCPU.Key })
	g := pageGroup{Title: m.String(), About: about(m), Plots: draw(all, metrics[0])}
	for _, x := range metrics {
		g.Heads = append(g.Heads, x.Title+", "+x.Unit)
		if x.Judged && len(all) > 1 {
			g.Heads = append(g.Heads, "× base")
		}
	}
	few, many := len(first.Runs), 0
	for i, e := range all {
		row := pageRow{Name: e.name}
		if len(e.Runs) == 0 {
			row.Err = e.why()
			g.Rows = append(g.Rows, row)
			o.add(m, metrics[0], e.name, "not measured")
			continue
		}
		few, many = min(few, len(e.Runs)), max(many, len(e.Runs))
		ratio := independent
		if e.result == first.result && results[e.result].Interleaved {
			ratio = paired
		}
		for k, x := range metrics {
			values := e.Values(x)
			s := SpreadOf(values)
			row.Cells = append(row.Cells, pageCell{Spread: &s})
			if !x.Judged || len(all) == 1 {
				continue
			}
			cell := pageCell{}
			if r, ok := ratio(first.Values(x), values); ok && i != base {
				cell.Ratio, cell.Verdict = &r, class(verdict(r, x.Higher))
			}
			row.Cells = append(row.Cells, cell)
			if k == 0 {
				o.add(m, x, e.name, overviewCell(cell.Ratio, i == base, s, x))
			}
		}
		g.Rows = append(g.Rows, row)
	}
	if g.Runs = fmt.Sprintf("%d runs", few); few != many {
		g.Runs = fmt.Sprintf("%d to %d runs", few, many)
	}
	return g
}

func class(verdict string) string {
	switch verdict {
	case Better:
		return "better"
	case Worse:
		return "worse"
	}
	return "same"
}

// draw makes the plots of one measurement for both kinds of screens.
func draw(all []entry, main Metric) []pagePlot {
	var list []plot.Series
	for _, e := range all {
		if len(e.Runs) == 0 {
			continue
		}
		s := plot.Series{Name: e.name, Strong: true}
		if h := e.Together(); h != nil {
			s.Strong = false
			for _, q := range tail(h.TotalCount()) {
				s.Points = append(s.Points, plot.Point{X: q, Y: h.micros(q)})
			}
		} else {
			x := SpreadOf(e.Values(main))
			s.Points = []plot.Point{{Y: x.Median}, {Y: x.Min}, {Y: x.Max}}
		}
		list = append(list, s)
	}
	var out []pagePlot
	for _, x := range []struct {
		class string
		size  plot.Size
	}{{"wide", plot.Wide}, {"narrow", plot.Narrow}} {
		text := x.size.Bars(list, main.Unit)
		if main.Key == latencyMetrics[0].Key {
			text = x.size.Percentiles(list, main.Unit)
		}
		out = append(out, pagePlot{x.class, template.HTML(text)}) //nolint:gosec // our own drawing; names are escaped there
	}
	return out
}

// tail are the percentiles that so many values can tell of: at least ten are beyond each.
func tail(count int64) []float64 {
	out := []float64{1, 5, 10, 25, 50, 75, 90}
	for _, q := range []float64{95, 97.5, 99, 99.5, 99.75, 99.9, 99.95, 99.99, 99.995, 99.999} {
		if float64(count)*(100-q)/100 > 9.99 {
			out = append(out, q)
		}
	}
	return out
}

// about explains a measurement.
func about(m Measurement) string {
	switch {
	case m.Rate > 0 && m.Test != "udpstream" && m.Test != "pps":
		return "Round trips; each counts from the time at which its message was to be sent."
	case m.Test == "stream":
		return "TCP throughput, as it arrived."
	case m.Test == "udpstream":
		return "UDP throughput, as it arrived."
	case m.Test == "pps":
		return "Datagrams that arrived."
	}
	return "Round trips, one message at a time. The axis stretches the tail: equal steps are one more nine."
}
