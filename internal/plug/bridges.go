package plug

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"neutrino/internal/ovs"
)

// interfaceDeadline is how long Open vSwitch may take to make or remove an interface.
const interfaceDeadline = 15 * time.Second

// OpenVSwitch is Bridges of the host's Open vSwitch, whose netdevs are in the agent's
// namespace.
type OpenVSwitch struct{ Switch *ovs.Switch }

var _ Bridges = OpenVSwitch{}

// Add implements Bridges. The interface is one end of a veth pair: Open vSwitch has a hold on
// the netdevs it makes itself by their names, and makes one anew that is called otherwise in a
// namespace. The other end is for the namespace.
func (o OpenVSwitch) Add(ctx context.Context, v VIF) error {
	ctx, cancel := context.WithTimeout(ctx, interfaceDeadline)
	defer cancel()
	if err := pair(v); err != nil {
		return err
	}
	p := ovs.Port{ID: v.PortID, NetworkID: v.NetworkID, Bridge: v.Bridge, VLAN: v.VLAN, MAC: v.MAC, MTU: v.MTU}
	if err := o.Switch.Add(ctx, p); err != nil {
		return err
	}
	if err := o.Switch.Await(ctx, p); err != nil {
		return fmt.Errorf("wait for Open vSwitch to take interface %s into %s: %w; is ovs-vswitchd running?", v.Netdev, v.Bridge, err)
	}
	return nil
}

// pair makes the veth pair of a VIF, the bridge's end up.
func pair(v VIF) error {
	l, err := netlink.LinkByName(v.Netdev)
	var none netlink.LinkNotFoundError
	switch {
	case errors.As(err, &none):
		l = &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: v.Netdev, MTU: v.MTU}, PeerName: passing(v), PeerMTU: uint32(max(v.MTU, 0))} //nolint:gosec // not negative
		if err = netlink.LinkAdd(l); err != nil {
			return fmt.Errorf("make interface %s: %w", v.Netdev, err)
		}
	case err != nil:
		return fmt.Errorf("find %s: %w", v.Netdev, err)
	case l.Type() != "veth":
		return fmt.Errorf("make interface %s: %w: there is a device of that name and type %s", v.Netdev, ErrRefused, l.Type())
	}
	if err = netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("set %s up: %w", v.Netdev, err)
	}
	return nil
}

// Remove implements Bridges. With one end of the pair goes the other, wherever it is.
func (o OpenVSwitch) Remove(ctx context.Context, v VIF) error {
	if err := o.Switch.Remove(ctx, v.PortID); err != nil {
		return err
	}
	l, err := netlink.LinkByName(v.Netdev)
	var none netlink.LinkNotFoundError
	if errors.As(err, &none) || err == nil && l.Type() != "veth" {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(l)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete interface %s: %w", v.Netdev, err)
	}
	return nil
}

// Interface implements Bridges.
func (o OpenVSwitch) Interface(portID string) string { return ovs.Name(portID) }
