package sriov

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"sync"
	"time"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
	"neutrino/internal/vfnl"
)

// pf is one physical function. What has no lock belongs to its worker.
type pf struct {
	name    string
	fs      sysfs
	conn    *vfnl.Conn
	worker  *worker
	log     *slog.Logger
	raise   func()          // an event
	exclude map[string]bool // PCI slots; never changed

	driver driverKey
	lacks  map[string]bool // attributes that this driver was found not to have
	parks  bool            // it was found to take no zero MAC
	seen   map[int]bool    // VFs that were there when last read
	again  *time.Timer     // the next look at VFs that were left out
	gap    time.Duration   // until then

	mu      sync.Mutex
	caps    eswitch.Capabilities
	ifindex int
	slot    string
	vfSlots map[string]bool
	netdevs map[string]string // VF netdev -> the address it keeps, or ""
	last    vfnl.PF
	lastErr string
	own     ownChanges
}

// driverKey changes when the driver is reloaded: the netdev is another then.
type driverKey struct {
	slot, driver string
	ifindex      int
}

const (
	rereads   = 4 // of VFs that were there a moment ago
	rereadGap = 15 * time.Millisecond
	firstGap  = 250 * time.Millisecond
	lastGap   = 30 * time.Second
)

// read reads the PF, and again while VFs are missing that were there before.
func (p *pf) read(ctx context.Context) (pfFiles, vfnl.PF, error) {
	for try := 0; ; try++ {
		f, err := p.fs.pf(p.name)
		if err != nil {
			return f, vfnl.PF{}, err
		}
		p.notice(f)
		got, err := p.conn.PF(ctx, f.ifindex, false)
		if err != nil {
			return f, got, err
		}
		if try == rereads || !p.lost(&got) || !pause(ctx, rereadGap<<try) {
			return f, got, nil
		}
	}
}

// lost reports whether a VF is missing that was there when last read.
func (p *pf) lost(got *vfnl.PF) bool {
	for _, i := range got.Missing() {
		if p.seen[i] {
			return true
		}
	}
	return false
}

// notice forgets what was learned of another driver.
func (p *pf) notice(f pfFiles) {
	if key := (driverKey{f.Slot, f.Driver, f.ifindex}); p.driver != key {
		p.driver, p.lacks, p.parks, p.seen, p.gap = key, map[string]bool{}, false, nil, firstGap
	}
}

// observe reads the PF. again says that VFs were left out.
func (p *pf) observe(ctx context.Context) (out eswitch.PF, again bool, err error) {
	f, got, err := p.read(ctx)
	if err != nil {
		p.forget(f)
		return out, false, err
	}
	out = eswitch.PF{
		Name: p.name, PCISlot: f.Slot, Driver: f.Driver, NUMANode: f.NUMANode, MTU: got.MTU, Carrier: got.Carrier, TotalVFs: f.TotalVFs,
	}
	seen := map[int]bool{}
	slots, netdevs := map[string]bool{}, map[string]string{}
	for _, v := range got.VFs {
		slot := f.virtfn[v.Index]
		if slot == "" {
			continue // still being made, or on its way out
		}
		seen[v.Index], slots[slot] = true, true
		vf := p.fs.vf(slot, f.devPort)
		if vf.Name != "" {
			netdevs[vf.Name] = ""
			if vf.keeps() {
				netdevs[vf.Name] = vf.MAC
			}
		}
		out.VFs = append(out.VFs, eswitch.VF{
			ID: eswitch.VFID{PF: p.name, Index: v.Index}, PCISlot: slot, Netdev: vf.Name, Driver: vf.driver,
			Attrs: p.inForce(&v, f, vf), Baseline: p.baseline(f, &got, slot),
		})
	}
	p.seen = seen
	p.mu.Lock()
	p.ifindex, p.slot, p.vfSlots, p.netdevs, p.last = f.ifindex, f.Slot, slots, netdevs, got
	p.caps = p.capabilities(&got)
	p.mu.Unlock()
	return out, len(out.VFs) < max(got.NumVFs, len(f.virtfn)), nil
}

func (p *pf) forget(f pfFiles) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.ifindex == 0 {
		p.ifindex, p.last = 0, vfnl.PF{}
	}
}

// lookAgain raises an event after a while, ever longer, as long as VFs are left out.
func (p *pf) lookAgain(again bool) {
	if p.again != nil {
		p.again.Stop()
	}
	if !again {
		p.gap = firstGap
		return
	}
	p.again = time.AfterFunc(p.gap, p.raise)
	p.gap = min(2*p.gap, lastGap)
}

// inForce are a VF's attributes as eswitch says them.
func (p *pf) inForce(v *vfnl.VF, f pfFiles, vf vfFiles) eswitch.Attrs {
	a := eswitch.Attrs{
		SpoofCheck: v.SpoofCheck, Trust: v.Trust, LinkState: v.LinkState, MinTxRate: v.MinTxRate, MaxTxRate: v.MaxTxRate,
		MTU: eswitch.Unsupported[int](), Allowed: eswitch.Unsupported[[]model.AllowedSource](),
	}
	if m, ok := v.MAC.Get(); ok {
		a.MAC = eswitch.Set(m.String())
		if p.stale(m, vf) {
			a.MAC = eswitch.Unset[string]() // neither is in force: the one cannot send, the other is not checked
		}
	} else {
		a.MAC = eswitch.Unsupported[string]()
	}
	if n, ok := v.VLAN.Get(); ok {
		a.VLAN = sayVLAN(n)
	} else {
		a.VLAN = eswitch.Unsupported[int]()
	}
	if tag, _ := a.VLAN.Get(); pfQuirks[f.Driver].rateNeedsVLAN && tag == 0 {
		a.MaxTxRate = eswitch.Unsupported[int]()
	}
	p.mark(&a)
	if f.ofed != "" {
		f.fromOFED(v.Index, p.lacks, &a)
	}
	return a
}

// stale reports whether the VF's netdev is at hand, keeps an address of its own, and not
// the one that the PF gave the VF.
func (p *pf) stale(admin vfnl.MAC, vf vfFiles) bool {
	return admin != vfnl.MAC{} && vf.keeps() && len(vf.Uppers) == 0 && vf.MAC != admin.String()
}

func sayVLAN(n vfnl.VLAN) eswitch.Attr[int] {
	switch {
	case n.ID == vlanVGT:
		return eswitch.Set(0)
	case n.QoS != 0 || n.Proto == vfnl.Dot1AD:
		return eswitch.Unset[int]()
	}
	return eswitch.Set(n.ID)
}

// mark makes what the driver was found not to have Unsupported.
func (p *pf) mark(a *eswitch.Attrs) {
	if p.lacks["mac"] {
		a.MAC = eswitch.Unsupported[string]()
	}
	if p.lacks["vlan"] {
		a.VLAN = eswitch.Unsupported[int]()
	}
	if p.lacks["spoof_check"] {
		a.SpoofCheck = eswitch.Unsupported[bool]()
	}
	if p.lacks["trust"] {
		a.Trust = eswitch.Unsupported[bool]()
	}
	if p.lacks["link_state"] {
		a.LinkState = eswitch.Unsupported[model.LinkState]()
	}
	if p.lacks["min_tx_rate"] {
		a.MinTxRate = eswitch.Unsupported[int]()
	}
	if p.lacks["max_tx_rate"] {
		a.MaxTxRate = eswitch.Unsupported[int]()
	}
}

// capabilities are what no VF was found to lack.
func (p *pf) capabilities(got *vfnl.PF) eswitch.Capabilities {
	c := eswitch.Capabilities{MAC: true, VLAN: true, SpoofCheck: true, Trust: true, LinkState: true, MinTxRate: true, MaxTxRate: true}
	for _, v := range got.VFs {
		a := eswitch.Attrs{SpoofCheck: v.SpoofCheck, Trust: v.Trust, LinkState: v.LinkState, MinTxRate: v.MinTxRate, MaxTxRate: v.MaxTxRate}
		p.mark(&a)
		c.SpoofCheck = c.SpoofCheck && !a.SpoofCheck.IsUnsupported()
		c.Trust = c.Trust && !a.Trust.IsUnsupported()
		c.LinkState = c.LinkState && !a.LinkState.IsUnsupported()
		c.MinTxRate = c.MinTxRate && !a.MinTxRate.IsUnsupported()
		c.MaxTxRate = c.MaxTxRate && !a.MaxTxRate.IsUnsupported()
	}
	c.MAC, c.VLAN = !p.lacks["mac"], !p.lacks["vlan"]
	return c
}

// baseline is what the VF carries when it belongs to nobody.
func (p *pf) baseline(f pfFiles, got *vfnl.PF, slot string) eswitch.Attrs {
	if !p.parks && !pfQuirks[f.Driver].parks {
		return eswitch.Attrs{}
	}
	b := eswitch.Baseline()
	b.MAC = eswitch.Set(parking(got, slot).String())
	return b
}

// parking is the address of a VF of nobody: the same on every run, and of no other VF.
func parking(got *vfnl.PF, slot string) vfnl.MAC {
	home := got.Permanent
	if home == (vfnl.MAC{}) {
		home = got.Address
	}
	sum := sha256.Sum256(append(home[:], slot...))
	return vfnl.MAC{0x02, sum[0], sum[1], sum[2], sum[3], sum[4]}
}

func (p *pf) counters(ctx context.Context) (vfnl.PF, error) {
	f, err := p.fs.pf(p.name)
	if err != nil {
		return vfnl.PF{}, err
	}
	return p.conn.PF(ctx, f.ifindex, true)
}

// tell logs a PF that cannot be read once, and once when it can again.
func (p *pf) tell(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	p.mu.Lock()
	before := p.lastErr
	p.lastErr = text
	p.mu.Unlock()
	switch {
	case text == before, errors.Is(err, errClosed), errors.Is(err, context.Canceled):
	case err != nil:
		p.log.Warn("PF cannot be read", "error", err)
	default:
		p.log.Info("PF can be read again")
	}
}

func (p *pf) close() {
	if p.again != nil {
		p.again.Stop()
	}
	_ = p.conn.Close()
}

// pause waits, and reports whether ctx went on for so long.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
