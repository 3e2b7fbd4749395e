package trunk

// Result is what one host has to say at the end of a run.
type Result struct {
	Run        ID       `json:"run"`
	Host       string   `json:"host"`
	Error      string   `json:"error,omitempty"` // why the host took no part, or not all of it
	Uplinks    []Uplink `json:"uplinks"`
	Heard      []Heard  `json:"heard"`
	Leaks      []Leak   `json:"leaks,omitempty"`
	Neighbours []Seen   `json:"neighbours,omitempty"`
	Foreign    int      `json:"foreign,omitempty"` // frames of the EtherType that are not this run's
}

// Uplink is one of a host's uplinks.
type Uplink struct {
	Name  string `json:"name"`
	MAC   string `json:"mac_address"`
	MTU   int    `json:"mtu"`             // bytes
	Sent  int    `json:"sent"`            // frames
	Unfit []int  `json:"unfit,omitempty"` // sizes that are more than its MTU: not sent
	// VFVLANs are those that VFs of this uplink are programmed for.
	VFVLANs VLANs  `json:"vf_vlans,omitzero"`
	Error   string `json:"error,omitempty"`
}

// Heard is what came of one sender's frames of one size on one uplink.
type Heard struct {
	From    int   `json:"from"`             // place of the sender in Run.Hosts
	Uplink  int   `json:"uplink"`           // place of the sender's uplink in its Result.Uplinks
	On      int   `json:"on"`               // place of the receiver's uplink in Result.Uplinks
	Size    int   `json:"size"`             // bytes
	VLANs   VLANs `json:"vlans"`            // at least one of the copies came
	Partial VLANs `json:"partial,omitzero"` // some of the copies did not
	Twice   VLANs `json:"twice,omitzero"`   // a copy came more often than it was sent
}

// Leak is a frame that was heard in another VLAN than it was sent in.
type Leak struct {
	From   int `json:"from"`
	Uplink int `json:"uplink"`
	On     int `json:"on"`
	Sent   int `json:"sent"`  // VLAN
	Heard  int `json:"heard"` // VLAN; 0 = untagged
	Count  int `json:"count"`
}

// Seen is a neighbour of an uplink.
type Seen struct {
	On int `json:"on"`
	Neighbour
}

// MaxLeaks is how many leaks a host reports; there is no end to them where a trunk is
// an access port.
const MaxLeaks = 256

// MaxSeen is how many neighbours a host reports.
const MaxSeen = 64

// Tally counts what one host hears.
type Tally struct {
	run     *Run
	streams map[stream]*cells
	leaks   map[Leak]int
	seen    []Seen
	foreign int
}

type stream struct{ from, uplink, on, size int }

type cells struct {
	rounds [MaxVLAN + 1]uint8 // bit set: that round's copy came
	twice  VLANs
}

// NewTally returns an empty one.
func NewTally(r *Run) *Tally {
	return &Tally{run: r, streams: map[stream]*cells{}, leaks: map[Leak]int{}}
}

// Frame counts what stood behind the probe's EtherType, heard on an uplink in a VLAN (0 =
// untagged).
func (t *Tally) Frame(on, vlan int, b []byte) {
	f, err := Parse(b, t.run.Key)
	if err != nil || !t.asked(f) {
		t.foreign++
		return
	}
	if f.VLAN != vlan {
		l := Leak{From: f.Host, Uplink: f.Uplink, On: on, Sent: f.VLAN, Heard: vlan}
		if _, have := t.leaks[l]; have || len(t.leaks) < MaxLeaks {
			t.leaks[l]++
		}
		return
	}
	s := stream{f.Host, f.Uplink, on, f.Size}
	c := t.streams[s]
	if c == nil {
		c = &cells{}
		t.streams[s] = c
	}
	bit := uint8(1) << f.Round
	if c.rounds[vlan]&bit != 0 {
		c.twice.Add(vlan)
	}
	c.rounds[vlan] |= bit
}

// asked reports whether the frame is one that the run sends.
func (t *Tally) asked(f Frame) bool {
	r := t.run
	ok := f.Run == r.ID && f.Host < len(r.Hosts) && f.Uplink < r.Hosts[f.Host].Uplinks && f.Round < r.Rounds && r.VLANs.Has(f.VLAN)
	for _, s := range r.Sizes {
		if ok && s == f.Size {
			return true
		}
	}
	return false
}

// LLDP counts what stood behind LLDP's EtherType; what is no LLDP is left out.
func (t *Tally) LLDP(on int, b []byte) {
	n, err := ParseLLDP(b)
	if err != nil {
		return
	}
	for i := range t.seen {
		if s := &t.seen[i]; s.On == on && s.Chassis == n.Chassis && s.Port == n.Port {
			s.Neighbour = n
			return
		}
	}
	if len(t.seen) < MaxSeen {
		t.seen = append(t.seen, Seen{On: on, Neighbour: n})
	}
}

// Fill writes what was heard into r, in a fixed order.
func (t *Tally) Fill(r *Result) {
	all := uint8(1<<t.run.Rounds - 1)
	for from := range t.run.Hosts {
		for uplink := range t.run.Hosts[from].Uplinks {
			for on := range r.Uplinks {
				for _, size := range t.run.Sizes {
					c := t.streams[stream{from, uplink, on, size}]
					if c == nil {
						continue
					}
					h := Heard{From: from, Uplink: uplink, On: on, Size: size, Twice: c.twice}
					for id, got := range c.rounds {
						if got != 0 {
							h.VLANs.Add(id)
						}
						if got != 0 && got != all {
							h.Partial.Add(id)
						}
					}
					r.Heard = append(r.Heard, h)
				}
			}
		}
	}
	for l, n := range t.leaks {
		l.Count = n
		r.Leaks = append(r.Leaks, l)
	}
	sortLeaks(r.Leaks)
	r.Neighbours, r.Foreign = t.seen, t.foreign
}
