package hostprep

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"neutrino/internal/pci"
)

// Applied is what became of one record.
type Applied struct {
	Record Record
	File   string
	Done   []string // steps, in words; none = it was so already
	Found  []string // findings
	Err    error
}

// Apply makes every record so. It is for boot, where drivers may still be loading: PFs
// that are not there yet are waited for, all of them for h.Wait together. It may run
// any number of times. A record that cannot be made so does not keep the others; the
// error joins what went wrong.
func (h Host) Apply(ctx context.Context) ([]Applied, error) {
	slots, err := h.slots()
	if err != nil {
		return nil, err
	}
	there, cancel := context.WithTimeout(ctx, h.wait(0))
	defer cancel()
	var out []Applied
	var errs []error
	for _, slot := range slots {
		a := Applied{File: h.file(slot)}
		a.Err = h.apply(ctx, there, slot, &a)
		if a.Err != nil {
			a.Err = fmt.Errorf("%s: %w", a.File, a.Err)
			errs = append(errs, a.Err)
		}
		out = append(out, a)
	}
	return out, errors.Join(errs...)
}

func (h Host) apply(ctx, there context.Context, slot string, a *Applied) error { //nolint:revive // two contexts: how long to wait, how long to work
	r, ok, err := h.record(slot)
	if err != nil || !ok {
		return err
	}
	a.Record = r
	var p pci.PF
	until(there, func() bool {
		p, err = h.find(r)
		return err == nil && p.Driver != "" && h.known(r, p)
	})
	if err != nil {
		return err
	}
	if !h.known(r, p) {
		return fmt.Errorf("whether %s is still the card with MAC %s cannot be told: it has no network device here: %w", p.Slot, r.MAC, ErrOtherCard)
	}
	if p.Slot != slot { // it has moved; there may be a newer record for where it is
		newer, has, rerr := h.record(p.Slot)
		if has && (rerr != nil || h.known(newer, p) && (newer.MAC == "" || newer.MAC == h.mac(p))) {
			return fmt.Errorf("%s has a record of its own, %s: remove one of them: %w", nameOf(p), h.file(p.Slot), ErrBadRecord)
		}
	}
	plan, err := PlanVFs(ctx, h, Want{
		PF: p.Slot, N: r.Count, Driver: r.Driver, Autoprobe: r.Autoprobe, ManagementToo: r.ManagementToo, sparing: true,
	})
	a.Found = plan.Findings
	if err != nil {
		return err
	}
	return plan.Run(ctx, func(step string) { a.Done = append(a.Done, step) })
}

// known reports whether the PF's address can be held against the record's. A driver
// shows in sysfs before its netdev does: it is bound while it still probes
// (drivers/base/dd.c, really_probe).
func (h Host) known(r Record, p pci.PF) bool { return r.MAC == "" || h.mac(p) != "" }

// find looks for the record's PF where it was, and elsewhere by its address: cards are
// moved, and a new one in another slot shifts the bus numbers of all.
func (h Host) find(r Record) (pci.PF, error) {
	at, err := h.Sys.PF(r.Slot)
	if err == nil {
		if mac := h.mac(at); r.MAC == "" || mac == r.MAC || mac == "" {
			return at, nil
		}
	}
	if r.MAC == "" {
		return pci.PF{}, err
	}
	all, lerr := h.Sys.PFs()
	if lerr != nil {
		return pci.PF{}, lerr
	}
	for _, p := range all {
		if h.mac(p) == r.MAC {
			return p, nil
		}
	}
	if err == nil {
		return pci.PF{}, fmt.Errorf("%s in slot %s has MAC %s, and no PF has %s: %w: name the card anew with: neutrino host vfs set",
			nameOf(at), r.Slot, h.mac(at), r.MAC, ErrOtherCard)
	}
	return pci.PF{}, fmt.Errorf("no PF with MAC %s either: %w", r.MAC, err)
}

// Row is one PF, for people and programs.
type Row struct {
	PF     string   `json:"pf"`
	Slot   string   `json:"pci_slot"`
	Driver string   `json:"driver"`
	NUMA   int      `json:"numa_node"` // -1 = none
	Total  int      `json:"total"`
	Now    int      `json:"now"`
	AtBoot *int     `json:"at_boot"` // null: neutrino does nothing at boot
	VFs    string   `json:"at_boot_driver,omitempty"`
	Users  []string `json:"in_use_by"`
	Note   string   `json:"note,omitempty"` // what is wrong with its record
}

// Show lists the PFs of the host, or the one that is named, and records whose PF is not
// there.
func (h Host) Show(ctx context.Context, name string) ([]Row, error) {
	var all []pci.PF
	var err error
	if name != "" {
		var p pci.PF
		p, err = h.pf(name)
		all = []pci.PF{p}
	} else {
		all, err = h.Sys.PFs()
	}
	if err != nil {
		return nil, err
	}
	boot, lost, err := h.boot()
	if err != nil {
		return nil, err
	}
	out := []Row{}
	for _, p := range all {
		u, uerr := h.use(ctx, p)
		if uerr != nil {
			return nil, uerr
		}
		r := Row{PF: nameOf(p), Slot: p.Slot, Driver: p.Driver, NUMA: p.NUMANode, Total: p.TotalVFs, Now: p.NumVFs, Users: []string{}}
		if rec, ok := boot[p.Slot]; ok {
			r.AtBoot, r.VFs = &rec.Count, rec.Driver
		}
		for _, v := range p.VFs {
			if who := u.of(v.Slot); who != "" {
				r.Users = append(r.Users, fmt.Sprintf("VF %d: %s", v.Index, who))
			}
		}
		r.Note = strings.Join(u.findings, "; ")
		out = append(out, r)
	}
	if name == "" {
		out = append(out, lost...)
	}
	return out, nil
}

// boot sorts the records by the PF that they are for, and gives those that have none.
func (h Host) boot() (map[string]Record, []Row, error) {
	slots, err := h.slots()
	if err != nil {
		return nil, nil, err
	}
	boot := map[string]Record{}
	var lost []Row
	for _, slot := range slots {
		r, ok, rerr := h.record(slot)
		var p pci.PF
		if rerr == nil {
			p, rerr = h.find(r)
		}
		switch {
		case !ok:
		case rerr != nil:
			row := Row{PF: r.PF, Slot: slot, NUMA: -1, VFs: r.Driver, Users: []string{}, Note: rerr.Error()}
			if r.Slot != "" {
				row.AtBoot = &r.Count
			}
			lost = append(lost, row)
		default:
			boot[p.Slot] = r
		}
	}
	return boot, lost, nil
}
