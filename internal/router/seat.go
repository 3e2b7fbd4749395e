package router

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"neutrino/internal/netspace"
)

// errPending: what is needed is not there yet; no fault, tried again.
var errPending = errors.New("waiting")

// seat is one router's namespace, opened for one round of work.
type seat struct {
	name string
	ns   netns.NsHandle
	nl   *netlink.Handle
	mark nsMark
}

// held is a port's netdev in the namespace.
type held struct {
	link netlink.Link
	mark portMark
}

// openSeat opens the namespace. The error is netspace.ErrNotExist when there is none.
func openSeat(name string) (*seat, error) {
	ns, err := netspace.Open(name)
	if err != nil {
		return nil, err
	}
	nl, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		_ = ns.Close()
		return nil, fmt.Errorf("open netlink in %s: %w", name, err)
	}
	s := &seat{name: name, ns: ns, nl: nl}
	if lo, err := nl.LinkByName("lo"); err == nil {
		s.mark, _ = parseNSMark(lo.Attrs().Alias)
	}
	return s, nil
}

// createSeat makes the namespace with its mark, loopback up, forwarding on.
func createSeat(name string, mark nsMark) (*seat, error) {
	err := netspace.Create(name, func() error {
		nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer nl.Close()
		lo, err := nl.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("find lo: %w", err)
		}
		if err = nl.LinkSetAlias(lo, mark.String()); err != nil {
			return fmt.Errorf("mark lo: %w", err)
		}
		if err = nl.LinkSetUp(lo); err != nil {
			return fmt.Errorf("set lo up: %w", err)
		}
		_, err = ensureSysctls(namespaceSysctls())
		return err
	})
	if err != nil {
		return nil, err
	}
	return openSeat(name)
}

func (s *seat) close() {
	s.nl.Close()
	_ = s.ns.Close()
}

// ports are the netdevs that were put here, by port id.
func (s *seat) ports() (map[string]held, error) {
	links, err := s.nl.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links of %s: %w", s.name, err)
	}
	out := map[string]held{}
	for _, l := range links {
		if m, ok := parsePortMark(l.Attrs().Alias); ok {
			out[m.port] = held{l, m}
		}
	}
	return out, nil
}

// take moves a netdev from the host's namespace into this one.
func (s *seat) take(home *netlink.Handle, vf VF, portID string) (held, error) {
	l, err := home.LinkByName(vf.Netdev)
	if err != nil {
		return held{}, fmt.Errorf("%w for netdev %s: %w", errPending, vf.Netdev, err)
	}
	a := l.Attrs()
	mark := portMark{portID, vf.PF, vf.Index, vf.Netdev, a.HardwareAddr.String(), a.MTU}
	steps := []struct {
		what string
		do   func() error
	}{
		{"mark", func() error { return home.LinkSetAlias(l, mark.String()) }},
		{"set down", func() error { return home.LinkSetDown(l) }},
		{"move to " + s.name, func() error { return home.LinkSetNsFd(l, int(s.ns)) }},
	}
	for _, step := range steps {
		if err = step.do(); err != nil {
			return held{}, fmt.Errorf("%s %s: %w", step.what, vf.Netdev, err)
		}
	}
	ports, err := s.ports()
	if err != nil {
		return held{}, err
	}
	h, ok := ports[portID]
	if !ok {
		return held{}, fmt.Errorf("%s is not in %s after the move", vf.Netdev, s.name)
	}
	return h, nil
}

// giveBack moves a netdev to the host's namespace as it was found.
func (s *seat) giveBack(home netns.NsHandle, homeNL *netlink.Handle, h held) error {
	mark, l := h.mark, h.link
	fail := func(what string, err error) error {
		return fmt.Errorf("return %s from %s: %s: %w", mark.netdev, s.name, what, err)
	}
	if err := s.nl.LinkSetDown(l); err != nil {
		return fail("set down", err)
	}
	if err := s.flush(l); err != nil {
		return fail("remove addresses", err)
	}
	if mac, err := net.ParseMAC(mark.mac); err == nil && !bytes.Equal(mac, l.Attrs().HardwareAddr) {
		if err := s.nl.LinkSetHardwareAddr(l, mac); err != nil {
			return fail("restore MAC "+mark.mac, err)
		}
	}
	if mark.mtu > 0 && mark.mtu != l.Attrs().MTU {
		if err := s.nl.LinkSetMTU(l, mark.mtu); err != nil {
			return fail("restore MTU", err)
		}
	}
	if mark.bridged() {
		return s.giveBackBridged(home, homeNL, h)
	}
	name := mark.netdev
	if _, err := homeNL.LinkByName(name); err == nil {
		name = fmt.Sprintf("vfrouter%d", l.Attrs().Index) // somebody took the name meanwhile
	}
	if l.Attrs().Name != name {
		if err := s.nl.LinkSetName(l, name); err != nil {
			return fail("rename", err)
		}
	}
	if err := s.nl.LinkSetNsFd(l, int(home)); err != nil {
		return fail("move", err)
	}
	back, err := homeNL.LinkByName(name)
	if err != nil {
		return fail("find it in the host's namespace", err)
	}
	if err := homeNL.LinkSetAlias(back, ""); err != nil {
		return fail("remove mark", err)
	}
	return nil
}

// giveBackBridged moves an interface of Open vSwitch to the host's namespace. One that Open
// vSwitch has taken away meanwhile needs no moving.
func (s *seat) giveBackBridged(home netns.NsHandle, homeNL *netlink.Handle, h held) error {
	err := s.nl.LinkSetNsFd(h.link, int(home))
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("return %s from %s: %w", h.mark.netdev, s.name, err)
	}
	if back, err := homeNL.LinkByName(h.mark.netdev); err == nil {
		_ = homeNL.LinkSetAlias(back, "") // it may be on its way out
	}
	return nil
}

func (s *seat) flush(l netlink.Link) error {
	have, err := s.nl.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for i := range have {
		if have[i].Scope == int(netlink.SCOPE_LINK) {
			continue // the kernel's own, gone with the link's being down
		}
		if err := s.nl.AddrDel(l, &have[i]); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return err
		}
	}
	return nil
}

func isNotExist(err error) bool { return errors.Is(err, os.ErrNotExist) }
