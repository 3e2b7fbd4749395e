package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func short(test Test) Spec {
	return Spec{Test: test, Size: test.DefaultSize(), Flows: 1, Duration: 30 * time.Millisecond}
}

func TestStrangersAreRefused(t *testing.T) {
	at := serve(t, &Server{Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	if err := (&Client{}).Dial(context.Background(), at); !errors.Is(err, ErrRefused) {
		t.Errorf("%v, want ErrRefused", err)
	}
}

func TestOneMeasuresAtATime(t *testing.T) {
	at := serve(t, &Server{})
	first := dial(t, at)
	if err := (&Client{}).Dial(context.Background(), at); !errors.Is(err, ErrBusy) {
		t.Errorf("%v, want ErrBusy", err)
	}
	if _, err := first.Measure(context.Background(), short(TCP)); err != nil {
		t.Errorf("the first one: %v", err)
	}
	first.Close()
	for end := time.Now().Add(5 * time.Second); ; { // until the server has seen it go
		c := &Client{}
		err := c.Dial(context.Background(), at)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after the first one is gone: %v", err)
		}
	}
}

func TestLimitsHold(t *testing.T) {
	at := serve(t, &Server{Limits: Limits{Time: time.Second, Flows: 2}, Sessions: 2})
	c := dial(t, at)
	s := short(TCP)
	s.Flows = 3
	if _, err := c.Measure(context.Background(), s); !errors.Is(err, ErrSpec) {
		t.Errorf("the client asks for what is not allowed: %v", err)
	}
	c.Limits = DefaultLimits // a client that does not care
	if _, err := c.Measure(context.Background(), s); !errors.Is(err, ErrRefused) {
		t.Errorf("the server was asked for what it does not allow: %v", err)
	}
}

func TestOtherVersionsAreTold(t *testing.T) {
	c, err := net.Dial("tcp", serve(t, &Server{}).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	magic := controlMagic
	magic[7] = Version + 1
	_, _ = c.Write(magic[:])
	m, err := readMessage(c)
	if err != nil || m.Refused == nil || !bytes.Contains([]byte(m.Refused.Why), []byte("version 2")) {
		t.Errorf("%+v, %v", m, err)
	}
}

// Whatever is sent to its ports, a server lives, and gives back no more than a word of refusal.
func TestServerSurvivesAnything(t *testing.T) {
	at := serve(t, &Server{Sessions: 4})
	rapid.Check(t, func(t *rapid.T) {
		c, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		start := rapid.SampledFrom([][]byte{nil, controlMagic[:], flowMagic[:], attachWord(make([]byte, 16), 1)}).Draw(t, "start")
		rest := rapid.OneOf(
			rapid.SliceOfN(rapid.Byte(), 0, 100),
			rapid.Map(rapid.SampledFrom([]string{
				`{"begin":{"spec":{"test":"tcp","size":64,"flows":1,"warmup_ns":0,"duration_ns":1000000}}}`,
				`{"begin":{"spec":{"test":"udp","size":-1,"flows":1,"warmup_ns":0,"duration_ns":1000000}}}`,
				`{"begin":{"spec":{"test":"icmp","size":64,"flows":1,"warmup_ns":0,"duration_ns":1000000}}}`,
				`{"stop":{}}`, `{"done":{}}`, `{`,
			}), frame),
		).Draw(t, "rest")
		_, _ = c.Write(append(bytes.Clone(start), rest...))
		_ = c.(*net.TCPConn).CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		got, err := io.ReadAll(io.LimitReader(c, 1<<20))
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Fatal("the connection stays open")
		}
		if len(got) > 4096 {
			t.Fatalf("%d bytes in return for %d", len(got), len(start)+len(rest))
		}
	})
	if _, err := dial(t, at).Measure(context.Background(), short(TCP)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A UDP port of a measurement answers only who has its token, and with no more bytes.
func TestUDPAnswersItsClientOnly(t *testing.T) {
	own, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	at := own.LocalAddr().(*net.UDPAddr).AddrPort()
	token := [tokenSize]byte{1, 2, 3}
	var l *line
	var wait sync.WaitGroup
	wait.Go(func() {
		_ = own.SetReadDeadline(time.Now().Add(10 * time.Second))
		l, err = awaitUDP(own, at.Addr(), token, 1)
	})
	stranger, _ := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at))
	client, _ := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at))
	defer stranger.Close()
	defer client.Close()
	for _, word := range [][]byte{nil, []byte("x"), attachWord(make([]byte, tokenSize), 1), attachWord(token[:], 2), append(attachWord(token[:], 1), 0)} {
		_, _ = stranger.Write(word)
	}
	_, _ = client.Write(attachWord(token[:], 1))
	answer := make([]byte, 100)
	_ = client.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, readErr := client.Read(answer)
	if readErr != nil || n > attachSize {
		t.Errorf("the client got %d bytes, %v", n, readErr)
	}
	wait.Wait()
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	_ = stranger.SetReadDeadline(time.Unix(1, 0))
	if n, err = stranger.Read(answer); err == nil {
		t.Errorf("the stranger got %d bytes", n)
	}
	if n, err = l.recv(answer, 0x40); err == nil { // MSG_DONTWAIT
		t.Errorf("the flow holds %d bytes of the stranger's", n)
	}
}

// A client that goes in the middle leaves the server free for the next one.
func TestClientGoesInTheMiddle(t *testing.T) {
	at := serve(t, &Server{})
	for _, test := range []Test{UDP, TCP, Stream, UDPStream} {
		c := &Client{}
		for end := time.Now().Add(10 * time.Second); ; {
			err := c.Dial(context.Background(), at)
			if err == nil {
				break
			}
			if !errors.Is(err, ErrBusy) || time.Now().After(end) {
				t.Fatalf("%s: %v", test, err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		s := short(test)
		s.Duration = 30 * time.Second
		if _, err := c.Measure(ctx, s); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", test, err)
		}
		cancel()
		c.Close()
	}
}

// A server that is told to end does so during a measurement, and the client hears of it.
func TestServerEndsInTheMiddle(t *testing.T) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{Limits: DefaultLimits, Log: silentLog()}
	over := make(chan error, 1)
	go func() { over <- s.Serve(ctx, l) }()
	c := dial(t, l.Addr().(*net.TCPAddr).AddrPort())
	spec := short(UDP)
	spec.Duration = 30 * time.Second
	time.AfterFunc(600*time.Millisecond, cancel)
	if _, err = c.Measure(context.Background(), spec); err == nil {
		t.Error("measured with a server that has ended")
	}
	if err = <-over; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestPeerWithoutServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	if err = (&Client{}).Dial(context.Background(), at); err == nil || !bytes.Contains([]byte(err.Error()), []byte("bench serve")) {
		t.Errorf("%v", err)
	}
}

func TestNeighboursAreAllowed(t *testing.T) {
	s := &Server{}
	got := []bool{s.allowed(netip.MustParseAddr("127.0.0.9")), s.allowed(netip.MustParseAddr("203.0.113.7"))}
	if want := []bool{true, false}; !cmp.Equal(got, want) {
		t.Errorf("loopback and a host far away: %v", got)
	}
}

// Loops hold processors of the runtime, so a process has only so many.
func TestLoopsAreBounded(t *testing.T) {
	loud, err := quiet(nil, loopRoom)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = quiet(nil, 1); !errors.Is(err, ErrBusy) {
		t.Errorf("one more: %v, want ErrBusy", err)
	}
	loud()
	if loud, err = quiet(nil, 1); err != nil {
		t.Fatalf("afterwards: %v", err)
	}
	loud()
	if hush.held != 0 || hush.loops != 0 {
		t.Errorf("%d and %d are left", hush.held, hush.loops)
	}
}
