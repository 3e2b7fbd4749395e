package ovs

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Uplinks says why a netdev must not become a bridge's uplink: an address or a route of the
// host's on it would be cut off. Nil = it may, also while it is not there yet.
func Uplinks(netdev string) error {
	l, err := netlink.LinkByName(netdev)
	var none netlink.LinkNotFoundError
	if errors.As(err, &none) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", netdev, err)
	}
	addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", netdev, err)
	}
	var has []string
	for _, a := range addrs {
		if a.Scope < int(netlink.SCOPE_LINK) {
			has = append(has, a.IPNet.String())
		}
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{LinkIndex: l.Attrs().Index}, netlink.RT_FILTER_OIF)
	if err != nil {
		return fmt.Errorf("list routes of %s: %w", netdev, err)
	}
	for i := range routes {
		if isDefault(&routes[i]) {
			has = append(has, "the default route")
		}
	}
	if len(has) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s has %s, which would be cut off; move it to the bridge first, in your network configuration as well, "+
		"or name another NIC in [ovs] bridge_uplinks", ErrUplink, netdev, strings.Join(has, ", "))
}

func isDefault(r *netlink.Route) bool {
	if r.Table != unix.RT_TABLE_MAIN && r.Table != 0 {
		return false
	}
	if r.Dst == nil {
		return r.Gw != nil
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0 && (r.Dst.IP.Equal(net.IPv4zero) || r.Dst.IP.Equal(net.IPv6zero))
}

// setUp sets the uplinks up that are bridges' by now. One that is not there yet comes up when
// it is seen again.
func (s *Switch) setUp(blocked map[string]error) {
	for _, b := range s.o.Bridges {
		if b.Uplink == "" || blocked[b.Uplink] != nil {
			continue
		}
		if l, err := netlink.LinkByName(b.Uplink); err == nil && l.Attrs().Flags&net.FlagUp == 0 {
			if err = netlink.LinkSetUp(l); err != nil {
				s.o.Log.Warn("cannot set the uplink up", "netdev", b.Uplink, "error", err)
			}
		}
	}
}
