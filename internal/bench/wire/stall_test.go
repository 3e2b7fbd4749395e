package wire

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"neutrino/internal/bench"
)

// between is a relay of TCP connections that holds back what flows back to the client: hold is asked for
// each piece. Control connections pass unhindered.
func between(t *testing.T, to netip.AddrPort, hold func(n int) time.Duration) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	relay := func(c net.Conn) {
		defer c.Close()
		s, err := net.Dial("tcp", to.String())
		if err != nil {
			return
		}
		defer s.Close()
		word := make([]byte, 8)
		if _, err = io.ReadFull(c, word); err != nil {
			return
		}
		_, _ = s.Write(word)
		control := [8]byte(word) == controlMagic
		all.Go(func() {
			_, _ = io.Copy(s, c)
			_ = s.(*net.TCPConn).CloseWrite()
		})
		buf := make([]byte, 64<<10)
		for n := 0; ; n++ {
			got, err := s.Read(buf)
			if err != nil {
				return
			}
			if !control && n > 0 { // the first is the answer to the flow's opening
				time.Sleep(hold(n))
			}
			if _, err = c.Write(buf[:got]); err != nil {
				return
			}
		}
	}
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { relay(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// One answer in ten takes 30 ms, the others 4: a distribution that is known must be the one measured.
func TestKnownDelays(t *testing.T) {
	at := between(t, serve(t, &Server{}), func(n int) time.Duration {
		if n%10 == 0 {
			return 30 * time.Millisecond
		}
		return 4 * time.Millisecond
	})
	c := &Client{}
	if err := c.Dial(context.Background(), at); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := short(TCP)
	s.Duration = 2 * time.Second
	got, err := c.Measure(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	h := got.Latency
	ms := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1e6 }
	t.Logf("%d messages, min %.2f p50 %.2f p85 %.2f p95 %.2f ms", h.TotalCount(), float64(h.Min())/1e6, ms(50), ms(85), ms(95))
	if m := float64(h.Min()) / 1e6; m < 3.99 {
		t.Errorf("min %.2f ms, and no answer took less than 4", m)
	}
	if ms(50) > 15 || ms(85) > 29 {
		t.Errorf("p50 %.2f and p85 %.2f ms, and nine of ten answers took 4", ms(50), ms(85))
	}
	if ms(95) < 29.9 {
		t.Errorf("p95 %.2f ms, and one of ten answers took 30", ms(95))
	}
	if h.TotalCount() != got.Messages || got.Bytes != got.Messages*int64(s.Size) {
		t.Errorf("%d in the histogram, %d messages, %d bytes", h.TotalCount(), got.Messages, got.Bytes)
	}
}

// A peer that stands still for 400 ms of a second: an open loop shows it to all who would have called
// meanwhile, a closed one has a single slow message.
func TestStallIsSeenByAll(t *testing.T) {
	server := serve(t, &Server{})
	measure := func(rate float64) *bench.Run {
		var once sync.Once
		start := time.Time{}
		at := between(t, server, func(int) (d time.Duration) {
			if start.IsZero() {
				start = time.Now()
			}
			if time.Since(start) > 300*time.Millisecond {
				once.Do(func() { d = 400 * time.Millisecond })
			}
			return d
		})
		c := &Client{}
		for end := time.Now().Add(10 * time.Second); ; {
			err := c.Dial(context.Background(), at)
			if err == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatal(err)
			}
		}
		defer c.Close()
		s := short(TCP)
		s.Duration, s.Rate = time.Second, rate
		got, err := c.Measure(context.Background(), s)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	slow := func(s *bench.Run) float64 { // share of messages that took 100 ms or more
		n := int64(0)
		for _, b := range s.Latency.Distribution() {
			if b.From >= 100e6 {
				n += b.Count
			}
		}
		return float64(n) / float64(s.Latency.TotalCount())
	}
	open, closed := measure(500), measure(0)
	t.Logf("slow messages: open loop %.3f of %d, closed loop %.3f of %d", slow(open), open.Messages, slow(closed), closed.Messages)
	if slow(open) < 0.25 { // 300 of 1,000 ms
		t.Errorf("open loop: %.3f of the messages took 100 ms or more, want 0.3", slow(open))
	}
	if slow(closed) > 0.1 {
		t.Errorf("closed loop: %.3f of the messages took 100 ms or more, want one alone", slow(closed))
	}
	if open.Messages != 500 || open.Lost != 0 {
		t.Errorf("open loop: %d answers, %d lost; 500 were sent", open.Messages, open.Lost)
	}
}
