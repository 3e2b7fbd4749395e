package router

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"neutrino/internal/netspace"
)

// dump says what of the kernel's is in a router's namespace, in words that compare.
func (r *rig) dump(ns string) string {
	r.t.Helper()
	var lines []string
	r.in(ns, func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		names := map[int]string{}
		for _, l := range links {
			a := l.Attrs()
			names[a.Index] = a.Name
			lines = append(lines, fmt.Sprintf("link %s %s mtu %d %v", a.Name, a.HardwareAddr, a.MTU, a.Flags))
			addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
			if err != nil {
				return err
			}
			for _, x := range addrs {
				lines = append(lines, fmt.Sprintf("address %s %s", a.Name, x.IPNet))
			}
		}
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: 254}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return err
		}
		for i := range routes {
			lines = append(lines, fmt.Sprintf("route %s via %s dev %s proto %d", target(&routes[i]), routes[i].Gw, names[routes[i].LinkIndex], routes[i].Protocol))
		}
		return nil
	})
	slices.Sort(lines)
	h, err := netspace.Open(ns)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = h.Close() }()
	c, err := nftables.New(nftables.WithNetNSFd(int(h)))
	if err != nil {
		r.t.Fatal(err)
	}
	k, err := readTable(c)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(k.chains)) {
		lines = append(lines, "chain "+name)
		lines = append(lines, k.chains[name].texts...)
	}
	for _, name := range []string{mapIn, mapOut} {
		for _, from := range slices.SortedFunc(maps.Keys(k.maps[name]), netip.Addr.Compare) {
			lines = append(lines, fmt.Sprintf("%s %s: %s", name, from, k.maps[name][from]))
		}
	}
	return strings.Join(lines, "\n")
}
