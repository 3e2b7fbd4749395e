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
	"neutrino/internal/portspace"
)

// errPending: what is needed is not there yet; no fault, tried again.
var errPending = portspace.ErrPending

// spaces are the namespaces that DHCP is served in.
var spaces = portspace.Kind{Head: "neutrino-dhcp", Key: "net", PortHead: "neutrino-dhcp-vf", Noun: "network", Spare: "vfdhcp"}

// place is one network's namespace, opened for one round of work.
type place struct{ *portspace.Space }

// CleanUp removes every DHCP namespace of the host whose own namespace is home, and
// gives the VFs in them back: for a host whose agent is gone for good. It must not be
// called while a Node works there. prefix "" = DefaultPrefix.
func CleanUp(home netns.NsHandle, prefix string) error {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	if err := spaces.CleanUp(home, prefix); err != nil {
		return fmt.Errorf("clean up DHCP: %w", err)
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
func (p *place) configure(h portspace.Held, n *model.DHCPNetwork) (netlink.Link, error) {
	l := h.Link
	fail := func(what string, err error) error {
		return fmt.Errorf("%s of %s in %s: %w", what, l.Attrs().Name, p.Name, err)
	}
	mac, err := net.ParseMAC(n.MAC)
	if err != nil || len(mac) != 6 {
		return nil, fmt.Errorf("the DHCP port's MAC %q is not an Ethernet address", n.MAC)
	}
	a := l.Attrs()
	name := linkName(n.PortID)
	if h.Mark.Bridged() {
		name = a.Name
	}
	if a.Name != name || !bytes.Equal(a.HardwareAddr, mac) {
		if err := p.NL.LinkSetDown(l); err != nil {
			return nil, fail("set down", err)
		}
		if err := p.NL.LinkSetName(l, name); err != nil {
			return nil, fail("set name "+name, err)
		}
		if err := p.NL.LinkSetHardwareAddr(l, mac); err != nil {
			return nil, fail("set MAC "+n.MAC, err)
		}
	}
	if n.MTU > 0 && a.MTU != n.MTU {
		if err := p.NL.LinkSetMTU(l, n.MTU); err != nil {
			return nil, fail(fmt.Sprintf("set MTU %d", n.MTU), err)
		}
	}
	if err := netspace.DoAt(p.NS, func() error { return hostOnly(name) }); err != nil {
		return nil, fail("take no advertisements", err)
	}
	if err := p.NL.LinkSetUp(l); err != nil {
		return nil, fail("set up", err)
	}
	if err := p.setAddresses(l, n); err != nil {
		return nil, fail("set addresses", err)
	}
	return p.NL.LinkByIndex(a.Index)
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

// setAddresses lends the link its port's addresses, and takes away all others.
func (p *place) setAddresses(l netlink.Link, n *model.DHCPNetwork) error {
	want := map[netip.Prefix]*netlink.Addr{}
	for _, a := range n.Addresses {
		want[netip.PrefixFrom(a.IP, prefixLen(a, n))] = nil
	}
	have, err := p.NL.AddrList(l, netlink.FAMILY_ALL)
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
		if _, asked := want[pfx]; asked {
			want[pfx] = &have[i]
			continue
		}
		if err := p.NL.AddrDel(l, &have[i]); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("remove %s: %w", pfx, err)
		}
	}
	for pfx, is := range want {
		add := &netlink.Addr{IPNet: &net.IPNet{IP: pfx.Addr().AsSlice(), Mask: net.CIDRMask(pfx.Bits(), pfx.Addr().BitLen())}}
		if pfx.Addr().Is6() {
			add.Flags = unix.IFA_F_NODAD
		}
		if err := portspace.Lend(p.NL, l, add, is, true); err != nil {
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
