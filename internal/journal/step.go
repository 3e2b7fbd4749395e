package journal

import (
	"context"
	"encoding/json"
	"time"

	"go.etcd.io/bbolt"
)

// Step is one change of a host.
type Step struct {
	// Describe says what will be done, with what: "bind 0000:03:10.2 to vfio-pci".
	Describe string
	// Do carries it out. It succeeds when it finds it done already.
	Do func(ctx context.Context) error
	// Undo takes it back, wholly or half done or never begun. Nil: nothing to take back.
	Undo func(ctx context.Context) error
}

// Intent is what is about to be done, as it is on disk.
type Intent struct {
	// Key names what is changed, e.g. a PCI slot. There is one intent per key at most.
	Key string `json:"key"`
	// Kind tells the owner how to make the steps again.
	Kind string `json:"kind"`
	// Data is what the steps are made from.
	Data json.RawMessage `json:"data"`
	// Steps in words, for people who look at what hangs.
	Steps []string  `json:"steps"`
	Began time.Time `json:"began"`
}

// Work is what leads from the old to the new state.
type Work struct {
	Steps []Step
	// Done tells, after a crash, whether the new state is there already; then it is
	// committed. Nil: it is not known, and the work is undone.
	Done func(ctx context.Context) (bool, error)
	// Forward makes Recover do the steps again instead of undoing them: for work that
	// leads to a clean state, and whose failure is not undone either.
	Forward bool
	// Commit records the new state, in the transaction that removes the intent.
	Commit func(tx *bbolt.Tx) error
	// Abort records the old state, in the transaction that removes the intent after the
	// work was undone. May be nil.
	Abort func(tx *bbolt.Tx) error
}

// Describe lists what work will do.
func (w Work) Describe() []string {
	out := make([]string, len(w.Steps))
	for i, s := range w.Steps {
		out[i] = s.Describe
	}
	return out
}
