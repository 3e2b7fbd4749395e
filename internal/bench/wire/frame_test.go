package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func frame(body string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func FuzzReadMessage(f *testing.F) {
	for _, m := range []*message{
		{Welcome: &welcome{Limits: DefaultLimits}},
		{Begin: &begin{Spec: Spec{Test: TCP, Size: 64, Flows: 1, Duration: time.Second}}},
		{Ready: &ready{Token: make([]byte, tokenSize), UDP: []int{1, 2}}},
		{Done: &done{Tally: tally{Messages: 1}}},
		{Stop: &struct{}{}},
	} {
		var b bytes.Buffer
		if err := writeMessage(&b, m); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add(frame(`{"stop":{},"go":{}}`))
	f.Add(frame(`{"begin":{"spec":{"flows":1e99}}}`))
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := readMessage(bytes.NewReader(data))
		if err != nil {
			return
		}
		if m.parts() != 1 {
			t.Fatalf("%q is a message of %d parts", data, m.parts())
		}
		var b bytes.Buffer
		if err = writeMessage(&b, m); err != nil {
			t.Fatalf("%q was read and cannot be written: %v", data, err)
		}
		again, err := readMessage(&b)
		if err != nil || !cmp.Equal(m, again) {
			t.Fatalf("%q: read again as %+v, %v", data, again, err)
		}
		if m.Begin != nil && m.Begin.Spec.Check(DefaultLimits) == nil {
			if s := m.Begin.Spec; s.Size < 1 || s.Flows > 64 || s.Duration > DefaultLimits.Time {
				t.Fatalf("allowed: %+v", s)
			}
		}
	})
}

func TestFramesAreStrict(t *testing.T) {
	for name, data := range map[string][]byte{
		"nothing":       frame(`{}`),
		"two messages":  frame(`{"stop":{},"go":{}}`),
		"unknown":       frame(`{"stop":{"now":1}}`),
		"trailing":      frame(`{"stop":{}} {}`),
		"too long":      {0, 1, 0, 1},
		"empty":         {0, 0, 0, 0},
		"not an object": frame(`[1,2]`),
	} {
		if _, err := readMessage(bytes.NewReader(data)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v, want ErrProtocol", name, err)
		}
	}
}

func FuzzAttach(f *testing.F) {
	f.Add(attachWord(make([]byte, tokenSize), 3))
	f.Add([]byte("neuflow\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		token, flow, err := parseAttach(b)
		if err == nil && !bytes.Equal(attachWord(token[:], flow), b) {
			t.Fatalf("%x read as flow %d of %x", b, flow, token)
		}
	})
}

func FuzzEchoReply(f *testing.F) {
	f.Add([]byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 7, 0, 1}, true, false)
	f.Add([]byte{129, 0, 0, 0, 0, 7, 0, 1}, true, true)
	f.Add([]byte{0x4f}, true, false)
	f.Fuzz(func(t *testing.T, b []byte, raw, v6 bool) {
		e := &echo{raw: raw, v6: v6, id: 7}
		if r := e.reply(b); r != nil && (len(r) < icmpHeader || len(r) > len(b)) {
			t.Fatalf("%x: a reply of %d bytes", b, len(r))
		}
	})
}

// The checksum of RFC 1071 over a message that holds its own checksum is zero.
func TestEchoChecksum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), icmpHeader, 200).Draw(t, "message")
		e := &echo{raw: true, id: rapid.Uint16().Draw(t, "id")}
		e.request(b)
		e.sum(b)
		var s uint32
		for i, x := range b {
			s += uint32(x) << (8 * (1 - i%2))
		}
		for s > 0xffff {
			s = s>>16 + s&0xffff
		}
		if s != 0xffff {
			t.Fatalf("sum %x", s)
		}
	})
}

func TestSpecCheck(t *testing.T) {
	good := Spec{Test: UDP, Size: 64, Flows: 1, Duration: time.Second}
	for name, change := range map[string]func(*Spec){
		"no such test":         func(s *Spec) { s.Test = "sctp" },
		"no room for an index": func(s *Spec) { s.Size = 15 },
		"more than a datagram": func(s *Spec) { s.Size = 65508 },
		"no flow":              func(s *Spec) { s.Flows = 0 },
		"too many flows":       func(s *Spec) { s.Flows = 65 },
		"no time":              func(s *Spec) { s.Duration = 0 },
		"too long":             func(s *Spec) { s.Duration = time.Hour },
		"overflow":             func(s *Spec) { s.Duration, s.Warmup = math.MaxInt64, math.MaxInt64 },
		"back in time":         func(s *Spec) { s.Warmup = -1 },
		"no number":            func(s *Spec) { s.Rate = math.NaN() },
		"endless rate":         func(s *Spec) { s.Rate = math.Inf(1) },
		"reverse round trip":   func(s *Spec) { s.Reverse = true },
		"paced TCP":            func(s *Spec) { s.Test, s.Rate = Stream, 1 },
	} {
		s := good
		change(&s)
		if err := s.Check(DefaultLimits); !errors.Is(err, ErrSpec) {
			t.Errorf("%s: %v, want ErrSpec", name, err)
		}
	}
	if err := good.Check(DefaultLimits); err != nil {
		t.Error(err)
	}
}

func TestParseTests(t *testing.T) {
	got, err := ParseTests("tcp, udp,tcp")
	if err != nil || !cmp.Equal(got, []Test{TCP, UDP}) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err = ParseTests("tcp,ping"); err == nil || !strings.Contains(err.Error(), "icmp, udp, tcp") {
		t.Errorf("an unknown test: %v", err)
	}
}

// What opens the window and what comes behind it do not count.
func TestGate(t *testing.T) {
	g := newGate(Spec{Warmup: 10, Duration: 100})
	var counted []int64
	for _, at := range []int64{1, 5, 10, 13, 20, 110, 113, 114, 200} {
		if g.counts(at) {
			counted = append(counted, at)
		}
	}
	if want := []int64{20, 110, 113}; !cmp.Equal(counted, want) || g.window() != 100 {
		t.Errorf("counted %v in %d, want %v in 100", counted, g.window(), want)
	}
}

func TestParseTicks(t *testing.T) {
	got := parseTicks("cpu  10 1 20 500 3 4 5 6 0 0\ncpu0 5 0 10 250 0 0 0 3 0 0\ncpu1 5 1 10 250 3 4 5 3 0 0\nintr 12 0\nctxt 1\n")
	want := ticks{busy: 400 * time.Millisecond, steal: 60 * time.Millisecond, processors: 2}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if parseTicks("nonsense") != (ticks{}) {
		t.Error("nonsense has ticks")
	}
}
