package tune

import (
	"fmt"
	"strconv"
	"strings"

	"neutrino/internal/ethtool"
)

// Rule is one thing that tuning sets, as data: what, why, and which value in which
// profile. [Rules] is the table of all.
type Rule struct {
	Name   string `json:"name"`   // "rx-usecs"
	Title  string `json:"title"`  // what it sets
	Why    string `json:"why"`    // what is bad without
	Source string `json:"source"` // where the values are from
	Values values `json:"values"`
	// Drivers have values of their own, or none where theirs is empty.
	Drivers map[string]values `json:"drivers,omitempty"`
	wish    func(f *Facts, r *Rule, p Profile) []Wish
}

// Wish is one value that a rule wants.
type Wish struct {
	Target Target
	Now    string // as it is; "" = cannot be read
	Want   string
	// Refused says why it is left as it is although it is not as wanted.
	Refused string
	// Cuts: the device stops for a moment when it is set.
	Cuts bool
}

// value is what the rule wants of a driver's device; "" = nothing.
func (r *Rule) value(p Profile, driver string) string {
	if v, ok := r.Drivers[driver]; ok {
		return v[p]
	}
	return r.Values[p]
}

// file wants one value of one file below sys or proc.
func file(path string) func(*Facts, *Rule, Profile) []Wish {
	return func(f *Facts, r *Rule, p Profile) []Wish {
		now, ok := f.Files[path]
		if !ok || r.Values[p] == "" {
			return nil
		}
		return []Wish{{Target: fileTarget(path), Now: now, Want: r.Values[p]}}
	}
}

// atLeast is file for sizes: what is larger already is left, each number by itself.
func atLeast(path string) func(*Facts, *Rule, Profile) []Wish {
	return func(f *Facts, r *Rule, p Profile) []Wish {
		now, ok := f.Files[path]
		if !ok || r.Values[p] == "" {
			return nil
		}
		t := fileTarget(path)
		return []Wish{{Target: t, Now: now, Want: larger(f.before(t, now), r.Values[p])}}
	}
}

// larger takes the larger of each two numbers.
func larger(now, want string) string {
	n, w := strings.Fields(now), strings.Fields(want)
	if len(n) != len(w) {
		return want
	}
	for i := range w {
		a, aerr := strconv.ParseUint(n[i], 10, 64)
		b, berr := strconv.ParseUint(w[i], 10, 64)
		if aerr == nil && berr == nil && a > b {
			w[i] = n[i]
		}
	}
	return strings.Join(w, " ")
}

// perCPU wants one value in a file of each CPU that is online.
func perCPU(name string, which func(*Facts) []CPU, refuse func(f *Facts, cpu int, want string) string) func(*Facts, *Rule, Profile) []Wish {
	return func(f *Facts, r *Rule, p Profile) []Wish {
		var out []Wish
		want := r.Values[p]
		if want == "" {
			return nil
		}
		for _, c := range which(f) {
			path := cpuFile(c.Number, name)
			now, ok := f.Files[path]
			if !ok {
				continue
			}
			w := Wish{Target: fileTarget(path), Now: now, Want: want}
			if refuse != nil && now != want {
				w.Refused = refuse(f, c.Number, want)
			}
			out = append(out, w)
		}
		return out
	}
}

func cpuFile(cpu int, name string) string {
	return fmt.Sprintf("sys/devices/system/cpu/cpu%d/%s", cpu, name)
}

// offered refuses a value that the file beside does not list.
func offered(list string) func(*Facts, int, string) string {
	return func(f *Facts, cpu int, want string) string {
		have, ok := f.Files[cpuFile(cpu, list)]
		if !ok {
			return ""
		}
		for _, x := range strings.Fields(have) {
			if x == want {
				return ""
			}
		}
		return "this CPU's driver offers " + have
	}
}

func everyCPU(f *Facts) []CPU { return f.CPUs }

// nearCPUs are those of the nodes that have tuned NICs.
func nearCPUs(f *Facts) []CPU {
	seen := map[int]bool{}
	var out []CPU
	for _, n := range f.NICs {
		for _, c := range f.local(n.Node) {
			if !seen[c.Number] {
				seen[c.Number] = true
				out = append(out, c)
			}
		}
	}
	return out
}

// device wants one ethtool setting of each NIC that has it. The profile's value is a
// number, on, off, or most: as much as the device can have, up to a bound ("most 4096").
func device(key ethtool.Key, refuse func(f *Facts, n *NIC, want uint32) string) func(*Facts, *Rule, Profile) []Wish {
	return func(f *Facts, r *Rule, p Profile) []Wish {
		var out []Wish
		for i := range f.NICs {
			n := &f.NICs[i]
			s, has := n.Ethtool[key]
			text := r.value(p, n.Driver)
			if !has || text == "" || n.VF && cuts(key) { // how large a guest's VF is, is the guest's
				continue
			}
			first, err := strconv.ParseUint(f.before(n.target(key), "-"), 10, 32)
			if err != nil {
				first = uint64(s.Value)
			}
			want, ok := amount(text, s.Max, uint32(first), func() int { return cores(f.local(n.Node)) })
			if !ok {
				continue
			}
			out = append(out, n.wish(f, key, s, want, refuse))
		}
		return out
	}
}

func (n *NIC) wish(f *Facts, key ethtool.Key, s ethtool.Setting, want uint32, refuse func(*Facts, *NIC, uint32) string) Wish {
	w := Wish{
		Target: n.target(key),
		Now:    strconv.FormatUint(uint64(s.Value), 10), Want: strconv.FormatUint(uint64(want), 10), Cuts: cuts(key),
	}
	switch {
	case s.Value == want:
	case s.Fixed:
		w.Refused = "the driver does not let it be changed"
	case w.Cuts && n.Cut != "":
		w.Refused = n.Cut + ", and this takes its link away for a moment: say --even-management"
	case refuse != nil:
		w.Refused = refuse(f, n, want)
	}
	return w
}

func (n *NIC) target(key ethtool.Key) Target {
	return Target{Kind: KindEthtool, Device: n.Name, Index: n.Index, Key: key}
}

// cuts reports whether drivers stop the device to change a setting.
func cuts(key ethtool.Key) bool {
	switch key.Group() {
	case ethtool.Channels, ethtool.Rings, ethtool.Pause:
		return true
	}
	return key == "feature rx-lro"
}

// amount reads a profile's value of a device that can have up to most, and had first.
func amount(text string, most, first uint32, cores func() int) (uint32, bool) {
	switch word, bound, _ := strings.Cut(text, " "); word {
	case "on":
		return 1, true
	case "off":
		return 0, true
	case "most":
		n, err := strconv.ParseUint(bound, 10, 32)
		if err != nil || most == 0 {
			return 0, false
		}
		return min(most, max(first, uint32(n))), true
	case "cores":
		if most == 0 {
			return 0, false
		}
		return min(most, uint32(max(cores(), 1))), true
	}
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil
}
