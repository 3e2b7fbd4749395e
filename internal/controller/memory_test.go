package controller

import (
	"context"
	"runtime"
	"testing"
	"time"
)

var rubbish [][]byte

func TestMemoryIsGivenBackWhenQuiet(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- giveBack(ctx, 10*time.Millisecond) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for range 128 {
		rubbish = append(rubbish, make([]byte, 1<<20))
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	full := m.HeapSys - m.HeapReleased
	rubbish = nil
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		runtime.ReadMemStats(&m)
		if now := m.HeapSys - m.HeapReleased; now+100<<20 < full {
			return
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("%d MiB are held, %d MiB were in use", (m.HeapSys-m.HeapReleased)>>20, full>>20)
		}
	}
}
