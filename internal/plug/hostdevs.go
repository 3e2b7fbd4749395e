package plug

import (
	"context"
	"errors"
	"fmt"
	"time"

	"neutrino/internal/pci"
)

// netdevDeadline is how long a VF's netdev may take to come up with the port's MAC.
const netdevDeadline = 15 * time.Second

// HostDevices is Devices of a real host.
type HostDevices struct {
	Sys *pci.Sys
	netdevs
}

var _ Devices = (*HostDevices)(nil)

// HasPCI implements Devices.
func (h *HostDevices) HasPCI(slot string) bool { return h.Sys.Exists(slot) }

// Driver implements Devices.
func (h *HostDevices) Driver(slot string) (string, error) { return h.Sys.Driver(slot) }

// Bind implements Devices.
func (h *HostDevices) Bind(ctx context.Context, slot, driver string) error {
	return h.Sys.Bind(ctx, slot, driver)
}

// BindNetwork implements Devices.
func (h *HostDevices) BindNetwork(ctx context.Context, slot string) error {
	if err := h.Sys.BindDefault(ctx, slot); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, netdevDeadline)
	defer cancel()
	_, err := h.Sys.WaitNetdev(ctx, slot, 0, func(pci.Netdev) bool { return true })
	return err
}

// Reset implements Devices. A function that has no reset of its own is left to vfio-pci,
// which refuses to open what it cannot reset.
func (h *HostDevices) Reset(ctx context.Context, slot string) error {
	err := h.Sys.Reset(ctx, slot)
	if errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("%w: a VF that cannot be reset is not clean for its next owner", err)
	}
	return err
}

// GroupViable implements Devices.
func (h *HostDevices) GroupViable(slot string) error {
	err := h.Sys.GroupViable(slot)
	if errors.Is(err, pci.ErrGroup) || errors.Is(err, pci.ErrNoDevice) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// Netdev implements Devices.
func (h *HostDevices) Netdev(ctx context.Context, v VIF) (string, error) {
	if !h.HasPCI(v.PCISlot) {
		return v.Netdev, nil
	}
	ctx, cancel := context.WithTimeout(ctx, netdevDeadline)
	defer cancel()
	d, err := h.Sys.WaitNetdev(ctx, v.PCISlot, h.port(v), func(d pci.Netdev) bool { return d.MAC == v.MAC })
	switch {
	case err == nil:
		return d.Name, nil
	case d.Name == "":
		return "", fmt.Errorf("VF %s has no netdev in this namespace: %w", v.PCISlot, err)
	}
	return "", fmt.Errorf("netdev %s of VF %s has MAC %s, the port has %s: the VF's driver did not take it: %w", d.Name, v.PCISlot, d.MAC, v.MAC, err)
}

// port is the port of the function that the PF's netdev is (dev_port); mlx4 has two
// netdevs on one function.
func (h *HostDevices) port(v VIF) int {
	p, err := h.Sys.PF(v.PF)
	if err != nil {
		return 0
	}
	for _, d := range p.Netdevs {
		if d.Name == v.PF {
			return d.DevPort
		}
	}
	return 0
}

// Prepare implements Devices.
func (h *HostDevices) Prepare(_ context.Context, netdev string, mtu int) error {
	return h.prepare(netdev, mtu)
}

// Restore implements Devices.
func (h *HostDevices) Restore(_ context.Context, v VIF) error {
	name := v.Netdev
	if h.HasPCI(v.PCISlot) {
		d, ok := h.Sys.Netdev(v.PCISlot, h.port(v))
		if !ok {
			return nil
		}
		name = d.Name
	}
	if name == "" {
		return nil
	}
	return h.restore(name)
}

// MoveIn implements Devices.
func (h *HostDevices) MoveIn(ctx context.Context, v VIF) error {
	if in, err := h.in(v); err != nil || in {
		return err
	}
	name := v.Netdev
	if v.Bridge != "" {
		return h.moveIn(v, passing(v))
	}
	if _, here := h.Sys.Netdev(v.PCISlot, h.port(v)); here {
		var err error
		if name, err = h.Netdev(ctx, v); err != nil {
			return err
		}
	}
	return h.moveIn(v, name)
}

// MoveOut implements Devices.
func (h *HostDevices) MoveOut(_ context.Context, v VIF) error { return h.moveOut(v) }

// In implements Devices.
func (h *HostDevices) In(v VIF) (bool, error) { return h.in(v) }

// HasSpace implements Devices.
func (h *HostDevices) HasSpace(v VIF) (bool, error) { return h.hasSpace(v) }

// User implements Devices.
func (h *HostDevices) User(_ context.Context, slot string) (string, error) {
	if !h.HasPCI(slot) {
		return "", nil
	}
	users, err := h.Sys.Users(slot)
	if err != nil || len(users) == 0 {
		return "", err
	}
	return users[0].String(), nil
}
