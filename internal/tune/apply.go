package tune

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"neutrino/internal/ethtool"
	"neutrino/internal/machine"
)

// Want is what a machine is to be tuned for.
type Want struct {
	Profile Profile  // "" = only place the interrupts of Pins
	NICs    []string // by name or PCI slot; none = all
	// Pins are the CPUs chosen for the interrupts of NICs; what was chosen before stays
	// for the others.
	Pins           map[string]string
	EvenManagement bool
	Persist        bool
}

// Draft is what will be set so that the machine is as wanted.
type Draft struct {
	Findings []Finding
	record   *Record // as it is to be
	host     *Host
	// skip leaves out findings that are not to be tried now; nil = none.
	skip func(Finding) bool
}

// Changes are the findings that will be carried out.
func (d Draft) Changes() []Finding {
	return slices.DeleteFunc(slices.Clone(d.Findings), func(f Finding) bool { return f.Verdict != Change })
}

// Again reports whether queues or interrupts will be made anew, so that where they go is
// planned once more afterwards.
func (d Draft) Again() bool {
	return slices.ContainsFunc(d.Changes(), func(f Finding) bool { return f.Cuts })
}

// Draft plans what Want needs on this machine. Nothing is changed.
//
// Errors: ErrContainer, ErrNoNIC, ErrBadRecord.
func (h *Host) Draft(w Want) (Draft, error) {
	old, err := h.current()
	if err != nil {
		return Draft{}, err
	}
	r := &Record{
		Version: recordVersion, Profile: w.Profile, NICs: w.NICs, Pins: map[string]string{}, EvenManagement: w.EvenManagement,
		Persist: w.Persist, Since: time.Now().UTC().Truncate(time.Second), Boot: h.boot(),
	}
	if old != nil {
		r.Values = old.Values
		maps.Copy(r.Pins, old.Pins)
		if w.Profile == "" { // it goes on with what was asked for before
			r.Profile, r.EvenManagement, r.Persist = old.Profile, old.EvenManagement || w.EvenManagement, old.Persist || w.Persist
			if r.NICs = union(old.NICs, w.NICs); r.Profile != "" && len(old.NICs) == 0 {
				r.NICs = nil
			}
		}
	}
	maps.Copy(r.Pins, w.Pins)
	return h.draft(r)
}

func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

// current is the record, without values of an earlier boot: those have gone with it.
func (h *Host) current() (*Record, error) {
	r, err := h.store().load()
	if r != nil && r.Boot != h.boot() {
		r.Values, r.Boot = nil, h.boot()
	}
	return r, err
}

// draft compares the machine with a record.
func (h *Host) draft(r *Record) (Draft, error) {
	look := *h
	look.EvenManagement = r.EvenManagement
	f, err := look.Facts(r.NICs)
	if err != nil {
		return Draft{}, err
	}
	if f.Container != "" {
		return Draft{}, fmt.Errorf("tune from %s: %w: its kernel and its NICs are the host's: run neutrino tune there", f.Container, ErrContainer)
	}
	f.Before = r.befores()
	f.Pins = map[string]machine.CPUList{}
	for name, text := range r.Pins {
		cpus, perr := machine.ParseCPUList(text, 0)
		if perr != nil {
			return Draft{}, perr
		}
		f.Pins[name] = cpus
	}
	p := r.Profile
	if p == "" {
		p = affinityOnly
	}
	findings := Plan(f, p)
	r.rounded(findings)
	return Draft{Findings: append(h.back(r, findings), findings...), record: r, host: h}, nil
}

// back finds what was tuned before and is not wanted any more: it goes back to what it
// was, the last first.
func (h *Host) back(r *Record, findings []Finding) []Finding {
	wanted := map[Target]bool{}
	for _, f := range findings {
		wanted[f.Target] = true
	}
	var out []Finding
	for _, v := range slices.Backward(r.Values) {
		if wanted[v.Target] {
			continue
		}
		now, err := h.Read(v.Target)
		if err != nil || now == v.Before || !slices.Contains(v.Wrote, now) {
			continue // gone, or somebody else's by now
		}
		out = append(out, Finding{Rule: v.Rule, Target: v.Target, What: v.Target.String(), Now: now, Want: v.Before, Verdict: Change})
	}
	return out
}

// Done is what became of one value.
type Done struct {
	Finding
	Err error // nil = it was set; ErrNotSettable, ErrGone: it was not
}

// passes bounds how often what places queues is planned again: new queues bring new
// interrupts, once.
const passes = 3

// Apply carries a draft out. Before a value is touched, what it was is on disk. A value
// that the kernel or a driver refuses does not keep the others; it is among what is
// returned. After a crash, Undo takes back what was done.
//
// Errors: ErrBusy, a context's end, and what keeps the record from being written.
func (d Draft) Apply(ctx context.Context, progress func(Done)) ([]Done, error) {
	release, err := d.host.store().lock()
	if err != nil {
		return nil, err
	}
	defer release()
	// Somebody may have tuned while the plan was read: what is set goes by what is so now.
	now, err := d.host.current()
	if err != nil {
		return nil, err
	}
	d.record.Values = nil
	if now != nil {
		d.record.Values = now.Values
	}
	fresh, err := d.host.draft(d.record)
	if err != nil {
		return nil, err
	}
	d.Findings = fresh.Findings
	return d.apply(ctx, progress)
}

func (d Draft) apply(ctx context.Context, progress func(Done)) ([]Done, error) {
	var out []Done
	tried := map[Target]string{}
	for range passes {
		todo := slices.DeleteFunc(d.Changes(), func(f Finding) bool {
			want, ok := tried[f.Target]
			return ok && want == f.Want || d.skip != nil && d.skip(f)
		})
		for _, f := range todo {
			d.record.intend(f.Rule, f.Target, f.Now, f.Want, d.host.flaps(f.Target))
			tried[f.Target] = f.Want
		}
		if err := d.host.store().save(d.record); err != nil {
			return out, err
		}
		var goals []goal
		for _, f := range todo {
			goals = append(goals, goal{f.Target, f.Want})
		}
		for i, f := range todo {
			if err := ctx.Err(); err != nil {
				return out, fmt.Errorf("stopped before %s was set: neutrino tune undo takes back what was done: %w", f.What, err)
			}
			d.host.together(goals[i:])
			x := Done{f, d.host.Write(ctx, f.Target, f.Want)}
			if x.Err != nil && !errors.Is(x.Err, ErrGone) && !errors.Is(x.Err, ErrNotSettable) {
				return out, x.Err
			}
			d.settle(x)
			out = append(out, x)
			if progress != nil {
				progress(x)
			}
		}
		if len(todo) == 0 {
			break
		}
		next, err := d.host.draft(d.record)
		if err != nil {
			return out, err
		}
		d.Findings = next.Findings
	}
	return out, d.host.store().save(d.record)
}

// goal is one value and what it is to be.
type goal struct {
	Target
	to string
}

// together sets what stops a device in one request where there is more of one group to be
// set: it stops once. Each is written by itself afterwards, which is nothing where it is
// so already; so an error here is told there.
func (h *Host) together(goals []goal) {
	first := goals[0].Target
	if h.Ethtool == nil || first.Kind != KindEthtool || !cuts(first.Key) {
		return
	}
	want := map[ethtool.Key]uint32{}
	for _, g := range goals {
		n, err := strconv.ParseUint(g.to, 10, 32)
		if err == nil && g.Kind == KindEthtool && g.Device == first.Device && g.Index == first.Index && g.Key.Group() == first.Key.Group() {
			want[g.Key] = uint32(n)
		}
	}
	if len(want) > 1 && h.same(first) == nil {
		_ = h.Ethtool.Set(first.Device, want)
	}
}

// settle notes what became of a value: one that is as it was before needs no undoing; one
// that the driver has made something else of is what the driver made it.
func (d Draft) settle(x Done) {
	v := d.record.value(x.Target)
	now, err := d.host.Read(x.Target)
	switch {
	case v == nil:
	case errors.Is(err, ErrGone), err == nil && now == v.Before:
		d.record.drop(x.Target)
	case err == nil && now != x.Want:
		d.record.intend(x.Rule, x.Target, x.Now, now, v.Flaps)
		v.Open = false
	default:
		v.Open = err != nil
	}
}

// rounded leaves alone what a driver has made something else of already, when the same
// was asked of it.
func (r *Record) rounded(findings []Finding) {
	for i, f := range findings {
		v := r.value(f.Target)
		if f.Verdict != Change || v == nil || len(v.Wrote) < 2 {
			continue
		}
		if last := len(v.Wrote) - 1; v.Wrote[last] == f.Now && v.Wrote[last-1] == f.Want && v.Before != f.Want {
			findings[i].Verdict, findings[i].Reason = Refused, "the driver makes "+f.Now+" of it"
		}
	}
}
