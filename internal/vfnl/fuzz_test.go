package vfnl_test

import (
	"testing"

	"neutrino/internal/vfnl"
	"neutrino/internal/vfnl/vfnltest"
)

func seeds(f *testing.F) {
	for _, n := range []int{0, 1, 3, 230} {
		for _, d := range []vfnltest.Driver{vfnltest.MLX4(), {GUIDs: true}} {
			f.Add(vfnltest.Message(vfnltest.PF(6, "eth6", d, n), n == 230))
		}
	}
	f.Add([]byte{})
}

func FuzzDecode(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, stats := range []bool{false, true} {
			p, err := vfnl.Decode(b, stats)
			if err != nil {
				continue
			}
			if len(p.VFs) > p.NumVFs {
				t.Errorf("%d VFs where the kernel counts %d", len(p.VFs), p.NumVFs)
			}
			for i := 1; i < len(p.VFs); i++ {
				if p.VFs[i].Index <= p.VFs[i-1].Index {
					t.Errorf("VF %d after VF %d", p.VFs[i].Index, p.VFs[i-1].Index)
				}
			}
		}
	})
}

func FuzzDecodeEvent(f *testing.F) {
	for _, l := range []vfnltest.Link{vfnltest.PF(6, "eth6", vfnltest.Driver{}, 0), {Ifindex: 2, Name: "lo"}} {
		f.Add(uint16(16), vfnltest.Message(l, false))
		f.Add(uint16(17), vfnltest.Message(l, false))
	}
	f.Fuzz(func(t *testing.T, typ uint16, b []byte) {
		if e, ok := vfnl.DecodeEvent(typ, b); ok && e.Kind == vfnl.Everything {
			t.Error("one message cannot say that others were lost")
		}
	})
}
