package eswitch

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"neutrino/internal/model"
)

func drawAttr[T any](t *rapid.T, g *rapid.Generator[T], label string, observed bool) Attr[T] {
	switch rapid.IntRange(0, 2).Draw(t, label+" state") {
	case 0:
		return Set(g.Draw(t, label))
	case 1:
		if observed {
			return Unsupported[T]()
		}
		return Unset[T]()
	default:
		return Set(g.Draw(t, label))
	}
}

func drawAllowed(t *rapid.T) []model.AllowedSource {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) model.AllowedSource {
		a := netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "host")})
		return model.AllowedSource{MAC: rapid.SampledFrom([]string{"fa:16:3e:00:00:01", "fa:16:3e:00:00:02"}).Draw(t, "mac"), Prefix: HostPrefix(a)}
	}), 0, 4).Draw(t, "allowed")
}

func drawAttrs(t *rapid.T, observed bool) Attrs {
	mac := rapid.SampledFrom([]string{"00:00:00:00:00:00", "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"})
	a := Attrs{
		MAC:        drawAttr(t, mac, "mac", false),
		VLAN:       drawAttr(t, rapid.IntRange(0, 4094), "vlan", observed),
		SpoofCheck: drawAttr(t, rapid.Bool(), "spoof", observed),
		Trust:      drawAttr(t, rapid.Bool(), "trust", observed),
		LinkState:  drawAttr(t, rapid.SampledFrom([]model.LinkState{model.LinkAuto, model.LinkEnable, model.LinkDisable}), "link", observed),
		MinTxRate:  drawAttr(t, rapid.IntRange(0, 100), "min", observed),
		MaxTxRate:  drawAttr(t, rapid.IntRange(0, 100), "max", observed),
		MTU:        drawAttr(t, rapid.IntRange(68, 9000), "mtu", observed),
	}
	if rapid.Bool().Draw(t, "with allowed") {
		a.Allowed = Set(drawAllowed(t))
	} else if observed {
		a.Allowed = Unsupported[[]model.AllowedSource]()
	}
	return a
}

// merge is what a perfect switch does with a change.
func merge(have, change Attrs) Attrs {
	merge1(&have.MAC, change.MAC)
	merge1(&have.VLAN, change.VLAN)
	merge1(&have.SpoofCheck, change.SpoofCheck)
	merge1(&have.Trust, change.Trust)
	merge1(&have.LinkState, change.LinkState)
	merge1(&have.MinTxRate, change.MinTxRate)
	merge1(&have.MaxTxRate, change.MaxTxRate)
	merge1(&have.MTU, change.MTU)
	merge1(&have.Allowed, change.Allowed)
	return have
}

func merge1[T any](have *Attr[T], change Attr[T]) {
	if change.IsSet() && !have.IsUnsupported() {
		*have = change
	}
}

func TestDiffAppliedOnceLeavesNothingToDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, have := drawAttrs(t, false), drawAttrs(t, true)
		todo, cannot := Diff(want, have)
		again, cannotAgain := Diff(want, merge(have, todo))
		if !again.Empty() {
			t.Fatalf("after applying %+v there is still %+v to do", todo, again)
		}
		if !slices.Equal(cannot, cannotAgain) {
			t.Fatalf("what cannot be done changed from %v to %v by doing the rest", cannot, cannotAgain)
		}
	})
}

func TestDiffNeverAsksForWhatTheDriverLacks(t *testing.T) {
	want := Attrs{MAC: Set("fa:16:3e:00:00:01"), LinkState: Set(model.LinkEnable), Trust: Set(false), MaxTxRate: Set(100)}
	have := Attrs{MAC: Set("00:00:00:00:00:00"), LinkState: Unsupported[model.LinkState](), Trust: Unsupported[bool](), MaxTxRate: Unsupported[int]()}
	todo, cannot := Diff(want, have)
	if todo.LinkState.IsSet() || todo.Trust.IsSet() || todo.MaxTxRate.IsSet() {
		t.Errorf("asked a driver for an attribute it lacks: %+v", todo)
	}
	if !todo.MAC.IsSet() {
		t.Error("the MAC is not asked for")
	}
	if want := []string{"link_state", "max_tx_rate"}; !slices.Equal(cannot, want) {
		t.Errorf("cannot = %v, want %v: an unsupported trust that is wanted off is no fault", cannot, want)
	}
}

func TestDiffIgnoresTheOrderOfSources(t *testing.T) {
	a := model.AllowedSource{MAC: "fa:16:3e:00:00:01", Prefix: netip.MustParsePrefix("10.0.0.1/32")}
	b := model.AllowedSource{MAC: "fa:16:3e:00:00:01", Prefix: netip.MustParsePrefix("10.0.0.2/32")}
	todo, _ := Diff(Attrs{Allowed: Set([]model.AllowedSource{b, a, b})}, Attrs{Allowed: Set([]model.AllowedSource{a, b})})
	if !todo.Empty() {
		t.Errorf("the same sources in another order are to be changed: %v", todo.Allowed)
	}
	todo, _ = Diff(Attrs{Allowed: Set([]model.AllowedSource(nil))}, Attrs{Allowed: Set([]model.AllowedSource{a})})
	if !todo.Allowed.IsSet() {
		t.Error("an empty wanted list does not remove what is there")
	}
}

func TestAttrSaysWhichOfThreeItIs(t *testing.T) {
	for _, c := range []struct {
		a    Attr[bool]
		text string
		ok   bool
	}{{Set(false), "false", true}, {Unset[bool](), "-", false}, {Unsupported[bool](), "unsupported", false}} {
		if _, ok := c.a.Get(); c.a.String() != c.text || ok != c.ok {
			t.Errorf("%v: Get ok %v, want %q %v", c.a, ok, c.text, c.ok)
		}
	}
}

func TestVFHasItsOwnBaselineOrTheCommonOne(t *testing.T) {
	var v VF
	if todo, _ := Diff(Baseline(), v.BaselineAttrs()); !todo.Empty() {
		t.Errorf("a VF without a baseline of its own differs from the common one in %+v", todo)
	}
	v.Baseline = Baseline()
	v.Baseline.MAC = Set("02:00:00:00:00:01")
	if todo, _ := Diff(Baseline(), v.BaselineAttrs()); !todo.MAC.IsSet() || todo.VLAN.IsSet() {
		t.Errorf("the VF's own baseline is not what it is compared with: %+v", todo)
	}
}
