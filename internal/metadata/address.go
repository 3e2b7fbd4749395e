package metadata

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"neutrino/internal/portspace"
)

// ensureAddresses adds what is missing of the two addresses.
//
// 169.254.169.254 is on the loopback: the kernel answers ARP for it on every device
// (arp_ignore 0), and whoever keeps the addresses of the devices has nothing to do with it.
// IPv6 has no such thing, so fe80::a9fe:a9fe is on each device; without duplicate address detection, as
// each DHCP node of a network has it, and deprecated, so that it is never the source of what
// the host itself begins. Both are lent: nobody else answers there once the process is gone.
func (p *Proxy) ensureAddresses() error {
	if p.place != OnLink {
		return nil
	}
	links, err := p.nl.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, l := range links {
		a := l.Attrs()
		switch {
		case a.Flags&net.FlagLoopback != 0:
			err = p.lend(l, &netlink.Addr{
				IPNet: &net.IPNet{IP: Address4.AsSlice(), Mask: net.CIDRMask(32, 32)}, Scope: int(netlink.SCOPE_HOST),
			}, netlink.FAMILY_V4, true)
		case a.Flags&net.FlagUp != 0 && len(a.HardwareAddr) == 6:
			err = p.lend(l, &netlink.Addr{
				IPNet: &net.IPNet{IP: Address6.AsSlice(), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD,
			}, netlink.FAMILY_V6, false)
			if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
				err = nil // IPv6 is switched off
			}
		default:
			continue
		}
		if err != nil && !errors.Is(err, unix.ENODEV) { // it may just have gone
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (p *Proxy) lend(l netlink.Link, want *netlink.Addr, family int, preferred bool) error {
	have, err := p.nl.AddrList(l, family)
	var is *netlink.Addr
	if err == nil {
		for i := range have {
			if have[i].IP.Equal(want.IP) {
				is = &have[i]
			}
		}
	}
	if err = portspace.Lend(p.nl, l, want, is, preferred); err != nil {
		return fmt.Errorf("add %s to %s: %w", want.IPNet, l.Attrs().Name, err)
	}
	return nil
}
