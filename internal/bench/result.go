package bench

import (
	"fmt"
	"strings"
	"time"
)

// Result is what one file holds.
type Result struct {
	Format  string    `json:"format"` // formatName
	Version int       `json:"version"`
	Title   string    `json:"title,omitempty"` // for people; "" = the file's name will do
	Started time.Time `json:"started"`
	// What was run, as on the command line.
	Command []string `json:"command,omitempty"`
	// The machine that measured, and the other end; nil = the same machine, or nothing is known of it.
	Local  Environment  `json:"local"`
	Remote *Environment `json:"remote,omitempty"`
	// Interleaved: the runs of all series took turns, run i of each belongs together.
	Interleaved bool     `json:"interleaved,omitempty"`
	Series      []Series `json:"series"`
}

// Series are the runs of one measurement on one path.
type Series struct {
	Measurement
	// Path that was measured: "wire", "ovs-vxlan"; "" = the result has one path only.
	Path      string `json:"path,omitempty"`
	PathTitle string `json:"path_title,omitempty"` // for people
	Runs      []Run  `json:"runs"`
	// Err says why there are no runs, or no more of them.
	Err string `json:"error,omitempty"`
}

// Measurement says what is measured, apart from where.
type Measurement struct {
	Test  string  `json:"test"` // icmp, udp, tcp, stream, udpstream, pps
	Size  int     `json:"size"` // bytes of a message
	Flows int     `json:"flows"`
	Rate  float64 `json:"rate,omitempty"` // messages a second and flow; 0 = closed loop
	// The other end sends.
	Reverse bool `json:"reverse,omitempty"`
}

// String is for people: "udp, 64 bytes".
func (m Measurement) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d bytes", m.Test, m.Size)
	if m.Flows > 1 {
		fmt.Fprintf(&b, ", %d flows", m.Flows)
	}
	if m.Rate > 0 {
		fmt.Fprintf(&b, ", %g a second", m.Rate)
	}
	if m.Reverse {
		b.WriteString(", from the peer")
	}
	return b.String()
}

// Name of the path for people.
func (s Series) Name() string {
	switch {
	case s.PathTitle != "":
		return s.PathTitle
	case s.Path != "":
		return s.Path
	}
	return "the path"
}

// Run is one run of one measurement.
type Run struct {
	Start time.Time `json:"start"`
	// Round trips in nanoseconds; nil for throughput. With a rate they count from the time at which each
	// message was to be sent.
	Latency *Histogram `json:"latency_ns,omitempty"`
	// With a rate: how late the measuring end itself sent.
	Late *Histogram `json:"late_ns,omitempty"`
	// Messages are round trips, or datagrams that arrived; of Lost nothing was seen again.
	Messages int64         `json:"messages"`
	Lost     int64         `json:"lost"`
	Disorder int64         `json:"disorder,omitempty"`
	Bytes    int64         `json:"bytes"` // that arrived
	Window   time.Duration `json:"window_ns"`
	// What it cost both ends, and the processors that its loops were pinned to.
	LocalUsage  Usage  `json:"local_usage"`
	RemoteUsage *Usage `json:"remote_usage,omitempty"` // nil = the same machine, or not known
	LocalCPUs   []int  `json:"local_cpus,omitempty"`
	RemoteCPUs  []int  `json:"remote_cpus,omitempty"`
	Noise       Noise  `json:"noise"`
}

// Usage is what a run cost one end.
type Usage struct {
	Wall time.Duration `json:"wall_ns"`
	// Processor time of the measuring process.
	Process time.Duration `json:"process_ns"`
	// Of the machine, over all its processors: time that they were not idle, stolen time left out, and time
	// that a hypervisor gave to others.
	Busy       time.Duration `json:"busy_ns"`
	Steal      time.Duration `json:"steal_ns"`
	Processors int           `json:"processors"`
	// How often a thread of the process had to make way for another one.
	Preempted int64 `json:"preempted"`
}

// Noise is what else went on, as shares of all processors.
type Noise struct {
	// For a moment before the run, while nothing was measured.
	BusyBefore  float64 `json:"busy_before"`
	StealBefore float64 `json:"steal_before"`
	// During it: what other processes and the kernel's work for packets took, and what was stolen.
	Others float64 `json:"others"`
	Steal  float64 `json:"steal"`
	// The processors' clock before and after, in MHz; 0 = not known.
	MHzBefore float64 `json:"mhz_before,omitempty"`
	MHzAfter  float64 `json:"mhz_after,omitempty"`
}

// Bits a second that arrived.
func (r *Run) Bits() float64 { return r.each(float64(r.Bytes) * 8) }

// Packets a second: messages that arrived.
func (r *Run) Packets() float64 { return r.each(float64(r.Messages)) }

// Loss is the share of messages that were lost.
func (r *Run) Loss() float64 {
	if r.Messages+r.Lost <= 0 {
		return 0
	}
	return float64(r.Lost) / float64(r.Messages+r.Lost)
}

func (r *Run) each(n float64) float64 {
	if r.Window <= 0 {
		return 0
	}
	return n / r.Window.Seconds()
}

// Processors is how many processors of the machine were busy on average.
func (u Usage) cpus() float64 {
	if u.Wall <= 0 {
		return 0
	}
	return float64(u.Busy) / float64(u.Wall)
}
