package dhcp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"neutrino/internal/model"
	"neutrino/internal/netspace"
)

// errPending: what is needed is not there yet; no fault, tried again.
var errPending = errors.New("waiting")

// place is one network's namespace, opened for one round of work.
type place struct {
	name string
	ns   netns.NsHandle
	nl   *netlink.Handle
	mark nsMark
}

// openPlace opens the namespace. The error is netspace.ErrNotExist when there is none.
func openPlace(name string) (*place, error) {
	ns, err := netspace.Open(name)
	if err != nil {
		return nil, err
	}
	nl, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		_ = ns.Close()
		return nil, fmt.Errorf("open netlink in %s: %w", name, err)
	}
	p := &place{name: name, ns: ns, nl: nl}
	if lo, err := nl.LinkByName("lo"); err == nil {
		p.mark, _ = parseNSMark(lo.Attrs().Alias)
	}
	return p, nil
}

// createPlace makes the namespace with its mark, loopback up.
func createPlace(name string, mark nsMark) (*place, error) {
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
		if err := nl.LinkSetAlias(lo, mark.String()); err != nil {
			return fmt.Errorf("mark lo: %w", err)
		}
		if err := hostOnly("default"); err != nil {
			return err
		}
		return nl.LinkSetUp(lo)
	})
	if err != nil {
		return nil, err
	}
	return openPlace(name)
}

func (p *place) close() {
	p.nl.Close()
	_ = p.ns.Close()
}

// vf finds the VF in the namespace; nil when there is none.
func (p *place) vf() (netlink.Link, vfMark, error) {
	links, err := p.nl.LinkList()
	if err != nil {
		return nil, vfMark{}, fmt.Errorf("list links of %s: %w", p.name, err)
	}
	for _, l := range links {
		if m, ok := parseVFMark(l.Attrs().Alias); ok {
			return l, m, nil
		}
	}
	return nil, vfMark{}, nil
}

// take moves the VF from the host's namespace into this one.
func (p *place) take(home *netlink.Handle, vf VF, portID string) (netlink.Link, error) {
	l, err := home.LinkByName(vf.Netdev)
	if err != nil {
		return nil, fmt.Errorf("%w for VF netdev %s: %w", errPending, vf.Netdev, err)
	}
	a := l.Attrs()
	mark := vfMark{portID, vf.PF, vf.Index, vf.Netdev, a.HardwareAddr.String(), a.MTU}
	steps := []struct {
		what string
		do   func() error
	}{
		{"mark", func() error { return home.LinkSetAlias(l, mark.String()) }},
		{"set down", func() error { return home.LinkSetDown(l) }},
		{"move to " + p.name, func() error { return home.LinkSetNsFd(l, int(p.ns)) }},
	}
	for _, s := range steps {
		if err = s.do(); err != nil {
			return nil, fmt.Errorf("%s VF %s: %w", s.what, vf.Netdev, err)
		}
	}
	in, mark, err := p.vf()
	if err == nil && in == nil {
		err = fmt.Errorf("VF %s is not in %s after the move", vf.Netdev, p.name)
	}
	return in, err
}

// giveBack moves the VF to the host's namespace as it was found.
func (p *place) giveBack(home netns.NsHandle, homeNL *netlink.Handle, l netlink.Link, mark vfMark) error {
	fail := func(what string, err error) error {
		return fmt.Errorf("return VF %s from %s: %s: %w", mark.netdev, p.name, what, err)
	}
	if err := p.nl.LinkSetDown(l); mark.bridged() && errors.Is(err, unix.ENODEV) {
		return nil // Open vSwitch has taken it away
	} else if err != nil {
		return fail("set down", err)
	}
	if err := p.flush(l); err != nil {
		return fail("remove addresses", err)
	}
	if mac, err := net.ParseMAC(mark.mac); err == nil && !bytes.Equal(mac, l.Attrs().HardwareAddr) {
		if err := p.nl.LinkSetHardwareAddr(l, mac); err != nil {
			return fail("restore MAC "+mark.mac, err)
		}
	}
	if mark.mtu > 0 && mark.mtu != l.Attrs().MTU {
		if err := p.nl.LinkSetMTU(l, mark.mtu); err != nil {
			return fail("restore MTU", err)
		}
	}
	if mark.bridged() {
		return p.giveBackBridged(home, homeNL, l, mark)
	}
	name := mark.netdev
	if _, err := homeNL.LinkByName(name); err == nil {
		name = fmt.Sprintf("vfdhcp%d", l.Attrs().Index) // somebody took the name meanwhile
	}
	if l.Attrs().Name != name {
		if err := p.nl.LinkSetName(l, name); err != nil {
			return fail("rename", err)
		}
	}
	if err := p.nl.LinkSetNsFd(l, int(home)); err != nil {
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
func (p *place) giveBackBridged(home netns.NsHandle, homeNL *netlink.Handle, l netlink.Link, mark vfMark) error {
	err := p.nl.LinkSetNsFd(l, int(home))
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("return %s from %s: %w", mark.netdev, p.name, err)
	}
	if back, err := homeNL.LinkByName(mark.netdev); err == nil {
		_ = homeNL.LinkSetAlias(back, "") // it may be on its way out
	}
	return nil
}

func (p *place) flush(l netlink.Link) error {
	have, err := p.nl.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for i := range have {
		if have[i].Scope == int(netlink.SCOPE_LINK) {
			continue // the kernel's own, gone with the link's being down
		}
		if err := p.nl.AddrDel(l, &have[i]); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return err
		}
	}
	return nil
}

// linkName is what Neutron calls the DHCP port's device.
func linkName(portID string) string { return "ns-" + clip(portID, 11) }

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// configure makes the link what the network asks for, changing only what differs.
func (p *place) configure(l netlink.Link, n *model.DHCPNetwork) (netlink.Link, error) {
	fail := func(what string, err error) error {
		return fmt.Errorf("%s of %s in %s: %w", what, l.Attrs().Name, p.name, err)
	}
	mac, err := net.ParseMAC(n.MAC)
	if err != nil || len(mac) != 6 {
		return nil, fmt.Errorf("the DHCP port's MAC %q is not an Ethernet address", n.MAC)
	}
	a := l.Attrs()
	name := linkName(n.PortID)
	if m, ok := parseVFMark(a.Alias); ok && m.bridged() {
		name = a.Name
	}
	if a.Name != name || !bytes.Equal(a.HardwareAddr, mac) {
		if err := p.nl.LinkSetDown(l); err != nil {
			return nil, fail("set down", err)
		}
		if err := p.nl.LinkSetName(l, name); err != nil {
			return nil, fail("set name "+name, err)
		}
		if err := p.nl.LinkSetHardwareAddr(l, mac); err != nil {
			return nil, fail("set MAC "+n.MAC, err)
		}
	}
	if n.MTU > 0 && a.MTU != n.MTU {
		if err := p.nl.LinkSetMTU(l, n.MTU); err != nil {
			return nil, fail(fmt.Sprintf("set MTU %d", n.MTU), err)
		}
	}
	if err := netspace.DoAt(p.ns, func() error { return hostOnly(name) }); err != nil {
		return nil, fail("take no advertisements", err)
	}
	if err := p.nl.LinkSetUp(l); err != nil {
		return nil, fail("set up", err)
	}
	if err := p.setAddresses(l, n); err != nil {
		return nil, fail("set addresses", err)
	}
	return p.nl.LinkByIndex(a.Index)
}

// hostOnly keeps the interface (or those to come) of this thread's namespace from taking
// addresses and routes from anybody's advertisements, and from waiting before it speaks: its
// addresses are a port's, and nobody else's.
func hostOnly(ifname string) error {
	for _, key := range []string{"accept_ra", "accept_dad"} {
		file := filepath.Join("/proc/sys/net/ipv6/conf", ifname, key)
		was, err := os.ReadFile(file)
		if isNotExist(err) || err == nil && strings.TrimSpace(string(was)) == "0" {
			continue // no IPv6 on this machine, or done
		}
		err = os.WriteFile(file, []byte("0"), 0o644)
		if err != nil && !errors.Is(err, unix.EROFS) { // a container's /proc: what is taken is removed again
			return fmt.Errorf("set %s: %w", file, err)
		}
	}
	return nil
}

func (p *place) setAddresses(l netlink.Link, n *model.DHCPNetwork) error {
	want := map[netip.Prefix]bool{}
	for _, a := range n.Addresses {
		want[netip.PrefixFrom(a.IP, prefixLen(a, n))] = true
	}
	have, err := p.nl.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for i := range have {
		if have[i].Scope == int(netlink.SCOPE_LINK) {
			continue
		}
		ones, _ := have[i].Mask.Size()
		ip, _ := netip.AddrFromSlice(have[i].IP)
		pfx := netip.PrefixFrom(ip.Unmap(), ones)
		if want[pfx] {
			delete(want, pfx)
			continue
		}
		if err := p.nl.AddrDel(l, &have[i]); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("remove %s: %w", pfx, err)
		}
	}
	for pfx := range want {
		add := &netlink.Addr{IPNet: &net.IPNet{IP: pfx.Addr().AsSlice(), Mask: net.CIDRMask(pfx.Bits(), pfx.Addr().BitLen())}}
		if pfx.Addr().Is6() {
			add.Flags = unix.IFA_F_NODAD
		}
		if err := p.nl.AddrAdd(l, add); err != nil && !errors.Is(err, unix.EEXIST) {
			if pfx.Addr().Is6() && errors.Is(err, unix.EACCES) {
				continue // IPv6 is switched off on this machine; DHCPv4 does not need it
			}
			return fmt.Errorf("add %s: %w", pfx, err)
		}
	}
	return nil
}

// prefixLen of an address is its subnet's; an address of a subnet without DHCP, which
// the network does not list, stands alone.
func prefixLen(a model.FixedIP, n *model.DHCPNetwork) int {
	for _, s := range n.Subnets {
		if s.ID == a.SubnetID {
			return s.CIDR.Bits()
		}
	}
	return a.IP.BitLen()
}

func isNotExist(err error) bool { return errors.Is(err, os.ErrNotExist) }
