package agent

import (
	"maps"
	"slices"
)

// Plugged says who holds a VF through the host's plug engine. While it stands, the VF
// is given to nobody else, whatever its attributes read.
type Plugged struct {
	Bridge     bool // it is a port of an Open vSwitch bridge, by the name of its interface, not a VF
	PortID     string
	Generation uint64 // of the assignment it was plugged under
	By         string // in words, e.g. "domain vm1"
}

// Returning is a VF that a port has given up and that was not read back clean yet. It
// is on disk, so that a VF that was ours stays ours to clean, over any crash.
type Returning struct {
	PortID     string `json:"port_id"`
	PF         string `json:"pf"`
	Generation uint64 `json:"generation"`
}

// returning are the VFs on their way back after this plan.
func (b *board) returning(next Assignments, owner map[string]string) map[string]Returning {
	out := map[string]Returning{}
	keep := func(slot string, r Returning) {
		v, seen := b.bySlot[slot]
		switch {
		case owner[slot] != "": // somebody's again
		case !seen && b.pfs[r.PF] != nil: // the VF does not exist any more
		case seen && clean(v) && !b.plugged(slot): // read back: free
		default:
			out[slot] = r
		}
	}
	for slot, r := range b.w.Returning {
		keep(slot, r)
	}
	for port, a := range b.w.Assigned {
		if next[port].PCISlot != a.PCISlot {
			keep(a.PCISlot, Returning{PortID: port, PF: a.PF, Generation: a.Generation})
		}
	}
	return out
}

func (b *board) plugged(slot string) bool {
	_, ok := b.w.Plugged[slot]
	return ok
}

// release lists the VFs that are plugged for a port that has them no longer.
func (b *board) release(next Assignments) []string {
	var out []string
	for _, slot := range slices.Sorted(maps.Keys(b.w.Plugged)) {
		p := b.w.Plugged[slot]
		if a, ok := next[p.PortID]; !ok || a.PCISlot != slot || a.Generation != p.Generation {
			out = append(out, slot)
		}
	}
	return out
}

// strangers lists the VFs about which the plan rests on an assumption that only a look
// at who uses them can prove: one that is out of sight is given out as free, or is
// taken back although no record says that it ever was ours.
func (b *board) strangers(p *Plan) []string {
	seen := map[string]bool{}
	for port, a := range p.Assigned {
		v, ok := b.bySlot[a.PCISlot]
		if ok && v.Netdev == "" && b.w.Assigned[port].PCISlot != a.PCISlot && b.w.Desired[port].PCISlot == "" {
			seen[a.PCISlot] = true
		}
	}
	for _, s := range p.Returns {
		slot := b.slot(s)
		if _, ours := p.Returning[slot]; !ours && s.PortID == "" {
			seen[slot] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

func (b *board) slot(s Step) string {
	for _, v := range b.managed {
		if v.ID == s.Do.VF {
			return v.PCISlot
		}
	}
	return ""
}
