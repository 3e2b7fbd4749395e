package tune

import "errors"

// Errors for errors.Is.
var (
	// ErrContainer: the machine's settings are not this process's to change.
	ErrContainer = errors.New("this is a container")
	// ErrNoNIC: no network device of that name, or none at all.
	ErrNoNIC = errors.New("no such network device")
)

// Verdict on one value.
type Verdict string

// The verdicts.
const (
	OK      Verdict = "ok"      // as wanted
	Change  Verdict = "change"  // it will be set
	Refused Verdict = "refused" // it is not as wanted, and setting it would break something
)

// Finding is one value, as it is and as a profile wants it.
type Finding struct {
	Rule    string  `json:"rule"`
	Target  Target  `json:"-"`
	What    string  `json:"what"`
	Now     string  `json:"now"`
	Want    string  `json:"want"`
	Verdict Verdict `json:"verdict"`
	Reason  string  `json:"reason,omitempty"` // why it is refused
	Cuts    bool    `json:"cuts_link,omitempty"`
}

// Plan compares the machine with a profile. It is pure: the same facts give the same
// findings, in the order in which they are to be set.
func Plan(f *Facts, p Profile) []Finding {
	out := []Finding{}
	seen := map[Target]bool{}
	for _, r := range Rules() {
		for _, w := range r.wish(f, &r, p) {
			if !seen[w.Target] {
				seen[w.Target] = true
				out = append(out, find(r.Name, w))
			}
		}
	}
	return out
}

func find(rule string, w Wish) Finding {
	x := Finding{Rule: rule, Target: w.Target, What: w.Target.String(), Now: w.Now, Want: w.Want, Reason: w.Refused, Cuts: w.Cuts, Verdict: Change}
	switch {
	case w.Now == w.Want:
		x.Verdict, x.Reason = OK, ""
	case w.Refused != "":
		x.Verdict = Refused
	}
	return x
}
