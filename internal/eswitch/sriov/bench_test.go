package sriov_test

import (
	"context"
	"testing"
)

// BenchmarkObserve is a PF of 64 VFs, their netdevs at hand, on a kernel that costs
// nothing: what is left is the reading of sysfs and the decoding.
func BenchmarkObserve(b *testing.B) {
	c := mlx5
	c.vfs = 64
	r := newRack(b, c)
	s := r.open()
	for b.Loop() {
		if _, err := s.Observe(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
