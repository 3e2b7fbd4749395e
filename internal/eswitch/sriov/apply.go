package sriov

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
	"neutrino/internal/vfnl"
)

const (
	busyTries = 6 // of a driver that says to try again
	busyGap   = 10 * time.Millisecond
)

// batch is one Apply on one PF.
type batch struct {
	*pf
	files pfFiles
	vfs   map[int]vfnl.VF // as read before the first change, and brought along
	macs  []settling
}

// apply carries out the changes one after the other and returns an error for each.
func (p *pf) apply(ctx context.Context, changes []eswitch.Change) []error {
	errs := make([]error, len(changes))
	f, got, err := p.read(ctx)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	b := &batch{pf: p, files: f, vfs: map[int]vfnl.VF{}}
	for _, v := range got.VFs {
		b.vfs[v.Index] = v
	}
	p.own.begin(got.Up)
	for i := range changes {
		if errs[i] = ctx.Err(); errs[i] == nil {
			errs[i] = b.change(ctx, i, &changes[i])
		}
	}
	for i, err := range b.settle(ctx) {
		errs[i] = errors.Join(errs[i], err)
	}
	if p.own.end(ctx) {
		p.raise()
	}
	return errs
}

// change carries out one change, the place-th.
func (b *batch) change(ctx context.Context, place int, c *eswitch.Change) error {
	index := c.VF.Index
	slot := b.files.virtfn[index]
	have, there := b.vfs[index]
	switch {
	case slot == "":
		return eswitch.ErrNoVF
	case b.exclude[slot]:
		return ErrExcluded
	case !there:
		return fmt.Errorf("the driver tells nothing of it at the moment: %w", eswitch.ErrBusy)
	}
	want, cannot, err := b.translate(ctx, c, &have)
	if err != nil {
		return err
	}
	errs := []error{cannot}
	if !want.Empty() {
		errs = append(errs, b.send(ctx, index, want, &have))
	}
	b.vfs[index] = have
	if m, ok := want.MAC.Get(); ok && have.MAC == want.MAC {
		b.macs = append(b.macs, settling{place, index, slot, m})
	}
	return errors.Join(errs...)
}

// translate says a change in vfnl's terms, with both rates if any, and without what the
// driver was found not to have; cannot names that.
func (b *batch) translate(ctx context.Context, c *eswitch.Change, have *vfnl.VF) (out vfnl.Attrs, cannot, err error) {
	a := c.Attrs
	if a.MTU.IsSet() {
		cannot = errors.Join(cannot, fmt.Errorf("mtu: %w", eswitch.ErrUnsupported))
	}
	if l, ok := a.Allowed.Get(); ok && len(l) > 0 {
		cannot = errors.Join(cannot, fmt.Errorf("allowed: %w", eswitch.ErrUnsupported))
	}
	if text, ok := a.MAC.Get(); ok {
		m, err := net.ParseMAC(text)
		if err != nil || len(m) != 6 {
			return out, nil, fmt.Errorf("mac %q is no Ethernet address: %w", text, vfnl.ErrInvalid)
		}
		out.MAC = eswitch.Set(vfnl.MAC(m))
	}
	if id, ok := a.VLAN.Get(); ok {
		if id < 0 || id > 4094 {
			return out, nil, fmt.Errorf("vlan %d is not within 0..4094: %w", id, vfnl.ErrInvalid)
		}
		out.VLAN = eswitch.Set(vfnl.VLAN{ID: id, Proto: vfnl.Dot1Q})
	}
	out.SpoofCheck, out.Trust, out.LinkState = a.SpoofCheck, a.Trust, a.LinkState
	out.MinTxRate, out.MaxTxRate = a.MinTxRate, a.MaxTxRate
	cannot = errors.Join(cannot, b.leaveOut(ctx, c, &out))
	if out.MinTxRate.IsSet() || out.MaxTxRate.IsSet() {
		out.MinTxRate, out.MaxTxRate = both(out.MinTxRate, have.MinTxRate), both(out.MaxTxRate, have.MaxTxRate)
		if high, _ := out.MaxTxRate.Get(); high > 0 && pfQuirks[b.files.Driver].rateNeedsVLAN && untagged(&out, have) {
			out.MinTxRate, out.MaxTxRate = eswitch.Unset[int](), eswitch.Unset[int]()
			cannot = errors.Join(cannot, fmt.Errorf("max_tx_rate without a VLAN: %w", eswitch.ErrUnsupported))
		}
	}
	return out, cannot, nil
}

// both is a rate to be set: the one asked, else as it is, else none.
func both(want, have eswitch.Attr[int]) eswitch.Attr[int] {
	if want.IsSet() {
		return want
	}
	n, _ := have.Get()
	return eswitch.Set(n)
}

// untagged reports whether the VF has no VLAN once want is done.
func untagged(want *vfnl.Attrs, have *vfnl.VF) bool {
	v, ok := want.VLAN.Get()
	if !ok {
		v, _ = have.VLAN.Get()
	}
	return v.ID == 0 || v.ID == vlanVGT
}

// leaveOut takes out of want what the driver was found not to have. It is written to
// OFED's files where they exist; a zero value is what such a driver does anyway.
func (b *batch) leaveOut(ctx context.Context, c *eswitch.Change, want *vfnl.Attrs) error {
	var errs []error
	for _, name := range want.Names() {
		if !b.lacks[name] {
			continue
		}
		zero := drop(want, name)
		switch ok, err := b.toOFED(ctx, b.files, c.VF.Index, name, ofedValue(&c.Attrs, name)); {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		case !ok && !zero:
			errs = append(errs, fmt.Errorf("%s: %w", name, eswitch.ErrUnsupported))
		}
	}
	return errors.Join(errs...)
}

// drop takes one attribute out, and reports whether it asked for its zero.
func drop(a *vfnl.Attrs, name string) bool {
	switch name {
	case "mac":
		return take(&a.MAC)
	case "vlan":
		v, _ := a.VLAN.Get()
		a.VLAN = eswitch.Unset[vfnl.VLAN]()
		return v.ID == 0
	case "spoof_check":
		return take(&a.SpoofCheck)
	case "trust":
		return take(&a.Trust)
	case "link_state":
		return take(&a.LinkState)
	case "min_tx_rate":
		return take(&a.MinTxRate)
	case "max_tx_rate":
		return take(&a.MaxTxRate)
	}
	return false
}

func take[T comparable](a *eswitch.Attr[T]) bool {
	var zero T
	v, ok := a.Get()
	*a = eswitch.Unset[T]()
	return ok && v == zero
}

// ordered splits want where the kernel's order within one VF's information is not the
// right one. All parts go in one request.
//
// Where a rate needs a VLAN, one may be kept that does not show; so every change of the
// VLAN says the rate as well.
func ordered(want vfnl.Attrs, have *vfnl.VF, rateNeedsVLAN bool) []vfnl.Attrs {
	var out []vfnl.Attrs
	if l, ok := want.LinkState.Get(); ok && l == model.LinkDisable {
		out = append(out, vfnl.Attrs{LinkState: want.LinkState}) // before its VLAN goes
		want.LinkState = eswitch.Unset[model.LinkState]()
	}
	if !rateNeedsVLAN || !want.VLAN.IsSet() {
		if !want.Empty() {
			out = append(out, want)
		}
		return out
	}
	after := vfnl.Attrs{MinTxRate: both(want.MinTxRate, have.MinTxRate), MaxTxRate: both(want.MaxTxRate, have.MaxTxRate)}
	none := untagged(&want, have)
	want.MinTxRate, want.MaxTxRate = eswitch.Unset[int](), eswitch.Unset[int]()
	out = append(out, vfnl.Attrs{MinTxRate: eswitch.Set(0), MaxTxRate: eswitch.Set(0)}, want)
	if high, _ := after.MaxTxRate.Get(); high > 0 && !none {
		out = append(out, after)
	}
	return out
}

// send sets all in one request, and if that fails each for itself.
func (b *batch) send(ctx context.Context, index int, want vfnl.Attrs, have *vfnl.VF) error {
	parts := ordered(want, have, pfQuirks[b.files.Driver].rateNeedsVLAN && !b.lacks["max_tx_rate"])
	err := b.set(ctx, index, parts...)
	if err == nil {
		for i := range parts {
			adopt(have, &parts[i])
		}
		return nil
	}
	if ctx.Err() != nil || errors.Is(err, vfnl.ErrNoPF) || errors.Is(err, vfnl.ErrInvalid) {
		return err
	}
	var errs []error
	isolated := true
	for _, part := range parts {
		for _, one := range singles(part) {
			name := one.Names()[0]
			if !isolated && opens(&one) {
				errs = append(errs, fmt.Errorf("%s: left as it is, for the VF is not isolated", name))
				continue
			}
			if err := b.single(ctx, index, name, one, have); err != nil {
				errs = append(errs, err)
				isolated = isolated && name != "mac" && name != "vlan" && name != "spoof_check"
			}
		}
	}
	return errors.Join(errs...)
}

// opens reports whether an attribute gives the VF more than it had.
func opens(a *vfnl.Attrs) bool {
	l, ok := a.LinkState.Get()
	trust, _ := a.Trust.Get()
	return (ok && l != model.LinkDisable) || trust
}

// singles are the attributes of a one by one, in the kernel's order; rates together.
func singles(a vfnl.Attrs) []vfnl.Attrs {
	all := []vfnl.Attrs{
		{MAC: a.MAC},
		{VLAN: a.VLAN},
		{MinTxRate: a.MinTxRate, MaxTxRate: a.MaxTxRate},
		{SpoofCheck: a.SpoofCheck},
		{LinkState: a.LinkState},
		{Trust: a.Trust},
	}
	return slices.DeleteFunc(all, func(x vfnl.Attrs) bool { return x.Empty() })
}

// single sets one attribute and learns from the answer.
func (b *batch) single(ctx context.Context, index int, name string, one vfnl.Attrs, have *vfnl.VF) error {
	err := b.set(ctx, index, one)
	if err == nil {
		adopt(have, &one)
		return nil
	}
	if one.MaxTxRate.IsSet() {
		return b.rateRefused(ctx, index, one, have, err)
	}
	if errors.Is(err, vfnl.ErrUnsupported) {
		b.lack(name)
		// What such a driver does anyway was asked, or there is another way.
		change := eswitch.Change{VF: eswitch.VFID{PF: b.name, Index: index}, Attrs: back(&one)}
		if left := b.leaveOut(ctx, &change, &one); left == nil {
			return nil
		} else if !errors.Is(left, eswitch.ErrUnsupported) {
			return left
		}
	}
	if m, ok := one.MAC.Get(); ok && m == (vfnl.MAC{}) && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EADDRNOTAVAIL)) {
		b.parks = true
		b.log.Info("the driver takes no zero MAC: its free VFs get parking addresses", "driver", b.files.Driver, "error", err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// back says single attributes in eswitch's terms, as far as OFED's files have them.
func back(a *vfnl.Attrs) eswitch.Attrs {
	return eswitch.Attrs{SpoofCheck: a.SpoofCheck, Trust: a.Trust, LinkState: a.LinkState, MinTxRate: a.MinTxRate, MaxTxRate: a.MaxTxRate}
}

func (b *batch) lack(name string) {
	if !b.lacks[name] {
		b.lacks[name] = true
		b.log.Info("the driver was found not to have an attribute", "attribute", name, "driver", b.files.Driver)
	}
}

// rateRefused finds out whether it is the minimum that the driver does not take. Most
// drivers answer EINVAL to any, which could be the value as well: so the least is tried.
func (b *batch) rateRefused(ctx context.Context, index int, one vfnl.Attrs, have *vfnl.VF, err error) error {
	low, _ := one.MinTxRate.Get()
	high, _ := one.MaxTxRate.Get()
	unsupported := errors.Is(err, vfnl.ErrUnsupported)
	if low == 0 {
		if !unsupported {
			return fmt.Errorf("max_tx_rate %d: %w", high, err)
		}
		b.lack("min_tx_rate")
		b.lack("max_tx_rate")
		if high == 0 {
			return nil
		}
		return fmt.Errorf("max_tx_rate %d: %w", high, err)
	}
	without := vfnl.Attrs{MinTxRate: eswitch.Set(0), MaxTxRate: one.MaxTxRate}
	if e := b.set(ctx, index, without); e != nil {
		if unsupported && errors.Is(e, vfnl.ErrUnsupported) {
			b.lack("min_tx_rate")
			b.lack("max_tx_rate")
		}
		return fmt.Errorf("min_tx_rate %d, max_tx_rate %d: %w", low, high, err)
	}
	adopt(have, &without)
	if !unsupported && low > 1 {
		if b.set(ctx, index, vfnl.Attrs{MinTxRate: eswitch.Set(1), MaxTxRate: one.MaxTxRate}) == nil {
			return errors.Join(fmt.Errorf("min_tx_rate %d: %w", low, err), b.set(ctx, index, without))
		}
	}
	b.lack("min_tx_rate")
	return fmt.Errorf("min_tx_rate %d: %w: %w", low, eswitch.ErrUnsupported, err)
}

// set sends one request, and again while the driver is busy.
func (b *batch) set(ctx context.Context, index int, parts ...vfnl.Attrs) error {
	changes := make([]vfnl.Change, len(parts))
	for i, a := range parts {
		changes[i] = vfnl.Change{VF: index, Attrs: a}
	}
	for try := 0; ; try++ {
		err := b.conn.Set(ctx, b.files.ifindex, changes...)
		b.own.sent(err == nil)
		if err == nil || !errors.Is(err, vfnl.ErrBusy) || try == busyTries || ctx.Err() != nil {
			return err
		}
		if !pause(ctx, busyGap<<try) {
			return err
		}
	}
}

// adopt brings the VF along with what was set.
func adopt(have *vfnl.VF, a *vfnl.Attrs) {
	put(&have.MAC, a.MAC)
	put(&have.VLAN, a.VLAN)
	put(&have.MinTxRate, a.MinTxRate)
	put(&have.MaxTxRate, a.MaxTxRate)
	put(&have.SpoofCheck, a.SpoofCheck)
	put(&have.LinkState, a.LinkState)
	put(&have.Trust, a.Trust)
}

func put[T any](have *eswitch.Attr[T], a eswitch.Attr[T]) {
	if a.IsSet() {
		*have = a
	}
}
