package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"neutrino/internal/netspace"
)

// Keys of the measured paths.
const (
	PathDirect = "direct"
	PathOne    = "vf-one-host"
	PathTwo    = "vf-two-hosts"
	PathBridge = "bridge"
	PathVXLAN  = "bridge-vxlan"
)

// path is two ends between which is measured.
type path struct {
	key, title string
	a, b       end
}

type end struct {
	namespace string
	ip        netip.Addr
}

// wire builds the namespaces of one comparison: veth pairs, a bridge, a tunnel.
type wire struct {
	n   Names
	key string
	err error
}

func (w *wire) ns(side string) string { return w.n.Namespace(wirePart + w.key + "-" + side) }

func (w *wire) make(sides ...string) {
	for _, s := range sides {
		if w.err == nil {
			w.err = w.n.makeNamespace(wirePart + w.key + "-" + s)
		}
	}
}

// pair joins two namespaces by a veth pair; both ends are up.
func (w *wire) pair(a, aName, b, bName string) {
	if w.err != nil {
		return
	}
	far, err := netspace.Open(w.ns(b))
	if err != nil {
		w.err = err
		return
	}
	defer func() { _ = far.Close() }()
	w.in(a, func() error {
		err := netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: aName, MTU: 1500}, PeerName: bName, PeerNamespace: netlink.NsFd(int(far)),
		})
		if err != nil {
			return err
		}
		return linkUp(aName)
	})
	w.in(b, func() error { return linkUp(bName) })
}

func (w *wire) in(side string, fn func() error) {
	if w.err != nil {
		return
	}
	if err := netspace.Do(w.ns(side), fn); err != nil {
		w.err = fmt.Errorf("build %s, side %s: %w", w.key, side, err)
	}
}

func (w *wire) addr(side, dev, prefix string, mtu int) {
	w.in(side, func() error {
		l, err := netlink.LinkByName(dev)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(prefix)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
		return netlink.LinkSetMTU(l, mtu)
	})
}

// bridge makes br0 with these ports.
func (w *wire) bridge(side string, ports ...string) {
	w.in(side, func() error {
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		if err := netlink.LinkAdd(br); err != nil {
			return fmt.Errorf("make a bridge: %w", err)
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

func (w *wire) vxlan(side, local, remote string) {
	w.in(side, func() error {
		under, err := netlink.LinkByName("wire")
		if err != nil {
			return err
		}
		err = netlink.LinkAdd(&netlink.Vxlan{
			LinkAttrs: netlink.LinkAttrs{Name: "vx0", MTU: 1450}, VxlanId: 42, Port: 4789, VtepDevIndex: under.Attrs().Index,
			SrcAddr: net.ParseIP(local), Group: net.ParseIP(remote), Learning: true,
		})
		if err != nil {
			return fmt.Errorf("make a VXLAN device: %w", err)
		}
		return linkUp("vx0")
	})
}

func linkUp(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

func (w *wire) path(title, a, b string) (path, error) {
	return path{
		key: w.key, title: title,
		a: end{w.ns("a"), netip.MustParseAddr(a)}, b: end{w.ns("b"), netip.MustParseAddr(b)},
	}, w.err
}

// directWire is what everything is compared with: one veth pair, nothing between.
func directWire(n Names) (path, error) {
	w := &wire{n: n, key: PathDirect}
	w.make("a", "b")
	w.pair("a", "eth0", "b", "eth0")
	w.addr("a", "eth0", "10.200.1.1/24", 1500)
	w.addr("b", "eth0", "10.200.1.2/24", 1500)
	return w.path("direct veth pair", "10.200.1.1", "10.200.1.2")
}

// bridgeWire is one host with a Linux bridge: no VLANs, no checks.
func bridgeWire(n Names) (path, error) {
	w := &wire{n: n, key: PathBridge}
	w.make("a", "b", "h")
	w.pair("a", "eth0", "h", "pa")
	w.pair("b", "eth0", "h", "pb")
	w.bridge("h", "pa", "pb")
	w.addr("a", "eth0", "10.200.2.1/24", 1500)
	w.addr("b", "eth0", "10.200.2.2/24", 1500)
	return w.path("Linux bridge, one host", "10.200.2.1", "10.200.2.2")
}

// vxlanWire is two hosts, each with a bridge and a tunnel: the software way.
func vxlanWire(n Names) (path, error) {
	w := &wire{n: n, key: PathVXLAN}
	w.make("a", "b", "h1", "h2")
	w.pair("a", "eth0", "h1", "port")
	w.pair("b", "eth0", "h2", "port")
	w.pair("h1", "wire", "h2", "wire")
	w.addr("h1", "wire", "10.200.9.1/24", 1500)
	w.addr("h2", "wire", "10.200.9.2/24", 1500)
	w.vxlan("h1", "10.200.9.1", "10.200.9.2")
	w.vxlan("h2", "10.200.9.2", "10.200.9.1")
	w.bridge("h1", "port", "vx0")
	w.bridge("h2", "port", "vx0")
	w.addr("a", "eth0", "10.200.3.1/24", 1450)
	w.addr("b", "eth0", "10.200.3.2/24", 1450)
	return w.path("bridge + VXLAN, two hosts", "10.200.3.1", "10.200.3.2")
}

// vfPath is between two instances.
func vfPath(n Names, key, title string, a, b *Instance) (path, error) {
	pa, err1 := netip.ParsePrefix(a.Address)
	pb, err2 := netip.ParsePrefix(b.Address)
	if err1 != nil || err2 != nil {
		return path{}, fmt.Errorf("measure %s: %s or %s has no address", title, a.Name, b.Name)
	}
	return path{
		key: key, title: title,
		a: end{n.Namespace(a.Name), pa.Addr()}, b: end{n.Namespace(b.Name), pb.Addr()},
	}, nil
}
