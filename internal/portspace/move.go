package portspace

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

// Take moves a port's netdev from the host's namespace into this one.
func (s *Space) Take(home *netlink.Handle, vf VF, portID string) (Held, error) {
	l, err := home.LinkByName(vf.Netdev)
	if err != nil {
		return Held{}, fmt.Errorf("%w for netdev %s: %w", ErrPending, vf.Netdev, err)
	}
	a := l.Attrs()
	mark := Mark{Port: portID, VF: vf, MAC: a.HardwareAddr.String(), MTU: a.MTU}
	steps := []struct {
		what string
		do   func() error
	}{
		{"mark", func() error { return home.LinkSetAlias(l, mark.text(s.kind.PortHead)) }},
		{"set down", func() error { return home.LinkSetDown(l) }},
		{"move to " + s.Name, func() error { return home.LinkSetNsFd(l, int(s.NS)) }},
	}
	for _, step := range steps {
		if err = step.do(); err != nil {
			return Held{}, fmt.Errorf("%s netdev %s: %w", step.what, vf.Netdev, err)
		}
	}
	ports, err := s.Ports()
	if err != nil {
		return Held{}, err
	}
	h, ok := ports[portID]
	if !ok {
		return Held{}, fmt.Errorf("netdev %s is not in %s after the move", vf.Netdev, s.Name)
	}
	return h, nil
}

// GiveBack moves a netdev to the host's namespace as it was found. An interface that Open
// vSwitch has taken away meanwhile needs no moving.
func (s *Space) GiveBack(home netns.NsHandle, homeNL *netlink.Handle, h Held) error {
	err := s.giveBack(home, homeNL, h)
	if err == nil || h.Mark.Bridged() && errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fmt.Errorf("return netdev %s from %s: %w", h.Mark.Netdev, s.Name, err)
}

func (s *Space) giveBack(home netns.NsHandle, homeNL *netlink.Handle, h Held) error {
	if err := s.restore(h); err != nil {
		return err
	}
	name := h.Mark.Netdev
	if !h.Mark.Bridged() {
		if _, err := homeNL.LinkByName(name); err == nil {
			name = fmt.Sprintf("%s%d", s.kind.Spare, h.Link.Attrs().Index) // somebody took the name meanwhile
		}
		if h.Link.Attrs().Name != name {
			if err := s.NL.LinkSetName(h.Link, name); err != nil {
				return fmt.Errorf("rename: %w", err)
			}
		}
	}
	if err := s.NL.LinkSetNsFd(h.Link, int(home)); err != nil {
		return fmt.Errorf("move: %w", err)
	}
	back, err := homeNL.LinkByName(name)
	if err == nil {
		err = homeNL.LinkSetAlias(back, "")
	}
	if err != nil && !h.Mark.Bridged() { // Open vSwitch's may be on its way out
		return fmt.Errorf("take off its mark in the host's namespace: %w", err)
	}
	return nil
}

// restore sets a netdev down, without addresses, with the MAC and MTU that it had.
func (s *Space) restore(h Held) error {
	if err := s.NL.LinkSetDown(h.Link); err != nil {
		return fmt.Errorf("set down: %w", err)
	}
	if err := s.flush(h.Link); err != nil {
		return fmt.Errorf("remove addresses: %w", err)
	}
	a := h.Link.Attrs()
	if mac, err := net.ParseMAC(h.Mark.MAC); err == nil && !bytes.Equal(mac, a.HardwareAddr) {
		if err := s.NL.LinkSetHardwareAddr(h.Link, mac); err != nil {
			return fmt.Errorf("restore MAC %s: %w", h.Mark.MAC, err)
		}
	}
	if h.Mark.MTU > 0 && h.Mark.MTU != a.MTU {
		if err := s.NL.LinkSetMTU(h.Link, h.Mark.MTU); err != nil {
			return fmt.Errorf("restore MTU: %w", err)
		}
	}
	return nil
}

func (s *Space) flush(l netlink.Link) error {
	have, err := s.NL.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for i := range have {
		if have[i].Scope == int(netlink.SCOPE_LINK) {
			continue // the kernel's own, gone with the link's being down
		}
		if err := s.NL.AddrDel(l, &have[i]); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return err
		}
	}
	return nil
}

// GiveAllBack gives every netdev back.
func (s *Space) GiveAllBack(home netns.NsHandle, homeNL *netlink.Handle) error {
	ports, err := s.Ports()
	errs := []error{err}
	for _, h := range ports {
		errs = append(errs, s.GiveBack(home, homeNL, h))
	}
	return errors.Join(errs...)
}

// CleanUp removes every namespace of this kind whose name begins with prefix and that belongs
// to the host whose own namespace is home, and gives the netdevs in them back.
func (k Kind) CleanUp(home netns.NsHandle, prefix string) error {
	names, err := netspace.List(prefix)
	if err != nil {
		return err
	}
	nl, err := netlink.NewHandleAt(home, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer nl.Close()
	var errs []error
	for _, name := range names {
		errs = append(errs, k.cleanUp(home, nl, name))
	}
	return errors.Join(errs...)
}

func (k Kind) cleanUp(home netns.NsHandle, nl *netlink.Handle, name string) error {
	s, err := k.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.Close()
	if s.Host != HostID(home) {
		return nil
	}
	return errors.Join(s.GiveAllBack(home, nl), netspace.Delete(name))
}
