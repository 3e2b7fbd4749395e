package veb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// links is a rtnetlink socket in one namespace.
type links struct {
	*netlink.Handle
}

func openLinks(ns *namespace) (*links, error) {
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	return &links{h}, nil
}

// device is what one dump says of a netdev.
type device struct {
	index, peer int
	name        string
	up, carrier bool
	mtu         int
	elsewhere   bool // the other end is in another namespace
	group       uint32
	mac         net.HardwareAddr
}

func deviceOf(l netlink.Link) device {
	a := l.Attrs()
	return device{
		index: a.Index, peer: a.ParentIndex, name: a.Name, mtu: a.MTU, mac: a.HardwareAddr, group: a.Group,
		up: a.RawFlags&unix.IFF_UP != 0, carrier: a.RawFlags&unix.IFF_LOWER_UP != 0, elsewhere: a.NetNsID >= 0,
	}
}

// devices is one dump of a namespace.
type devices struct {
	byIndex map[int]device
	byName  map[string]device
}

func (l *links) dump(ctx context.Context) (devices, error) {
	for {
		if err := ctx.Err(); err != nil {
			return devices{}, fmt.Errorf("list links: %w", err)
		}
		all, err := l.LinkList()
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			continue
		}
		if err != nil {
			return devices{}, fmt.Errorf("list links: %w", err)
		}
		d := devices{byIndex: make(map[int]device, len(all)), byName: make(map[string]device, len(all))}
		for _, one := range all {
			v := deviceOf(one)
			d.byIndex[v.index], d.byName[v.name] = v, v
		}
		return d, nil
	}
}

// get reads one link; ok is false when there is none of this index.
func (l *links) get(index int) (device, bool, error) {
	if index == 0 {
		return device{}, false, nil
	}
	one, err := l.LinkByIndex(index)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return device{}, false, nil
	}
	if err != nil {
		return device{}, false, fmt.Errorf("read link %d: %w", index, err)
	}
	return deviceOf(one), true, nil
}

// handle names a link to the netlink library without reading it.
func handle(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

func (l *links) setUp(index int, up bool) error {
	if up {
		return l.LinkSetUp(handle(index))
	}
	return l.LinkSetDown(handle(index))
}

// pair is a veth pair to be made.
type pair struct {
	name, peer string
	peerNetns  *namespace // nil: the same
	mtu        int
	group      uint32
}

// addPair makes the pair and returns the indexes of both ends; the peer's is as seen
// in its own namespace.
func (l *links) addPair(p pair) (index, peer int, err error) {
	a := netlink.NewLinkAttrs()
	a.Name, a.MTU, a.Group = p.name, p.mtu, p.group
	v := netlink.NewVeth(a)
	v.PeerName, v.PeerMTU = p.peer, uint32(p.mtu)
	if p.peerNetns != nil {
		v.PeerNamespace = netlink.NsFd(p.peerNetns.fd())
	}
	if err = l.LinkAdd(v); err != nil {
		if errors.Is(err, unix.EEXIST) {
			err = ErrExists
		}
		return 0, 0, fmt.Errorf("make veth pair %s/%s: %w", p.name, p.peer, err)
	}
	one, err := l.LinkByName(p.name)
	if err != nil {
		return 0, 0, fmt.Errorf("read link %s: %w", p.name, err)
	}
	return one.Attrs().Index, one.Attrs().ParentIndex, nil
}

// deleteGroup removes every link of the group in the namespace at once: one grace
// period for all, where one after the other would each wait for its own.
func deleteGroup(ctx context.Context, ns *namespace, l *links, group uint32) error {
	d, err := l.dump(ctx)
	if err != nil {
		return err
	}
	some := false
	for _, one := range d.byIndex {
		some = some || one.group == group
	}
	if group == 0 || !some {
		return nil
	}
	return ns.do(func() error {
		req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
		req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)))
		if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
			return fmt.Errorf("delete links of group %#x: %w", group, err)
		}
		return nil
	})
}

// quiet keeps the host's own IPv6 off a device that belongs to the switch. It runs
// in the namespace.
func quiet(name string) error {
	err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("turn IPv6 off on %s: %w", name, err)
	}
	return nil
}
