package lab

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"

	"neutrino/internal/plot"
)

//go:embed report.html.tmpl
var reportText string

var reportTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"ms": millis, "seconds": seconds,
	"f1": func(f float64) string { return fmt.Sprintf("%.1f", f) },
	"f2": func(f float64) string { return fmt.Sprintf("%.2f", f) },
}).Parse(reportText))

// page is what the template sees.
type page struct {
	*Report
	Names        []string
	Rows         []pageRow
	Latency, TCP []sized
}

// sized is a drawing for screens of one class.
type sized struct {
	Class string
	SVG   template.HTML
}

type pageRow struct {
	Name  string
	Cells []pageCell
}

type pageCell struct{ Class, Text string }

// HTML renders the report as one page that needs nothing else: no script, no network.
func (r *Report) HTML() ([]byte, error) {
	p := page{Report: r}
	names, cells := r.matrix()
	p.Names = names
	for _, from := range names {
		row := pageRow{Name: from}
		for _, to := range names {
			m := cells[from+" "+to]
			c := pageCell{Text: m.draw(style{}).text, Class: "good"}
			switch {
			case !m.tried:
				c.Class = "none"
			case !m.ok:
				c.Class = "bad"
			}
			row.Cells = append(row.Cells, c)
		}
		p.Rows = append(p.Rows, row)
	}
	var rtt, tcp []plot.Series
	for _, m := range r.Paths {
		if m.Err != "" {
			continue
		}
		own := m.Key == PathOne || m.Key == PathTwo
		s := plot.Series{Name: m.Title, Strong: own}
		for _, q := range m.Histogram {
			s.Points = append(s.Points, plot.Point{X: q.Percent, Y: q.Value})
		}
		rtt = append(rtt, s)
		tcp = append(tcp, plot.Series{Name: m.Title, Strong: own, Points: []plot.Point{{Y: m.Gbit.Median}, {Y: m.Gbit.Min}, {Y: m.Gbit.Max}}})
	}
	for _, x := range []struct {
		class string
		size  plot.Size
	}{{"wide", plot.Wide}, {"narrow", plot.Narrow}} {
		//nolint:gosec // our own drawings; names are escaped there
		latency, bars := template.HTML(x.size.Percentiles(rtt, "µs")), template.HTML(x.size.Bars(tcp, "Gbit/s"))
		p.Latency, p.TCP = append(p.Latency, sized{x.class, latency}), append(p.TCP, sized{x.class, bars})
	}
	var b bytes.Buffer
	if err := reportTemplate.Execute(&b, p); err != nil {
		return nil, fmt.Errorf("render report: %w", err)
	}
	return b.Bytes(), nil
}
