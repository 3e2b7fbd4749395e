package veb

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// What a request waits for its answer, and how often one is sent.
const (
	echoWait  = 500 * time.Millisecond
	echoEvery = 100 * time.Millisecond
)

var echoID atomic.Uint32

// ping reports whether one of two echo requests (RFC 792) is answered within half a
// second or so.
func (g *guest) ping(to netip.Addr) bool {
	g.t.Helper()
	return g.echo(to, 56, 2)
}

// echo sends up to count echo requests with that many bytes of data, which nobody may
// fragment on the way, and reports whether one is answered with the same data.
func (g *guest) echo(to netip.Addr, size, count int) bool {
	g.t.Helper()
	c := g.echoSocket()
	defer c.Close()
	id := int(echoID.Add(1) & 0xffff)
	buf := make([]byte, 65536)
	for seq := 1; seq <= count; seq++ {
		m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: id, Seq: seq, Data: make([]byte, size)}}
		b, err := m.Marshal(nil)
		must(g.t, err)
		// A neighbour that does not answer, or no way there, is told here: no answer.
		if _, err = c.WriteTo(b, &net.IPAddr{IP: to.AsSlice()}); errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
			g.t.Fatalf("echo request to %s: %v", to, err)
		}
		wait := echoEvery
		if seq == count {
			wait = echoWait
		}
		deadline := time.Now().Add(wait)
		for time.Now().Before(deadline) {
			must(g.t, c.SetReadDeadline(deadline))
			n, from, err := c.ReadFrom(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err == nil && from.String() == to.String() && isEchoReply(buf[:n], id, size) {
				return true
			}
		}
	}
	return false
}

// echoSocket is a raw ICMP socket in the guest that sets don't-fragment (ip(7),
// IP_MTU_DISCOVER).
func (g *guest) echoSocket() net.PacketConn {
	g.t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var set error
		err := raw.Control(func(fd uintptr) {
			set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
		})
		return errors.Join(err, set)
	}}
	var c net.PacketConn
	must(g.t, g.ns.do(func() (err error) {
		c, err = lc.ListenPacket(g.t.Context(), "ip4:icmp", "0.0.0.0")
		return err
	}))
	return c
}

func isEchoReply(b []byte, id, size int) bool {
	m, err := icmp.ParseMessage(unix.IPPROTO_ICMP, b)
	if err != nil || m.Type != ipv4.ICMPTypeEchoReply {
		return false
	}
	e, ok := m.Body.(*icmp.Echo)
	return ok && e.ID == id && len(e.Data) == size
}
