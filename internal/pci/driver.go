package pci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
)

// VFIODriver is the driver that hands a function to user space.
const VFIODriver = "vfio-pci"

// IsVFIO reports whether a driver hands functions to user space: vfio-pci, and its
// variants that can migrate a device (mlx5_vfio_pci and others of drivers/vfio/pci; all
// of them have the word in their name).
func IsVFIO(driver string) bool { return strings.Contains(driver, "vfio") }

// ErrGroup: the IOMMU group cannot be handed to a guest as a whole.
var ErrGroup = errors.New("IOMMU group is shared")

// ErrBound: the function has a driver that has to be taken off first.
var ErrBound = errors.New("a driver has it")

// ErrNoDriver: the kernel has no such driver, or none that takes the function.
var ErrNoDriver = errors.New("no driver takes it")

// Bind makes driver the function's driver: driver_override is set, the old driver
// unbound, the new one probed, and the override cleared again, so that a later hot-plug
// or reload is not steered by what was once asked. "" leaves it without a driver. It
// returns when the driver is bound. It succeeds at once where it is bound already.
func (s *Sys) Bind(ctx context.Context, slot, driver string) error {
	have, err := s.Driver(slot)
	if err != nil {
		return fmt.Errorf("bind %s: %w", slot, err)
	}
	if have == driver {
		return nil
	}
	if driver == "" {
		return s.unbind(ctx, slot)
	}
	if strings.ContainsAny(driver, "/\x00\n") || driver == "." || driver == ".." {
		return fmt.Errorf("bind %s: %.40q is not the name of a driver", slot, driver)
	}
	if _, err = os.Stat(s.path("sys/bus/pci/drivers", driver)); err != nil {
		return fmt.Errorf("bind %s to %s: %w: load it with: modprobe %s", slot, driver, ErrNoDriver, driver)
	}
	if err = s.unbind(ctx, slot); err != nil {
		return err
	}
	override := s.device(slot, "driver_override")
	if err = s.write(ctx, override, driver); err != nil {
		return fmt.Errorf("bind %s to %s: %w", slot, driver, err)
	}
	probe := s.probe(ctx, slot, func(now string) bool { return now == driver })
	// The override goes also when probing failed, and when the caller's time is up.
	clean := s.write(context.WithoutCancel(ctx), override, "\n")
	if err = errors.Join(probe, clean); err != nil {
		return fmt.Errorf("bind %s to %s: %w", slot, driver, err)
	}
	return nil
}

// BindDefault gives a function the driver that the kernel has for it. It succeeds at
// once where it has one that is not of VFIO. A VF whose PF has sriov_drivers_autoprobe
// off gets none: the kernel then probes only for an override (pci_device_can_probe).
func (s *Sys) BindDefault(ctx context.Context, slot string) error {
	have, err := s.Driver(slot)
	if err != nil {
		return fmt.Errorf("bind %s to its driver: %w", slot, err)
	}
	if have != "" && !IsVFIO(have) {
		return nil
	}
	if err = s.unbind(ctx, slot); err != nil {
		return err
	}
	if o, ok := text(s.device(slot, "driver_override")); ok && o != "" && o != "(null)" {
		if err = s.write(ctx, s.device(slot, "driver_override"), "\n"); err != nil {
			return fmt.Errorf("bind %s to its driver: %w", slot, err)
		}
	}
	if err = s.probe(ctx, slot, func(now string) bool { return now != "" }); err != nil {
		if n, ok := number(s.device(slot, "physfn", "sriov_drivers_autoprobe")); ok && n == 0 {
			err = fmt.Errorf("%w: sriov_drivers_autoprobe of its PF is 0", err)
		}
		return fmt.Errorf("bind %s to its driver: %w", slot, err)
	}
	return nil
}

// Rebind takes the driver away and gives it back: the driver reads the function anew.
func (s *Sys) Rebind(ctx context.Context, slot string) error {
	have, err := s.Driver(slot)
	if err != nil {
		return fmt.Errorf("rebind %s: %w", slot, err)
	}
	if err = s.unbind(ctx, slot); err != nil {
		return err
	}
	if have == "" || IsVFIO(have) {
		return s.Bind(ctx, slot, have)
	}
	return s.BindDefault(ctx, slot)
}

// probe asks the bus for a driver, and looks whether it came. The kernel probes within
// the write.
func (s *Sys) probe(ctx context.Context, slot string, good func(driver string) bool) error {
	err := s.write(ctx, s.path("sys/bus/pci/drivers_probe"), slot)
	if err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENODEV) {
		return err
	}
	now, derr := s.Driver(slot)
	if derr != nil {
		return derr
	}
	if !good(now) {
		return errors.Join(fmt.Errorf("%w: it has %s after probing; the kernel log says why", ErrNoDriver, orNone(now)), err)
	}
	return nil
}

func orNone(driver string) string {
	if driver == "" {
		return "no driver"
	}
	return driver
}

func (s *Sys) unbind(ctx context.Context, slot string) error {
	have, err := s.Driver(slot)
	if err != nil || have == "" {
		return err
	}
	if err = s.write(ctx, s.device(slot, "driver", "unbind"), slot); err != nil {
		return fmt.Errorf("take driver %s from %s: %w", have, slot, err)
	}
	return nil
}

// WaitNetdev waits for the function's netdev of the given port to satisfy good.
func (s *Sys) WaitNetdev(ctx context.Context, slot string, devPort int, good func(Netdev) bool) (Netdev, error) {
	var last Netdev
	err := poll(ctx, "the netdev of "+slot, func() (bool, error) {
		d, ok := s.Netdev(slot, devPort)
		if ok {
			last = d
		}
		return ok && good(d), nil
	})
	return last, err
}

// Reset resets the function. Where the kernel says by which method (reset_method) and a
// function-level reset is not among them, it is refused: a bus reset would hit others.
// So is one under a driver other than vfio-pci (ErrBound), which is told of the reset and
// acts on it: igbvf whose netdev is down then waits for ever, with the device locked
// (igbvf_io_prepare to napi_disable; seen on Linux 6.12).
func (s *Sys) Reset(ctx context.Context, slot string) error {
	f, err := s.Function(slot)
	switch {
	case err != nil:
		return fmt.Errorf("reset %s: %w", slot, err)
	case !f.HasReset:
		return fmt.Errorf("reset %s: the kernel knows no way to reset it: %w", slot, errors.ErrUnsupported)
	case !f.ResetFLR:
		return fmt.Errorf("reset %s: it has no function-level reset: %w", slot, errors.ErrUnsupported)
	case f.Driver != "" && f.Driver != VFIODriver:
		return fmt.Errorf("reset %s: %w: %s: bind it to vfio-pci or to none first", slot, ErrBound, f.Driver)
	}
	if err = s.write(ctx, s.device(slot, "reset"), "1"); err != nil {
		return fmt.Errorf("reset %s: %w", slot, err)
	}
	return nil
}

// GroupViable reports whether the function's IOMMU group can be handed to a guest: each
// other member is a bridge, has no driver, or has a driver of VFIO (Documentation/driver-api/vfio.rst).
func (s *Sys) GroupViable(slot string) error {
	members, err := s.Group(slot)
	if err != nil {
		return err
	}
	var bad []string
	for _, m := range members {
		if m.Driver != "" && !IsVFIO(m.Driver) && m.Driver != "pcieport" && !s.bridge(m.Slot) {
			bad = append(bad, m.Slot+" has "+m.Driver)
		}
	}
	if len(bad) > 0 {
		slices.Sort(bad)
		return fmt.Errorf("IOMMU group of %s: %w with devices that the host uses (%s): move the card to a slot behind its own root port, or pass them on too",
			slot, ErrGroup, strings.Join(bad, ", "))
	}
	return nil
}
