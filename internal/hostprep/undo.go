package hostprep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"neutrino/internal/ledger"
	"neutrino/internal/pci"
)

// UndoWant is how to go back.
type UndoWant struct {
	Force         bool // also what somebody else has changed since
	KeepVFs       bool // leave VFs as they are until the next boot
	ManagementToo bool // although the host is reached over the NIC
}

// Undoing is what leads back to what was.
type Undoing struct {
	Steps  []string       `json:"steps"` // with VFs and firmware, in words
	Files  []ledger.Entry `json:"-"`
	Reboot []string       `json:"reboot"`
	Notes  []string       `json:"notes"`

	host     Host
	want     UndoWant
	vfs      []*Original
	firmware []*Original
}

// Undone is what has become of it.
type Undone struct {
	Files  []ledger.Outcome `json:"files"`
	Notes  []string         `json:"notes"`
	Reboot []string         `json:"reboot"`
}

// PlanUndo says what has to be done to have the host as it was before it was prepared. It changes nothing.
// Errors: ledger.ErrNothing, ledger.ErrBad, ErrInUse, ErrManagement.
func PlanUndo(ctx context.Context, h Host, w UndoWant) (*Undoing, error) {
	r, err := h.Ledger().Load()
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, ledger.ErrNothing
	}
	all, err := DecodeOriginals(r.Note)
	if err != nil {
		return nil, err
	}
	u := &Undoing{host: h, want: w, Steps: []string{}, Reboot: []string{}, Notes: []string{}}
	for i := range slices.Backward(all.PFs) {
		o := &all.PFs[i]
		if err = u.planVFs(ctx, o); err == nil {
			err = u.planFirmware(ctx, o)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, e := range r.Entries {
		if slices.ContainsFunc([]string{"etc/default/grub", "boot/loader/", "efi/loader/", "boot/efi/loader/", "etc/modprobe.d/"}, func(dir string) bool { return strings.HasPrefix(e.Path, dir) }) {
			u.reboot("the kernel and its modules run with what they were started with")
		}
	}
	u.Files = r.Entries
	return u, nil
}

// Tidy takes away what a crash has left of a preparation that had changed nothing yet: there is nothing to
// undo then, but for that.
func (h Host) Tidy(ctx context.Context) error {
	_, err := h.Ledger().Undo(ctx, ledger.Back{Run: h.program})
	if errors.Is(err, ledger.ErrNothing) {
		return nil
	}
	return err
}

func (u *Undoing) reboot(why string) {
	if !slices.Contains(u.Reboot, why) {
		u.Reboot = append(u.Reboot, why)
	}
}

// planVFs looks whether VFs of a PF have to go back, and may.
func (u *Undoing) planVFs(ctx context.Context, o *Original) error {
	h := u.host
	p, err := h.Sys.PF(o.Slot)
	switch {
	case errors.Is(err, pci.ErrNotPF) && o.NumVFs == 0: // its firmware has SR-IOV off, as it had
		return nil
	case errors.Is(err, pci.ErrNoDevice), errors.Is(err, pci.ErrNotPF):
		u.Notes = append(u.Notes, fmt.Sprintf("%s (%s) is not there: its VFs are left", o.Name, o.Slot))
		return nil
	case err != nil:
		return err
	case o.MAC != "" && h.mac(p) != "" && h.mac(p) != o.MAC:
		u.Notes = append(u.Notes, fmt.Sprintf("another card is in %s, where %s was: its VFs are left", o.Slot, o.Name))
		return nil
	}
	now := newChange(h, p, Want{})
	same := p.NumVFs == o.NumVFs && p.Autoprobe == o.Autoprobe
	var gone []pci.VFRef // VFs that go, or change their driver
	for i, v := range p.VFs {
		was := slices.IndexFunc(o.VFs, func(x OriginalVF) bool { return x.Slot == v.Slot })
		if p.NumVFs != o.NumVFs || was < 0 || o.VFs[was].Driver != now.before[i] {
			gone = append(gone, v)
		}
	}
	switch {
	case same && len(gone) == 0:
		return nil
	case u.want.KeepVFs:
		u.reboot(fmt.Sprintf("the VFs of %s are left until then, as asked", o.Name))
		return nil
	case p.NumVFs != o.NumVFs && !p.Settable:
		u.reboot(fmt.Sprintf("%s has %d VFs, and had %d: its driver reads the number when it is loaded", o.Name, p.NumVFs, o.NumVFs))
		return nil
	case !u.want.Force && p.NumVFs != 0 && p.NumVFs != o.NumVFs && !slices.Contains(o.Wrote, p.NumVFs):
		u.Notes = append(u.Notes, fmt.Sprintf("somebody else has given %s %d VFs since: they are left; --force has the %d of before come back", o.Name, p.NumVFs, o.NumVFs))
		return nil
	}
	used, err := h.use(ctx, p)
	if err == nil {
		err = used.refuse(o.Name, gone)
	}
	if err != nil {
		return fmt.Errorf("take back the VFs of %s: %w; or leave VFs for the next boot with --keep-vfs", o.Name, err)
	}
	if why := h.management(p); why != "" && p.NumVFs != o.NumVFs && !u.want.ManagementToo {
		return fmt.Errorf("take back the VFs of %s: %w: %s; its link may go down meanwhile: ask for it with --even-management, or leave VFs for the next boot with --keep-vfs", o.Name, ErrManagement, why)
	}
	u.vfs = append(u.vfs, o)
	u.Steps = append(u.Steps, o.back(p))
	return nil
}

// back says what brings the VFs back.
func (o *Original) back(now pci.PF) string {
	if now.NumVFs != o.NumVFs {
		return fmt.Sprintf("go back from %d to %d VFs on %s", now.NumVFs, o.NumVFs, o.Name)
	}
	return fmt.Sprintf("give the VFs of %s the drivers back that they had", o.Name)
}

// planFirmware looks whether keys of a card's firmware have to go back.
func (u *Undoing) planFirmware(ctx context.Context, o *Original) error {
	if len(o.Firmware) == 0 {
		return nil
	}
	if u.host.Firmware == nil {
		return fmt.Errorf("take back what was set in the firmware of %s: %w: mstconfig", o.Name, ErrNoProgram)
	}
	card, err := u.host.Firmware.Query(ctx, o.Slot)
	if err != nil {
		return err
	}
	back := &Original{Slot: o.Slot, Name: o.Name}
	for _, k := range o.Firmware {
		next := plainNumber(string(card.Settings[k.Key].Next))
		switch {
		case next == k.Was:
		case next != k.To && !u.want.Force:
			u.Notes = append(u.Notes, fmt.Sprintf("somebody else has set %s=%s in the firmware of %s since: it is left; --force has %s come back", k.Key, next, o.Name, k.Was))
		default:
			back.Firmware = append(back.Firmware, k)
			u.Steps = append(u.Steps, fmt.Sprintf("set %s=%s in the firmware of %s", k.Key, k.Was, o.Name))
			u.reboot("the card's firmware takes its settings at a reboot")
		}
	}
	if len(back.Firmware) > 0 {
		u.firmware = append(u.firmware, back)
	}
	return nil
}

// Run carries it out: VFs first, which may be in use by now, files last, and with them the record of what
// was. It may run any number of times, after a crash too. Errors: ledger.ErrLeft where files that somebody
// else has changed were left; they stay on record.
func (u *Undoing) Run(ctx context.Context, tell func(step string)) (Undone, error) {
	done := Undone{Notes: u.Notes, Reboot: u.Reboot, Files: []ledger.Outcome{}}
	if tell == nil {
		tell = func(string) {}
	}
	if err := u.goBack(ctx, tell); err != nil {
		return done, err
	}
	out, err := u.host.Ledger().Undo(ctx, ledger.Back{Force: u.want.Force, Run: u.host.program, Progress: tell})
	for _, note := range u.host.reload(context.WithoutCancel(ctx)) {
		tell("note: " + note)
	}
	done.Files = append(done.Files, out...)
	return done, err
}

func (u *Undoing) goBack(ctx context.Context, tell func(string)) error {
	if len(u.vfs) > 0 {
		unlock, err := u.host.lock(ctx)
		if err != nil {
			return err
		}
		defer unlock()
	}
	for _, o := range u.vfs {
		p, err := u.host.Sys.PF(o.Slot)
		if err != nil {
			return err
		}
		tell(o.back(p))
		c := o.change(u.host)
		if err = c.unused(ctx, p, p.VFs); err != nil && p.NumVFs != o.NumVFs {
			return err
		}
		if err = c.restore(whole(ctx)); err != nil {
			return fmt.Errorf("%s: %w", o.back(p), err)
		}
		u.host.hook("vfs back")
	}
	for _, o := range u.firmware {
		values := map[string]string{}
		for _, k := range o.Firmware {
			values[k.Key] = k.Was
		}
		tell("set the firmware of " + o.Name)
		if err := u.host.Firmware.Set(ctx, o.Slot, values); err != nil {
			return err
		}
		u.host.hook("firmware back")
	}
	return nil
}
