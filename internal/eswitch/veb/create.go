package veb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
)

// Create makes a NIC as spec says: devices, programs and maps, all pinned. Every VF
// carries the baseline attributes ([eswitch.Baseline]) and spec's MTU. After an
// error nothing is left behind; after a kill, Destroy removes the rest.
func Create(ctx context.Context, spec Spec) error {
	if err := spec.complete(); err != nil {
		return err
	}
	h := home{pinDir: spec.PinDir, name: spec.Name}
	if err := os.MkdirAll(spec.PinDir, 0o700); err != nil {
		return fmt.Errorf("make pin directory: %w", err)
	}
	unlock, err := lockDir(spec.PinDir)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := h.read(); !errors.Is(err, ErrNotFound) {
		return errors.Join(fmt.Errorf("create NIC %s: %w", spec.Name, ErrExists), err)
	}
	if err := numberFree(spec); err != nil {
		return err
	}
	if err := create(ctx, h, spec); err != nil {
		// The context may be what failed.
		return errors.Join(fmt.Errorf("create NIC %s: %w", spec.Name, err),
			destroy(context.WithoutCancel(ctx), h))
	}
	return nil
}

func numberFree(spec Spec) error {
	all, err := List(spec.PinDir)
	if err != nil {
		return err
	}
	for _, o := range all {
		if !o.Trunk && o.PF == spec.PF && o.Netns == spec.Netns {
			return fmt.Errorf("create NIC %s: PF number %d is %s's: %w", spec.Name, spec.PF, o.Name, ErrExists)
		}
	}
	return nil
}

func create(ctx context.Context, h home, spec Spec) error {
	ns, err := openNetns(spec.Netns)
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	mode, err := attachMode(spec.Attach)
	if err != nil {
		return err
	}
	if err = h.prepare(); err != nil {
		return err
	}
	r := &record{Kind: kindNIC, Spec: spec, Inode: ns.inode, Group: newGroup(), Attached: mode}
	if err = h.write(r); err != nil {
		return err
	}
	o, err := loadNew(h, r)
	if err != nil {
		return err
	}
	l, err := openLinks(ns)
	if err != nil {
		return errors.Join(err, o.Close())
	}
	n := &nic{home: h, rec: r, spec: spec, ns: ns, links: l, o: o}
	defer n.release()
	if err := n.makeUplink(ctx); err != nil {
		return err
	}
	if err := n.makeVFs(ctx); err != nil {
		return err
	}
	r.Complete = true
	return h.write(r)
}

// newGroup returns a link group that nobody else uses.
func newGroup() uint32 { return 0x56000000 | rand.Uint32()&0x00ffffff }

// makeUplink makes or takes the uplink, makes the shaper, and attaches to both.
func (n *nic) makeUplink(ctx context.Context) error {
	up, err := n.uplinkDevice(ctx)
	if err != nil {
		return err
	}
	in, out, err := n.links.addPair(pair{name: n.spec.shapeIn(), peer: n.spec.shapeOut(), mtu: MaxMTU, group: n.rec.Group})
	if err != nil {
		return err
	}
	if err = n.addRoot(in, 0); err != nil {
		return err
	}
	k := swNic{Uplink: uint32(up.index), Shaper: uint32(in), Netns: uint32(n.ns.inode), Build: build(), Layout: layout}
	copy(k.Mac[:], up.mac)
	if up.elsewhere {
		k.Flags |= nicPeer
	}
	if err = n.putNIC(k); err != nil {
		return err
	}
	err = n.ns.do(func() error {
		if err = errors.Join(quiet(n.spec.shapeIn()), quiet(n.spec.shapeOut())); err != nil {
			return err
		}
		if err = attach(n.home, n.rec.Attached, n.spec.Name, up.index, n.o.VebUplink); err != nil {
			return err
		}
		return attach(n.home, n.rec.Attached, n.spec.shapeOut(), out, n.o.VebShaped)
	})
	if err != nil {
		return err
	}
	for _, i := range []int{in, out, up.index} {
		if err := n.links.setUp(i, true); err != nil {
			return fmt.Errorf("bring link %d up: %w", i, err)
		}
	}
	return nil
}

func (n *nic) uplinkDevice(ctx context.Context) (device, error) {
	if !n.spec.Existing {
		if err := n.makeUplinkPair(); err != nil {
			return device{}, err
		}
	}
	d, err := n.links.dump(ctx)
	if err != nil {
		return device{}, err
	}
	up, ok := d.byName[n.spec.Name]
	if !ok {
		return device{}, fmt.Errorf("uplink %s: %w", n.spec.Name, ErrNotFound)
	}
	if n.spec.Existing && up.mtu != n.spec.MTU {
		if err := n.links.LinkSetMTU(handle(up.index), n.spec.MTU); err != nil {
			return device{}, fmt.Errorf("set MTU of %s: %w", n.spec.Name, err)
		}
	}
	return up, nil
}

func (n *nic) makeUplinkPair() error {
	p := pair{name: n.spec.Name, peer: n.spec.Peer.Name, mtu: n.spec.MTU, group: n.rec.Group}
	far, farLinks := n.ns, n.links
	if n.spec.Peer.Netns != "" {
		var err error
		if far, err = openNetns(n.spec.Peer.Netns); err != nil {
			return fmt.Errorf("far end of %s: %w", n.spec.Name, err)
		}
		defer func() { _ = far.Close() }()
		if farLinks, err = openLinks(far); err != nil {
			return err
		}
		defer farLinks.Close()
		p.peerNetns = far
	}
	_, peer, err := n.links.addPair(p)
	if err != nil {
		return err
	}
	if err := farLinks.setUp(peer, true); err != nil {
		return fmt.Errorf("bring %s up: %w", n.spec.Peer.Name, err)
	}
	return nil
}

// makeVFs makes all VF pairs and attaches to them. A tcx attachment waits for a grace
// period (7 to 24 ms) with the kernel's link lock held, so several threads would not
// be faster; it is done here because here nobody waits for a port.
func (n *nic) makeVFs(ctx context.Context) error {
	for i := range n.spec.VFs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := n.makePair(i); err != nil {
			return err
		}
	}
	return n.ns.do(func() error {
		for i := range n.spec.VFs {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := n.attachVF(i); err != nil {
				return err
			}
		}
		return nil
	})
}

// makePair makes VF i's devices and its baseline record. The representor stays down,
// as the baseline's link state says.
func (n *nic) makePair(i int) error {
	rep, vf, err := n.links.addPair(pair{name: n.spec.repName(i), peer: n.spec.vfName(i), mtu: n.spec.MTU, group: n.rec.Group})
	if err != nil {
		return err
	}
	v := n.baseline()
	v.Ifindex, v.Netdev = uint32(rep), uint32(vf)
	if err := n.putVF(i, v); err != nil {
		return err
	}
	return n.putPort(uint32(rep), i)
}

// attachVF runs in the namespace.
func (n *nic) attachVF(i int) error {
	v, err := n.vf(i)
	if err != nil {
		return err
	}
	if err := quiet(n.spec.repName(i)); err != nil {
		return err
	}
	return attach(n.home, n.rec.Attached, n.spec.repName(i), int(v.Ifindex), n.o.VebVf)
}

// Destroy removes the NIC (or trunk) name and everything of it, also after a Create
// that was killed half-way. It is not an error if there is none.
func Destroy(ctx context.Context, name, pinDir string) error {
	if _, err := os.Stat(pinDir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	unlock, err := lockDir(pinDir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := destroy(ctx, home{pinDir: pinDir, name: name}); err != nil {
		return fmt.Errorf("destroy NIC %s: %w", name, err)
	}
	return nil
}

func destroy(ctx context.Context, h home) error {
	r, err := h.read()
	if errors.Is(err, ErrNotFound) {
		return h.unprepare() // at most a mount
	}
	if err != nil {
		return err
	}
	ns, err := openNetns(r.Spec.Netns)
	if errors.Is(err, errNetnsGone) || err == nil && ns.inode != r.Inode && r.Spec.Netns != "" {
		// The devices died with their namespace.
		if ns != nil {
			_ = ns.Close()
		}
		return h.unprepare()
	}
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	if ns.inode != r.Inode {
		return errors.New("it is in another network namespace than this")
	}
	l, err := openLinks(ns)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := deleteGroup(ctx, ns, l, r.Group); err != nil {
		return err
	}
	if err := takeOff(ctx, h, r, ns, l); err != nil {
		return err
	}
	return h.unprepare()
}

// takeOff detaches from the devices that are not ours: an existing uplink, the ports
// of a trunk.
func takeOff(ctx context.Context, h home, r *record, ns *namespace, l *links) error {
	names := r.Ports
	if r.Spec.Existing {
		names = append(names, r.Spec.Name)
	}
	if len(names) == 0 {
		return nil
	}
	d, err := l.dump(ctx)
	if err != nil {
		return err
	}
	return ns.do(func() error {
		for _, name := range names {
			dev, ok := d.byName[name]
			if !ok {
				continue
			}
			if err := detach(h, r.Attached, name, dev.index); err != nil {
				return err
			}
			if r.Spec.Existing {
				if err := dropRoot(l, dev.index); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
