package router

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"neutrino/internal/netspace"
)

// protocol of our routes, so that they are told from the kernel's (rtnetlink(7)).
const protocol = unix.RTPROT_STATIC

// configure makes a netdev what is asked for, changing only what differs. fresh are the
// addresses that its neighbours have to be told of.
func (s *seat) configure(h held, d *device) (fresh []netip.Prefix, changed bool, err error) {
	a := h.Link.Attrs()
	fail := func(what string, err error) error {
		return fmt.Errorf("%s of %s in %s: %w", what, a.Name, s.Name, err)
	}
	mac, err := net.ParseMAC(d.port.MAC)
	if err != nil || len(mac) != 6 {
		return nil, false, fmt.Errorf("the MAC %q of port %s is not an Ethernet address", d.port.MAC, d.port.PortID)
	}
	moved := !bytes.Equal(a.HardwareAddr, mac)
	if a.Name != d.name || moved {
		if err = s.NL.LinkSetDown(h.Link); err != nil {
			return nil, true, fail("set down", err)
		}
		if err = s.NL.LinkSetName(h.Link, d.name); err != nil {
			return nil, true, fail("set name "+d.name, err)
		}
		if err = s.NL.LinkSetHardwareAddr(h.Link, mac); err != nil {
			return nil, true, fail("set MAC "+d.port.MAC, err)
		}
		changed = true
	}
	if d.port.MTU > 0 && a.MTU != d.port.MTU {
		if err = s.NL.LinkSetMTU(h.Link, d.port.MTU); err != nil {
			return nil, true, fail(fmt.Sprintf("set MTU %d", d.port.MTU), err)
		}
		changed = true
	}
	if changed || a.Flags&net.FlagUp == 0 {
		if err = s.NL.LinkSetUp(h.Link); err != nil {
			return nil, true, fail("set up", err)
		}
		moved, changed = moved || a.Flags&net.FlagUp == 0, true
	}
	fresh, removed, err := s.setAddresses(h.Link, d.addresses)
	if err != nil {
		return nil, true, fail("set addresses", err)
	}
	changed = changed || removed || len(fresh) > 0
	if moved {
		fresh = d.addresses
	}
	return fresh, changed, nil
}

// setAddresses adds before it removes, so that what stays in a subnet is never without an
// address there.
func (s *seat) setAddresses(l netlink.Link, addresses []netip.Prefix) (added []netip.Prefix, removed bool, err error) {
	have, err := s.NL.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return nil, false, err
	}
	there := map[netip.Prefix]*netlink.Addr{}
	for i := range have {
		if ip, ok := netip.AddrFromSlice(have[i].IP); ok && have[i].Scope != int(netlink.SCOPE_LINK) {
			ones, _ := have[i].Mask.Size()
			there[netip.PrefixFrom(ip.Unmap(), ones)] = &have[i]
		}
	}
	for _, p := range addresses {
		if there[p] != nil {
			delete(there, p)
			continue
		}
		add := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			add.Flags = unix.IFA_F_NODAD
		}
		if err := s.NL.AddrAdd(l, add); err != nil && !errors.Is(err, unix.EEXIST) {
			return added, removed, fmt.Errorf("add %s: %w", p, err)
		}
		added = append(added, p)
	}
	for p, a := range there {
		if err := s.NL.AddrDel(l, a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return added, removed, fmt.Errorf("remove %s: %w", p, err)
		}
		removed = true
	}
	return added, removed, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// setRoutes brings the main table to the plan; routes of the kernel's own making are left
// alone. A route is replaced in one step. Routes by way of a netdev that is not here yet are
// left out.
func (s *seat) setRoutes(p *plan, ports map[string]held) (changed bool, err error) {
	have, err := s.NL.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return false, fmt.Errorf("list routes of %s: %w", s.Name, err)
	}
	there := map[netip.Prefix]netlink.Route{}
	var extra []netlink.Route
	for i := range have {
		if have[i].Protocol == unix.RTPROT_KERNEL || have[i].Type != unix.RTN_UNICAST {
			continue
		}
		to := target(&have[i])
		if _, twice := there[to]; twice {
			extra = append(extra, have[i])
			continue
		}
		there[to] = have[i]
	}
	for _, r := range p.routes {
		h, ok := ports[r.device]
		if !ok {
			continue
		}
		want := &netlink.Route{
			LinkIndex: h.Link.Attrs().Index, Dst: ipNet(r.to), Gw: r.via.AsSlice(), Protocol: protocol, Table: unix.RT_TABLE_MAIN,
		}
		if r.onlink {
			want.Flags = int(netlink.FLAG_ONLINK)
		}
		old, ok := there[r.to]
		delete(there, r.to)
		if ok && sameRoute(&old, want) {
			continue
		}
		if err := s.NL.RouteReplace(want); err != nil {
			return changed, fmt.Errorf("route to %s by way of %s in %s: %w", r.to, r.via, s.Name, err)
		}
		changed = true
	}
	for _, r := range there {
		extra = append(extra, r)
	}
	for i := range extra {
		if err := s.NL.RouteDel(&extra[i]); err != nil && !errors.Is(err, unix.ESRCH) {
			return changed, fmt.Errorf("remove route to %s in %s: %w", target(&extra[i]), s.Name, err)
		}
		changed = true
	}
	return changed, nil
}

// target of a route; the default route has no Dst.
func target(r *netlink.Route) netip.Prefix {
	if r.Dst != nil {
		if ip, ok := netip.AddrFromSlice(r.Dst.IP); ok {
			ones, _ := r.Dst.Mask.Size()
			return netip.PrefixFrom(ip.Unmap(), ones)
		}
	}
	if r.Family == unix.AF_INET6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

func sameRoute(a, b *netlink.Route) bool {
	return a.LinkIndex == b.LinkIndex && a.Gw.Equal(b.Gw) && a.Protocol == b.Protocol &&
		a.Flags&int(netlink.FLAG_ONLINK) == b.Flags&int(netlink.FLAG_ONLINK)
}

// settleSysctls inside the namespace, its links' included.
func (s *seat) settleSysctls(p *plan, ports map[string]held) (changed bool, err error) {
	all := namespaceSysctls()
	for i := range p.devices {
		if _, ok := ports[p.devices[i].port.PortID]; ok {
			all = append(all, linkSysctls(p.devices[i].name)...)
		}
	}
	err = netspace.DoAt(s.NS, func() (err error) {
		changed, err = ensureSysctls(all)
		return err
	})
	if err != nil {
		return changed, fmt.Errorf("in %s: %w", s.Name, err)
	}
	return changed, nil
}

// has: the port is one of the router's.
func (p *plan) has(portID string) bool {
	return slices.ContainsFunc(p.devices, func(d device) bool { return d.port.PortID == portID })
}
