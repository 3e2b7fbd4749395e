package vfnl_test

import (
	"testing"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
	"neutrino/internal/vfnl"
	"neutrino/internal/vfnl/vfnltest"
)

func BenchmarkDecode64(b *testing.B) {
	m := vfnltest.Message(vfnltest.PF(6, "eth6", vfnltest.Driver{}, 64), false)
	for b.Loop() {
		if _, err := vfnl.Decode(m, false); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	c := vfnl.Change{VF: 5, Attrs: vfnl.Attrs{
		MAC: eswitch.Set(vfnl.MAC{2}), VLAN: eswitch.Set(vfnl.VLAN{ID: 5}), SpoofCheck: eswitch.Set(true),
		Trust: eswitch.Set(false), LinkState: eswitch.Set(model.LinkEnable), MinTxRate: eswitch.Set(0), MaxTxRate: eswitch.Set(100),
	}}
	for b.Loop() {
		if _, err := vfnl.Encode(6, c); err != nil {
			b.Fatal(err)
		}
	}
}
