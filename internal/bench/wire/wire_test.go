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

// checkSample holds a sample against what must be so whatever the machine does.
func checkSample(t *testing.T, s *Sample) {
	t.Helper()
	t.Logf("%+v: %d messages, %d lost, %.2f Gbit/s", s.Spec, s.Messages, s.Lost, s.Bits()/1e9)
	if s.Messages == 0 || s.Bytes == 0 || s.Window <= 0 || s.Local.Wall <= 0 {
		t.Errorf("%+v: nothing measured: %+v", s.Spec, s)
	}
	if (s.Latency != nil) != s.Spec.Test.Latency() || s.Latency != nil && s.Latency.TotalCount() != s.Messages {
		t.Errorf("%+v: histogram and messages do not agree", s.Spec)
	}
	if (s.Late != nil) != (s.Latency != nil && s.Spec.Rate > 0) {
		t.Errorf("%+v: lateness is an open loop's", s.Spec)
	}
	if s.Spec.Test.datagrams() && s.Bytes != s.Messages*int64(s.Spec.Size) {
		t.Errorf("%+v: %d bytes in %d messages", s.Spec, s.Bytes, s.Messages)
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
			checkSample(t, got)
		}
	}
}
