package veb

import (
	"context"
	"errors"
	"fmt"
	"net"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

// job is one change on its way.
type job struct {
	i        int // VF
	ask      eswitch.Attrs
	old, now swVf
	rep      device
	allowed  []model.AllowedSource // to be in force after it
	moved    bool                  // forwarded by another key, or otherwise than before
	err      error
}

// apply carries out changes, at most one per VF. Either the caller merges several of
// one VF or applies them in turn.
func (n *nic) apply(ctx context.Context, changes []eswitch.Change) []error {
	n.mu.Lock()
	defer n.mu.Unlock()
	errs := make([]error, len(changes))
	jobs, err := n.plan(ctx, changes)
	if err == nil {
		var unlock func()
		if unlock, err = lockDir(n.home.pinDir); err == nil {
			n.run(ctx, jobs)
			unlock()
		}
	}
	for x := range errs {
		errs[x] = err
		if err == nil {
			errs[x] = jobs[x].err
		}
		if errs[x] != nil {
			errs[x] = fmt.Errorf("VF %d of %s: %w", changes[x].VF.Index, n.spec.Name, errs[x])
		}
	}
	return errs
}

// plan reads what there is and works out the records to be.
func (n *nic) plan(ctx context.Context, changes []eswitch.Change) ([]*job, error) {
	vfs, err := n.vfs()
	if err != nil {
		return nil, err
	}
	k, err := n.card()
	if err != nil {
		return nil, err
	}
	up, _, err := n.links.get(int(k.Uplink))
	if err != nil {
		return nil, err
	}
	var allowed map[int][]model.AllowedSource
	jobs := make([]*job, len(changes))
	for x, c := range changes {
		if err = ctx.Err(); err != nil {
			return nil, err
		}
		j := &job{i: c.VF.Index, ask: c.Attrs}
		jobs[x] = j
		if j.i < 0 || j.i >= len(vfs) {
			j.err = eswitch.ErrNoVF
			continue
		}
		if j.err = check(c.Attrs, up.mtu); j.err != nil {
			continue
		}
		if j.err = n.findRep(j, vfs[j.i]); j.err != nil {
			continue
		}
		j.allowed, _ = c.Attrs.Allowed.Get()
		if !c.Attrs.Allowed.IsSet() && c.Attrs.MAC.IsSet() && j.old.Flags&vfIPCheck != 0 {
			if allowed == nil {
				if allowed, err = n.sources(); err != nil {
					return nil, err
				}
			}
			j.allowed = allowed[j.i]
		}
		j.work(up.carrier)
		vfs[j.i] = j.now
	}
	clashes(jobs, vfs)
	if err := n.checkRates(jobs, k, vfs); err != nil {
		return nil, err
	}
	return jobs, nil
}

func (n *nic) findRep(j *job, v swVf) error {
	rep, ok, err := n.links.get(int(v.Ifindex))
	if err != nil {
		return err
	}
	if !ok { // died a moment ago; the watcher makes it again
		return fmt.Errorf("its devices are gone: %w", eswitch.ErrBusy)
	}
	j.old, j.rep = v, rep
	return nil
}

// work fills in the record to be.
func (j *job) work(carrier bool) {
	j.now = j.old
	setAttrs(&j.now, j.ask)
	if j.ask.Allowed.IsSet() || j.ask.MAC.IsSet() && j.old.Flags&vfIPCheck != 0 {
		setAllowed(&j.now, j.allowed)
	}
	setFlag(&j.now.Flags, vfPeer, j.rep.elsewhere)
	setFlag(&j.now.Flags, vfActive, linkUp(j.now.Link, carrier))
	j.moved = j.now.Mac != j.old.Mac || j.now.Vlan != j.old.Vlan || j.now.Flags&vfTrunk != j.old.Flags&vfTrunk
}

// check finds what no VF can have.
func check(a eswitch.Attrs, mtu int) error {
	if s, ok := a.MAC.Get(); ok {
		if _, err := parseMAC(s); err != nil {
			return fmt.Errorf("mac: %w", err)
		}
	}
	if v, ok := a.VLAN.Get(); ok && (v < 0 || v > 4094) {
		return fmt.Errorf("vlan %d: want 0..4094", v)
	}
	if l, ok := a.LinkState.Get(); ok && (l < model.LinkAuto || l > model.LinkDisable) {
		return fmt.Errorf("link_state %d: want 0..2", l)
	}
	if m, ok := a.MTU.Get(); ok && (m < MinMTU || m > mtu) {
		return fmt.Errorf("mtu %d: want %d..%d, the uplink's", m, MinMTU, mtu)
	}
	if a.MAC.IsUnsupported() || a.VLAN.IsUnsupported() || a.SpoofCheck.IsUnsupported() || a.Trust.IsUnsupported() ||
		a.LinkState.IsUnsupported() || a.MinTxRate.IsUnsupported() || a.MaxTxRate.IsUnsupported() ||
		a.MTU.IsUnsupported() || a.Allowed.IsUnsupported() {
		return fmt.Errorf("an attribute to be set cannot be unsupported: %w", eswitch.ErrUnsupported)
	}
	list, _ := a.Allowed.Get()
	for _, s := range list {
		if _, err := parseMAC(s.MAC); err != nil {
			return fmt.Errorf("allowed: %w", err)
		}
		if !s.Prefix.IsValid() || s.Prefix.Addr().Is4In6() {
			return fmt.Errorf("allowed: prefix %s of %s is not one", s.Prefix, s.MAC)
		}
	}
	return nil
}

// clashes refuses what would give two VFs one station address: who has it keeps it.
func clashes(jobs []*job, vfs []swVf) {
	owner := map[swFdbKey]int{}
	moving := map[int]*job{}
	for _, j := range jobs {
		if j.err == nil && j.moved {
			moving[j.i] = j
		}
	}
	for i, v := range vfs {
		if moving[i] == nil && v.Mac != noMAC {
			owner[fdbKey(v)] = i
		}
	}
	for _, j := range jobs {
		if j.err != nil || !j.moved || j.now.Mac == noMAC {
			continue
		}
		if o, taken := owner[fdbKey(j.now)]; taken && o != j.i {
			j.err = fmt.Errorf("mac %s in VLAN %d is VF %d's: %w", macString(j.now.Mac), j.now.Vlan, o, eswitch.ErrBusy)
			continue
		}
		owner[fdbKey(j.now)] = j.i
	}
}

// checkRates refuses guarantees that the uplink does not have.
func (n *nic) checkRates(jobs []*job, k swNic, vfs []swVf) error {
	asked := false
	for _, j := range jobs {
		asked = asked || j.err == nil && (j.ask.MinTxRate.IsSet() || j.ask.MaxTxRate.IsSet())
	}
	if !asked {
		return nil
	}
	r, err := n.rates(k, vfs)
	if err != nil {
		return err
	}
	sum := 0
	for _, m := range r.min {
		sum += m
	}
	for _, j := range jobs {
		if j.err != nil {
			continue
		}
		lo, hi := r.min[j.i], r.max[j.i]
		before := lo
		if v, ok := j.ask.MinTxRate.Get(); ok {
			lo = v
		}
		if v, ok := j.ask.MaxTxRate.Get(); ok {
			hi = v
		}
		switch {
		case lo < 0 || hi < 0 || hi > maxRate:
			j.err = fmt.Errorf("min_tx_rate %d, max_tx_rate %d Mbit/s: want 0..%d", lo, hi, maxRate)
		case hi > 0 && lo > hi:
			j.err = fmt.Errorf("min_tx_rate %d is above max_tx_rate %d Mbit/s", lo, hi)
		case sum-before+lo > n.spec.Speed:
			j.err = fmt.Errorf("min_tx_rate %d: guarantees would sum up to %d of the uplink's %d Mbit/s", lo, sum-before+lo, n.spec.Speed)
		default:
			sum += lo - before
		}
	}
	return nil
}

const maxRate = 1_000_000 // Mbit/s

// run carries the jobs out. A VF whose MAC, VLAN or trunk changes is out of the
// switch from before its old entry goes until its new one is there.
func (n *nic) run(ctx context.Context, jobs []*job) {
	for _, j := range jobs {
		if j.err == nil && (j.moved || j.now.Flags&vfActive == 0) {
			j.err = n.takeOut(j)
		}
	}
	for _, j := range jobs {
		if j.err == nil {
			j.err = ctx.Err()
		}
		if j.err == nil {
			j.err = n.equip(j)
		}
	}
	flagErr := n.setCardFlags(jobs)
	for _, j := range jobs {
		if j.err == nil {
			j.err = flagErr
		}
		if j.err == nil {
			j.err = n.putIn(j)
		}
	}
	for _, j := range jobs {
		if j.err == nil {
			j.err = n.clear(j)
		}
	}
}

func (n *nic) takeOut(j *job) error {
	off := j.old
	off.Flags &^= vfActive
	if err := n.putVF(j.i, off); err != nil {
		return err
	}
	if !j.moved {
		return nil
	}
	return n.leaveFDB(j.i, j.old)
}

// equip sets what lies outside the record.
func (n *nic) equip(j *job) error {
	if j.ask.Allowed.IsSet() || j.now.Mac != j.old.Mac && j.now.Flags&vfIPCheck != 0 {
		if err := n.setSources(j.i, j.now.Mac, j.allowed); err != nil {
			return fmt.Errorf("allowed: %w", err)
		}
	}
	if m, ok := j.ask.MTU.Get(); ok {
		if err := n.setMTU(j, m); err != nil {
			return fmt.Errorf("mtu: %w", err)
		}
	}
	if j.ask.MAC.IsSet() && j.now.Mac != noMAC && !j.rep.elsewhere {
		if err := n.links.LinkSetHardwareAddr(handle(j.rep.peer), net.HardwareAddr(j.now.Mac[:])); err != nil {
			return fmt.Errorf("mac of the VF's netdev: %w", err)
		}
	}
	k, err := n.card()
	if err != nil {
		return err
	}
	if v, ok := j.ask.MaxTxRate.Get(); ok && v > 0 {
		if err := n.setMax(k, j.i, v); err != nil {
			return fmt.Errorf("max_tx_rate: %w", err)
		}
	}
	if v, ok := j.ask.MinTxRate.Get(); ok && v > 0 {
		if err := n.setMin(k, j.i, v); err != nil {
			return fmt.Errorf("min_tx_rate: %w", err)
		}
	}
	return nil
}

// setMTU sets the limit, and while the VF's netdev is here, the netdev after it.
func (n *nic) setMTU(j *job, mtu int) error {
	if j.rep.mtu != mtu {
		if err := n.links.LinkSetMTU(handle(j.rep.index), mtu); err != nil {
			return err
		}
	}
	j.rep.mtu = mtu
	if j.rep.elsewhere {
		return nil
	}
	return n.links.LinkSetMTU(handle(j.rep.peer), mtu)
}

// setCardFlags makes the NIC's flags those that the records need, old and new alike:
// clear takes them back.
func (n *nic) setCardFlags(jobs []*job) error {
	k, err := n.card()
	if err != nil {
		return err
	}
	was := k
	for _, j := range jobs {
		if j.err == nil {
			cardFlags(&k, j.now)
		}
	}
	if k == was {
		return nil
	}
	return n.putNIC(k)
}

func cardFlags(k *swNic, v swVf) {
	for _, f := range []struct{ vf, nic uint16 }{{vfLearn, nicLearn}, {vfTrust, nicTrust}, {vfTrunk, nicTrunks}} {
		if v.Flags&f.vf != 0 {
			k.Flags |= f.nic
		}
	}
	if v.Flags&vfPrio != 0 {
		k.Flags &^= nicPeer
	}
}

// putIn puts the VF where it is to be.
func (n *nic) putIn(j *job) error {
	up := j.now.Flags&vfActive != 0
	if err := n.joinFDB(j.i, j.now); err != nil {
		return err
	}
	if up {
		if err := n.putVF(j.i, j.now); err != nil {
			return err
		}
	}
	if j.rep.up != up {
		if err := n.links.setUp(j.rep.index, up); err != nil {
			return fmt.Errorf("link_state: %w", err)
		}
	}
	j.rep.up = up
	if n.seen != nil {
		n.seen[j.i] = seenOf(j.rep)
	}
	if up {
		return nil
	}
	return n.putVF(j.i, j.now)
}

// clear removes what the VF needs no more.
func (n *nic) clear(j *job) error {
	k, err := n.card()
	if err != nil {
		return err
	}
	var errs []error
	if j.old.Flags&vfShape != 0 && j.now.Flags&vfShape == 0 {
		errs = append(errs, n.clearMax(k, j.i))
	}
	if j.old.Flags&vfPrio != 0 && j.now.Flags&vfPrio == 0 {
		errs = append(errs, n.clearMin(k, j.i))
	}
	if j.old.Flags&vfLearn != 0 && (j.moved || j.now.Flags&vfLearn == 0) {
		errs = append(errs, n.unlearn(j.i))
	}
	if gone := j.old.Flags &^ j.now.Flags; gone&(vfLearn|vfTrust|vfTrunk|vfPrio) != 0 {
		errs = append(errs, n.tidyCard(k))
	}
	return errors.Join(errs...)
}

// tidyCard takes back flags that no VF needs, and the uplink's queue.
func (n *nic) tidyCard(k swNic) error {
	vfs, err := n.vfs()
	if err != nil {
		return err
	}
	up, _, err := n.links.get(int(k.Uplink))
	if err != nil {
		return err
	}
	was := k
	k.Flags = 0
	setFlag(&k.Flags, nicPeer, up.elsewhere)
	for _, v := range vfs {
		cardFlags(&k, v)
	}
	queued := false
	for _, v := range vfs {
		queued = queued || v.Flags&vfPrio != 0
	}
	if !queued && up.index != 0 {
		if err := dropRoot(n.links, up.index); err != nil {
			return err
		}
	}
	if k == was {
		return nil
	}
	return n.putNIC(k)
}
