package trunk

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Limits of a run.
const (
	DefaultRate  = 500  // frames a second, in all: one uplink sends at a time
	MaxRate      = 2000 // frames a second
	MaxBits      = 20_000_000
	MaxHosts     = 512
	MaxSizes     = 64
	MaxUplinks   = 16 // of one host on one physical network
	MaxStreams   = 8192
	MaxListen    = 2 * time.Minute // after the last frame
	DefaultLimit = 5 * time.Minute
	MaxDuration  = time.Hour

	// Margin is the time in which an order has to reach every host: nobody sends before.
	Margin = 4 * time.Second
	// Gap lies between two hosts' turns, and behind the last, for what is under way.
	Gap = 500 * time.Millisecond
)

// ErrPlan is in the chain of every error of [Run.Plan].
var ErrPlan = errors.New("the run cannot be planned")

// Host is one host's part in a run.
type Host struct {
	Host      string        `json:"host"`
	Uplinks   int           `json:"uplinks"`    // how many it may send on
	SendAfter time.Duration `json:"send_after"` // ns since the run began
}

// Run is one verification: the order that every host gets.
type Run struct {
	ID              ID            `json:"id"`
	Key             []byte        `json:"key"`
	PhysicalNetwork string        `json:"physical_network"`
	VLANs           VLANs         `json:"vlans"`
	Sizes           []int         `json:"sizes"` // bytes behind the tag, ascending
	Rounds          int           `json:"rounds"`
	Rate            int           `json:"rate"` // frames a second
	Hosts           []Host        `json:"hosts"`
	Listen          time.Duration `json:"listen"`   // ns, beyond the last frame
	Duration        time.Duration `json:"duration"` // ns, all of it; set by Plan
	CreatedAt       time.Time     `json:"created_at"`
}

// Frames returns how many frames an uplink sends.
func (r *Run) Frames() int { return r.VLANs.Len() * len(r.Sizes) * r.Rounds }

// Total returns how many frames are sent at most, and how many bytes on the wire.
func (r *Run) Total() (frames int, octets int64) {
	uplinks := 0
	for _, h := range r.Hosts {
		uplinks += h.Uplinks
	}
	for _, s := range r.Sizes {
		octets += int64(s+18) * int64(r.VLANs.Len()*r.Rounds*uplinks)
	}
	return r.Frames() * uplinks, octets
}

// Spacing returns the time between a frame of that size and the next: neither more
// frames nor more bits a second than allowed.
func (r *Run) Spacing(size int) time.Duration {
	return max(time.Second/time.Duration(r.Rate), time.Duration(size+18)*8*time.Second/MaxBits)
}

// sending is how long one uplink sends.
func (r *Run) sending() time.Duration {
	var d time.Duration
	for _, s := range r.Sizes {
		d += r.Spacing(s) * time.Duration(r.VLANs.Len()*r.Rounds)
	}
	return d
}

// Plan checks the run, gives each host its turn and says how long all of it takes, which
// must not be more than limit.
func (r *Run) Plan(limit time.Duration) error {
	slices.Sort(r.Sizes)
	r.Sizes = slices.Compact(r.Sizes)
	if err := r.check(); err != nil {
		return err
	}
	each, at := r.sending(), Margin
	for i := range r.Hosts {
		r.Hosts[i].SendAfter = at
		// A sender that is late by a quarter still ends within its turn.
		at += time.Duration(r.Hosts[i].Uplinks)*(each+each/4) + Gap
	}
	r.Duration = (at + Gap + r.Listen).Round(time.Millisecond)
	if limit > MaxDuration {
		return fmt.Errorf("%w: a run of %s: at most %s are allowed", ErrPlan, limit, MaxDuration)
	}
	if r.Duration > limit {
		return fmt.Errorf("%w: it would take %s, and at most %s are allowed: ask for fewer VLANs, sizes or hosts, a higher rate, or more time",
			ErrPlan, r.Duration.Round(time.Second), limit)
	}
	return nil
}

func (r *Run) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %w", ErrPlan, fmt.Errorf(format, args...))
	}
	uplinks := 0
	for _, h := range r.Hosts {
		if h.Host == "" || h.Uplinks < 1 || h.Uplinks > MaxUplinks {
			return bad("host %q has %d uplinks: 1 to %d are possible", h.Host, h.Uplinks, MaxUplinks)
		}
		uplinks += h.Uplinks
	}
	switch {
	case r.PhysicalNetwork == "":
		return bad("no physical network is named")
	case r.VLANs.Len() == 0:
		return bad("there are no VLANs")
	case len(r.Sizes) == 0 || len(r.Sizes) > MaxSizes:
		return bad("%d sizes: 1 to %d are possible", len(r.Sizes), MaxSizes)
	case r.Sizes[0] < MinSize || r.Sizes[len(r.Sizes)-1] > MaxSize:
		return bad("sizes are from %d to %d bytes", MinSize, MaxSize)
	case r.Rounds < 1 || r.Rounds > MaxRounds:
		return bad("%d rounds: 1 to %d are possible", r.Rounds, MaxRounds)
	case r.Rate < 1 || r.Rate > MaxRate:
		return bad("%d frames a second: 1 to %d are possible", r.Rate, MaxRate)
	case len(r.Hosts) == 0 || len(r.Hosts) > MaxHosts:
		return bad("%d hosts: 1 to %d are possible", len(r.Hosts), MaxHosts)
	case uplinks < 2:
		return bad("only host %s takes part, with one uplink: there is nobody to hear it", r.Hosts[0].Host)
	case uplinks*len(r.Sizes) > MaxStreams:
		return bad("%d uplinks and %d sizes are too many at once: their product may be %d", uplinks, len(r.Sizes), MaxStreams)
	case r.Listen < 0 || r.Listen > MaxListen:
		return bad("listening for %s: at most %s are possible", r.Listen, MaxListen)
	}
	return nil
}

// Place returns the host's place in Hosts, or -1.
func (r *Run) Place(host string) int {
	return slices.IndexFunc(r.Hosts, func(h Host) bool { return h.Host == host })
}

// Each calls send for each frame of one uplink, in the order they go out: the copies of
// one frame lie far apart, so that a moment's loss is not taken for a VLAN's. It ends
// early when send returns false.
func (r *Run) Each(host, uplink int, send func(Frame) bool) {
	ids := r.VLANs.IDs()
	for round := range r.Rounds {
		for _, size := range r.Sizes {
			for _, id := range ids {
				if !send(Frame{Run: r.ID, Host: host, Uplink: uplink, VLAN: id, Size: size, Round: round}) {
					return
				}
			}
		}
	}
}
