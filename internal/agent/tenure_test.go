package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"neutrino/internal/agent/switchtest"
	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

// next carries the plan's records over to the next plan, as the loop does.
func next(w World, p Plan) World {
	w.Assigned, w.Returning, w.Generation = p.Assigned, p.Returning, p.Generation
	return w
}

func TestPluggedVFIsGivenToNobodyElse(t *testing.T) {
	sw := switchtest.New(switchtest.Spec{PF: "eth6", Number: 1, VFs: 1})
	slot := switchtest.Slot(1, 0)
	a, b := attachment(0), attachment(1)
	p, w := settle(t, sw, World{Desired: wish(a), Mappings: mapping})
	w = next(w, p)
	held := Plugged{PortID: a.PortID, Generation: p.Assigned[a.PortID].Generation, By: "domain vm1"}
	w.Plugged = map[string]Plugged{slot: held}
	if p, _ = settle(t, sw, w); len(p.Release) != 0 {
		t.Errorf("release %v although the port has its VF", p.Release)
	}

	// The port goes: its VF is cut off and stays held until it is unplugged.
	w.Desired = wish(b)
	p, w = settle(t, sw, w)
	if _, ok := p.Assigned[b.PortID]; ok || !slices.Equal(p.Release, []string{slot}) || p.Returning[slot].PortID != a.PortID {
		t.Errorf("assigned %v, release %v, returning %v", p.Assigned, p.Release, p.Returning)
	}
	if v := sw.VF(eswitch.VFID{PF: "eth6"}); !clean(vf{v, nil}) {
		t.Errorf("the guest's VF still carries %s", list(v.Attrs))
	}
	b.PCISlot = slot
	if p = Compute(next(w, p)); p.Verdicts[b.PortID].Reason != fmt.Sprintf("VF %s is still plugged into domain vm1 for port %s", slot, a.PortID) {
		t.Errorf("asked for by name: %q", p.Verdicts[b.PortID].Reason)
	}
	b.PCISlot = ""

	w = next(w, p)
	w.Plugged = nil
	p, _ = settle(t, sw, w)
	if got := p.Assigned[b.PortID]; got.PCISlot != slot || got.Generation <= held.Generation || len(p.Returning) != 0 {
		t.Errorf("unplugged: %+v after generation %d, returning %v", got, held.Generation, p.Returning)
	}
}

func TestLateReleaseIsOfAnOlderGeneration(t *testing.T) {
	sw := switchtest.New(switchtest.Spec{PF: "eth6", Number: 1, VFs: 1})
	a := attachment(0)
	p, w := settle(t, sw, World{Desired: wish(a), Mappings: mapping})
	old := p.Assigned[a.PortID].Generation
	w = next(w, p)
	w.Desired = nil
	p, w = settle(t, sw, w)
	w = next(w, p)
	w.Desired = wish(a)
	w.Plugged = map[string]Plugged{switchtest.Slot(1, 0): {PortID: a.PortID, Generation: old, By: "domain vm1"}}
	if p = Compute(w); len(p.Release) != 1 || len(p.Assigned) != 0 {
		t.Errorf("what was plugged before stands for the port that came back: assigned %v, release %v", p.Assigned, p.Release)
	}
}

func TestVFOfSomebodyElseIsLeftAlone(t *testing.T) {
	sw := switchtest.New(switchtest.Spec{PF: "eth6", Number: 1, VFs: 2})
	stranger := eswitch.VFID{PF: "eth6"}
	for _, r := range sw.Apply(t.Context(), []eswitch.Change{{VF: stranger, Attrs: eswitch.Attrs{MAC: eswitch.Set("fa:16:3e:99:99:99"), VLAN: eswitch.Set(7)}}}) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	w := World{Desired: wish(attachment(0)), Mappings: mapping, Observed: sw.State()}
	slot := switchtest.Slot(1, 0)
	p := Compute(w)
	if !slices.Contains(p.Strangers, slot) {
		t.Fatalf("strangers %v: a VF with somebody's attributes and no record is not asked about", p.Strangers)
	}
	w.Foreign = map[string]string{slot: "guest other"}
	p, _ = settle(t, sw, w)
	if v := sw.VF(stranger); v.Attrs.VLAN != eswitch.Set(7) {
		t.Errorf("it was changed to %s", list(v.Attrs))
	}
	if p.Assigned["port-00"].PCISlot != switchtest.Slot(1, 1) {
		t.Errorf("assigned %v", p.Assigned)
	}
}

func TestVFThatIsGoneForGoodIsForgotten(t *testing.T) {
	sw := switchtest.New(switchtest.Spec{PF: "eth6", Number: 1, VFs: 1})
	w := World{Mappings: mapping, Observed: sw.State(), Returning: map[string]Returning{
		switchtest.Slot(1, 9): {PortID: "p", PF: "eth6"}, switchtest.Slot(2, 0): {PortID: "q", PF: "eth7"},
	}}
	p := Compute(w)
	if _, kept := p.Returning[switchtest.Slot(1, 9)]; kept {
		t.Error("a VF that its PF has no more is still on its way back")
	}
	if _, kept := p.Returning[switchtest.Slot(2, 0)]; !kept {
		t.Error("a VF whose PF is away for the moment is forgotten")
	}
}

func TestFreeVFIsChosenByCarrierThenNUMAThenLoad(t *testing.T) {
	far, near := 0, 1
	pf := func(name string, number, node, vfs int, carrier bool) eswitch.PF {
		p := switchtest.New(switchtest.Spec{PF: name, Number: number, VFs: vfs}).State().PFs[0]
		p.NUMANode, p.Carrier = node, carrier
		for i := range p.VFs {
			p.VFs[i].Attrs = eswitch.Baseline()
		}
		return p
	}
	for _, c := range []struct {
		what       string
		eth6, eth7 eswitch.PF
		node       *int
		want       string
	}{
		{"near", pf("eth6", 1, 0, 4, true), pf("eth7", 2, 1, 1, true), &near, "eth7"},
		{"near, but without a link", pf("eth6", 1, 0, 4, true), pf("eth7", 2, 1, 1, false), &near, "eth6"},
		{"nowhere", pf("eth6", 1, 0, 1, true), pf("eth7", 2, 1, 4, true), nil, "eth7"},
		{"far away from both", pf("eth6", 1, 1, 4, true), pf("eth7", 2, 1, 1, true), &far, "eth6"},
	} {
		a := attachment(0)
		a.NUMANode = c.node
		p := Compute(World{Desired: wish(a), Mappings: mapping, Observed: eswitch.State{PFs: []eswitch.PF{c.eth6, c.eth7}}})
		if got := p.Assigned[a.PortID].PF; got != c.want {
			t.Errorf("%s: VF of %s, want %s", c.what, got, c.want)
		}
	}
}

// Whatever comes and goes, is plugged and unplugged, late or not: no VF has two owners,
// a VF that is plugged is its port's or nobody's, and generations only grow.
func TestNoVFIsEverSomebodyElsesWhilePlugged(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		sw := switchtest.New(switchtest.Spec{PF: "eth6", Number: 1, VFs: 3})
		w := World{Mappings: mapping}
		last := map[string]uint64{}  // slot -> generation of the last owner
		owner := map[string]string{} // slot -> the last owner
		for range rapid.IntRange(1, 25).Draw(rt, "turns") {
			desired := map[string]*model.Attachment{}
			for n := range 5 {
				if rapid.Bool().Draw(rt, "wanted") {
					a := attachment(n)
					desired[a.PortID] = a
				}
			}
			w.Desired, w.Observed = desired, sw.State()
			p := Compute(w)
			slots := map[string]bool{}
			for port, a := range p.Assigned {
				if slots[a.PCISlot] {
					rt.Fatalf("VF %s has two owners: %v", a.PCISlot, p.Assigned)
				}
				slots[a.PCISlot] = true
				if held, ok := w.Plugged[a.PCISlot]; ok && (held.PortID != port || held.Generation != a.Generation) {
					rt.Fatalf("VF %s is plugged for %+v and given to %s, generation %d", a.PCISlot, held, port, a.Generation)
				}
				if owner[a.PCISlot] != "" && owner[a.PCISlot] != port && a.Generation <= last[a.PCISlot] {
					rt.Fatalf("VF %s went from %s to %s and generation %d to %d", a.PCISlot, owner[a.PCISlot], port, last[a.PCISlot], a.Generation)
				}
				owner[a.PCISlot], last[a.PCISlot] = port, a.Generation
			}
			for slot := range w.Plugged {
				if !slots[slot] && !slices.Contains(p.Release, slot) {
					rt.Fatalf("VF %s is plugged for nobody and not released", slot)
				}
			}
			w = next(w, p)
			var changes []eswitch.Change
			for _, s := range slices.Concat(p.Returns, p.Programs) {
				if rapid.IntRange(0, 3).Draw(rt, "done") > 0 { // the others failed
					changes = append(changes, s.Do)
				}
			}
			sw.Apply(context.Background(), changes)
			plugged := map[string]Plugged{}
			for slot, h := range w.Plugged {
				if !slices.Contains(p.Release, slot) || rapid.Bool().Draw(rt, "still plugged") {
					plugged[slot] = h
				}
			}
			for port, a := range p.Assigned {
				if p.Verdicts[port].Up && rapid.Bool().Draw(rt, "plug") {
					plugged[a.PCISlot] = Plugged{PortID: port, Generation: a.Generation}
				}
			}
			w.Plugged = plugged
		}
	})
}

// plugs is a plug engine, as tests play it.
type plugs struct {
	mu       sync.Mutex
	plugged  map[string]Plugged
	released []string
	user     string
	asked    int
	changed  chan struct{}
}

func (p *plugs) Plugged() map[string]Plugged {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.plugged
}

func (p *plugs) Release(slots []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.released = append(p.released, slots...)
}

func (p *plugs) User(context.Context, string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	return p.user, nil
}

func (p *plugs) Changed() <-chan struct{} { return p.changed }
func (p *plugs) Run(context.Context)      {}

func (p *plugs) set(do func(*plugs)) {
	p.mu.Lock()
	do(p)
	p.mu.Unlock()
	p.changed <- struct{}{}
}

// The loop tells the plug engine whose VFs are to be unplugged, over restarts as well,
// and waits for it before a VF goes to another port.
func TestLoopWaitsForThePlugEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := switchtest.New(switchtest.Spec{PF: "eth6", Number: 1, VFs: 1})
		file := filepath.Join(t.TempDir(), "state.db")
		e := &plugs{changed: make(chan struct{}, 1)}
		r := newPluggedRig(t, file, sw, e)
		a, b := attachment(0), attachment(1)
		r.ask(1, a)
		r.wantUp(a.PortID)
		s, ok := r.loop.Port(a.PortID)
		if !ok || !s.Up || s.VF.Generation == 0 || s.VF.Netdev == "" {
			t.Fatalf("port state %+v", s)
		}
		slot := s.VF.PCISlot
		e.set(func(p *plugs) {
			p.plugged = map[string]Plugged{slot: {PortID: a.PortID, Generation: s.VF.Generation, By: "domain vm1"}}
		})
		synctest.Wait()
		r.ask(2, b)
		if got := r.said(b.PortID); got.Up {
			t.Fatalf("the VF was given away while it was plugged: %+v", got)
		}
		r.stop()
		r = newPluggedRig(t, file, sw, e)
		r.ask(3, b)
		e.mu.Lock()
		released := slices.Clone(e.released)
		e.mu.Unlock()
		if !slices.Contains(released, slot) {
			t.Errorf("released %v, want %s", released, slot)
		}
		e.set(func(p *plugs) { p.plugged = nil })
		synctest.Wait()
		r.wantUp(b.PortID)
		if s, _ = r.loop.Port(b.PortID); s.VF.PCISlot != slot || s.VF.Generation < 2 {
			t.Errorf("port state %+v", s)
		}
		if len(r.loop.All()) != 1 {
			t.Errorf("ports %+v", r.loop.All())
		}
		r.stop()
	})
}

func newPluggedRig(t *testing.T, file string, sw eswitch.Switch, e Plugs) *rig {
	t.Helper()
	return newRigWith(t, file, sw, 0, e)
}
