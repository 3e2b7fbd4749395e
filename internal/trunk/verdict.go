package trunk

import (
	"cmp"
	"fmt"
	"slices"
)

// States of a host in a report.
const (
	HostReported = "reported"
	HostSilent   = "no answer"
	HostFailed   = "failed"
)

// Report is the verdict of a run.
type Report struct {
	// Clean: every frame of every host was heard by every other one at least once, where it
	// belongs and once only, and all hosts took part.
	Clean   bool         `json:"clean"`
	Checked int          `json:"checked"` // ordered pairs of uplinks
	Pairs   []Pair       `json:"pairs"`   // those of which there is something to say
	Loops   []Loop       `json:"loops"`
	Leaks   []LeakReport `json:"leaks"`
	Hosts   []HostReport `json:"hosts"`
}

// Pair is what is wrong on the way from one uplink to another.
type Pair struct {
	From       string `json:"from"`
	FromUplink string `json:"from_uplink"`
	To         string `json:"to"`
	ToUplink   string `json:"to_uplink"`
	Lost       VLANs  `json:"lost"`             // nothing came
	OneWay     VLANs  `json:"one_way,omitzero"` // of those: the other way it does
	// Kept: nothing came either, which says nothing of the switches: these are VLANs of the
	// receiver's VFs, its NIC hands over nobody's frames in them, and others hear it there.
	Kept    VLANs  `json:"kept,omitzero"`
	Holes   []Hole `json:"mtu_holes,omitempty"` // small frames come, large ones do not
	Partial VLANs  `json:"partial,omitzero"`    // some copies came; a note, no fault
	Twice   VLANs  `json:"duplicated,omitzero"` // frames came more than once: a loop, or two ways
}

// Hole is an MTU black hole.
type Hole struct {
	VLANs  VLANs  `json:"vlans"`
	Passed int    `json:"passed"` // bytes behind the tag: the largest size that came
	Lost   int    `json:"lost"`   // the smallest that did not
	Why    string `json:"why,omitempty"`
}

// Loop is an uplink that hears what it sent itself.
type Loop struct {
	Host   string `json:"host"`
	Uplink string `json:"uplink"`
	VLANs  VLANs  `json:"vlans"`
}

// LeakReport is a frame that came out of another VLAN than it went into.
type LeakReport struct {
	From       string `json:"from"`
	FromUplink string `json:"from_uplink"`
	To         string `json:"to"`
	ToUplink   string `json:"to_uplink"`
	Sent       int    `json:"sent_vlan"`
	Heard      int    `json:"heard_vlan"` // 0 = untagged
	Count      int    `json:"count"`
}

// HostReport says how a host took part and what it is connected to.
type HostReport struct {
	Host       string            `json:"host"`
	State      string            `json:"state"`
	Error      string            `json:"error,omitempty"`
	Uplinks    []Uplink          `json:"uplinks"`
	Neighbours []NeighbourReport `json:"neighbours"`
	Foreign    int               `json:"foreign_frames,omitempty"`
}

// NeighbourReport is a neighbour of a named uplink.
type NeighbourReport struct {
	Uplink string `json:"uplink"`
	Neighbour
}

// Judge holds what the hosts heard against what was sent. results are by host; one that
// is missing did not answer. Places in a result that the run does not have are ignored.
func Judge(r *Run, results map[string]*Result) *Report {
	j := &judge{run: r, results: make([]*Result, len(r.Hosts)), heard: map[way]map[int]*Heard{}}
	out := &Report{Clean: true, Pairs: []Pair{}, Loops: []Loop{}, Leaks: []LeakReport{}, Hosts: []HostReport{}}
	for i, h := range r.Hosts {
		got := results[h.Host]
		report := j.host(h, got)
		out.Hosts = append(out.Hosts, report)
		if got != nil {
			j.results[i] = got
		}
		bad := report.State != HostReported
		for _, u := range report.Uplinks {
			bad = bad || u.Error != "" || len(u.Unfit) > 0
		}
		out.Clean = out.Clean && !bad
	}
	j.index()
	j.judgePairs(out)
	for i, got := range j.results {
		if got == nil {
			continue
		}
		for _, l := range got.Leaks {
			from, to := j.station(l.From, l.Uplink), j.station(i, l.On)
			if from != nil && to != nil {
				out.Clean = false
				out.Leaks = append(out.Leaks, LeakReport{
					r.Hosts[l.From].Host, from.Name, r.Hosts[i].Host, to.Name, l.Sent, l.Heard, l.Count,
				})
			}
		}
	}
	return out
}

type judge struct {
	run     *Run
	results []*Result // by place; nil = no answer
	heard   map[way]map[int]*Heard
}

// way is from one uplink to another; end is an uplink.
type (
	end struct{ host, uplink int }
	way struct{ from, to end }
)

func (j *judge) host(h Host, got *Result) HostReport {
	out := HostReport{Host: h.Host, State: HostSilent, Uplinks: []Uplink{}, Neighbours: []NeighbourReport{}}
	if got == nil {
		return out
	}
	out.State, out.Error, out.Foreign = HostReported, got.Error, got.Foreign
	if got.Error != "" {
		out.State = HostFailed
	}
	out.Uplinks = append(out.Uplinks, got.Uplinks...)
	for _, s := range got.Neighbours {
		if s.On >= 0 && s.On < len(got.Uplinks) {
			out.Neighbours = append(out.Neighbours, NeighbourReport{got.Uplinks[s.On].Name, s.Neighbour})
		}
	}
	return out
}

// station returns an uplink that took part, or nil.
func (j *judge) station(host, uplink int) *Uplink {
	if host < 0 || host >= len(j.results) || j.results[host] == nil || uplink < 0 || uplink >= len(j.results[host].Uplinks) {
		return nil
	}
	return &j.results[host].Uplinks[uplink]
}

func (j *judge) index() {
	for i, got := range j.results {
		if got == nil {
			continue
		}
		for k := range got.Heard {
			h := &got.Heard[k]
			w := way{end{h.From, h.Uplink}, end{i, h.On}}
			if j.heard[w] == nil {
				j.heard[w] = map[int]*Heard{}
			}
			j.heard[w][h.Size] = h
		}
	}
}

func (j *judge) judgePairs(out *Report) {
	var ends []end
	for i, got := range j.results {
		if got == nil {
			continue
		}
		for k := range got.Uplinks {
			ends = append(ends, end{i, k})
		}
	}
	passes := map[way]VLANs{}
	for _, from := range ends {
		for _, to := range ends {
			passes[way{from, to}] = j.passes(way{from, to})
		}
	}
	kept := j.kept(passes)
	for _, from := range ends {
		for _, to := range ends {
			w, sender, receiver := way{from, to}, j.station(from.host, from.uplink), j.station(to.host, to.uplink)
			if from == to {
				if v := passes[w].Less(j.ownSwitch(w, sender)); v.Len() > 0 {
					out.Clean = false
					out.Loops = append(out.Loops, Loop{j.run.Hosts[from.host].Host, sender.Name, v})
				}
				continue
			}
			if sender.Error != "" || receiver.Error != "" || sender.Sent == 0 {
				continue // what was not sent, or not listened for, is not lost
			}
			out.Checked++
			p := j.pair(w, sender, receiver)
			p.Kept = p.Lost.And(kept[to])
			p.Lost = p.Lost.Less(p.Kept)
			p.OneWay = p.Lost.And(passes[way{to, from}])
			faults := p.Lost.Len() + p.Kept.Len() + len(p.Holes) + p.Twice.Len()
			if faults > 0 {
				out.Clean = false
			}
			if faults+p.Partial.Len() > 0 {
				out.Pairs = append(out.Pairs, p)
			}
		}
	}
}

// kept are the VLANs of each uplink's own VFs in which it hears nobody and is heard: a trunk
// port without the VLAN would be silent both ways.
func (j *judge) kept(passes map[way]VLANs) map[end]VLANs {
	hears, out := map[end]VLANs{}, map[end]VLANs{}
	for w, v := range passes {
		if w.from != w.to {
			hears[w.to], out[w.from] = hears[w.to].Or(v), out[w.from].Or(v)
		}
	}
	for e, heard := range out {
		out[e] = j.station(e.host, e.uplink).VFVLANs.And(heard).Less(hears[e])
	}
	return out
}

// ownSwitch are VLANs in which an uplink hears one copy of what it sent because its NIC's
// switch gives broadcasts to whoever is in a VLAN of its VFs, the sender with them (igb). In a
// loop more than one comes.
func (j *judge) ownSwitch(w way, u *Uplink) VLANs {
	var twice VLANs
	for _, h := range j.heard[w] {
		twice = twice.Or(h.Twice)
	}
	return u.VFVLANs.Less(twice)
}

// passes are the VLANs of which anything came.
func (j *judge) passes(w way) VLANs {
	var v VLANs
	for _, h := range j.heard[w] {
		v = v.Or(h.VLANs)
	}
	return v
}

func (j *judge) pair(w way, sender, receiver *Uplink) Pair {
	p := Pair{
		From: j.run.Hosts[w.from.host].Host, FromUplink: sender.Name,
		To: j.run.Hosts[w.to.host].Host, ToUplink: receiver.Name,
	}
	heard := j.heard[w]
	for _, h := range heard {
		p.Twice, p.Partial = p.Twice.Or(h.Twice), p.Partial.Or(h.Partial)
	}
	var sizes []int
	for _, s := range j.run.Sizes {
		if !slices.Contains(sender.Unfit, s) {
			sizes = append(sizes, s)
		}
	}
	if len(sizes) == 0 {
		return p // the sender could send none of them, and says so
	}
	holes := map[[2]int]*VLANs{}
	for _, id := range j.run.VLANs.IDs() {
		passed, lost, odd := step(sizes, func(size int) bool { h := heard[size]; return h != nil && h.VLANs.Has(id) })
		switch {
		case odd:
			p.Partial.Add(id)
		case passed == 0:
			p.Lost.Add(id)
		case lost != 0:
			key := [2]int{passed, lost}
			if holes[key] == nil {
				holes[key] = &VLANs{}
			}
			holes[key].Add(id)
		}
	}
	for key, v := range holes {
		h := Hole{VLANs: *v, Passed: key[0], Lost: key[1]}
		if receiver.MTU > 0 && receiver.MTU < h.Lost {
			h.Why = fmt.Sprintf("the MTU of %s on %s is %d", p.ToUplink, p.To, receiver.MTU)
		}
		p.Holes = append(p.Holes, h)
	}
	slices.SortFunc(p.Holes, func(a, b Hole) int { return cmp.Or(cmp.Compare(a.Passed, b.Passed), cmp.Compare(a.Lost, b.Lost)) })
	return p
}

// step finds the size up to which everything came and from which on nothing did: the
// largest that passed (0 = none) and the smallest that was lost (0 = none). odd: there is
// no such step, larger ones came while smaller did not.
func step(sizes []int, came func(int) bool) (passed, lost int, odd bool) {
	for _, s := range sizes {
		switch ok := came(s); {
		case ok && lost != 0:
			return 0, 0, true
		case ok:
			passed = s
		case lost == 0:
			lost = s
		}
	}
	return passed, lost, false
}

func sortLeaks(leaks []Leak) {
	slices.SortFunc(leaks, func(a, b Leak) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Uplink, b.Uplink), cmp.Compare(a.On, b.On),
			cmp.Compare(a.Sent, b.Sent), cmp.Compare(a.Heard, b.Heard))
	})
}
