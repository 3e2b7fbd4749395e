package wire

import (
	"encoding/binary"
	"errors"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// receiveBuffer is what a stream's receiver takes at once.
const receiveBuffer = 256 << 10

// gate says what counts: what comes in the window that begins a warm-up after the first.
type gate struct {
	warm, span  int64
	first, open int64
	last        int64
}

func newGate(s Spec) *gate { return &gate{warm: int64(s.Warmup), span: int64(s.Duration)} }

// counts is asked about everything that comes. What opens the window does not count itself:
// it was sent before.
func (g *gate) counts(now int64) bool {
	if g.first == 0 {
		g.first = now
	}
	if now-g.first < g.warm {
		return false
	}
	if g.open == 0 {
		g.open, g.last = now, now
		return false
	}
	if now-g.open > g.span {
		return false
	}
	g.last = now
	return true
}

func (g *gate) window() time.Duration { return time.Duration(g.last - g.open) }

// sendStream writes for the time of the spec, and a moment more so that the receiver's window is
// full; then it ends the connection and waits until the receiver has done so too.
func sendStream(l *line, s Spec) error {
	buf := make([]byte, s.Size)
	for end := clock() + length(s); clock() < end; {
		if e := rawSendAll(l.fd, buf); e != 0 {
			return ended(l.because("send", e))
		}
		l.passed.Add(int64(len(buf)))
	}
	l.endSend()
	if n, err := l.recv(buf[:1], 0); err != nil && n == 0 {
		return ended(l.because("wait for the receiver", err))
	}
	return nil
}

// length is how long a sender sends.
func length(s Spec) int64 { return int64(s.Warmup+s.Duration) + int64(50*time.Millisecond) }

// receiveStream takes all that comes, copying it as a program does that wants it.
func receiveStream(l *line, s Spec) (tally, error) {
	buf := make([]byte, receiveBuffer)
	var t tally
	g := newGate(s)
	for {
		n, err := l.recv(buf, 0)
		if err != nil {
			return t, ended(l.because("receive", err))
		}
		if n == 0 {
			l.endSend() // so that the sender knows
			t.Window = g.window()
			return t, nil
		}
		l.passed.Add(int64(n))
		if g.counts(clock()) {
			t.Bytes += int64(n)
			t.Messages++
		}
	}
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// crowd is how many messages one system call takes or gives at most, and crowdBytes bounds
// what their buffers take of the caches and of the memory.
const (
	crowd      = 64
	crowdBytes = 256 << 10
)

// volley are messages for one system call.
type volley struct {
	heads []mmsghdr
	vecs  []unix.Iovec
	bufs  [][]byte
}

func newVolley(size int) *volley {
	n := min(max(crowdBytes/size, 1), crowd)
	v := &volley{heads: make([]mmsghdr, n), vecs: make([]unix.Iovec, n), bufs: make([][]byte, n)}
	all := make([]byte, n*size)
	for i := range n {
		v.bufs[i] = all[i*size : (i+1)*size]
		v.vecs[i].Base = &v.bufs[i][0]
		v.vecs[i].SetLen(size)
		v.heads[i].hdr.Iov = &v.vecs[i]
		v.heads[i].hdr.SetIovlen(1)
	}
	return v
}

// sendMany sends the first n messages of a volley and says how many went.
func (l *line) sendMany(v *volley, n int) (int, error) {
	return l.many(unix.SYS_SENDMMSG, v, n, 0)
}

// recvMany waits for a message and takes what is there.
func (l *line) recvMany(v *volley) (int, error) {
	return l.many(unix.SYS_RECVMMSG, v, len(v.heads), unix.MSG_WAITFORONE)
}

func (l *line) many(call uintptr, v *volley, n, flags int) (int, error) {
	for {
		got, _, e := syscall.RawSyscall6(call, uintptr(l.fd), uintptr(unsafe.Pointer(&v.heads[0])), uintptr(n), uintptr(flags), 0, 0)
		if e == 0 {
			return int(got), nil
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

// sendDatagrams sends numbered datagrams for the time of the spec: as many as go, or at its rate. Where the
// kernel can (segments > 1), one message is cut into many datagrams by it or the NIC.
func sendDatagrams(l *line, s Spec, segments int) error {
	v := newVolley(s.Size * segments)
	index := uint64(0)
	start := clock()
	for end := start + length(s); ; {
		now := clock()
		if now >= end {
			return nil
		}
		n := len(v.heads)
		if s.Rate > 0 {
			due := int64(float64(now-start)*s.Rate/1e9) - int64(index)
			if due < int64(segments) {
				nap(min(int64(float64(int64(segments)-due)*1e9/s.Rate), end-now))
				continue
			}
			n = int(min(due/int64(segments), int64(n)))
		}
		for i := range n {
			for k := range segments {
				binary.BigEndian.PutUint64(v.bufs[i][k*s.Size:], index+uint64(i*segments+k))
			}
		}
		sent, err := l.sendMany(v, n)
		switch {
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ECONNREFUSED):
			continue
		case err != nil:
			return ended(l.because("send", err))
		}
		index += uint64(sent * segments)
		l.passed.Add(int64(sent * segments))
	}
}

// receiveDatagrams takes what comes until the line is ended.
func receiveDatagrams(l *line, s Spec) (tally, error) {
	v := newVolley(s.Size)
	var t tally
	g := newGate(s)
	var low, high uint64
	for {
		n, err := l.recvMany(v)
		if err != nil {
			return t, ended(l.because("receive", err))
		}
		if l.closed.Load() {
			t.Window = g.window()
			if t.Messages > 0 {
				t.Lost = max(int64(high-low+1)-t.Messages, 0)
			}
			return t, nil
		}
		l.passed.Add(int64(n))
		if !g.counts(clock()) {
			continue
		}
		for i := range n {
			if int(v.heads[i].n) != s.Size {
				continue
			}
			index := binary.BigEndian.Uint64(v.bufs[i])
			if index >= 1<<62 { // the word that opened the flow, come twice
				continue
			}
			if t.Messages == 0 {
				low, high = index, index
			}
			if index < high {
				t.Disorder++
			}
			low, high = min(low, index), max(high, index)
			t.Messages++
			t.Bytes += int64(s.Size)
		}
	}
}
