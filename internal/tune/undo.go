package tune

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Fate is what became of one value when tuning was undone.
type Fate string

// The fates.
const (
	Restored  Fate = "restored"  // it is what it was
	Was       Fate = "was"       // it was so already
	Gone      Fate = "gone"      // its device, queue or interrupt is not there any more, or was made anew
	Theirs    Fate = "changed"   // somebody else has set it since: it is left
	Unsettled Fate = "unsettled" // the kernel refuses what it was
)

// Undone is one value after Undo.
type Undone struct {
	Value
	Now  string `json:"now"`
	Fate Fate   `json:"fate"`
	Err  error  `json:"-"`
}

// ErrNotUndone: some values are not what they were.
var ErrNotUndone = errors.New("not all of it was undone")

// Undo brings every value back to what it was before the first Apply, the last first.
// A value that somebody else has set since is left, unless force says otherwise; it
// stays in the record. It may run any number of times, after a crash too.
//
// Errors: ErrNotTuned, ErrBusy, ErrBadRecord, ErrNotUndone.
func (h *Host) Undo(ctx context.Context, force bool) ([]Undone, error) {
	release, err := h.store().lock()
	if err != nil {
		return nil, err
	}
	defer release()
	r, err := h.current()
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, ErrNotTuned
	}
	out := []Undone{}
	var left []Value
	for i, v := range slices.Backward(r.Values) {
		if err = ctx.Err(); err != nil {
			return out, fmt.Errorf("stopped before %s was undone: run it again: %w", v.Target, err)
		}
		if v.Target.Kind == KindEthtool && cuts(v.Target.Key) {
			h.backTogether(r.Values[:i+1], force)
		}
		u := h.undo(ctx, v, force)
		out = append(out, u)
		if u.Fate == Theirs || u.Fate == Unsettled {
			left = append(left, v)
		}
	}
	if len(left) == 0 {
		return out, h.store().remove()
	}
	slices.Reverse(left)
	r.Values, r.Persist = left, false
	if err = h.store().save(r); err != nil {
		return out, err
	}
	return out, fmt.Errorf("%w: %d of %d values are not what they were", ErrNotUndone, len(left), len(out))
}

// backTogether puts back in one request what stops the device of the last value.
func (h *Host) backTogether(values []Value, force bool) {
	last := values[len(values)-1].Target
	var goals []goal
	for _, v := range slices.Backward(values) {
		if v.Target.Device != last.Device || v.Target.Kind != last.Kind || v.Target.Key.Group() != last.Key.Group() {
			continue
		}
		if now, err := h.Read(v.Target); err == nil && (force || v.Open || slices.Contains(v.Wrote, now)) {
			goals = append(goals, goal{v.Target, v.Before})
		}
	}
	if len(goals) > 0 {
		h.together(goals)
	}
}

func (h *Host) undo(ctx context.Context, v Value, force bool) Undone {
	u := Undone{Value: v}
	u.Now, u.Err = h.Read(v.Target)
	switch {
	case errors.Is(u.Err, ErrGone):
		u.Fate, u.Err = Gone, nil
		return u
	case u.Err != nil:
		u.Fate = Unsettled
		return u
	case u.Now == v.Before:
		u.Fate = Was
		return u
	case !slices.Contains(v.Wrote, u.Now) && !v.Open && !force:
		u.Fate = Theirs
		if h.flaps(v.Target) != v.Flaps { // the driver has begun anew
			u.Fate = Gone
		}
		return u
	}
	u.Err = h.Write(ctx, v.Target, v.Before)
	switch {
	case u.Err == nil:
		u.Fate, u.Now = Restored, v.Before
	case errors.Is(u.Err, ErrGone):
		u.Fate, u.Err = Gone, nil
	default:
		u.Fate = Unsettled
	}
	return u
}

// State is what is tuned, and what of it is not so any more.
type State struct {
	Record
	Values []Held `json:"values"`
}

// Held is one value that was changed, and what it is now.
type Held struct {
	Value
	What string `json:"what"`
	Now  string `json:"now"`
	// As says how it is: "kept", "drifted", "gone".
	As string `json:"as"`
}

// Status reads what is tuned. ErrNotTuned: nothing is.
func (h *Host) Status() (State, error) {
	r, err := h.current()
	if err != nil {
		return State{}, err
	}
	if r == nil {
		return State{}, ErrNotTuned
	}
	s := State{Record: *r, Values: []Held{}}
	for _, v := range r.Values {
		x := Held{Value: v, What: v.Target.String(), As: "drifted"}
		x.Now, err = h.Read(v.Target)
		switch {
		case errors.Is(err, ErrGone):
			x.As = "gone"
		case err != nil:
			return State{}, err
		case len(v.Wrote) > 0 && x.Now == v.Wrote[len(v.Wrote)-1]:
			x.As = "kept"
		}
		s.Values = append(s.Values, x)
	}
	return s, nil
}
