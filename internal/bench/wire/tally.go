package wire

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"neutrino/internal/bench"
)

// note records a latency. What takes longer than a histogram has room for counts as the most that it has.
func note(h *hdrhistogram.Histogram, ns int64) {
	_ = h.RecordValue(min(max(ns, 0), h.HighestTrackableValue())) // within the bounds it cannot fail
}

// tally is what a flow, or all of them, counted.
type tally struct {
	Messages int64 `json:"messages"` // round trips, or datagrams received
	Bytes    int64 `json:"bytes"`    // received in the window
	// Messages that got no answer, or datagrams that were missing between those received.
	Lost int64 `json:"lost"`
	// Datagrams that came after one that was sent later.
	Disorder int64 `json:"disorder,omitempty"`
	// What the counts are over, by the receiver's clock.
	Window time.Duration `json:"window_ns"`
}

// add sums up flows that ran beside each other.
func (t *tally) add(o tally) {
	t.Messages += o.Messages
	t.Bytes += o.Bytes
	t.Lost += o.Lost
	t.Disorder += o.Disorder
	t.Window = max(t.Window, o.Window)
}

// into puts what was counted into a run.
func (t tally) into(r *bench.Run) {
	r.Messages, r.Bytes, r.Lost, r.Disorder, r.Window = t.Messages, t.Bytes, t.Lost, t.Disorder, t.Window
}
