package hostprep

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Run carries it out: files, programs, modules, firmware, VFs. Before the first of them, what was there is
// on disk. When a step fails, or ctx ends, all is taken back; on a host that was prepared before it stays,
// and the error is ErrHalfDone: then it is to be run again, or undone. tell is told each step before it is
// done, and may be nil.
func (p *Preparation) Run(ctx context.Context, tell func(step string)) error {
	if tell == nil {
		tell = func(string) {}
	}
	if p.Nothing() {
		return nil
	}
	before, err := p.host.Ledger().Load()
	if err == nil {
		err = p.remember()
	}
	if err != nil {
		return err
	}
	if err = p.run(ctx, tell); err == nil {
		return nil
	}
	now, lerr := p.host.Ledger().Load()
	switch {
	case lerr != nil || now == nil: // not begun
		return errors.Join(err, lerr)
	case before != nil:
		return fmt.Errorf("%w: %w: mend that and run it again, or take all back: neutrino host undo", ErrHalfDone, err)
	}
	tell("take all back: " + err.Error())
	u, uerr := PlanUndo(context.WithoutCancel(ctx), p.host, UndoWant{ManagementToo: true})
	if uerr == nil {
		_, uerr = u.Run(context.WithoutCancel(ctx), tell)
	}
	if uerr != nil {
		return fmt.Errorf("%w: %w: take it back with: neutrino host undo: %w", ErrHalfDone, err, uerr)
	}
	return err
}

func (p *Preparation) run(ctx context.Context, tell func(string)) error {
	p.work.Progress, p.work.Run = tell, p.host.program
	if err := p.host.Ledger().Apply(ctx, p.work); err != nil {
		return err
	}
	for _, note := range p.host.reload(ctx) {
		tell("note: " + note)
	}
	for _, m := range p.Modules {
		tell("load " + m)
		if err := run(ctx, []string{"modprobe", m}, plain); err != nil {
			return fmt.Errorf("load %s: %w", m, err)
		}
	}
	if len(p.Firmware) > 0 {
		values := map[string]string{}
		for _, k := range p.Firmware {
			tell(fmt.Sprintf("set %s=%s in the firmware of %s", k.Key, k.To, p.PF))
			values[k.Key] = k.To
		}
		if err := p.host.Firmware.Set(ctx, p.Slot, values); err != nil {
			return err
		}
		p.host.hook("firmware")
	}
	if p.VFs == nil {
		return nil
	}
	err := p.VFs.Run(ctx, func(step string) { p.host.hook("before " + step); tell(step) })
	p.host.hook("vfs")
	return err
}

func (h Host) hook(point string) {
	if h.Hook != nil {
		h.Hook(point)
	}
}

// reload has those read their files again who have read them at their start. Where that fails, the next
// boot does it: it is said.
func (h Host) reload(ctx context.Context) []string {
	if !h.live() {
		return nil
	}
	var notes []string
	for _, c := range []struct{ there, command string }{
		{"/run/systemd/system", "systemctl daemon-reload"},
		{"/run/udev/control", "udevadm control --reload"},
		{"/run/systemd/netif/links", "networkctl reload"},
	} {
		if !exists(c.there) {
			continue
		}
		if err := run(ctx, strings.Fields(c.command), plain); err != nil {
			notes = append(notes, err.Error())
		}
	}
	return notes
}

// binary is what units start.
func (h Host) binary() string {
	if h.live() {
		if self, err := os.Executable(); err == nil {
			return self
		}
	}
	return "/usr/local/bin/neutrino"
}
