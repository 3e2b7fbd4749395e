package wire

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"neutrino/internal/bench"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func silentLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// serve runs a server on loopback until the test ends.
func serve(t *testing.T, s *Server) netip.AddrPort {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if s.Log == nil {
		s.Log = silentLog()
	}
	if s.Limits == (Limits{}) {
		s.Limits = DefaultLimits
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func dial(t *testing.T, at netip.AddrPort) *Client {
	t.Helper()
	c := &Client{}
	if err := c.Dial(context.Background(), at); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// checkRun holds a run against what must be so whatever the machine does.
func checkRun(t *testing.T, s Spec, r *bench.Run) {
	t.Helper()
	t.Logf("%s: %d messages, %d lost, %.2f Gbit/s", s.Measurement(), r.Messages, r.Lost, r.Bits()/1e9)
	if r.Messages == 0 || r.Bytes == 0 || r.Window <= 0 || r.LocalUsage.Wall <= 0 {
		t.Errorf("%s: nothing measured: %+v", s.Measurement(), r)
	}
	if (r.RemoteUsage == nil) != (s.Test == ICMP) {
		t.Errorf("%s: the server's usage is %v", s.Measurement(), r.RemoteUsage)
	}
	if (r.Latency != nil) != s.Test.Latency() || r.Latency != nil && r.Latency.TotalCount() != r.Messages {
		t.Errorf("%s: histogram and messages do not agree", s.Measurement())
	}
	if (r.Late != nil) != (r.Latency != nil && s.Rate > 0) {
		t.Errorf("%s: lateness is an open loop's", s.Measurement())
	}
	if s.Test.datagrams() && r.Bytes != r.Messages*int64(s.Size) {
		t.Errorf("%s: %d bytes in %d messages", s.Measurement(), r.Bytes, r.Messages)
	}
}

func TestEachTestMeasures(t *testing.T) {
	c := dial(t, serve(t, &Server{}))
	for _, test := range Tests {
		for _, s := range []Spec{
			{},
			{Reverse: true},
			{Flows: 3},
			{Rate: 2000},
		} {
			s.Test, s.Size, s.Flows = test, test.DefaultSize(), max(s.Flows, 1)
			s.Warmup, s.Duration = 20*time.Millisecond, 150*time.Millisecond
			if s.Check(DefaultLimits) != nil || s.Test == ICMP && os.Geteuid() != 0 {
				continue
			}
			got, err := c.Measure(context.Background(), s)
			if err != nil {
				t.Fatalf("%+v: %v", s, err)
			}
			checkRun(t, s, got)
		}
	}
}
