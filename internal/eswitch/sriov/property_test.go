package sriov_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"neutrino/internal/eswitch"
	"neutrino/internal/eswitch/sriov"
	"neutrino/internal/model"
	"neutrino/internal/vfnl"
	"neutrino/internal/vfnl/vfnltest"
)

func drawVF(t *rapid.T, v *vfnltest.VF, d vfnltest.Driver) {
	v.MAC = vfnl.MAC{0xfa, 0x16, 0x3e, 0, 0, rapid.Byte().Draw(t, "mac")}
	if !d.VGT && rapid.Bool().Draw(t, "no mac") {
		v.MAC = vfnl.MAC{}
	}
	v.VLAN = vfnl.VLAN{ID: rapid.IntRange(0, 3).Draw(t, "vlan"), QoS: rapid.IntRange(0, 1).Draw(t, "qos"), Proto: vfnl.Dot1Q}
	v.Spoof = rapid.Bool().Draw(t, "spoof")
	v.Trust = rapid.Bool().Draw(t, "trust") && !has(d, "trust")
	v.Max = 100 * rapid.IntRange(0, 2).Draw(t, "max")
	if !has(d, "link_state") {
		v.Link = model.LinkState(rapid.IntRange(0, 2).Draw(t, "link"))
	}
}

func has(d vfnltest.Driver, name string) bool {
	for _, n := range d.Lacks {
		if n == name {
			return true
		}
	}
	return false
}

// drawWant is a port's attributes, or false for the baseline.
func drawWant(t *rapid.T) (eswitch.Attrs, bool) {
	if rapid.Bool().Draw(t, "baseline") {
		return eswitch.Attrs{}, false
	}
	return eswitch.Attrs{
		MAC:  eswitch.Set(fmt.Sprintf("fa:16:3e:00:01:%02x", rapid.Byte().Draw(t, "want mac"))),
		VLAN: eswitch.Set(rapid.IntRange(0, 3).Draw(t, "want vlan")), SpoofCheck: eswitch.Set(rapid.Bool().Draw(t, "want spoof")),
		Trust: eswitch.Set(rapid.Bool().Draw(t, "want trust")), LinkState: eswitch.Set(model.LinkState(rapid.IntRange(0, 2).Draw(t, "want link"))),
		MinTxRate: eswitch.Set(rapid.IntRange(0, 50).Draw(t, "want min")), MaxTxRate: eswitch.Set(rapid.IntRange(50, 200).Draw(t, "want max")),
	}, true
}

// From whatever is there, and whatever goes wrong for a while, observing and applying
// the difference comes to what is wanted, as far as the driver is able to.
func TestEveryStateConvergesWhateverGoesWrong(t *testing.T) {
	cards := []card{igb, i40e, mlx4, mlx5}
	racks := map[string]*rack{}
	for _, c := range cards {
		racks[c.driver] = newRack(t, c)
		for i := range c.vfs {
			racks[c.driver].away(c, i)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		c := rapid.SampledFrom(cards).Draw(rt, "driver")
		r := racks[c.driver]
		r.k.FailWith(nil)
		r.k.Silently(6, func(l *vfnltest.Link) {
			for i := range l.VFs {
				l.VFs[i] = vfnltest.VF{}
				drawVF(rt, &l.VFs[i], c.behave)
			}
		})
		s, err := sriov.Open(context.Background(), sriov.Options{
			PFs: []string{"eth6"}, Sys: r.sys, Dial: func() (*vfnl.Conn, error) { return r.k.Conn(), nil },
			Monitor: func() (*vfnl.Monitor, error) { return r.k.Monitor(), nil }, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		faults := rapid.SliceOfN(rapid.SampledFrom([]unix.Errno{0, 0, unix.EIO, unix.EINVAL, unix.EBUSY, unix.ETIMEDOUT}), 0, 12).Draw(rt, "faults")
		r.k.FailWith(func(vfnltest.Request) *vfnltest.Fault {
			if len(faults) == 0 {
				return nil
			}
			no := faults[0]
			faults = faults[1:]
			if no == 0 {
				return nil
			}
			return &vfnltest.Fault{Errno: no}
		})
		type wish struct {
			attrs eswitch.Attrs
			port  bool
		}
		wants := make([]wish, c.vfs)
		for i := range wants {
			wants[i].attrs, wants[i].port = drawWant(rt)
		}
		var left []eswitch.Change
		for round := range 20 {
			if round == 2 { // somebody meddles
				r.k.Silently(6, func(l *vfnltest.Link) { drawVF(rt, &l.VFs[0], c.behave) })
			}
			st, err := s.Observe(context.Background())
			if err != nil {
				rt.Fatal(err)
			}
			left = nil
			for _, v := range st.PFs[0].VFs {
				want := wants[v.ID.Index].attrs
				if !wants[v.ID.Index].port {
					want = v.BaselineAttrs()
				}
				if todo, _ := eswitch.Diff(want, v.Attrs); !todo.Empty() {
					left = append(left, eswitch.Change{VF: v.ID, Attrs: todo})
				}
			}
			if len(left) == 0 && round > 2 {
				check(rt, r, c, func(i int) (eswitch.Attrs, bool) { return wants[i].attrs, wants[i].port })
				return
			}
			for _, res := range s.Apply(context.Background(), left) {
				_ = res.Err // what failed is still to be done in the next round
			}
		}
		rt.Fatalf("%s: still to be done after 20 rounds: %+v", c.driver, left)
	})
}

// check looks at the driver itself, not at what Observe says of it.
func check(t *rapid.T, r *rack, c card, want func(int) (eswitch.Attrs, bool)) {
	for i := range c.vfs {
		v := r.k.VF(6, i)
		a, port := want(i)
		if !port {
			if v.VLAN.ID != 0 || v.VLAN.QoS != 0 || !v.Spoof || v.Trust || (v.Max != 0 && !c.behave.VGT) {
				t.Fatalf("%s: VF %d of nobody is %+v", c.driver, i, v)
			}
			continue
		}
		mac, _ := a.MAC.Get()
		vlan, _ := a.VLAN.Get()
		spoof, _ := a.SpoofCheck.Get()
		high, _ := a.MaxTxRate.Get()
		if v.MAC.String() != mac || v.VLAN.ID != vlan || v.VLAN.QoS != 0 || v.Spoof != spoof || (v.Max != high && (!c.behave.VGT || vlan != 0)) {
			t.Fatalf("%s: VF %d is %+v, wanted %+v", c.driver, i, v, a)
		}
	}
}
