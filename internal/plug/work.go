package plug

import (
	"context"
	"errors"
	"fmt"

	"neutrino/internal/journal"
	"neutrino/internal/pci"
)

const vfioPCI = pci.VFIODriver

// worker makes the steps of VIFs: pure but for the closures it returns.
type worker struct {
	dev  Devices
	doms Domains
	br   Bridges
}

// plug is the work that leads from a VF of the host's to a VIF.
func (w worker) plug(v VIF) journal.Work {
	var out journal.Work
	switch {
	case v.Bridge != "" && v.Kind == Netns:
		out.Steps = append(out.Steps, w.addInterface(v), w.moveIn(v))
	case v.Bridge != "": // the hypervisor makes the interface
	case v.Kind == Hostdev:
		out.Steps = append(out.Steps, w.passOn(v), w.reset(v))
	case v.Kind == Macvtap:
		out.Steps = append(out.Steps, w.netdevDriver(v), w.setUp(v))
	case v.Kind == Netns:
		out.Steps = append(out.Steps, w.netdevDriver(v), w.moveIn(v))
	}
	if v.Target.Domain != "" {
		out.Steps = append(out.Steps, w.attach(v))
	}
	out.Done = func(ctx context.Context) (bool, error) { return w.done(ctx, v) }
	return out
}

// unplug is the work that makes the VF the host's again. It only goes forward: a VF on
// its way back is not handed out again because one of the steps failed.
func (w worker) unplug(v VIF) journal.Work {
	out := journal.Work{Forward: true}
	if v.Target.Domain != "" {
		out.Steps = append(out.Steps, journal.Step{
			Describe: fmt.Sprintf("detach VF %s from domain %s", v.PCISlot, v.Target.Domain),
			Do:       func(ctx context.Context) error { return w.doms.Detach(ctx, v) },
		})
	}
	switch {
	case v.Bridge != "":
		if v.Kind == Netns {
			out.Steps = append(out.Steps, journal.Step{
				Describe: fmt.Sprintf("remove %s from bridge %s", v.Netdev, v.Bridge),
				Do:       func(ctx context.Context) error { return w.removeInterface(ctx, v) },
			})
		}
		return out
	case v.Kind == Netns:
		out.Steps = append(out.Steps, w.moveOut(v))
	case v.Kind == Macvtap:
		out.Steps = append(out.Steps, journal.Step{
			Describe: "set " + v.Netdev + " down",
			Do:       func(ctx context.Context) error { return w.dev.Restore(ctx, v) },
		})
	}
	if w.dev.HasPCI(v.PCISlot) {
		out.Steps = append(out.Steps, journal.Step{
			Describe: "wait until nobody holds VF " + v.PCISlot,
			Do:       func(ctx context.Context) error { return w.unused(ctx, v) },
		}, w.clean(v))
	}
	return out
}

func (w worker) moveOut(v VIF) journal.Step {
	return journal.Step{
		Describe: fmt.Sprintf("bring %s back from namespace %s as %s", v.Target.Ifname, v.Target.Netns, v.Netdev),
		Do:       func(ctx context.Context) error { return w.dev.MoveOut(ctx, v) },
	}
}

// addInterface makes the interface of a port of a bridge.
func (w worker) addInterface(v VIF) journal.Step {
	return journal.Step{
		Describe: fmt.Sprintf("make interface %s in bridge %s with VLAN %d", v.Netdev, v.Bridge, v.VLAN),
		Do: func(ctx context.Context) error {
			if w.br == nil {
				return errNoBridges
			}
			return w.br.Add(ctx, v)
		},
		Undo: func(ctx context.Context) error { return w.removeInterface(ctx, v) },
	}
}

func (w worker) removeInterface(ctx context.Context, v VIF) error {
	if w.br == nil {
		return errNoBridges
	}
	return w.br.Remove(ctx, v)
}

// errNoBridges: what was plugged into a bridge is to be unplugged by an agent that has none.
var errNoBridges = errors.New("this agent has no Open vSwitch: set [ovs] bridge_mappings as it was")

// passOn binds the VF to vfio-pci.
func (w worker) passOn(v VIF) journal.Step {
	return journal.Step{
		Describe: fmt.Sprintf("bind VF %s to %s (has %s)", v.PCISlot, vfioPCI, orNone(v.Driver)),
		Do: func(ctx context.Context) error {
			if err := w.dev.Bind(ctx, v.PCISlot, vfioPCI); err != nil {
				return err
			}
			return w.dev.GroupViable(v.PCISlot)
		},
		Undo: func(ctx context.Context) error { return w.rebind(ctx, v) },
	}
}

// rebind gives the VF the driver that it had.
func (w worker) rebind(ctx context.Context, v VIF) error {
	if v.Driver == "" || pci.IsVFIO(v.Driver) {
		return w.dev.Bind(ctx, v.PCISlot, v.Driver)
	}
	return w.dev.BindNetwork(ctx, v.PCISlot)
}

func (w worker) reset(v VIF) journal.Step {
	return journal.Step{
		Describe: "reset VF " + v.PCISlot,
		Do:       func(ctx context.Context) error { return w.dev.Reset(ctx, v.PCISlot) },
	}
}

// clean resets a VF that a guest has had, and gives it the driver it had before. The
// reset happens without the network driver, whose idea of the function it would upset.
func (w worker) clean(v VIF) journal.Step {
	return journal.Step{
		Describe: fmt.Sprintf("reset VF %s and bind it to %s", v.PCISlot, orNone(v.Driver)),
		Do: func(ctx context.Context) error {
			have, err := w.dev.Driver(v.PCISlot)
			if err != nil {
				return err
			}
			if !pci.IsVFIO(have) {
				if err = w.dev.Bind(ctx, v.PCISlot, ""); err != nil {
					return err
				}
			}
			if err = w.dev.Reset(ctx, v.PCISlot); err != nil {
				return err
			}
			return w.rebind(ctx, v)
		},
	}
}

func (w worker) unused(ctx context.Context, v VIF) error {
	if v.Kind == Netns {
		return nil
	}
	user, err := w.dev.User(ctx, v.PCISlot)
	if err != nil {
		return err
	}
	if user != "" {
		return fmt.Errorf("%w: %s still uses it; stop it, or detach the interface there", errInUse, user)
	}
	return nil
}

// errInUse: somebody holds the VF.
var errInUse = errors.New("VF is in use")

// netdevDriver gives the VF its network driver where it has none.
func (w worker) netdevDriver(v VIF) journal.Step {
	return journal.Step{
		Describe: fmt.Sprintf("see that VF %s has its network driver (has %s)", v.PCISlot, orNone(v.Driver)),
		Do: func(ctx context.Context) error {
			if !w.dev.HasPCI(v.PCISlot) || (v.Driver != "" && !pci.IsVFIO(v.Driver)) {
				return nil
			}
			return w.dev.BindNetwork(ctx, v.PCISlot)
		},
		Undo: func(ctx context.Context) error {
			if !w.dev.HasPCI(v.PCISlot) || (v.Driver != "" && !pci.IsVFIO(v.Driver)) {
				return nil
			}
			return w.dev.Bind(ctx, v.PCISlot, v.Driver)
		},
	}
}

func (w worker) setUp(v VIF) journal.Step {
	return journal.Step{
		Describe: fmt.Sprintf("set the netdev of VF %s up with MTU %d", v.PCISlot, v.MTU),
		Do: func(ctx context.Context) error {
			name, err := w.dev.Netdev(ctx, v)
			if err != nil {
				return err
			}
			return w.dev.Prepare(ctx, name, v.MTU)
		},
		Undo: func(ctx context.Context) error { return w.dev.Restore(ctx, v) },
	}
}

func (w worker) moveIn(v VIF) journal.Step {
	return journal.Step{
		Describe: fmt.Sprintf("move the netdev of VF %s into namespace %s as %s", v.PCISlot, v.Target.Netns, v.Target.Ifname),
		Do:       func(ctx context.Context) error { return w.dev.MoveIn(ctx, v) },
		Undo:     func(ctx context.Context) error { return w.dev.MoveOut(ctx, v) },
	}
}

func (w worker) attach(v VIF) journal.Step {
	return journal.Step{
		Describe: fmt.Sprintf("attach VF %s to domain %s as %s", v.PCISlot, v.Target.Domain, v.Kind),
		Do:       func(ctx context.Context) error { return w.doms.Attach(ctx, v) },
		Undo:     func(ctx context.Context) error { return w.doms.Detach(ctx, v) },
	}
}

// done reports whether the VIF is where it was to go.
func (w worker) done(ctx context.Context, v VIF) (bool, error) {
	switch {
	case v.Target.Domain != "":
		return w.doms.Has(ctx, v)
	case v.Kind == Netns:
		return w.dev.In(v)
	default:
		return false, nil // nobody was told yet that it is prepared
	}
}

func orNone(driver string) string {
	if driver == "" {
		return "no driver"
	}
	return driver
}
