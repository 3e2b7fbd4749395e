package veb

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A maximum rate is a class of a shaper: a veth pair whose entry has an HTB with one
// class per limited VF and whose exit feeds the switch. A queue in front of the
// switch delays TCP instead of losing its segments, which a token bucket does.
//
// A guaranteed rate is a class of an HTB on the uplink, which is there only while
// some VF has one. The program names the class in the packet's priority.

const (
	classMajor = 1
	classFirst = 0x10 // minor of VF 0
	classLink  = 1    // the uplink's whole speed
	classRest  = 2    // VFs without a guarantee
	quantum    = 65536
)

func classID(i int) uint32 { return netlink.MakeHandle(classMajor, uint16(classFirst+i)) }

func rootQdisc(index int, defcls uint32) *netlink.Htb {
	q := netlink.NewHtb(netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(classMajor, 0), Parent: netlink.HANDLE_ROOT})
	q.Defcls = defcls
	return q
}

func (n *nic) addRoot(index int, defcls uint32) error {
	if err := n.links.QdiscReplace(rootQdisc(index, defcls)); err != nil {
		return fmt.Errorf("add HTB to link %d: %w", index, err)
	}
	return nil
}

// dropRoot takes our HTB off a device, if it is there.
func dropRoot(l *links, index int) error {
	all, err := l.QdiscList(handle(index))
	if err != nil {
		return fmt.Errorf("list qdiscs of link %d: %w", index, err)
	}
	for _, q := range all {
		if q.Type() != "htb" || q.Attrs().Parent != netlink.HANDLE_ROOT || q.Attrs().Handle != netlink.MakeHandle(classMajor, 0) {
			continue
		}
		if err := l.QdiscDel(rootQdisc(index, 0)); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove HTB from link %d: %w", index, err)
		}
	}
	return nil
}

const bitsPerMbit = 1_000_000

// putClass makes or changes a class; rates are in Mbit/s.
func (n *nic) putClass(index int, parent, id uint32, rate, ceil int) error {
	c := netlink.NewHtbClass(netlink.ClassAttrs{LinkIndex: index, Parent: parent, Handle: id},
		netlink.HtbClassAttrs{
			Rate: uint64(rate) * bitsPerMbit, Ceil: uint64(ceil) * bitsPerMbit, Quantum: quantum,
			Buffer: burst(rate), Cbuffer: burst(ceil),
		})
	if err := n.links.ClassReplace(c); err != nil {
		return fmt.Errorf("set class %x of link %d: %w", id, index, err)
	}
	return nil
}

func (n *nic) dropClass(index int, parent, id uint32) error {
	err := n.links.ClassDel(netlink.NewHtbClass(netlink.ClassAttrs{LinkIndex: index, Parent: parent, Handle: id}, netlink.HtbClassAttrs{}))
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("remove class %x of link %d: %w", id, index, err)
	}
	return nil
}

var (
	rootHandle = netlink.MakeHandle(classMajor, 0)
	linkHandle = netlink.MakeHandle(classMajor, classLink)
)

func (n *nic) setMax(k swNic, i, mbit int) error {
	return n.putClass(int(k.Shaper), rootHandle, classID(i), mbit, mbit)
}

func (n *nic) clearMax(k swNic, i int) error {
	return n.dropClass(int(k.Shaper), rootHandle, classID(i))
}

// setMin makes VF i's class, and the tree that it is in.
func (n *nic) setMin(k swNic, i, mbit int) error {
	up := int(k.Uplink)
	have, err := n.classes(up)
	if err != nil {
		return err
	}
	if _, ok := have[linkHandle]; !ok {
		if err := n.addRoot(up, classRest); err != nil {
			return err
		}
		if err := n.putClass(up, rootHandle, linkHandle, n.spec.Speed, n.spec.Speed); err != nil {
			return err
		}
		rest := netlink.MakeHandle(classMajor, classRest)
		if err := n.putClass(up, linkHandle, rest, 1, n.spec.Speed); err != nil {
			return err
		}
	}
	return n.putClass(up, linkHandle, classID(i), mbit, n.spec.Speed)
}

func (n *nic) clearMin(k swNic, i int) error {
	return n.dropClass(int(k.Uplink), linkHandle, classID(i))
}

// classes reads the rates of a device's classes, in Mbit/s.
func (n *nic) classes(index int) (map[uint32]int, error) {
	for {
		all, err := n.links.ClassList(handle(index), 0)
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list classes of link %d: %w", index, err)
		}
		out := map[uint32]int{}
		for _, c := range all {
			if h, ok := c.(*netlink.HtbClass); ok {
				out[h.Handle] = int(h.Rate * 8 / bitsPerMbit)
			}
		}
		return out, nil
	}
}

// rates of all VFs, read from the classes.
type rates struct{ min, max []int }

func (n *nic) rates(k swNic, vfs []swVf) (rates, error) {
	r := rates{min: make([]int, len(vfs)), max: make([]int, len(vfs))}
	var any uint16
	for _, v := range vfs {
		any |= v.Flags
	}
	for _, one := range []struct {
		flag  uint16
		index uint32
		out   []int
	}{{vfShape, k.Shaper, r.max}, {vfPrio, k.Uplink, r.min}} {
		if any&one.flag == 0 {
			continue
		}
		have, err := n.classes(int(one.index))
		if err != nil {
			return r, err
		}
		for i, v := range vfs {
			if v.Flags&one.flag != 0 {
				one.out[i] = have[classID(i)]
			}
		}
	}
	return r, nil
}

// burst is what a class of so many Mbit/s may send at once, in bytes: 20 ms worth, so
// that a timer that fires late on a busy host does not cost throughput.
func burst(mbit int) uint32 { return uint32(max(64<<10, mbit*(bitsPerMbit/8/50))) }
