package veb

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

// maybe draws an attribute that is asked for or not.
func maybe[T any](t *rapid.T, name string, g *rapid.Generator[T]) eswitch.Attr[T] {
	if !rapid.Bool().Draw(t, name+"?") {
		return eswitch.Unset[T]()
	}
	return eswitch.Set(g.Draw(t, name))
}

func drawAttrs(t *rapid.T, vf int) eswitch.Attrs {
	// Each VF has MACs of its own: whose a contested one is, is another test.
	macs := rapid.Map(rapid.IntRange(0, 2), func(n int) string {
		if n == 0 {
			return "00:00:00:00:00:00"
		}
		return mac(vf*8 + n)
	})
	source := rapid.Custom(func(t *rapid.T) model.AllowedSource {
		p := rapid.SampledFrom([]string{
			"10.0.0.1/32", "10.0.0.2/32", "10.1.0.0/16", "10.1.2.0/24", "0.0.0.0/0",
			"2001:db8::1/128", "2001:db8::2/128", "2001:db8::/32", "::/0", "10.1.2.3/24",
		}).Draw(t, "prefix")
		return model.AllowedSource{MAC: mac(vf*8 + rapid.IntRange(1, 3).Draw(t, "mac")), Prefix: netip.MustParsePrefix(p)}
	})
	return eswitch.Attrs{
		MAC:        maybe(t, "mac", macs),
		VLAN:       maybe(t, "vlan", rapid.SampledFrom([]int{0, 1, 10, 20, 4094})),
		SpoofCheck: maybe(t, "spoof", rapid.Bool()),
		Trust:      maybe(t, "trust", rapid.Bool()),
		LinkState:  maybe(t, "link", rapid.SampledFrom([]model.LinkState{model.LinkAuto, model.LinkEnable, model.LinkDisable})),
		MinTxRate:  maybe(t, "min", rapid.SampledFrom([]int{0, 1, 10, 100})),
		MaxTxRate:  maybe(t, "max", rapid.SampledFrom([]int{0, 100, 1000, 25000})),
		MTU:        maybe(t, "mtu", rapid.SampledFrom([]int{68, 576, 1450, 1500})),
		Allowed:    maybe(t, "allowed", rapid.SliceOfN(source, 0, 6)),
	}
}

// over returns what is in force when a was and b is applied.
func over(a, b eswitch.Attrs) eswitch.Attrs {
	pick(&a.MAC, b.MAC)
	pick(&a.VLAN, b.VLAN)
	pick(&a.SpoofCheck, b.SpoofCheck)
	pick(&a.Trust, b.Trust)
	pick(&a.LinkState, b.LinkState)
	pick(&a.MinTxRate, b.MinTxRate)
	pick(&a.MaxTxRate, b.MaxTxRate)
	pick(&a.MTU, b.MTU)
	if l, ok := b.Allowed.Get(); ok {
		if len(l) == 0 {
			l = nil
		}
		a.Allowed = eswitch.Set(eswitch.SortAllowed(l))
	}
	return a
}

func pick[T any](a *eswitch.Attr[T], b eswitch.Attr[T]) {
	if b.IsSet() {
		*a = b
	}
}

// What is applied is what is observed, after any sequence of changes, also by a handle
// that was opened afterwards; and nothing is left of it after the baseline.
func TestWhatIsAppliedIsObserved(t *testing.T) {
	t.Parallel()
	const vfs = 3
	r := newRig(t, vfs)
	rapid.Check(t, func(rt *rapid.T) {
		want := make([]eswitch.Attrs, vfs)
		for i := range want {
			want[i] = over(eswitch.Baseline(), eswitch.Attrs{MTU: eswitch.Set(1500)})
			r.set(i, want[i])
		}
		check := func() {
			st, err := r.sw.Observe(t.Context())
			must(t, err)
			for i, v := range st.PFs[0].VFs {
				got := v.Attrs
				if l, _ := got.Allowed.Get(); len(l) == 0 {
					got.Allowed = eswitch.Set([]model.AllowedSource(nil))
				}
				if diff := cmp.Diff(want[i], got, compareAttrs...); diff != "" {
					rt.Fatalf("VF %d: %s", i, diff)
				}
			}
		}
		for step := range rapid.IntRange(1, 6).Draw(rt, "steps") {
			var changes []eswitch.Change
			for i := range vfs {
				if rapid.Bool().Draw(rt, fmt.Sprintf("change VF %d in step %d", i, step)) {
					changes = append(changes, eswitch.Change{VF: eswitch.VFID{PF: "eth6", Index: i}, Attrs: drawAttrs(rt, i)})
				}
			}
			for x, res := range r.sw.Apply(t.Context(), changes) {
				if res.Err != nil {
					rt.Fatalf("%+v: %v", changes[x], res.Err)
				}
				i := changes[x].VF.Index
				want[i] = over(want[i], changes[x].Attrs)
			}
			check()
		}
		for i := range want {
			want[i] = over(eswitch.Baseline(), eswitch.Attrs{MTU: eswitch.Set(1500)})
			r.set(i, want[i])
		}
		check()
		r.clean(rt)
	})
}

// clean checks that baseline VFs leave no trace in the tables.
func (r *rig) clean(t interface{ Fatalf(string, ...any) }) {
	n := r.sw.nics[0]
	p, err := n.look(r.t.Context())
	must(r.t, err)
	sources, err := n.sources()
	must(r.t, err)
	extra := 0
	must(r.t, each(n.o.Macs, func(swMacKey, uint32) { extra++ }))
	if len(p.fwd) != 0 || len(sources) != 0 || extra != 0 || p.card.Flags != nicPeer {
		t.Fatalf("left behind: forwarding %v, sources %v, MACs %d, flags %#x", p.fwd, sources, extra, p.card.Flags)
	}
	for _, index := range []uint32{p.card.Shaper, p.card.Uplink} {
		c, err := n.classes(int(index))
		must(r.t, err)
		if len(c) != 0 {
			t.Fatalf("left behind: classes %v of link %d", c, index)
		}
	}
}
