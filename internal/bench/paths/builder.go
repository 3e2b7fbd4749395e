package paths

import (
	"context"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"

	"neutrino/internal/ethtool"
	"neutrino/internal/netspace"
)

// builder makes one path. After an error it does nothing more.
type builder struct {
	ctx  context.Context
	site *Site
	kind Kind
	err  error
}

func (b *builder) ns(side string) string { return b.site.Prefix + b.kind.Key + "-" + side }

func (b *builder) try(what string, err error) {
	if b.err == nil && err != nil {
		b.err = fmt.Errorf("%s: %w", what, err)
	}
}

// in runs fn inside a namespace.
func (b *builder) in(side, what string, fn func() error) {
	if b.err == nil {
		b.try(what+" on side "+side, netspace.Do(b.ns(side), fn))
	}
}

// with runs fn on a device.
func (b *builder) with(side, dev, what string, fn func(netlink.Link) error) {
	b.in(side, what+" "+dev, func() error {
		l, err := netlink.LinkByName(dev)
		if err != nil {
			return err
		}
		return fn(l)
	})
}

// pair joins two namespaces by a veth pair; both ends are up.
func (b *builder) pair(a, aName, z, zName string) {
	if b.err != nil {
		return
	}
	far, err := netspace.Open(b.ns(z))
	if err != nil {
		b.try("open a namespace", err)
		return
	}
	defer func() { _ = far.Close() }()
	b.in(a, "make a veth pair", func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: aName, MTU: mtu}, PeerName: zName, PeerNamespace: netlink.NsFd(int(far)),
		})
	})
	b.up(a, aName)
	b.up(z, zName)
}

func (b *builder) up(side, dev string) { b.with(side, dev, "set up", netlink.LinkSetUp) }

// addr gives a device the address of its side, and an MTU; 0 = that which it has.
func (b *builder) addr(side, dev string, mtu int) {
	b.address(side, dev, b.kind.addr(side).String()+"/24", mtu)
}

func (b *builder) address(side, dev, prefix string, mtu int) {
	b.with(side, dev, "set the address of", func(l netlink.Link) error {
		a, err := netlink.ParseAddr(prefix)
		if err != nil {
			return err
		}
		if err = netlink.AddrAdd(l, a); err != nil {
			return err
		}
		if mtu == 0 {
			return nil
		}
		return netlink.LinkSetMTU(l, mtu)
	})
}

// move takes a device to another namespace, where it is eth0, up and has the side's address.
func (b *builder) move(from, dev, to string) {
	if b.err != nil {
		return
	}
	far, err := netspace.Open(b.ns(to))
	if err != nil {
		b.try("open a namespace", err)
		return
	}
	defer func() { _ = far.Close() }()
	b.with(from, dev, "move", func(l netlink.Link) error {
		if err := netlink.LinkSetDown(l); err != nil {
			return err
		}
		return netlink.LinkSetNsFd(l, int(far))
	})
	b.with(to, dev, "rename", func(l netlink.Link) error { return netlink.LinkSetName(l, "eth0") })
	b.up(to, "eth0")
	b.addr(to, "eth0", mtu)
}

// bridge makes br0 with these ports.
func (b *builder) bridge(side string, ports ...string) {
	b.in(side, "make a bridge", func() error {
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		if err := netlink.LinkAdd(br); err != nil {
			return err
		}
		for _, p := range ports {
			l, err := netlink.LinkByName(p)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetMaster(l, br); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(br)
	})
}

func (b *builder) vxlan(side, local, remote string) {
	b.with(side, "wire", "make a VXLAN device over", func(under netlink.Link) error {
		return netlink.LinkAdd(&netlink.Vxlan{
			LinkAttrs: netlink.LinkAttrs{Name: "vx0", MTU: tunnelMTU}, VxlanId: vni, Port: 4789, VtepDevIndex: under.Attrs().Index,
			SrcAddr: net.ParseIP(local), Group: net.ParseIP(remote), Learning: true,
		})
	})
	b.up(side, "vx0")
}

// noOffload has a device's checksums and segments made by the kernel: what takes frames from
// it sees them as they are on a wire.
func (b *builder) noOffload(side, dev string) {
	b.in(side, "switch the offloads off of "+dev, func() error {
		c, err := ethtool.Dial()
		if err != nil {
			return err
		}
		defer c.Close()
		return c.Set(dev, map[ethtool.Key]uint32{
			"feature tx-checksum-ip-generic": 0, "feature tx-tcp-segmentation": 0, "feature tx-tcp6-segmentation": 0,
			"feature tx-generic-segmentation": 0,
		})
	})
}
