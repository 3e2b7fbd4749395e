package veb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

// What a NIC does by itself while a Switch has it open: dead VFs are made again, a
// link state of "auto" follows the uplink, and each device is reached in the way that
// its place allows.

// stale reports whether the NIC has something to do by itself.
func (n *nic) stale(p *picture) bool {
	if p.uplink.index != 0 && n.uplinkPeer(p) != (p.card.Flags&nicPeer != 0) {
		return true
	}
	for i, v := range p.vfs {
		if p.dead(i) || !n.following(p, i, v) {
			return true
		}
	}
	return false
}

// following reports whether VF i's record follows its place and, with link state
// auto, the uplink.
func (n *nic) following(p *picture, i int, v swVf) bool {
	rep := p.dev.byIndex[int(v.Ifindex)]
	if rep.elsewhere != (v.Flags&vfPeer != 0) {
		return false
	}
	have := rep.up && v.Flags&vfActive != 0
	return model.LinkState(v.Link) != model.LinkAuto || have == p.uplink.carrier
}

// uplinkPeer: frames can be given to the far end directly. Guaranteed rates need the
// uplink's queue.
func (n *nic) uplinkPeer(p *picture) bool {
	if !p.uplink.elsewhere {
		return false
	}
	for _, v := range p.vfs {
		if v.Flags&vfPrio != 0 {
			return false
		}
	}
	return true
}

// settle does what stale found. It returns what is then.
func (n *nic) settle(ctx context.Context) (picture, error) {
	unlock, err := lockDir(n.home.pinDir)
	if err != nil {
		return picture{}, err
	}
	defer unlock()
	if _, err = n.home.read(); err != nil {
		return picture{}, err // destroyed meanwhile
	}
	p, err := n.look(ctx)
	if err != nil {
		return p, err
	}
	var errs []error
	for i := range p.vfs {
		if p.dead(i) {
			errs = append(errs, n.revive(i))
		}
	}
	if p, err = n.look(ctx); err != nil {
		return p, errors.Join(append(errs, err)...)
	}
	errs = append(errs, n.follow(&p))
	p, err = n.look(ctx)
	return p, errors.Join(append(errs, err)...)
}

// follow brings records and representors after the places of devices and the uplink.
func (n *nic) follow(p *picture) error {
	k := p.card
	setFlag(&k.Flags, nicPeer, n.uplinkPeer(p))
	if k != p.card {
		if err := n.putNIC(k); err != nil {
			return err
		}
	}
	var errs []error
	for i, v := range p.vfs {
		if p.dead(i) || n.following(p, i, v) {
			continue
		}
		rep := p.dev.byIndex[int(v.Ifindex)]
		setFlag(&v.Flags, vfPeer, rep.elsewhere)
		if model.LinkState(v.Link) == model.LinkAuto {
			setFlag(&v.Flags, vfActive, p.uplink.carrier)
			if rep.up != p.uplink.carrier {
				if err := n.links.setUp(rep.index, p.uplink.carrier); err != nil {
					errs = append(errs, fmt.Errorf("link of VF %d of %s after the uplink's: %w", i, n.spec.Name, err))
					continue
				}
			}
		}
		errs = append(errs, n.putVF(i, v))
	}
	return errors.Join(errs...)
}

// revive makes a VF again whose devices died with a namespace. It carries the
// baseline and counts from zero.
func (n *nic) revive(i int) error {
	fail := func(err error) error { return fmt.Errorf("make VF %d of %s again: %w", i, n.spec.Name, err) }
	old, err := n.vf(i)
	if err != nil {
		return fail(err)
	}
	off := old
	off.Flags &^= vfActive
	if err = n.putVF(i, off); err != nil {
		return fail(err)
	}
	if err = n.forget(i); err != nil {
		return fail(err)
	}
	k, err := n.card()
	if err != nil {
		return fail(err)
	}
	if old.Flags&vfShape != 0 {
		if err := n.clearMax(k, i); err != nil {
			return fail(err)
		}
	}
	if old.Flags&vfPrio != 0 {
		if err := n.clearMin(k, i); err != nil {
			return fail(err)
		}
	}
	if err := n.clearWay(i); err != nil {
		return fail(err)
	}
	if err := n.makePair(i); err != nil {
		return fail(err)
	}
	return n.ns.do(func() error { return n.attachVF(i) })
}

// clearWay removes what half a life may have left: a pin, one end of a pair without
// a record.
func (n *nic) clearWay(i int) error {
	if err := os.Remove(n.home.pin(linkPrefix + n.spec.repName(i))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove attachment: %w", err)
	}
	d, err := n.links.dump(context.Background())
	if err != nil {
		return err
	}
	rep, ok := d.byName[n.spec.repName(i)]
	if !ok || rep.group != n.rec.Group {
		return nil
	}
	if err := n.links.LinkDel(handle(rep.index)); err != nil {
		return fmt.Errorf("delete %s: %w", rep.name, err)
	}
	return nil
}

// notice compares the devices with what was known of them, remembers what they are,
// and reports whether somebody else changed something.
func (n *nic) notice(p *picture) bool {
	now := map[int]seen{-1: seenOf(p.uplink)}
	now[-1] = seen{index: p.uplink.index, up: p.uplink.carrier, mtu: p.uplink.mtu}
	for i, v := range p.vfs {
		now[i] = seenOf(p.dev.byIndex[int(v.Ifindex)])
	}
	changed := len(now) != len(n.seen)
	for i, s := range now {
		changed = changed || n.seen[i] != s
	}
	n.seen = now
	return changed
}

func seenOf(d device) seen {
	return seen{index: d.index, up: d.up, mtu: d.mtu, elsewhere: d.elsewhere}
}

// baseline record of a VF, with the MTU of the NIC.
func (n *nic) baseline() swVf {
	v := swVf{Maxlen: uint32(n.spec.MTU) + ethHeader}
	setAttrs(&v, eswitch.Baseline())
	return v
}
