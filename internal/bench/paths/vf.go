package paths

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"neutrino/internal/netspace"
	"neutrino/internal/pci"
)

// VFs is the path between two VFs of a real NIC, through its embedded switch. They are two that nobody uses: with a
// network driver, down, without an address, a VLAN or a device on them. They keep their names, MACs and MTU and are
// given back.
func VFs(pf string) Kind {
	return Kind{
		Key: "vf", Title: "VFs of " + pf, Made: "two VFs of " + pf + " that nobody uses, moved", Sides: []string{"a", "b"},
		build: func(b *builder) { b.vfs(pf) }, number: len(Kinds) + 1,
	}
}

func (b *builder) vfs(pf string) {
	devs, err := freeVFs(pf)
	if err == nil && len(devs) < 2 {
		err = fmt.Errorf("%d of its VFs are down, without address, VLAN and devices on them, and two are wanted: %w", len(devs), ErrTaken)
	}
	if err != nil {
		b.try("find two VFs of "+pf, err)
		return
	}
	for i, side := range []string{"a", "b"} {
		b.take(devs[i], side)
	}
}

// take moves a device of the host's into a namespace.
func (b *builder) take(dev, to string) {
	if b.err != nil {
		return
	}
	far, err := netspace.Open(b.ns(to))
	if err != nil {
		b.try("open a namespace", err)
		return
	}
	defer func() { _ = far.Close() }()
	l, err := netlink.LinkByName(dev)
	if err == nil {
		err = netlink.LinkSetNsFd(l, int(far))
	}
	b.try("move "+dev, err)
	b.up(to, dev)
	b.addr(to, dev, 0)
}

// freeVFs names the netdevs of a PF's VFs that nobody uses.
func freeVFs(pf string) ([]string, error) {
	sys := &pci.Sys{}
	p, err := sys.PF(pf)
	if err != nil {
		return nil, err
	}
	l, err := netlink.LinkByName(pf)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, v := range p.VFs {
		d, ok := sys.Netdev(v.Slot, 0)
		if !ok || len(d.Uppers) > 0 || tagged(l, v.Index) {
			continue
		}
		free, err := unused(d.Name)
		if err != nil {
			return nil, err
		}
		if free {
			out = append(out, d.Name)
		}
	}
	return out, nil
}

func tagged(pf netlink.Link, vf int) bool {
	return slices.ContainsFunc(pf.Attrs().Vfs, func(v netlink.VfInfo) bool { return v.ID == vf && v.Vlan != 0 })
}

// unused: a netdev is down, has no address and belongs to no bridge or bond.
func unused(name string) (bool, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return false, err
	}
	addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return false, err
	}
	const up = 1 // IFF_UP
	return l.Attrs().RawFlags&up == 0 && l.Attrs().MasterIndex == 0 && len(addrs) == 0, nil
}

// giveBack moves PCI devices out of a namespace, to where we are.
func giveBack(namespace string) error {
	home, err := netns.Get()
	if err != nil {
		return fmt.Errorf("find the host's network namespace: %w", err)
	}
	defer func() { _ = home.Close() }()
	return netspace.Do(namespace, func() error {
		all, err := netlink.LinkList()
		if err != nil {
			return err
		}
		var errs []error
		for _, l := range all {
			if l.Attrs().ParentDevBus != "pci" {
				continue
			}
			err := netlink.LinkSetDown(l)
			if err == nil {
				err = netlink.LinkSetNsFd(l, int(home))
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("give %s back: %w", l.Attrs().Name, err))
			}
		}
		return errors.Join(errs...)
	})
}
