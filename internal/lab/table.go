package lab

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// cell is text with a color that does not count in its width.
type cell struct {
	text  string
	paint func(string) string
}

// grid is a table with aligned columns; the first row is its head.
type grid struct {
	right []bool // columns aligned to the right
	rows  [][]cell
}

func (g *grid) row(cells ...any) {
	var r []cell
	for _, c := range cells {
		if x, ok := c.(cell); ok {
			r = append(r, x)
			continue
		}
		r = append(r, cell{text: fmt.Sprint(c)})
	}
	g.rows = append(g.rows, r)
}

func (g *grid) write(w io.Writer, s style) {
	width := map[int]int{}
	for _, r := range g.rows {
		for i, c := range r {
			width[i] = max(width[i], utf8.RuneCountInString(c.text))
		}
	}
	for n, r := range g.rows {
		var b strings.Builder
		for i, c := range r {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c.text))
			text := c.text
			switch {
			case text == "":
			case n == 0:
				text = s.bold(text)
			case c.paint != nil:
				text = c.paint(text)
			}
			if i < len(g.right) && g.right[i] {
				b.WriteString("  " + pad + text)
			} else {
				b.WriteString("  " + text + pad)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// WriteTable prints the report for people; color for terminals only.
func (r *Report) WriteTable(w io.Writer, color bool) {
	s := style{color}
	r.writeInstances(w, s)
	r.writeMatrix(w, s)
	r.writeSpoofs(w, s)
	r.writePaths(w, s)
	t := r.Timings
	fmt.Fprintf(w, "\n%s up %s, instances %s, checks %s, measuring %s, down %s\n", s.bold("Time"),
		seconds(t.Up), seconds(t.Boot), seconds(t.Check), seconds(t.Measure), seconds(t.Down))
	verdict := s.good("✓ everything is as it must be")
	if !r.OK {
		verdict = s.bad("✗ something is not as it must be")
	}
	fmt.Fprintf(w, "\n%s (%s in all)\n", verdict, seconds(t.Total))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func millis(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

func (r *Report) vlan(networkID string) string {
	for _, n := range r.Networks {
		if n.ID == networkID {
			return n.VLAN
		}
	}
	return "-"
}

func (r *Report) writeInstances(w io.Writer, s style) {
	fmt.Fprintf(w, "\n%s\n", s.bold("Instances"))
	g := &grid{right: []bool{false, false, false, true, false, false, false, true, true, true}}
	g.row("NAME", "HOST", "NETWORK", "VLAN", "VF", "MAC", "ADDRESS", "MTU", "BOUND TO ACTIVE", "DHCP")
	for _, x := range r.Instances {
		g.row(x.Name, x.Host, x.Network, r.vlan(x.NetworkID), x.PCISlot, x.MAC, x.Address, x.MTU, millis(x.BindToActive), millis(x.Lease))
	}
	g.write(w, s)
}

func (r *Report) writeMatrix(w io.Writer, s style) {
	fmt.Fprintf(w, "\n%s  ✓ answers on its own VLAN, · silent on the other, ✗ not as it must be\n", s.bold("Ping"))
	names, cells := r.matrix()
	head := []any{"from \\ to"}
	for _, n := range names {
		head = append(head, n)
	}
	g := &grid{}
	g.row(head...)
	for _, from := range names {
		row := []any{from}
		for _, to := range names {
			row = append(row, cells[from+" "+to].draw(s))
		}
		g.row(row...)
	}
	g.write(w, s)
	for _, p := range r.Pings {
		if p.Err != "" {
			fmt.Fprintf(w, "  %s\n", s.bad(p.Err))
		}
	}
}

// mark is what the cells of one pair come to.
type mark struct {
	tried, ok, answers bool
	rtt                time.Duration
}

func (m mark) draw(s style) cell {
	switch {
	case !m.tried:
		return cell{text: ""}
	case !m.ok:
		return cell{"✗", s.bad}
	case m.answers:
		return cell{fmt.Sprintf("✓ %.2f ms", float64(m.rtt.Microseconds())/1000), s.good}
	default:
		return cell{"·", s.good}
	}
}

// matrix joins the pings of each pair: all must be as they ought to.
func (r *Report) matrix() (names []string, cells map[string]mark) {
	cells = map[string]mark{}
	seen := map[string]bool{}
	for _, p := range r.Pings {
		for _, n := range []string{p.From, p.To} {
			if !seen[n] {
				seen[n] = true
				names = append(names, n)
			}
		}
		m, tried := cells[p.From+" "+p.To]
		if !tried {
			m.ok = true
		}
		m.tried = true
		m.ok = m.ok && p.OK()
		m.answers = m.answers || p.Answered
		m.rtt = max(m.rtt, p.RTT)
		cells[p.From+" "+p.To] = m
	}
	return names, cells
}

func (r *Report) writeSpoofs(w io.Writer, s style) {
	fmt.Fprintf(w, "\n%s\n", s.bold("Forged frames"))
	g := &grid{right: []bool{false, false, false, true}}
	g.row("", "FRAME", "FROM, TO", "ARRIVED", "")
	for _, x := range r.Spoofs {
		tick, word := cell{"✓", s.good}, "dropped, as it must be"
		if x.Expected {
			word = "delivered, as it must be"
		}
		if !x.OK() {
			tick, word = cell{"✗", s.bad}, "not as it must be "+x.Err
		}
		g.row(tick, x.What, x.From+", "+x.To, fmt.Sprintf("%d of %d", x.Arrived, x.Sent), word)
	}
	g.write(w, s)
}

func (r *Report) writePaths(w io.Writer, s style) {
	fmt.Fprintf(w, "\n%s  64-byte TCP round trips and one TCP stream, both ends on one CPU, %d interleaved rounds\n", s.bold("Speed"), r.Effort.Rounds)
	g := &grid{right: []bool{false, true, true, true, true, true, true}}
	g.row("PATH", "RTT P50", "P99", "x DIRECT", "TCP", "SPREAD", "x DIRECT")
	for _, m := range r.Paths {
		if m.Err != "" {
			continue // said below
		}
		paint := func(t string) string { return t }
		if m.Key == PathOne || m.Key == PathTwo {
			paint = s.good
		}
		g.row(cell{m.Title, paint}, cell{fmt.Sprintf("%.1f us", m.RTT.P50), paint}, fmt.Sprintf("%.1f us", m.RTT.P99),
			cell{fmt.Sprintf("%.2f", m.RTTRatio), paint}, cell{fmt.Sprintf("%.1f Gbit/s", m.Gbit.Median), paint},
			fmt.Sprintf("%.1f-%.1f", m.Gbit.Min, m.Gbit.Max), cell{fmt.Sprintf("%.2f", m.GbitRatio), paint})
	}
	g.write(w, s)
	for _, m := range r.Paths {
		if m.Err != "" {
			fmt.Fprintf(w, "  %s\n", s.bad(m.Title+" not measured: "+m.Err))
		}
	}
}
