package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"neutrino/internal/netspace"
)

// lease is what a guest makes of a DHCP answer.
type lease struct {
	address netip.Prefix
	gateway netip.Addr // the zero Addr = none
	mtu     int        // 0 = not said
	routes  []*dhcpv4.Route
}

// Between the tries of the client. A guest's would be seconds apart; the lab's link may
// need a moment after it came up, and nobody wants to wait for that.
const leaseTry = 100 * time.Millisecond

// askLease runs a DHCP client on eth0 in the namespace, until it has a lease or ctx ends.
func askLease(ctx context.Context, namespace string) (lease, error) {
	var c *nclient4.Client
	err := netspace.Do(namespace, func() (err error) {
		c, err = nclient4.New("eth0", nclient4.WithTimeout(leaseTry), nclient4.WithRetry(1))
		return err
	})
	if err != nil {
		return lease{}, fmt.Errorf("DHCP client in %s: %w", namespace, err)
	}
	defer func() { _ = c.Close() }()
	want := dhcpv4.WithRequestedOptions(dhcpv4.OptionInterfaceMTU, dhcpv4.OptionHostName, dhcpv4.OptionClasslessStaticRoute)
	pace := rate.NewLimiter(rate.Every(leaseTry), 1)
	var last error
	for {
		if err := pace.Wait(ctx); err != nil {
			return lease{}, fmt.Errorf("DHCP client in %s: %w (last answer: %w)", namespace, context.Cause(ctx), orNone(last))
		}
		got, err := c.Request(ctx, want)
		if err == nil {
			return readLease(got.ACK)
		}
		if ctx.Err() == nil {
			last = err
		}
	}
}

func orNone(err error) error {
	if err == nil {
		return fmt.Errorf("none")
	}
	return err
}

func readLease(ack *dhcpv4.DHCPv4) (lease, error) {
	var l lease
	ip, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	bits, size := ack.SubnetMask().Size()
	if !ok || size != 32 {
		return l, fmt.Errorf("DHCP lease without an address or a mask: %s", ack)
	}
	l.address = netip.PrefixFrom(ip, bits)
	if r := ack.Router(); len(r) > 0 {
		l.gateway, _ = netip.AddrFromSlice(r[0].To4())
	}
	if mtu, err := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, ack.Options); err == nil {
		l.mtu = int(mtu)
	}
	l.routes = ack.ClasslessStaticRoute()
	return l, nil
}

// apply configures eth0 as the lease says.
func (l lease) apply(namespace string) error {
	err := netspace.Do(namespace, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if l.mtu > 0 && eth0.Attrs().MTU != l.mtu {
			if err := netlink.LinkSetMTU(eth0, l.mtu); err != nil {
				return fmt.Errorf("set MTU %d: %w", l.mtu, err)
			}
		}
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: l.address.Addr().AsSlice(), Mask: net.CIDRMask(l.address.Bits(), 32)}}
		if err := netlink.AddrReplace(eth0, addr); err != nil {
			return fmt.Errorf("set address %s: %w", l.address, err)
		}
		for _, r := range l.routeList() {
			r.LinkIndex = eth0.Attrs().Index
			if err := netlink.RouteReplace(r); err != nil {
				return fmt.Errorf("set route %s: %w", r, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("configure eth0 in %s: %w", namespace, err)
	}
	return nil
}

// routeList follows RFC 3442: classless routes, where given, replace the router.
func (l lease) routeList() []*netlink.Route {
	if len(l.routes) == 0 {
		if !l.gateway.IsValid() {
			return nil
		}
		return []*netlink.Route{{Gw: l.gateway.AsSlice()}}
	}
	var out []*netlink.Route
	for _, r := range l.routes {
		n := &netlink.Route{Dst: r.Dest, Gw: r.Router}
		if r.Router.IsUnspecified() {
			n.Gw, n.Scope = nil, netlink.SCOPE_LINK
		}
		if ones, _ := r.Dest.Mask.Size(); ones == 0 {
			n.Dst = nil
		}
		n.Protocol = unix.RTPROT_DHCP
		out = append(out, n)
	}
	return out
}
