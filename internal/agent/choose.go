package agent

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
	"neutrino/internal/pci"
)

// vf is an observed VF together with its PF.
type vf struct {
	eswitch.VF
	pf *eswitch.PF
}

// board is the host laid out for planning.
type board struct {
	w       World
	pfs     map[string]*eswitch.PF
	bySlot  map[string]vf // every VF observed
	managed []vf          // those of mapped PFs that are not excluded, in order of PF and index
	phys    map[string]map[string]bool
	refusal map[string]string // port -> why it has no VF

	generation uint64 // the last one given
}

func newBoard(w World) *board {
	b := &board{
		w: w, pfs: map[string]*eswitch.PF{}, bySlot: map[string]vf{},
		phys: map[string]map[string]bool{}, refusal: map[string]string{}, generation: w.Generation,
	}
	mapped := map[string]bool{}
	for phys, pfs := range w.Mappings {
		b.phys[phys] = map[string]bool{}
		for _, pf := range pfs {
			b.phys[phys][pf] = true
			mapped[pf] = true
		}
	}
	for i := range w.Observed.PFs {
		pf := &w.Observed.PFs[i]
		b.pfs[pf.Name] = pf
		for _, v := range pf.VFs {
			if v.PCISlot == "" {
				continue // still being made
			}
			if _, twice := b.bySlot[v.PCISlot]; twice {
				continue
			}
			b.bySlot[v.PCISlot] = vf{v, pf}
			if mapped[pf.Name] && !w.Excluded[v.PCISlot] {
				b.managed = append(b.managed, vf{v, pf})
			}
		}
	}
	slices.SortStableFunc(b.managed, func(x, y vf) int {
		if c := strings.Compare(x.ID.PF, y.ID.PF); c != 0 {
			return c
		}
		return x.ID.Index - y.ID.Index
	})
	return b
}

// assign decides which VF each desired port has: the one it has already, the one it
// asks for, the one that carries it already, or a free one, in this order of
// precedence over all ports.
func (b *board) assign() Assignments {
	out := Assignments{}
	taken := map[string]string{} // PCI slot -> port
	ports := slices.Sorted(maps.Keys(b.w.Desired))
	give := func(port string, v vf) {
		a := Assignment{PortID: port, PF: v.ID.PF, Index: v.ID.Index, PCISlot: v.PCISlot, Netdev: v.Netdev}
		a.Generation = b.tenure(port, v.PCISlot)
		if a.Netdev == "" {
			a.Netdev = b.netdev(v.PCISlot)
		}
		out[port] = a
		taken[v.PCISlot] = port
	}
	for _, port := range ports {
		b.keep(port, out, taken, give)
	}
	for _, port := range ports {
		att := b.w.Desired[port]
		if _, ok := out[port]; ok || att.PCISlot == "" {
			continue
		}
		if v, why := b.asked(att, taken); why != "" {
			b.refusal[port] = why
		} else {
			give(port, v)
		}
	}
	for _, pick := range []func(*model.Attachment, map[string]string) (vf, bool){b.carrying, b.free} {
		for _, port := range ports {
			att := b.w.Desired[port]
			if _, ok := out[port]; ok || att.PCISlot != "" {
				continue
			}
			if v, ok := pick(att, taken); ok {
				give(port, v)
			}
		}
	}
	for _, port := range ports {
		if _, ok := out[port]; !ok && b.refusal[port] == "" {
			b.refusal[port] = b.noneFree(b.w.Desired[port].PhysicalNetwork, taken)
		}
	}
	return out
}

// tenure is the generation under which a port has a VF: that of its record, of what is
// plugged for it where the record was lost, else a new one.
func (b *board) tenure(port, slot string) uint64 {
	if a, ok := b.w.Assigned[port]; ok && a.PCISlot == slot && a.Generation != 0 {
		return a.Generation
	}
	if p, ok := b.w.Plugged[slot]; ok && p.PortID == port && p.Generation > b.generation {
		b.generation = p.Generation
		return p.Generation
	}
	b.generation++
	return b.generation
}

// netdev returns the name that the record has for a VF whose netdev is away.
func (b *board) netdev(slot string) string {
	for _, a := range b.w.Assigned {
		if a.PCISlot == slot {
			return a.Netdev
		}
	}
	return ""
}

// keep leaves a port on the VF it was given. It stays there also while the VF cannot be
// seen (a PF being reset): a port never moves on its own, its guest would not follow.
func (b *board) keep(port string, out Assignments, taken map[string]string, give func(string, vf)) {
	att := b.w.Desired[port]
	a, ok := b.w.Assigned[port]
	if !ok || taken[a.PCISlot] != "" || (att.PCISlot != "" && att.PCISlot != a.PCISlot) || b.w.Excluded[a.PCISlot] {
		return
	}
	v, seen := b.bySlot[a.PCISlot]
	switch {
	case !seen && b.phys[att.PhysicalNetwork][a.PF]:
		a.PortID = port
		out[port] = a
		taken[a.PCISlot] = port
	case seen && b.phys[att.PhysicalNetwork][v.ID.PF] && !b.heldFor(a.PCISlot, port, true):
		give(port, v)
	}
}

// asked is the VF that the controller names.
func (b *board) asked(att *model.Attachment, taken map[string]string) (vf, string) {
	v, ok := b.bySlot[att.PCISlot]
	switch {
	case !ok:
		for _, pf := range b.w.Observed.PFs {
			if pf.PCISlot == att.PCISlot {
				return vf{}, fmt.Sprintf("%s is the physical function %s, not a VF", att.PCISlot, pf.Name)
			}
		}
		return vf{}, fmt.Sprintf("VF %s does not exist on this host", att.PCISlot)
	case b.w.Excluded[att.PCISlot]:
		return vf{}, fmt.Sprintf("VF %s is excluded from use by this host's configuration", att.PCISlot)
	case len(b.phys[att.PhysicalNetwork]) == 0:
		return vf{}, fmt.Sprintf("physical network %s is not mapped to a device on this host", att.PhysicalNetwork)
	case !b.phys[att.PhysicalNetwork][v.ID.PF]:
		return vf{}, fmt.Sprintf("VF %s is on %s, which is not on physical network %s", att.PCISlot, v.ID.PF, att.PhysicalNetwork)
	case taken[att.PCISlot] != "":
		return vf{}, fmt.Sprintf("VF %s belongs to port %s", att.PCISlot, taken[att.PCISlot])
	case b.plugged(att.PCISlot):
		p := b.w.Plugged[att.PCISlot]
		return vf{}, fmt.Sprintf("VF %s is still plugged into %s for port %s", att.PCISlot, p.By, p.PortID)
	}
	return v, ""
}

// heldFor reports whether the VF is plugged, and not for this port. own allows what is
// plugged for the port itself.
func (b *board) heldFor(slot, port string, own bool) bool {
	p, ok := b.w.Plugged[slot]
	return ok && (!own || p.PortID != port)
}

// carrying finds the VF that has the port's identity already although the record does
// not say so: the record was lost.
func (b *board) carrying(att *model.Attachment, taken map[string]string) (vf, bool) {
	for _, v := range b.managed {
		mac, _ := v.Attrs.MAC.Get()
		vlan, _ := v.Attrs.VLAN.Get()
		if mac == att.MAC && vlan == att.VLAN && taken[v.PCISlot] == "" && b.phys[att.PhysicalNetwork][v.ID.PF] &&
			!b.heldFor(v.PCISlot, att.PortID, b.w.Generation == 0) {
			return v, true
		}
	}
	return vf{}, false
}

// free chooses a VF that belongs to nobody: on a PF with carrier, then on the NUMA node
// that the port asks for, then on the PF with the most free VFs; of that PF one whose
// netdev is at hand, then the lowest.
func (b *board) free(att *model.Attachment, taken map[string]string) (vf, bool) {
	byPF := map[string][]vf{}
	for _, v := range b.managed {
		if b.phys[att.PhysicalNetwork][v.ID.PF] && taken[v.PCISlot] == "" && b.available(v) {
			byPF[v.ID.PF] = append(byPF[v.ID.PF], v)
		}
	}
	if len(byPF) == 0 {
		return vf{}, false
	}
	better := func(x, y string) int { // < 0: x is the better PF
		return cmp.Or(
			yes(b.pfs[y].Carrier)-yes(b.pfs[x].Carrier),
			yes(b.local(att, y))-yes(b.local(att, x)),
			len(byPF[y])-len(byPF[x]),
			strings.Compare(x, y),
		)
	}
	best := byPF[slices.MinFunc(slices.Collect(maps.Keys(byPF)), better)]
	if i := slices.IndexFunc(best, func(v vf) bool { return v.Netdev != "" }); i >= 0 {
		return best[i], true
	}
	return best[0], true
}

// local reports whether the PF sits on the NUMA node that the port asks for.
func (b *board) local(att *model.Attachment, pf string) bool {
	return att.NUMANode != nil && b.pfs[pf].NUMANode == *att.NUMANode
}

func yes(b bool) int {
	if b {
		return 1
	}
	return 0
}

// available reports whether a VF that no port has can be given out: it is clean, and no
// guest holds it. One bound to a VFIO driver in advance, or to no driver, has no netdev and is
// available unless somebody is found to use it.
func (b *board) available(v vf) bool {
	if !clean(v) || b.plugged(v.PCISlot) || b.w.Foreign[v.PCISlot] != "" {
		return false
	}
	return v.Netdev != "" || v.Driver == "" || pci.IsVFIO(v.Driver)
}

func (b *board) noneFree(phys string, taken map[string]string) string {
	if len(b.phys[phys]) == 0 {
		return fmt.Sprintf("physical network %s is not mapped to a device on this host", phys)
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(b.phys[phys])) {
		pf := b.pfs[name]
		if pf == nil {
			parts = append(parts, name+" is not there")
			continue
		}
		used, away, dirty, out := 0, 0, 0, 0
		for _, v := range pf.VFs {
			switch {
			case b.w.Excluded[v.PCISlot]:
				out++
			case taken[v.PCISlot] != "":
				used++
			case !clean(vf{v, pf}):
				dirty++
			default:
				away++
			}
		}
		parts = append(parts, fmt.Sprintf("%s has %d VFs: %d in use, %d being returned, %d held by a guest, %d excluded",
			name, len(pf.VFs), used, dirty, away, out))
	}
	return fmt.Sprintf("no free VF on physical network %s (%s)", phys, strings.Join(parts, "; "))
}

// missing says where an assigned VF went.
func (b *board) missing(a Assignment) string {
	if b.pfs[a.PF] == nil {
		return fmt.Sprintf("VF %d of %s (%s) is not there: %s is gone", a.Index, a.PF, a.PCISlot, a.PF)
	}
	return fmt.Sprintf("VF %d of %s (%s) does not exist any more", a.Index, a.PF, a.PCISlot)
}
