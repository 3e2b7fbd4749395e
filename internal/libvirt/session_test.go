package libvirt

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// noLeaks fails the test if goroutines are left at its end. It is called first.
func noLeaks(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// listener is a socket on which something listens that is not libvirt.
func listener(t *testing.T, serve func(net.Conn)) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	c, err := New("qemu:///system?socket=" + path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDaemonThatIsNotThereIsNamed(t *testing.T) {
	_, err := Dial(t.Context(), "qemu:///system?socket=/nonexistent/libvirt-sock")
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "/nonexistent/libvirt-sock") || !strings.Contains(err.Error(), "systemctl start virtqemud.socket") {
		t.Error(err)
	}
}

func TestDaemonThatHangsIsGivenUp(t *testing.T) {
	noLeaks(t)
	c := listener(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := c.Domains(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 2*time.Second {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
}

func TestDaemonThatTalksNonsenseDoesNoHarm(t *testing.T) {
	noLeaks(t)
	word := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	reply := func(status uint32, body ...byte) []byte { // to the first call
		p := word(uint32(minPacket + len(body)))
		for _, n := range []uint32{0x20008086, 1, 66, 1, 1, status} {
			p = append(p, word(n)...)
		}
		return append(p, body...)
	}
	for name, answer := range map[string][]byte{
		"too short":  word(27),
		"no length":  word(0),
		"too long":   word(maxPacket + 1),
		"HTTP":       []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"no body":    reply(0),
		"short body": reply(0, 0, 0, 0, 9),
		"no error":   reply(1),
		"half":       reply(0, 0, 0, 0, 1, 0, 0, 0, 0)[:20],
	} {
		c := listener(t, func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 64))
			_, _ = conn.Write(answer)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if _, err := c.Ping(ctx); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}

func TestPacketsOfPossibleLengthsPassInWhateverPieces(t *testing.T) {
	packets := append(binary.BigEndian.AppendUint32(nil, minPacket), make([]byte, minPacket-4)...)
	packets = append(packets, packets...)
	for size := 1; size <= len(packets); size++ {
		f := &frames{Conn: &pieces{data: packets, size: size}}
		got, err := io.ReadAll(f)
		if err != nil || len(got) != len(packets) {
			t.Errorf("in pieces of %d: %d bytes, %v", size, len(got), err)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte{0, 0, 0, 28}, 3)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		if size < 1 || size > 1<<16 {
			return
		}
		c := &frames{Conn: &pieces{data: data, size: size}}
		buf := make([]byte, size)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
		}
	})
}

// pieces is a connection that gives size bytes at a time.
type pieces struct {
	net.Conn
	data []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size)], p.data)
	p.data = p.data[n:]
	return n, nil
}
