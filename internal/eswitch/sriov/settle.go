package sriov

import (
	"context"
	"errors"
	"fmt"
	"time"

	"neutrino/internal/eswitch"
	"neutrino/internal/pci"
	"neutrino/internal/vfnl"
)

const (
	lateMACWait = time.Second // for a MAC that comes into force after a reset
	netdevWait  = 5 * time.Second
	lookGap     = 10 * time.Millisecond
)

// settling is a MAC that was set and has yet to come into force.
type settling struct {
	place int // of the change
	index int
	slot  string
	mac   vfnl.MAC
}

// settle waits for new MACs to show, and gets them to VF drivers that keep their own. It
// returns errors by the place of the change.
func (b *batch) settle(ctx context.Context) map[int]error {
	errs := map[int]error{}
	if len(b.macs) == 0 {
		return errs
	}
	if pfQuirks[b.files.Driver].lateMAC {
		b.await(ctx, errs)
	}
	for _, m := range b.macs {
		if errs[m.place] == nil {
			if err := b.handOver(ctx, m); err != nil {
				errs[m.place] = err
			}
		}
	}
	return errs
}

// await reads the PF until the MACs show, all in one reading.
func (b *batch) await(ctx context.Context, errs map[int]error) {
	ctx, cancel := context.WithTimeout(ctx, lateMACWait)
	defer cancel()
	for gap := lookGap; ; gap *= 2 {
		clear(errs)
		got, err := b.conn.PF(ctx, b.files.ifindex, false)
		shows := map[int]eswitch.Attr[vfnl.MAC]{}
		for _, v := range got.VFs {
			shows[v.Index] = v.MAC
		}
		for _, m := range b.macs {
			if shows[m.index] != eswitch.Set(m.mac) {
				errs[m.place] = errors.Join(fmt.Errorf("mac %v is not in force yet: %w", m.mac, eswitch.ErrBusy), err)
			}
		}
		if len(errs) == 0 || !pause(ctx, gap) {
			return
		}
	}
}

// handOver gets the MAC to the VF's netdev, if that is at hand, has an address of its
// own, and nobody is on top of it.
func (b *batch) handOver(ctx context.Context, m settling) error {
	vf := b.fs.vf(m.slot, b.files.devPort)
	if !b.stale(m.mac, vf) {
		return nil
	}
	if !vfDrivers[vf.driver].rebind {
		err := b.conn.SetAddress(ctx, b.fs.ifindex(vf.Name), m.mac)
		if vf = b.fs.vf(m.slot, b.files.devPort); !b.stale(m.mac, vf) {
			return nil
		}
		b.log.Debug("VF netdev does not take the address", "netdev", vf.Name, "error", err)
	}
	return b.rebind(ctx, m, vf)
}

// rebind unbinds the VF's driver and binds it again, by name: a PF whose VFs are not
// probed on their own (sriov_drivers_autoprobe) is no obstacle then.
func (b *batch) rebind(ctx context.Context, m settling, vf vfFiles) error {
	if err := b.fs.Bind(ctx, m.slot, ""); err != nil {
		return fmt.Errorf("mac %v: %w", m.mac, err)
	}
	// From here on the VF has no driver, so this is done also when the time is over.
	bind, cancel := context.WithTimeout(context.WithoutCancel(ctx), netdevWait)
	defer cancel()
	if err := b.fs.Bind(bind, m.slot, vf.driver); err != nil {
		return fmt.Errorf("mac %v: %w", m.mac, err)
	}
	now, err := b.fs.WaitNetdev(bind, m.slot, b.files.devPort, func(d pci.Netdev) bool { return d.MAC == m.mac.String() })
	switch {
	case err == nil:
		b.log.Info("VF driver bound again for its new address", "pci_slot", m.slot, "driver", vf.driver, "netdev", now.Name, "mac", m.mac)
		return nil
	case now.Name == "":
		return fmt.Errorf("mac %v: %s was bound to %s again and has no network device yet: %w", m.mac, m.slot, vf.driver, errors.Join(eswitch.ErrBusy, err))
	default:
		return fmt.Errorf("mac %v: %s keeps the address %s: %w", m.mac, now.Name, now.MAC, errors.Join(eswitch.ErrBusy, err))
	}
}
