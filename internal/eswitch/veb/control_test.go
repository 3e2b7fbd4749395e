package veb

import (
	"context"
	"path/filepath"
	"testing"

	"neutrino/internal/eswitch"
)

// BenchmarkCreate64 makes and destroys a NIC of 64 VFs.
func BenchmarkCreate64(b *testing.B) {
	for _, a := range []Attach{AttachTCX, AttachClsact} {
		b.Run(string(a), func(b *testing.B) {
			h := newHost(b)
			spec := Spec{Name: "eth6", VFs: 64, PinDir: filepath.Join(b.TempDir(), "pin"), Netns: h.path, Attach: a}
			for b.Loop() {
				must(b, Create(context.Background(), spec))
				b.StopTimer()
				must(b, Destroy(context.Background(), "eth6", spec.PinDir))
				b.StartTimer()
			}
		})
	}
}

// BenchmarkApply programs one VF from the baseline to all checks and back.
func BenchmarkApply(b *testing.B) {
	r := newRig(b, 64)
	base := eswitch.Baseline()
	for b.Loop() {
		r.checked(7, 10, "10.8.0.7")
		b.StopTimer()
		r.set(7, base)
		b.StartTimer()
	}
}

// BenchmarkObserve64 reads a NIC whose 64 VFs all have addresses to check.
func BenchmarkObserve64(b *testing.B) {
	r := newRig(b, 64)
	for i := range 64 {
		r.checked(i, 10, "10.8.0."+string(rune('0'+i%10)))
	}
	for b.Loop() {
		if _, err := r.sw.Observe(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
