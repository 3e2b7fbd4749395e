package hostprep

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"neutrino/internal/pci"
)

// change does to one PF what the steps of a plan say.
type change struct {
	host   Host
	pf     pci.PF // as it was
	want   Want
	before []string // driver of each VF of pf
	begun  bool     // VFs or their drivers have been changed, or may have
}

func newChange(h Host, p pci.PF, w Want) *change {
	c := &change{host: h, pf: p, want: w}
	for _, v := range p.VFs {
		d, err := h.Sys.Driver(v.Slot)
		if err != nil {
			d = "" // removed by hand
		}
		c.before = append(c.before, d)
	}
	return c
}

// probed reports whether VFs are to get a driver while they are made. With vfio-pci they
// are not: their network driver would come only to go.
func (c *change) probed() bool { return c.want.Driver == "" && c.want.Autoprobe }

// good reports whether a VF with that driver is as wanted.
func (c *change) good(driver string) bool {
	if c.want.Driver != "" {
		return driver == c.want.Driver
	}
	return !c.want.Autoprobe || driver != "" && !pci.IsVFIO(driver)
}

func (c *change) hasAutoprobe() bool {
	_, err := os.Stat(c.host.path("sys/bus/pci/devices", c.pf.Slot, "sriov_drivers_autoprobe"))
	return err == nil
}

// autoprobe sets it where the kernel has it.
func (c *change) autoprobe(ctx context.Context, on bool) error {
	err := c.host.Sys.SetAutoprobe(ctx, c.pf.Slot, on)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

func (c *change) setProbed(ctx context.Context) error    { return c.autoprobe(ctx, c.probed()) }
func (c *change) setAutoprobe(ctx context.Context) error { return c.autoprobe(ctx, c.want.Autoprobe) }

// unused looks once more who uses VFs: a guest may have started since the plan was made.
func (c *change) unused(ctx context.Context, p pci.PF, vfs []pci.VFRef) error {
	u, err := c.host.use(ctx, p)
	if err != nil {
		return err
	}
	return u.refuse(nameOf(p), vfs)
}

// whole lets a write to sysfs end although its caller has gone: the kernel ends it all
// the same, and nothing could be taken back beside it. internal/pci bounds it in time.
func whole(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

func (c *change) remove(ctx context.Context) error {
	p, err := c.host.Sys.PF(c.pf.Slot)
	switch {
	case err != nil:
		return err
	case p.NumVFs == 0:
		return nil
	case p.NumVFs != c.pf.NumVFs:
		return fmt.Errorf("%s has %d VFs, not %d: %w: try again", nameOf(p), p.NumVFs, c.pf.NumVFs, ErrChanged)
	}
	if err = c.unused(ctx, p, p.VFs); err != nil {
		return err
	}
	c.begun = true
	return c.host.Sys.SetNumVFs(whole(ctx), p.Slot, 0)
}

func (c *change) make(ctx context.Context) error {
	p, err := c.host.Sys.PF(c.pf.Slot)
	if err != nil {
		return err
	}
	if p.NumVFs != 0 && p.NumVFs != c.want.N {
		return fmt.Errorf("%s has %d VFs by now: %w: try again", nameOf(p), p.NumVFs, ErrChanged)
	}
	c.begun = true
	if err := c.host.Sys.SetNumVFs(whole(ctx), c.pf.Slot, c.want.N); err != nil {
		return err
	}
	if !c.probed() {
		return nil
	}
	return c.settle(ctx)
}

// settle waits until every VF has its driver, and that its netdev. udev may have to load
// the driver first.
func (c *change) settle(ctx context.Context) error {
	limit := c.host.wait(c.want.N)
	short, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	p, err := c.host.Sys.PF(c.pf.Slot)
	if err != nil {
		return err
	}
	// A PF without netdevs (InfiniBand without IPoIB, say) has VFs without.
	netdevs := len(p.Netdevs) > 0
	for _, v := range p.VFs {
		var f pci.Function
		done := until(short, func() bool {
			f, err = c.host.Sys.Function(v.Slot)
			return err != nil || f.Driver != "" && (!netdevs || len(f.Netdevs) > 0 || c.away(v.Slot))
		})
		switch {
		case err != nil:
			return err
		case done:
		case ctx.Err() != nil:
			return ctx.Err()
		case f.Driver == "":
			return fmt.Errorf("VF %d (%s) has no driver after %s: load the driver of these VFs, or ask for --driver vfio-pci or --no-autoprobe: %w",
				v.Index, v.Slot, limit, pci.ErrNoDriver)
		default:
			return fmt.Errorf("VF %d (%s) has driver %s and no network device after %s; the kernel log says why: %w", v.Index, v.Slot, f.Driver, limit, pci.ErrTimeout)
		}
	}
	return nil
}

// away reports whether somebody, udev say, has moved the VF's netdev at once.
func (c *change) away(slot string) bool {
	users, err := c.host.Sys.Users(slot)
	return err == nil && slices.ContainsFunc(users, func(u pci.User) bool { return u.Kind == "netns" })
}

func (c *change) bindAll(ctx context.Context) error {
	p, err := c.host.Sys.PF(c.pf.Slot)
	if err != nil {
		return err
	}
	for _, v := range p.VFs {
		if err = ctx.Err(); err == nil {
			err = c.host.Sys.Bind(whole(ctx), v.Slot, c.want.Driver)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bindOne gives one of the VFs that stay its driver.
func (c *change) bindOne(v pci.VFRef) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := c.unused(ctx, c.pf, []pci.VFRef{v}); err != nil {
			return err
		}
		c.begun = true
		if c.want.Driver != "" {
			return c.host.Sys.Bind(whole(ctx), v.Slot, c.want.Driver)
		}
		return c.host.Sys.BindDefault(whole(ctx), v.Slot)
	}
}

// loadVFIO asks modprobe for vfio-pci.
func (c *change) loadVFIO(ctx context.Context) error {
	if _, err := os.Stat(c.host.path("sys/bus/pci/drivers", pci.VFIODriver)); err == nil {
		return nil
	}
	if !c.host.live() {
		return fmt.Errorf("load vfio-pci: %w", pci.ErrNoDriver)
	}
	modprobe, err := exec.LookPath("modprobe")
	if err != nil {
		return fmt.Errorf("load vfio-pci: %w: install kmod", err)
	}
	if out, rerr := exec.CommandContext(ctx, modprobe, pci.VFIODriver).CombinedOutput(); rerr != nil {
		return fmt.Errorf("load vfio-pci: %w: %s", rerr, strings.TrimSpace(string(out)))
	}
	return nil
}

// restore brings the PF back to what it was, from whatever it has become: the count, the
// drivers, sriov_drivers_autoprobe. What the VFs carried is the agent's to put back. VFs
// that this change has not touched are somebody else's doing, and stay.
func (c *change) restore(ctx context.Context) error {
	if !c.begun {
		return c.autoprobe(ctx, c.pf.Autoprobe)
	}
	s, slot := c.host.Sys, c.pf.Slot
	p, err := s.PF(slot)
	if err != nil {
		return err
	}
	wantsDriver := slices.ContainsFunc(c.before, func(d string) bool { return d != "" && !pci.IsVFIO(d) })
	if p.NumVFs != c.pf.NumVFs {
		if err = s.SetNumVFs(ctx, slot, 0); err != nil {
			return err
		}
		if err = c.autoprobe(ctx, wantsDriver); err != nil {
			return err
		}
		if err = s.SetNumVFs(ctx, slot, c.pf.NumVFs); err != nil {
			return err
		}
	}
	var errs []error
	for i, v := range c.pf.VFs {
		errs = append(errs, c.rebind(ctx, v.Slot, c.before[i]))
	}
	errs = append(errs, c.autoprobe(ctx, c.pf.Autoprobe))
	return errors.Join(errs...)
}

func (c *change) rebind(ctx context.Context, slot, driver string) error {
	s := c.host.Sys
	now, err := s.Driver(slot)
	if errors.Is(err, pci.ErrNoDevice) || err == nil && now == driver {
		return nil
	}
	if err != nil || driver == "" || pci.IsVFIO(driver) {
		return errors.Join(err, s.Bind(ctx, slot, driver))
	}
	if err = c.autoprobe(ctx, true); err != nil {
		return err
	}
	return s.BindDefault(ctx, slot)
}
