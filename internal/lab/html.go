package lab

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
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
	Latency, TCP template.HTML
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
	var rtt, tcp []series
	for _, m := range r.Paths {
		if m.Err != "" {
			continue
		}
		own := m.Key == PathOne || m.Key == PathTwo
		s := series{name: m.Title, own: own}
		for _, q := range m.Histogram {
			s.points = append(s.points, point{q.Percent, q.Value})
		}
		rtt = append(rtt, s)
		tcp = append(tcp, series{name: m.Title, own: own, points: []point{{0, m.Gbit.Median}, {0, m.Gbit.Min}, {0, m.Gbit.Max}}})
	}
	p.Latency = template.HTML(percentilePlot(rtt, "µs")) //nolint:gosec // our own drawing; names are escaped there
	p.TCP = template.HTML(barPlot(tcp, "Gbit/s"))        //nolint:gosec // as above
	var b bytes.Buffer
	if err := reportTemplate.Execute(&b, p); err != nil {
		return nil, fmt.Errorf("render report: %w", err)
	}
	return b.Bytes(), nil
}
