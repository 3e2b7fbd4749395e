package bench

import (
	"fmt"
	"slices"
	"strings"
)

// From these shares of all processors on a machine was not idle enough to trust a run.
const (
	loudBusy  = 0.10 // before the run, while nothing was measured
	loudSteal = 0.02
	loudClock = 0.10 // by which the clock changed
)

// loud says what disturbed a run; nil = nothing that was seen.
func (n Noise) loud() (why []string) {
	if n.BusyBefore > loudBusy {
		why = append(why, fmt.Sprintf("other work on the machine (%.0f %% of the processors just before)", n.BusyBefore*100))
	}
	if s := max(n.Steal, n.StealBefore); s > loudSteal {
		why = append(why, fmt.Sprintf("a hypervisor that took %.0f %% away", s*100))
	}
	if lo, hi := min(n.MHzBefore, n.MHzAfter), max(n.MHzBefore, n.MHzAfter); lo > 0 && (hi-lo)/hi > loudClock {
		why = append(why, fmt.Sprintf("a clock that went from %.0f to %.0f MHz", n.MHzBefore, n.MHzAfter))
	}
	return why
}

// Disturbed is how many runs were, of how many.
func (s Series) Disturbed() (n, of int) {
	for _, r := range s.Runs {
		if r.Noise.loud() != nil {
			n++
		}
	}
	return n, len(s.Runs)
}

// disturbed: more than half of the runs were, so the median may be.
func (s Series) disturbed() bool {
	n, of := s.Disturbed()
	return n*2 > of
}

// Noise says in a sentence how quiet the machine was; "" = quiet in every run.
func (r *Result) Noise() string {
	n, of := 0, 0
	var worst Noise
	for _, s := range r.Series {
		for _, x := range s.Runs {
			of++
			if x.Noise.loud() == nil {
				continue
			}
			n++
			if worst.loud() == nil || x.Noise.BusyBefore+x.Noise.Steal > worst.BusyBefore+worst.Steal {
				worst = x.Noise
			}
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d runs were disturbed, at worst by %s", n, of, strings.Join(worst.loud(), " and "))
}

// differences names what two machines do not have in common.
func differences(a, b Environment) []string {
	type field struct{ what, a, b string }
	fields := []field{
		{"host", a.Host, b.Host},
		{"kernel", a.Kernel, b.Kernel},
		{"kernel's command line", a.CommandLine, b.CommandLine},
		{"CPU", a.CPU, b.CPU},
		{"CPUs", fmt.Sprint(a.CPUs), fmt.Sprint(b.CPUs)},
		{"governor", a.Governor, b.Governor},
		{"tuning profile", a.Profile, b.Profile},
		{"congestion control", a.Congestion, b.Congestion},
		{"neutrino", a.Neutrino, b.Neutrino},
	}
	if a.NIC != nil || b.NIC != nil {
		var x, y NIC
		if a.NIC != nil {
			x = *a.NIC
		}
		if b.NIC != nil {
			y = *b.NIC
		}
		fields = append(fields, field{"driver", x.Driver + " " + x.Version, y.Driver + " " + y.Version},
			field{"firmware", x.Firmware, y.Firmware}, field{"MTU", fmt.Sprint(x.MTU), fmt.Sprint(y.MTU)},
			field{"link speed", fmt.Sprint(x.Speed), fmt.Sprint(y.Speed)})
	}
	fields = slices.DeleteFunc(fields, func(f field) bool { return f.a == f.b })
	var out []string
	for _, f := range fields {
		out = append(out, fmt.Sprintf("%s: %s, %s", f.what, said(f.a), said(f.b)))
	}
	return out
}

func said(s string) string {
	if s = strings.TrimSpace(s); s == "" || s == "0" {
		return "not known"
	}
	return s
}
