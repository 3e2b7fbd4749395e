package plug

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"

	"neutrino/internal/ovs"
)

// interfaceDeadline is how long Open vSwitch may take to make or remove an interface.
const interfaceDeadline = 15 * time.Second

// OpenVSwitch is Bridges of the host's Open vSwitch, whose netdevs are in the agent's
// namespace.
type OpenVSwitch struct{ Switch *ovs.Switch }

var _ Bridges = OpenVSwitch{}

// Add implements Bridges.
func (o OpenVSwitch) Add(ctx context.Context, v VIF) error {
	ctx, cancel := context.WithTimeout(ctx, interfaceDeadline)
	defer cancel()
	p := ovs.Port{ID: v.PortID, NetworkID: v.NetworkID, Bridge: v.Bridge, VLAN: v.VLAN, MAC: v.MAC, MTU: v.MTU}
	if err := o.Switch.Add(ctx, p); err != nil {
		return err
	}
	// The kernel shows the netdev before Open vSwitch is done with it; one that is moved away
	// that early is lost to the bridge. The ifindex is written when it is done.
	_, err := o.Switch.Await(ctx, p, func(s ovs.Status) bool {
		index, err := linkIndex(v.Netdev)
		return err == nil && index != 0 && s.OFPort > 0 && s.Ifindex == index
	})
	if err != nil {
		return fmt.Errorf("wait for Open vSwitch to make interface %s in %s: %w; is ovs-vswitchd running?", v.Netdev, v.Bridge, err)
	}
	return nil
}

// Remove implements Bridges.
func (o OpenVSwitch) Remove(ctx context.Context, v VIF) error {
	ctx, cancel := context.WithTimeout(ctx, interfaceDeadline)
	defer cancel()
	fail := func(err error) error {
		return fmt.Errorf("remove interface %s from %s: %w", v.Netdev, v.Bridge, err)
	}
	updates, done := make(chan netlink.LinkUpdate, 64), make(chan struct{})
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		return fail(fmt.Errorf("watch links: %w", err))
	}
	defer func() {
		close(done)
		for range updates { // until its reader has ended
		}
	}()
	if removed, err := o.Switch.Remove(ctx, v.PortID); err != nil || !removed {
		return err
	}
	for {
		if index, err := linkIndex(v.Netdev); err != nil || index == 0 {
			return err
		}
		select {
		case _, ok := <-updates:
			if !ok {
				return fail(errors.New("the kernel tells of links no more"))
			}
		case <-ctx.Done():
			return fail(fmt.Errorf("Open vSwitch has not done it: %w; is ovs-vswitchd running?", ctx.Err())) //nolint:staticcheck // a name
		}
	}
}

// Interface implements Bridges.
func (o OpenVSwitch) Interface(portID string) string { return ovs.Name(portID) }

// linkIndex of a link of this namespace; 0 = there is none.
func linkIndex(name string) (int, error) {
	l, err := netlink.LinkByName(name)
	var none netlink.LinkNotFoundError
	if errors.As(err, &none) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", name, err)
	}
	return l.Attrs().Index, nil
}
