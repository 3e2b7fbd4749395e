package hostcheck

import (
	"fmt"
	"slices"
	"strings"
)

// Status is the verdict of a finding.
type Status string

// The verdicts, from the best to the worst.
const (
	OK      Status = "ok"
	Unknown Status = "unknown" // it cannot be seen
	Warn    Status = "warn"    // it works, less well than it could, or not for long
	Fail    Status = "fail"    // it does not work
)

var order = []Status{OK, Unknown, Warn, Fail}

// Worse reports whether a status is worse than another.
func (s Status) Worse(o Status) bool { return slices.Index(order, s) > slices.Index(order, o) }

// Host is the subject of findings that are about no NIC.
const Host = "host"

// Finding is one thing that was looked at.
type Finding struct {
	Status   Status `json:"status"`
	Subject  string `json:"subject"` // Host, or the name of a PF
	Slot     string `json:"pci_slot,omitempty"`
	Check    string `json:"check"`
	Evidence string `json:"evidence"`
	Why      string `json:"why"`
	Mend     string `json:"mend,omitempty"` // a command, or what to do; "" = nothing is to be done
}

// Report is what was found.
type Report struct {
	Worst    Status         `json:"worst"`
	Count    map[Status]int `json:"count"`
	Findings []Finding      `json:"findings"`
}

// NewReport counts findings.
func NewReport(all []Finding) Report {
	r := Report{Worst: OK, Count: map[Status]int{}, Findings: all}
	for _, s := range order {
		r.Count[s] = 0
	}
	for _, f := range all {
		r.Count[f.Status]++
		if f.Status.Worse(r.Worst) {
			r.Worst = f.Status
		}
	}
	return r
}

// Summary is one line for people.
func (r Report) Summary() string {
	var out []string
	for _, s := range slices.Backward(order) {
		if n := r.Count[s]; n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, s))
		}
	}
	if len(out) == 0 {
		return "nothing was looked at"
	}
	return strings.Join(out, ", ")
}

// verdict is what a rule says.
type verdict struct {
	status         Status
	evidence, mend string
}

func ok(format string, args ...any) []verdict {
	return []verdict{{status: OK, evidence: fmt.Sprintf(format, args...)}}
}

func unknown(mend, format string, args ...any) []verdict {
	return []verdict{{Unknown, fmt.Sprintf(format, args...), mend}}
}

func warn(mend, format string, args ...any) []verdict {
	return []verdict{{Warn, fmt.Sprintf(format, args...), mend}}
}

func fail(mend, format string, args ...any) []verdict {
	return []verdict{{Fail, fmt.Sprintf(format, args...), mend}}
}
