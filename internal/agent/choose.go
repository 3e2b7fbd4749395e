package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
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
}

func newBoard(w World) *board {
	b := &board{
		w: w, pfs: map[string]*eswitch.PF{}, bySlot: map[string]vf{},
		phys: map[string]map[string]bool{}, refusal: map[string]string{},
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
	case seen && b.phys[att.PhysicalNetwork][v.ID.PF]:
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
	}
	return v, ""
}

// carrying finds the VF that has the port's identity already although the record does
// not say so: the record was lost.
func (b *board) carrying(att *model.Attachment, taken map[string]string) (vf, bool) {
	for _, v := range b.managed {
		mac, _ := v.Attrs.MAC.Get()
		vlan, _ := v.Attrs.VLAN.Get()
		if mac == att.MAC && vlan == att.VLAN && taken[v.PCISlot] == "" && b.phys[att.PhysicalNetwork][v.ID.PF] {
			return v, true
		}
	}
	return vf{}, false
}

// free chooses a VF that belongs to nobody: on a PF with carrier, then on the PF with
// the most free VFs, then one whose netdev is at hand, then the lowest.
func (b *board) free(att *model.Attachment, taken map[string]string) (vf, bool) {
	byPF := map[string][]vf{}
	for _, v := range b.managed {
		if b.phys[att.PhysicalNetwork][v.ID.PF] && taken[v.PCISlot] == "" && available(v) {
			byPF[v.ID.PF] = append(byPF[v.ID.PF], v)
		}
	}
	best := ""
	for _, pf := range slices.Sorted(maps.Keys(byPF)) {
		if best == "" || (b.pfs[pf].Carrier && !b.pfs[best].Carrier) ||
			(b.pfs[pf].Carrier == b.pfs[best].Carrier && len(byPF[pf]) > len(byPF[best])) {
			best = pf
		}
	}
	if best == "" {
		return vf{}, false
	}
	if i := slices.IndexFunc(byPF[best], func(v vf) bool { return v.Netdev != "" }); i >= 0 {
		return byPF[best][i], true
	}
	return byPF[best][0], true
}

// available reports whether a VF that no port has can be given out: it is clean, and no
// guest holds it. One bound to vfio-pci in advance has no netdev and is available.
func available(v vf) bool { return clean(v) && (v.Netdev != "" || v.Driver == "vfio-pci") }

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
