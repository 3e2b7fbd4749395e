package wire

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Test is a kind of measurement.
type Test string

// The tests.
const (
	ICMP      Test = "icmp"      // round trips of echo requests; the peer's kernel answers
	UDP       Test = "udp"       // round trips of datagrams
	TCP       Test = "tcp"       // round trips of messages on one connection
	Stream    Test = "stream"    // TCP throughput
	UDPStream Test = "udpstream" // UDP throughput
	Packets   Test = "pps"       // small datagrams, as many as go
)

// Tests are all tests, in the order in which they run.
var Tests = []Test{ICMP, UDP, TCP, Stream, UDPStream, Packets}

// Latency says whether a test measures round trips.
func (t Test) Latency() bool { return t == ICMP || t == UDP || t == TCP }

// datagrams says whether a test's messages keep their bounds on the way.
func (t Test) datagrams() bool { return t != TCP && t != Stream }

// stream says whether a test's flows are TCP connections.
func (t Test) stream() bool { return t == TCP || t == Stream }

// DefaultSize is the size of a message where none is asked for. That of UDP throughput fits
// an Ethernet frame with IPv4 and IPv6 alike.
func (t Test) DefaultSize() int {
	switch t {
	case Stream:
		return 128 << 10
	case UDPStream:
		return 1452
	default:
		return 64
	}
}

// ParseTests reads a list of tests: names separated by commas.
func ParseTests(s string) ([]Test, error) {
	var out []Test
	for name := range strings.SplitSeq(s, ",") {
		t := Test(strings.TrimSpace(name))
		if !slices.Contains(Tests, t) {
			return nil, fmt.Errorf("%q is no test: there are %s", name, names(Tests))
		}
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out, nil
}

func names(all []Test) string {
	var s []string
	for _, t := range all {
		s = append(s, string(t))
	}
	return strings.Join(s, ", ")
}

// ErrSpec: what is asked for cannot be measured, or not here.
var ErrSpec = errors.New("cannot be measured")

// Spec is one measurement.
type Spec struct {
	Test Test `json:"test"`
	// Size of a message in bytes; with Stream, of what is handed to the kernel at once.
	Size  int `json:"size"`
	Flows int `json:"flows"`
	// What happens in Warmup is not counted.
	Warmup   time.Duration `json:"warmup_ns"`
	Duration time.Duration `json:"duration_ns"`
	// Messages per second and flow; 0 = each message as soon as the one before it is done
	// with. Latency with a rate is open-loop: it counts from the time at which a message was
	// to be sent, so a peer that stalls is seen by all who would have called meanwhile.
	Rate float64 `json:"rate,omitempty"`
	// The server sends, throughput only.
	Reverse bool `json:"reverse,omitempty"`
}

// Bounds of what can be asked for at all.
const (
	minDatagram = 16 // an index has to fit in
	maxDatagram = 65467
	maxMessage  = 1 << 20
	maxRate     = 10e6
)

// Limits are what a server allows.
type Limits struct {
	Time  time.Duration `json:"time_ns"` // of one measurement, warm-up included
	Flows int           `json:"flows"`
}

// DefaultLimits suit a server that others reach.
var DefaultLimits = Limits{Time: 5 * time.Minute, Flows: 64}

// Check says what is wrong with a spec, under a server's limits.
func (s Spec) Check(l Limits) error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("%s %w: %s", s.Test, ErrSpec, fmt.Sprintf(format, a...))
	}
	lo, hi := 1, maxMessage
	if s.Test.datagrams() {
		lo, hi = minDatagram, maxDatagram
	}
	switch {
	case !slices.Contains(Tests, s.Test):
		return fmt.Errorf("%q %w: the tests are %s", s.Test, ErrSpec, names(Tests))
	case s.Size < lo || s.Size > hi:
		return bad("messages have %d to %d bytes, not %d", lo, hi, s.Size)
	case s.Flows < 1 || s.Flows > l.Flows:
		return bad("1 to %d flows are allowed, not %d", l.Flows, s.Flows)
	case s.Warmup < 0 || s.Duration <= 0 || s.Warmup > l.Time || s.Duration > l.Time || s.Warmup+s.Duration > l.Time:
		return bad("%s and %s of warm-up are not within 0 and the limit of %s", s.Duration, s.Warmup, l.Time)
	case s.Rate != s.Rate || s.Rate < 0 || s.Rate > maxRate:
		return bad("a rate is 0 to %.0f messages per second, not %g", maxRate, s.Rate)
	case s.Rate > 0 && s.Test == Stream:
		return bad("TCP has a pace of its own, a rate is for the other tests")
	case s.Reverse && s.Test.Latency():
		return bad("a round trip goes both ways, reverse is for throughput")
	}
	return nil
}
