package eswitch

import (
	"context"
	"fmt"
)

// None is the switch of a host without NICs of its own: it has no PF. It never raises an
// event.
func None() Switch { return none{make(chan struct{})} }

type none struct{ events chan struct{} }

// Observe implements Switch.
func (none) Observe(context.Context) (State, error) { return State{}, nil }

// Apply implements Switch.
func (none) Apply(_ context.Context, changes []Change) []Result {
	out := make([]Result, len(changes))
	for i, c := range changes {
		out[i] = Result{VF: c.VF, Err: fmt.Errorf("VF %d of %s: %w", c.VF.Index, c.VF.PF, ErrNoVF)}
	}
	return out
}

// Events implements Switch.
func (n none) Events() <-chan struct{} { return n.events }

// Capabilities implements Switch.
func (none) Capabilities(string) Capabilities { return Capabilities{} }

// Close implements Switch.
func (none) Close() error { return nil }
