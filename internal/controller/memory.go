package controller

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// lookEvery is how often the controller looks whether it is busy.
	lookEvery = 5 * time.Second
	// busy is how many bytes are allocated within lookEvery by one that has work to do.
	busy = 8 << 20
	// worthIt is how many bytes have to be allocated before there is something to give
	// back: some minutes of heartbeats, or a few lists of all ports.
	worthIt = 32 << 20
)

// giveBack returns the memory that a burst of requests left behind to the kernel once the
// controller is quiet. The garbage collector alone lets the heap stay at up to twice what
// is in use (GOGC, which is left as it is) until two minutes later, and the kernel has no
// way to ask for it.
func giveBack(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last, given uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := allocated()
		if now-last < busy && now-given > worthIt {
			debug.FreeOSMemory()
			now = allocated()
			given = now
		}
		last = now
	}
}

// allocated is how many bytes this process has ever put on its heap.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64()
}
