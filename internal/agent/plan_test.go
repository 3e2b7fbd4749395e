package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"neutrino/internal/agent/switchtest"
	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

var mapping = map[string][]string{"default": {"eth6", "eth7"}, "other": {"eth8"}}

func attachment(n int) *model.Attachment {
	return &model.Attachment{
		PortID: fmt.Sprintf("port-%02d", n), Revision: int64(n + 1), NetworkID: "net", VnicType: model.VnicDirect,
		PhysicalNetwork: "default", VLAN: 100 + n, MAC: fmt.Sprintf("fa:16:3e:00:00:%02x", n+1), MTU: 1500,
		SpoofCheck: true, LinkState: model.LinkEnable,
	}
}

func wish(atts ...*model.Attachment) map[string]*model.Attachment {
	out := map[string]*model.Attachment{}
	for _, a := range atts {
		out[a.PortID] = a
	}
	return out
}

// settle carries plans out until there is nothing left to do.
func settle(t testing.TB, sw *switchtest.Switch, w World) (Plan, World) {
	t.Helper()
	for range 10 {
		w.Observed = sw.State()
		p := Compute(w)
		w = next(w, p)
		steps := slices.Concat(p.Returns, p.Programs)
		if len(steps) == 0 {
			return p, w
		}
		var changes []eswitch.Change
		for _, s := range steps {
			changes = append(changes, s.Do)
		}
		for _, r := range sw.Apply(t.Context(), changes) {
			if r.Err != nil {
				t.Fatalf("apply: %v", r.Err)
			}
		}
	}
	t.Fatal("no end of steps")
	return Plan{}, w
}

func show(s eswitch.State) string {
	var b strings.Builder
	for _, pf := range s.PFs {
		for _, v := range pf.VFs {
			a := v.Attrs
			fmt.Fprintf(&b, "%s/%d mac %s vlan %s spoof %s trust %s link %s min %s max %s mtu %s\n",
				pf.Name, v.ID.Index, a.MAC, a.VLAN, a.SpoofCheck, a.Trust, a.LinkState, a.MinTxRate, a.MaxTxRate, a.MTU)
		}
	}
	return b.String()
}

func TestPlanGolden(t *testing.T) {
	sw := switchtest.New(switchtest.Spec{PF: "eth6", Number: 1, VFs: 3})
	trusted := true
	a, b := attachment(0), attachment(1)
	a.PCISlot, a.Trust, a.MaxTxRate, a.MTU = switchtest.Slot(1, 1), &trusted, 500, 9000
	w := World{Desired: wish(a, b), Assigned: Assignments{}, Mappings: mapping}
	w.Observed = sw.State()

	var got []string
	for _, s := range slices.Concat(Compute(w).Returns, Compute(w).Programs) {
		got = append(got, s.Describe)
	}
	want := []string{
		// A fresh VF has its link on auto: nothing is given out before it was read back clean.
		"return VF 0 of eth6 (fffe:01:00.0) to the baseline: link_state 2",
		"return VF 2 of eth6 (fffe:01:00.2) to the baseline: link_state 2",
		"return VF 1 of eth6 (fffe:01:00.1) to the baseline: link_state 2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("first plan (-want +got):\n%s", diff)
	}

	p, w := settle(t, sw, w)
	wantState := strings.TrimLeft(`
eth6/0 mac fa:16:3e:00:00:02 vlan 101 spoof true trust false link 1 min 0 max 0 mtu 1500
eth6/1 mac fa:16:3e:00:00:01 vlan 100 spoof true trust true link 1 min 0 max 500 mtu 9000
eth6/2 mac 00:00:00:00:00:00 vlan 0 spoof true trust false link 2 min 0 max 0 mtu 1500
`, "\n")
	if diff := cmp.Diff(wantState, show(sw.State())); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	for id, v := range p.Verdicts {
		if !v.Up || v.Reason != "" {
			t.Errorf("%s: %+v, want up", id, v)
		}
	}

	w.Desired = wish(b)
	settle(t, sw, w)
	if got := sw.VF(eswitch.VFID{PF: "eth6", Index: 1}); !clean(vf{got, nil}) {
		t.Errorf("VF that was given back is not at the baseline: %s", list(got.Attrs))
	}
}

func TestPlanSwapsVFsThroughTheBaseline(t *testing.T) {
	sw := switchtest.New(switchtest.Spec{PF: "eth6", Number: 1, VFs: 2})
	a, b := attachment(0), attachment(1)
	a.PCISlot, b.PCISlot = switchtest.Slot(1, 0), switchtest.Slot(1, 1)
	_, w := settle(t, sw, World{Desired: wish(a, b), Assigned: Assignments{}, Mappings: mapping})
	a2, b2 := *a, *b
	a2.PCISlot, b2.PCISlot = b.PCISlot, a.PCISlot
	w.Desired = wish(&a2, &b2)
	p := Compute(w)
	if len(p.Programs) != 0 || len(p.Returns) != 2 {
		t.Errorf("%d programs and %d returns, want every VF cleaned first", len(p.Programs), len(p.Returns))
	}
	p, _ = settle(t, sw, w)
	if p.Verdicts["port-00"].VF.Index != 1 || p.Verdicts["port-01"].VF.Index != 0 || !p.Verdicts["port-00"].Up || !p.Verdicts["port-01"].Up {
		t.Errorf("verdicts after the swap: %+v", p.Verdicts)
	}
}

func TestPlanRefusals(t *testing.T) {
	specs := []switchtest.Spec{{PF: "eth6", Number: 1, VFs: 2}, {PF: "eth8", Number: 3, VFs: 1}}
	tests := map[string]struct {
		change func(*model.Attachment, *World)
		sw     []switchtest.Spec
		want   string
	}{
		"no such VF": {func(a *model.Attachment, _ *World) { a.PCISlot = "0000:03:10.2" }, specs, "VF 0000:03:10.2 does not exist on this host"},
		"a PF":       {func(a *model.Attachment, _ *World) { a.PCISlot = "fffd:01:00.0" }, specs, "fffd:01:00.0 is the physical function eth6, not a VF"},
		"excluded": {func(a *model.Attachment, w *World) {
			a.PCISlot = switchtest.Slot(1, 0)
			w.Excluded = map[string]bool{a.PCISlot: true}
		}, specs, "VF fffe:01:00.0 is excluded from use by this host's configuration"},
		"other phys":   {func(a *model.Attachment, _ *World) { a.PCISlot = switchtest.Slot(3, 0) }, specs, "VF fffe:03:00.0 is on eth8, which is not on physical network default"},
		"unknown phys": {func(a *model.Attachment, _ *World) { a.PhysicalNetwork = "x" }, specs, "physical network x is not mapped to a device on this host"},
		"unknown phys, VF named": {
			func(a *model.Attachment, _ *World) { a.PhysicalNetwork, a.PCISlot = "x", switchtest.Slot(1, 0) }, specs,
			"physical network x is not mapped to a device on this host",
		},
		"taken": {
			func(a *model.Attachment, w *World) {
				other := attachment(9)
				a.PCISlot, other.PCISlot = switchtest.Slot(1, 0), switchtest.Slot(1, 0)
				w.Desired[other.PortID] = other
				w.Assigned[other.PortID] = Assignment{PortID: other.PortID, PF: "eth6", Index: 0, PCISlot: other.PCISlot}
			}, specs, "VF fffe:01:00.0 belongs to port port-09",
		},
		"none free": {
			func(_ *model.Attachment, _ *World) {},
			[]switchtest.Spec{{PF: "eth6", Number: 1, VFs: 0}},
			"no free VF on physical network default (eth6 has 0 VFs: 0 in use, 0 being returned, 0 held by a guest, 0 excluded; eth7 is not there)",
		},
		"VF gone": {
			func(a *model.Attachment, w *World) {
				w.Assigned[a.PortID] = Assignment{PortID: a.PortID, PF: "eth6", Index: 7, PCISlot: switchtest.Slot(1, 7)}
			}, specs, "VF 7 of eth6 (fffe:01:00.7) does not exist any more",
		},
		"PF gone": {
			func(a *model.Attachment, w *World) {
				w.Assigned[a.PortID] = Assignment{PortID: a.PortID, PF: "eth7", Index: 7, PCISlot: switchtest.Slot(2, 7)}
			}, specs, "VF 7 of eth7 (fffe:02:00.7) is not there: eth7 is gone",
		},
		"cannot isolate": {
			func(_ *model.Attachment, _ *World) {},
			[]switchtest.Spec{{PF: "eth6", Number: 1, VFs: 1, Lacks: []string{"vlan"}}},
			"driver switchtest of eth6 cannot set vlan",
		},
		"cannot limit": {
			func(a *model.Attachment, _ *World) { a.MinTxRate = 10 },
			[]switchtest.Spec{{PF: "eth6", Number: 1, VFs: 1, Lacks: []string{"min_tx_rate"}}},
			"driver switchtest of eth6 cannot set min_tx_rate",
		},
		"PF's MTU": {
			func(a *model.Attachment, _ *World) { a.MTU = 9000 },
			[]switchtest.Spec{{PF: "eth6", Number: 1, VFs: 1, Lacks: []string{"mtu"}}},
			"eth6 has MTU 1500, the network needs 9000",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			a := attachment(0)
			w := World{Desired: wish(a), Assigned: Assignments{}, Mappings: mapping}
			tc.change(a, &w)
			p, _ := settle(t, switchtest.New(tc.sw...), w)
			v := p.Verdicts[a.PortID]
			if v.Up || !strings.HasPrefix(v.Reason, tc.want) {
				t.Errorf("verdict %+v, want down: %s", v, tc.want)
			}
		})
	}
}

func TestPlanSoftLimits(t *testing.T) {
	a := attachment(0)
	lacks := []string{"link_state", "min_tx_rate", "max_tx_rate", "trust", "allowed", "mtu"}
	sw := switchtest.New(switchtest.Spec{PF: "eth6", Number: 1, VFs: 1, Lacks: lacks})
	a.Allowed = []model.AllowedSource{{MAC: a.MAC}}
	p, w := settle(t, sw, World{Desired: wish(a), Assigned: Assignments{}, Mappings: mapping})
	if v := p.Verdicts[a.PortID]; !v.Up {
		t.Errorf("a driver without %v: %s", lacks, v.Reason)
	}
	down := *a
	down.LinkState = model.LinkDisable
	w.Desired = wish(&down)
	if p, _ = settle(t, sw, w); p.Verdicts[a.PortID].Up {
		t.Error("a port that is to be off is up although the driver cannot switch it off")
	}
	if got := sw.VF(eswitch.VFID{PF: "eth6"}).Attrs.VLAN; got.String() != "100" {
		t.Errorf("vlan %s", got)
	}
}

func TestPlanNeverRunsWhatItCannotIsolate(t *testing.T) {
	for _, name := range []string{"mac", "vlan", "spoof_check"} {
		sw := switchtest.New(switchtest.Spec{PF: "eth6", Number: 1, VFs: 1, Lacks: []string{name}})
		p, _ := settle(t, sw, World{Desired: wish(attachment(0)), Assigned: Assignments{}, Mappings: mapping})
		if v := sw.VF(eswitch.VFID{PF: "eth6"}); !clean(vf{v, nil}) || p.Verdicts["port-00"].Up {
			t.Errorf("without %s: VF carries %s", name, list(v.Attrs))
		}
	}
}

func TestPlanAdoptsAndLeavesGuestsAlone(t *testing.T) {
	sw := switchtest.New(switchtest.Spec{PF: "eth6", Number: 1, VFs: 4})
	_, w := settle(t, sw, World{Desired: wish(attachment(0), attachment(1)), Assigned: Assignments{}, Mappings: mapping})
	before, had := show(sw.State()), w.Assigned
	w.Assigned, w.Generation = Assignments{}, 0 // the record is lost
	p, _ := settle(t, sw, w)
	if diff := cmp.Diff(had, p.Assigned); diff != "" || show(sw.State()) != before {
		t.Errorf("ports moved (-before +after):\n%s", diff)
	}
	// A VF whose netdev a guest took is not given out, unless it is one prepared for vfio.
	sw.Disturb(false, func(s *eswitch.State) {
		s.PFs[0].VFs[2].Netdev = ""
		s.PFs[0].VFs[3].Netdev, s.PFs[0].VFs[3].Driver = "", "vfio-pci"
	})
	w.Desired, w.Assigned = wish(attachment(0), attachment(1), attachment(2)), had
	if p, _ = settle(t, sw, w); p.Assigned["port-02"].Index != 3 {
		t.Errorf("new port is on %+v, want VF 3", p.Assigned["port-02"])
	}
}

func TestPlanPrefersCarrierThenRoom(t *testing.T) {
	sw := switchtest.New(switchtest.Spec{PF: "eth6", Number: 1, VFs: 8}, switchtest.Spec{PF: "eth7", Number: 2, VFs: 4})
	sw.Disturb(false, func(s *eswitch.State) { s.PFs[0].Carrier = false })
	p, _ := settle(t, sw, World{Desired: wish(attachment(0)), Assigned: Assignments{}, Mappings: mapping})
	if a := p.Assigned["port-00"]; a.PF != "eth7" || a.Index != 0 || a.Netdev != "eth7v0" {
		t.Errorf("assigned %+v", a)
	}
}

// A VF near the instance is preferred, but not to one with carrier; and a port that names
// no node, or one that no PF is on, goes where there is most room.
func TestPlanPrefersCarrierThenTheNUMANodeThenRoom(t *testing.T) {
	node := func(n int) *int { return &n }
	for name, c := range map[string]struct {
		asks *int
		dark string // PF without carrier
		want string
	}{
		"near":              {asks: node(1), want: "eth7"},
		"near, with room":   {asks: node(0), want: "eth6"},
		"near has no link":  {asks: node(1), dark: "eth7", want: "eth6"},
		"far has no link":   {asks: node(1), dark: "eth6", want: "eth7"},
		"nowhere":           {asks: node(9), want: "eth6"},
		"not said":          {want: "eth6"},
		"not said, no link": {dark: "eth6", want: "eth7"},
	} {
		t.Run(name, func(t *testing.T) {
			sw := switchtest.New(switchtest.Spec{PF: "eth6", Number: 1, VFs: 8}, switchtest.Spec{PF: "eth7", Number: 2, VFs: 4})
			sw.Disturb(false, func(s *eswitch.State) {
				for i := range s.PFs {
					s.PFs[i].NUMANode, s.PFs[i].Carrier = i, s.PFs[i].Name != c.dark
				}
			})
			a := attachment(0)
			a.NUMANode = c.asks
			p, _ := settle(t, sw, World{Desired: wish(a), Assigned: Assignments{}, Mappings: mapping})
			if got := p.Assigned[a.PortID]; got.PF != c.want {
				t.Errorf("assigned %+v, want a VF of %s", got, c.want)
			}
		})
	}
}

// A port never moves on its own: not to a nearer VF either.
func TestPlanLeavesAPortWhereItIsWhenItsNodeChanges(t *testing.T) {
	sw := switchtest.New(switchtest.Spec{PF: "eth6", Number: 1, VFs: 8}, switchtest.Spec{PF: "eth7", Number: 2, VFs: 4})
	sw.Disturb(false, func(s *eswitch.State) { s.PFs[0].NUMANode, s.PFs[1].NUMANode = 0, 1 })
	_, w := settle(t, sw, World{Desired: wish(attachment(0)), Assigned: Assignments{}, Mappings: mapping})
	a, node := attachment(0), 1
	a.NUMANode, a.Revision = &node, 99
	w.Desired = wish(a)
	if p, _ := settle(t, sw, w); p.Assigned[a.PortID].PF != "eth6" || !p.Verdicts[a.PortID].Up {
		t.Errorf("assigned %+v, %+v", p.Assigned[a.PortID], p.Verdicts[a.PortID])
	}
}

// drawAttrs are any attributes, sane or not.
func drawAttrs(t *rapid.T, label string) eswitch.Attrs {
	a := eswitch.Attrs{
		MAC:        eswitch.Set(rapid.SampledFrom([]string{"00:00:00:00:00:00", "fa:16:3e:00:00:01", "fa:16:3e:00:00:02", "02:00:00:00:00:09"}).Draw(t, label+" mac")),
		VLAN:       eswitch.Set(rapid.SampledFrom([]int{0, 100, 101, 4094}).Draw(t, label+" vlan")),
		SpoofCheck: eswitch.Set(rapid.Bool().Draw(t, label+" spoof")),
		Trust:      eswitch.Set(rapid.Bool().Draw(t, label+" trust")),
		LinkState:  eswitch.Set(model.LinkState(rapid.IntRange(0, 2).Draw(t, label+" link"))),
		MinTxRate:  eswitch.Set(rapid.SampledFrom([]int{0, 10}).Draw(t, label+" min")),
		MaxTxRate:  eswitch.Set(rapid.SampledFrom([]int{0, 100}).Draw(t, label+" max")),
		MTU:        eswitch.Set(1500),
		Allowed:    eswitch.Set([]model.AllowedSource(nil)),
	}
	for _, name := range []string{"trust", "min_tx_rate", "max_tx_rate", "mtu", "allowed", "link_state"} {
		if rapid.IntRange(0, 9).Draw(t, label+" lacks "+name) == 0 {
			switch name {
			case "trust":
				a.Trust = eswitch.Unsupported[bool]()
			case "min_tx_rate":
				a.MinTxRate = eswitch.Unsupported[int]()
			case "max_tx_rate":
				a.MaxTxRate = eswitch.Unsupported[int]()
			case "mtu":
				a.MTU = eswitch.Unsupported[int]()
			case "allowed":
				a.Allowed = eswitch.Unsupported[[]model.AllowedSource]()
			case "link_state":
				a.LinkState = eswitch.Unsupported[model.LinkState]()
			}
		}
	}
	return a
}

func drawDesired(t *rapid.T, slots []string) map[string]*model.Attachment {
	out := map[string]*model.Attachment{}
	for i := range rapid.IntRange(0, 6).Draw(t, "ports") {
		a := attachment(i)
		a.PhysicalNetwork = rapid.SampledFrom([]string{"default", "default", "other", "none"}).Draw(t, "phys")
		a.PCISlot = rapid.SampledFrom(append([]string{"", "", "", "0000:99:00.0"}, slots...)).Draw(t, "slot")
		a.MaxTxRate = rapid.SampledFrom([]int{0, 0, 100}).Draw(t, "rate")
		a.LinkState = model.LinkState(rapid.IntRange(0, 2).Draw(t, "link"))
		a.SpoofCheck = rapid.Bool().Draw(t, "spoof")
		out[a.PortID] = a
	}
	return out
}

// From any observed state, any record and any wish: the steps come to an end, no VF is
// given twice, what is up reads as asked, and what belongs to nobody is at the baseline.
func TestPlanConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sw := switchtest.New(
			switchtest.Spec{PF: "eth6", Number: 1, VFs: rapid.IntRange(0, 4).Draw(t, "VFs 6")},
			switchtest.Spec{PF: "eth7", Number: 2, VFs: rapid.IntRange(0, 2).Draw(t, "VFs 7")},
			switchtest.Spec{PF: "eth8", Number: 3, VFs: rapid.IntRange(0, 2).Draw(t, "VFs 8")},
			switchtest.Spec{PF: "eth9", Number: 4, VFs: 1}) // not mapped: never touched
		var slots []string
		excluded := map[string]bool{}
		sw.Disturb(false, func(s *eswitch.State) {
			for i := range s.PFs {
				for j := range s.PFs[i].VFs {
					v := &s.PFs[i].VFs[j]
					slots = append(slots, v.PCISlot)
					v.Attrs = drawAttrs(t, v.PCISlot)
					if rapid.IntRange(0, 7).Draw(t, "away") == 0 {
						v.Netdev = ""
					}
					if rapid.IntRange(0, 7).Draw(t, "excluded") == 0 {
						excluded[v.PCISlot] = true
					}
				}
			}
		})
		before := sw.State()
		w := World{Assigned: Assignments{}, Mappings: mapping, Excluded: excluded}
		for i := range rapid.IntRange(0, 4).Draw(t, "records") {
			id := attachment(i).PortID
			w.Assigned[id] = Assignment{PortID: id, PF: rapid.SampledFrom([]string{"eth6", "eth7", "eth8"}).Draw(t, "record PF"), PCISlot: rapid.SampledFrom(append(slots, "gone")).Draw(t, "record")}
		}
		for range rapid.IntRange(1, 3).Draw(t, "wishes") {
			w.Desired = drawDesired(t, slots)
			w = converge(t, sw, w)
		}
		for i, pf := range before.PFs {
			for j, v := range pf.VFs {
				if now := sw.State().PFs[i].VFs[j]; (excluded[v.PCISlot] || pf.Name == "eth9") && list(now.Attrs) != list(v.Attrs) {
					t.Fatalf("VF %s is not the agent's and was changed", v.PCISlot)
				}
			}
		}
	})
}

func converge(t *rapid.T, sw *switchtest.Switch, w World) World {
	for round := 0; ; round++ {
		w.Observed = sw.State()
		p := Compute(w)
		if q := Compute(w); cmp.Diff(p.Verdicts, q.Verdicts) != "" || len(p.Programs) != len(q.Programs) {
			t.Fatal("the same world gives different plans")
		}
		w.Assigned = p.Assigned
		seen := map[string]string{}
		for _, id := range slices.Sorted(maps.Keys(p.Assigned)) {
			a := p.Assigned[id]
			if seen[a.PCISlot] != "" || w.Desired[id] == nil || w.Excluded[a.PCISlot] {
				t.Fatalf("VF %s for %s: given to %q already, or not to be given", a.PCISlot, id, seen[a.PCISlot])
			}
			seen[a.PCISlot] = id
		}
		steps := slices.Concat(p.Returns, p.Programs)
		if len(steps) == 0 {
			check(t, sw, w, p, seen)
			return w
		}
		if round == 6 {
			t.Fatalf("still steps: %s", steps[0].Describe)
		}
		var changes []eswitch.Change
		for _, s := range steps {
			changes = append(changes, s.Do)
		}
		for _, r := range sw.Apply(t.Context(), changes) {
			if r.Err != nil {
				t.Fatalf("a step asks for what the driver cannot: %v", r.Err)
			}
		}
	}
}

func check(t *rapid.T, sw *switchtest.Switch, w World, p Plan, owner map[string]string) {
	carried := map[string]string{}
	for _, pf := range sw.State().PFs {
		for _, v := range pf.VFs {
			if pf.Name == "eth9" || w.Excluded[v.PCISlot] {
				continue
			}
			id := owner[v.PCISlot]
			if id == "" {
				if !clean(vf{v, nil}) {
					t.Fatalf("VF %s belongs to nobody and carries %s", v.PCISlot, list(v.Attrs))
				}
				continue
			}
			if p.Verdicts[id].Up {
				mac, _ := v.Attrs.MAC.Get()
				vlan, _ := v.Attrs.VLAN.Get()
				if mac != w.Desired[id].MAC || vlan != w.Desired[id].VLAN {
					t.Fatalf("%s is up with MAC %s and VLAN %d", id, mac, vlan)
				}
				if carried[mac] != "" {
					t.Fatalf("MAC %s is on two VFs", mac)
				}
				carried[mac] = id
			}
		}
	}
	for id := range w.Desired {
		if v := p.Verdicts[id]; v.Up == (v.Reason != "") {
			t.Fatalf("%s: up %t with reason %q", id, v.Up, v.Reason)
		}
	}
}

// A MAC that somebody changed is put back at once: the port does not leave its VLAN for
// that. With more than the MAC amiss, it is somebody else's identity.
func TestPlanPutsAMACBackInPlace(t *testing.T) {
	sw := switchtest.New(switchtest.Spec{PF: "eth6", Number: 1, VFs: 1})
	a := attachment(0)
	_, w := settle(t, sw, World{Desired: wish(a), Mappings: mapping})
	for _, c := range []struct {
		what  string
		drift func(*eswitch.Attrs)
		kind  Kind
	}{
		{"the MAC", func(x *eswitch.Attrs) { x.MAC = eswitch.Set("02:00:00:00:00:99") }, Program},
		{"a MAC that nobody can tell", func(x *eswitch.Attrs) { x.MAC = eswitch.Unset[string]() }, Program},
		{"MAC and VLAN", func(x *eswitch.Attrs) { x.MAC, x.VLAN = eswitch.Set("02:00:00:00:00:99"), eswitch.Set(7) }, Return},
		{"MAC and a trust that is not the port's", func(x *eswitch.Attrs) { x.MAC, x.Trust = eswitch.Set("02:00:00:00:00:99"), eswitch.Set(true) }, Return},
	} {
		sw.Disturb(false, func(s *eswitch.State) { c.drift(&s.PFs[0].VFs[0].Attrs) })
		w.Observed = sw.State()
		p := Compute(w)
		steps := slices.Concat(p.Returns, p.Programs)
		if len(steps) != 1 || steps[0].Kind != c.kind {
			t.Errorf("%s: %+v", c.what, steps)
		}
		_, w = settle(t, sw, w)
	}
}
