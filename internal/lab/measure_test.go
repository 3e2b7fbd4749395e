package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"neutrino/internal/bench/paths"
)

func TestMeasureWires(t *testing.T) {
	n := testLab(t)
	var all []paths.Path
	for _, kind := range []string{"wire", "bridge", "bridge-vxlan"} {
		key := kind
		if kind == "wire" {
			key = PathDirect
		}
		p, err := comparison(t.Context(), n, kind, key)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	all = append(all, paths.Path{Key: "none", Title: "no such thing", A: all[0].A, B: paths.End{Namespace: n.Namespace("nowhere"), Addr: all[0].B.Addr}})
	got, err := measure(t.Context(), all, Effort{Rounds: 3, RTT: 10 * time.Millisecond, Stream: 40 * time.Millisecond}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range got[:3] {
		t.Logf("%-28s p50 %6.1f us p99 %6.1f us  %5.1f Gbit/s  %.2f %.2f %s", m.Title, m.RTT.P50, m.RTT.P99, m.Gbit.Median, m.RTTRatio, m.GbitRatio, m.Err)
		if m.Err != "" || m.RTT.P50 <= 0 || m.RTT.P99 < m.RTT.P50 || m.Gbit.Median <= 0 || len(m.RTTSlices) != 3 {
			t.Errorf("%+v", m)
		}
	}
	if got[0].RTTRatio != 1 || got[0].GbitRatio != 1 {
		t.Errorf("direct against itself: %v %v", got[0].RTTRatio, got[0].GbitRatio)
	}
	if got[3].Err == "" {
		t.Error("a path to nowhere was measured")
	}
}

func testLab(t *testing.T) Names {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	n, err := NewNames(fmt.Sprintf("m%d", os.Getpid()), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Down(context.Background(), n, Progress{}); err != nil && !errors.Is(err, ErrDown) {
			t.Error(err)
		}
	})
	return n
}

func TestAWireThatIsNoneIsSaid(t *testing.T) {
	if p, err := comparison(t.Context(), Names{}, "warp", PathVXLAN); !errors.Is(err, paths.ErrMissing) || p.Key != PathVXLAN {
		t.Errorf("%+v, %v", p, err)
	}
}
