package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"neutrino/internal/trunk"
)

// printVerification prints a verdict for people: hosts, what is wrong between them, what
// they are plugged into.
func printVerification(w io.Writer, run *verifyRun) error {
	r := run.Result
	if r == nil {
		_, err := fmt.Fprintln(w, "no result")
		return err
	}
	if err := grid(w, []string{"HOST", "UPLINK", "MTU", "SENT", "STATE"}, hostRows(r)); err != nil {
		return err
	}
	if rows := faultRows(r); len(rows) > 0 {
		fmt.Fprintln(w)
		if err := grid(w, []string{"FROM", "TO", "FAULT", "VLANS", "DETAIL"}, rows); err != nil {
			return err
		}
	}
	if rows := neighbourRows(r); len(rows) > 0 {
		fmt.Fprintln(w)
		if err := grid(w, []string{"HOST", "UPLINK", "SWITCH", "PORT", "NATIVE VLAN", "VLANS", "MAX FRAME"}, rows); err != nil {
			return err
		}
	}
	verdict := "clean"
	if !r.Clean {
		verdict = "NOT clean"
	}
	_, err := fmt.Fprintf(w, "\n%s: %d VLANs, sizes %s, between %d ordered pairs of uplinks: %s\n",
		run.PhysicalNetwork, run.VLANs.Len(), joinInts(run.Sizes), r.Checked, verdict)
	return err
}

func hostRows(r *trunk.Report) (rows [][]string) {
	for _, h := range r.Hosts {
		state := h.State
		if h.Error != "" {
			state += ": " + h.Error
		}
		if len(h.Uplinks) == 0 {
			rows = append(rows, []string{h.Host, "-", "-", "-", state})
		}
		for _, u := range h.Uplinks {
			s := state
			if u.Error != "" {
				s = u.Error
			}
			if len(u.Unfit) > 0 {
				s += "; too large for its MTU, not sent: " + joinInts(u.Unfit)
			}
			rows = append(rows, []string{h.Host, u.Name, strconv.Itoa(u.MTU), strconv.Itoa(u.Sent), s})
		}
	}
	return rows
}

func faultRows(r *trunk.Report) (rows [][]string) {
	for _, p := range r.Pairs {
		from, to := p.From+" "+p.FromUplink, p.To+" "+p.ToUplink
		add := func(what string, v trunk.VLANs, detail string) {
			if v.Len() > 0 {
				rows = append(rows, []string{from, to, what, v.String(), orDash(detail)})
			}
		}
		add("lost", p.Lost.Less(p.OneWay), "")
		add("lost one way", p.OneWay, "the other way frames pass")
		add("kept", p.Kept, "not verified: the receiving NIC keeps them for its VFs; the other way frames pass")
		for _, h := range p.Holes {
			detail := fmt.Sprintf("%d bytes pass, %d do not", h.Passed, h.Lost)
			if h.Why != "" {
				detail += ": " + h.Why
			}
			add("MTU", h.VLANs, detail)
		}
		add("duplicated", p.Twice, "frames come more than once")
		add("some lost", p.Partial, "note: some copies came")
	}
	for _, l := range r.Loops {
		rows = append(rows, []string{l.Host + " " + l.Uplink, "itself", "loop", l.VLANs.String(), "it hears what it sent"})
	}
	for _, l := range r.Leaks {
		heard := "VLAN " + strconv.Itoa(l.Heard)
		switch {
		case l.Heard == 0:
			heard = "untagged (a native VLAN, or an access port)"
		case l.Heard > trunk.MaxVLAN:
			heard = "two tags"
		}
		rows = append(rows, []string{l.From + " " + l.FromUplink, l.To + " " + l.ToUplink, "leak", strconv.Itoa(l.Sent), "heard with " + heard})
	}
	return rows
}

func neighbourRows(r *trunk.Report) (rows [][]string) {
	number := func(n int) string {
		if n == 0 {
			return "-"
		}
		return strconv.Itoa(n)
	}
	for _, h := range r.Hosts {
		for _, n := range h.Neighbours {
			rows = append(rows, []string{
				h.Host, n.Uplink, strings.TrimSpace(n.SystemName + " " + n.Chassis), strings.TrimSpace(n.Port + " " + n.PortText),
				number(n.NativeVLAN), orDash(n.VLANs.String()), number(n.MaxFrame),
			})
		}
	}
	return rows
}
