package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"neutrino/internal/bench"
)

// given marks the index of a message that stands for one that was given up.
const given = 1 << 63

// trips are the round trips of one flow.
type trips struct {
	line      *line
	spec      Spec
	latency   *bench.Histogram
	late      *bench.Histogram // with a rate
	out, in   []byte
	spare     []byte // the watcher's own message
	tally     tally
	echo      *echo // how requests and answers of ICMP look
	beginning int64
}

func newTrips(l *line, s Spec, e *echo) *trips {
	t := &trips{line: l, spec: s, echo: e, latency: bench.NewHistogram()}
	if s.Rate > 0 {
		t.late = bench.NewHistogram()
	}
	t.out, t.in = make([]byte, s.Size), make([]byte, s.Size)
	if l.index >= 0 { // datagrams: what is longer than asked for is seen to be
		t.in = make([]byte, s.Size+1+maxIPHeader)
	}
	if e != nil {
		e.request(t.out)
	}
	t.spare = bytes.Clone(t.out)
	return t
}

// run measures until the time is over.
func (t *trips) run() error {
	if t.spec.Rate > 0 {
		return t.open()
	}
	if t.line.index >= 0 {
		return t.closedDatagrams()
	}
	return t.closedStream()
}

// closedStream sends a message, waits for its echo, and sends the next.
func (t *trips) closedStream() error {
	warm, end := t.span()
	for {
		at, now, ok, e := streamTurn(t.line.fd, t.out, t.in)
		if e != 0 {
			return t.line.because("exchange messages", e)
		}
		if !ok {
			return errEnded
		}
		if at >= warm {
			note(t.latency.Histogram, now-at)
			t.tally.Messages++
			t.tally.Bytes += int64(len(t.out))
		}
		t.line.passed.Add(1)
		if now >= end {
			t.tally.Window = time.Duration(now - warm)
			return nil
		}
	}
}

// span is when what counts begins and ends.
func (t *trips) span() (warm, end int64) {
	t.beginning = clock()
	warm = t.beginning + int64(t.spec.Warmup)
	return warm, warm + int64(t.spec.Duration)
}

// closedDatagrams is closedStream for messages that can get lost. Whoever watches the line sends
// one with given set when nothing has passed for too long: its echo ends the wait.
func (t *trips) closedDatagrams() error {
	warm, end := t.span()
	for index := uint64(1); ; index++ {
		t.mark(t.out, index)
		t.line.awaited.Store(int64(index))
		at, now, n, e := datagramTurn(t.line.fd, t.out, t.in)
		if e != 0 {
			return t.line.because("exchange datagrams", e)
		}
		got, ok, err := t.read(n)
		answered := ok && got == index
		if over := answered || ok && got == index|given; err == nil && !over {
			answered, err = t.await(index)
			now = clock()
		}
		if err != nil {
			return err
		}
		switch {
		case at < warm:
		case answered:
			note(t.latency.Histogram, now-at)
			t.tally.Messages++
			t.tally.Bytes += int64(len(t.out))
		default:
			t.tally.Lost++
		}
		t.line.passed.Add(1)
		if now >= end {
			t.tally.Window = time.Duration(now - warm)
			return nil
		}
	}
}

// await receives until the message of that index is answered or given up. Others are late
// answers to messages that were given up before, and are nobody's.
func (t *trips) await(index uint64) (bool, error) {
	for {
		got, ok, err := t.next(0)
		switch {
		case err != nil:
			return false, err
		case ok && got == index:
			return true, nil
		case ok && got == index|given:
			return false, nil
		}
	}
}

// next receives one datagram and its index; ok is false for what is none of ours.
func (t *trips) next(flags int) (index uint64, ok bool, err error) {
	n, err := t.line.recv(t.in, flags)
	if err != nil {
		return 0, false, t.line.because("receive", err)
	}
	return t.read(n)
}

// read is the index of a datagram of n bytes that was received.
func (t *trips) read(n int) (index uint64, ok bool, err error) {
	if n == 0 && t.line.closed.Load() {
		return 0, false, errEnded
	}
	b := t.in[:n]
	if t.echo != nil {
		b = t.echo.reply(b)
	}
	if len(b) != t.spec.Size {
		return 0, false, nil
	}
	return binary.BigEndian.Uint64(b[t.line.index:]), true, nil
}

// mark writes an index into a message.
func (t *trips) mark(b []byte, index uint64) {
	binary.BigEndian.PutUint64(b[t.line.index:], index)
	if t.echo != nil {
		t.echo.sum(b)
	}
}

// giveUp sends a message whose echo ends the wait for the one that is awaited. It is called
// beside the loop, by the one who watches.
func (t *trips) giveUp() {
	t.mark(t.spare, uint64(t.line.awaited.Load())|given)
	_, _ = t.line.send(t.spare, unix.MSG_DONTWAIT) // what does not go now goes at the next look
}

// echoStream sends back each message of a byte stream.
func echoStream(l *line, size int) error {
	if e := echoStreamTurns(l.fd, make([]byte, size), &l.passed); e != 0 {
		return ended(l.because("echo messages", e))
	}
	return nil
}

// echoDatagrams sends back each datagram, none longer than was agreed.
func echoDatagrams(l *line, size int) error {
	if e := echoDatagramTurns(l.fd, make([]byte, size), &l.passed, &l.closed); e != 0 {
		return ended(l.because("echo datagrams", e))
	}
	return nil
}

// ended is nil for the end that a flow is to have.
func ended(err error) error {
	if errors.Is(err, errEnded) {
		return nil
	}
	return err
}
