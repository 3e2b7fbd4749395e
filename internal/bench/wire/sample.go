package wire

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// maxLatency is the highest latency that a histogram tells from others, in nanoseconds; what
// took longer counts as that. It is more than a measurement can last.
const maxLatency = int64(10 * time.Minute)

// newHistogram makes a histogram of nanoseconds with three digits.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, maxLatency, 3) }

// note records a latency.
func note(h *hdrhistogram.Histogram, ns int64) {
	_ = h.RecordValue(min(max(ns, 0), maxLatency)) // within the bounds it cannot fail
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

// Sample is one run of one measurement.
type Sample struct {
	Spec  Spec
	Start time.Time
	// Round trips in nanoseconds; nil for throughput. With a rate they count from the time at
	// which each message was to be sent.
	Latency *hdrhistogram.Histogram
	// Only with a rate: how late messages were sent. What the measuring end itself could not
	// keep up with is in here, and in Latency.
	Late *hdrhistogram.Histogram
	// Messages are round trips or datagrams that arrived; Lost got no answer or did not arrive.
	Messages, Lost, Disorder int64
	// Bytes that arrived.
	Bytes  int64
	Window time.Duration
	// What both ends cost, and the processors of the loops.
	Local, Remote         Usage
	LocalCPUs, RemoteCPUs []int
	// Of whole measurement, both ends: what else went on.
	Noise Noise
}

// Bits per second.
func (s *Sample) Bits() float64 { return perSecond(float64(s.Bytes)*8, s.Window) }

// Rate is messages per second.
func (s *Sample) Rate() float64 { return perSecond(float64(s.Messages), s.Window) }

func perSecond(n float64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return n / d.Seconds()
}
