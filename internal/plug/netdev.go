package plug

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"neutrino/internal/netspace"
)

// A netdev that is away carries a mark in its alias (IFLA_IFALIAS), by which it is found
// again wherever it is: in the namespace, or back in the host's after the namespace died.
const markPrefix = "neutrino-vif "

func mark(v VIF) string { return markPrefix + v.PortID + " " + v.PCISlot }

// passing is the name that a netdev has while it moves, so that it meets no other.
func passing(v VIF) string {
	name := "nv" + strings.ReplaceAll(v.PortID, "-", "")
	if len(name) > 15 {
		name = name[:15]
	}
	return name
}

// netdevs moves VFs' netdevs between the agent's namespace and others.
type netdevs struct{}

// handle opens netlink in a named namespace; the error is netspace.ErrNotExist when
// there is none. done closes both.
func handle(name string) (nl *netlink.Handle, ns netns.NsHandle, done func(), err error) {
	ns, err = netspace.Open(name)
	if err != nil {
		return nil, ns, nil, err
	}
	nl, err = netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		_ = ns.Close()
		return nil, ns, nil, fmt.Errorf("open netlink in namespace %s: %w", name, err)
	}
	return nl, ns, func() { nl.Close(); _ = ns.Close() }, nil
}

// marked finds the netdev of a VIF; nil when it is not there.
func marked(nl *netlink.Handle, v VIF) (netlink.Link, error) {
	links, err := nl.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		if l.Attrs().Alias == mark(v) {
			return l, nil
		}
	}
	return nil, nil
}

func (netdevs) in(v VIF) (bool, error) {
	nl, _, done, err := handle(v.Target.Netns)
	if errors.Is(err, netspace.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer done()
	l, err := marked(nl, v)
	return l != nil && l.Attrs().Name == v.Target.Ifname && l.Attrs().Flags&net.FlagUp != 0, err
}

// hasSpace reports whether the namespace is there.
func (netdevs) hasSpace(v VIF) (bool, error) {
	ns, err := netspace.Open(v.Target.Netns)
	if errors.Is(err, netspace.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, ns.Close()
}

// moveIn brings the netdev called name into the namespace. Half moved, it goes on.
func (netdevs) moveIn(v VIF, name string) error {
	nl, ns, done, err := handle(v.Target.Netns)
	if errors.Is(err, netspace.ErrNotExist) {
		return fmt.Errorf("%w: there is no network namespace %s; make it with: ip netns add %s", ErrRefused, v.Target.Netns, v.Target.Netns)
	}
	if err != nil {
		return err
	}
	defer done()
	l, err := marked(nl, v)
	if err != nil {
		return err
	}
	if other, oerr := nl.LinkByName(v.Target.Ifname); oerr == nil && (l == nil || other.Attrs().Index != l.Attrs().Index) {
		return fmt.Errorf("%w: namespace %s has a device %s already", ErrRefused, v.Target.Netns, v.Target.Ifname)
	}
	if l == nil {
		if err = send(v, name, ns); err != nil {
			return err
		}
		if l, err = marked(nl, v); err != nil || l == nil {
			return errors.Join(err, fmt.Errorf("netdev %s is not in namespace %s after the move", name, v.Target.Netns))
		}
	}
	return arrive(nl, l, v)
}

// send marks the netdev and moves it out of the host's namespace.
func send(v VIF, name string, ns netns.NsHandle) error {
	home, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer home.Close()
	l, err := marked(home, v)
	if err == nil && l == nil {
		l, err = home.LinkByName(name)
	}
	if err != nil {
		return fmt.Errorf("find netdev %s of VF %s: %w", name, v.PCISlot, err)
	}
	for _, s := range []struct {
		what string
		do   func() error
	}{
		{"mark", func() error { return home.LinkSetAlias(l, mark(v)) }},
		{"set down", func() error { return home.LinkSetDown(l) }},
		{"rename", func() error { return home.LinkSetName(l, passing(v)) }},
		{"move to namespace " + v.Target.Netns, func() error { return home.LinkSetNsFd(l, int(ns)) }},
	} {
		if err = s.do(); err != nil {
			return fmt.Errorf("%s netdev %s: %w", s.what, name, err)
		}
	}
	return nil
}

// arrive gives a netdev that has come into the namespace its name, MAC and MTU.
func arrive(nl *netlink.Handle, l netlink.Link, v VIF) error {
	fail := func(what string, err error) error {
		return fmt.Errorf("%s of %s in namespace %s: %w", what, v.Target.Ifname, v.Target.Netns, err)
	}
	mac, err := net.ParseMAC(v.MAC)
	if err != nil {
		return fail("set MAC", err)
	}
	a := l.Attrs()
	if a.Name != v.Target.Ifname || a.HardwareAddr.String() != mac.String() {
		if err = nl.LinkSetDown(l); err != nil {
			return fail("set down", err)
		}
		if err = nl.LinkSetName(l, v.Target.Ifname); err != nil {
			return fail("set name", err)
		}
		if a.HardwareAddr.String() != mac.String() {
			if err = nl.LinkSetHardwareAddr(l, mac); err != nil {
				return fail("set MAC "+v.MAC, err)
			}
		}
	}
	if v.MTU > 0 && a.MTU != v.MTU {
		if err = nl.LinkSetMTU(l, v.MTU); err != nil {
			return fail(fmt.Sprintf("set MTU %d", v.MTU), err)
		}
	}
	if err = nl.LinkSetUp(l); err != nil {
		return fail("set up", err)
	}
	return nil
}

// moveOut brings the netdev back to the host's namespace under the name it had. One
// that is nowhere has gone with its namespace: there is nothing to bring back.
func (netdevs) moveOut(v VIF) error {
	home, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer home.Close()
	if err = fetch(v); err != nil {
		return err
	}
	l, err := marked(home, v)
	if err != nil || l == nil {
		return err
	}
	if err = home.LinkSetDown(l); err != nil {
		return fmt.Errorf("set %s down: %w", l.Attrs().Name, err)
	}
	if v.Netdev != "" && l.Attrs().Name != v.Netdev {
		if err = home.LinkSetName(l, v.Netdev); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("rename %s to %s: %w", l.Attrs().Name, v.Netdev, err)
		}
	}
	if err = home.LinkSetAlias(l, ""); err != nil {
		return fmt.Errorf("remove the mark of %s: %w", l.Attrs().Name, err)
	}
	return nil
}

// fetch moves the netdev out of its namespace, if it is there.
func fetch(v VIF) error {
	nl, _, done, err := handle(v.Target.Netns)
	if errors.Is(err, netspace.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer done()
	l, err := marked(nl, v)
	if err != nil || l == nil {
		return err
	}
	home, err := netns.Get()
	if err != nil {
		return fmt.Errorf("open the host's namespace: %w", err)
	}
	defer func() { _ = home.Close() }()
	if err = nl.LinkSetDown(l); err != nil {
		return fmt.Errorf("set %s down in namespace %s: %w", l.Attrs().Name, v.Target.Netns, err)
	}
	if err = nl.LinkSetName(l, passing(v)); err != nil {
		return fmt.Errorf("rename %s in namespace %s: %w", l.Attrs().Name, v.Target.Netns, err)
	}
	if err = nl.LinkSetNsFd(l, int(home)); err != nil {
		return fmt.Errorf("move %s out of namespace %s: %w", l.Attrs().Name, v.Target.Netns, err)
	}
	return nil
}

// prepare sets a netdev up, with the network's MTU.
func (netdevs) prepare(name string, mtu int) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find netdev %s: %w", name, err)
	}
	if mtu > 0 && l.Attrs().MTU != mtu {
		if err = netlink.LinkSetMTU(l, mtu); err != nil {
			return fmt.Errorf("set MTU %d of %s: %w", mtu, name, err)
		}
	}
	if err = netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

// restore sets a netdev down. One that is not there needs it not.
func (netdevs) restore(name string) error {
	l, err := netlink.LinkByName(name)
	var none netlink.LinkNotFoundError
	if errors.As(err, &none) || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find netdev %s: %w", name, err)
	}
	if err = netlink.LinkSetDown(l); err != nil {
		return fmt.Errorf("set %s down: %w", name, err)
	}
	return nil
}
