package wire

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// drain is how long the answers to the last messages are waited for.
const drain = int64(time.Second)

// open sends messages when they are due, whether or not earlier ones were answered, and counts
// each answer from the time at which its message was due. One thread does both: it sleeps in the
// kernel until an answer comes or the next message is due.
func (t *trips) open() error {
	o := &opener{trips: t, gap: 1e9 / t.spec.Rate}
	warm, end := t.span()
	o.total = int64(float64(end-t.beginning) / o.gap)
	for o.counted = 0; o.due(o.counted) < warm; o.counted++ {
	}
	quietSince := int64(0)
	for {
		now := clock()
		sent, err := o.sendDue(now)
		if err != nil {
			return err
		}
		got, err := o.receive()
		if err != nil {
			return err
		}
		if sent || got || o.sent < o.total {
			quietSince = now
		}
		if o.sent == o.total && (o.answered >= o.total || now-quietSince > drain) {
			break
		}
		if !got {
			o.wait(now)
		}
	}
	t.tally.Lost = max(o.total-o.counted-t.tally.Messages, 0)
	t.tally.Window = time.Duration(end - warm)
	return nil
}

// opener is the state of an open loop.
type opener struct {
	*trips
	gap      float64 // nanoseconds between two messages
	total    int64   // messages to be sent
	counted  int64   // the first that counts
	sent     int64
	answered int64
	partial  int  // bytes of the current message that a byte stream has taken
	returned int  // bytes of the current answer that have come
	blocked  bool // the kernel takes no more for now
}

func (o *opener) due(k int64) int64 { return o.beginning + int64(float64(k)*o.gap) }

// batch is how many messages go before answers are looked at.
const batch = 16

// sendDue sends what is due by now, a few at most.
func (o *opener) sendDue(now int64) (bool, error) {
	any := false
	for range batch {
		if o.sent >= o.total || o.due(o.sent) > now {
			return any, nil
		}
		whole, err := o.sendOne()
		if err != nil || !whole {
			return any, err
		}
		now = clock()
		if o.sent >= o.counted {
			note(o.late.Histogram, now-o.due(o.sent))
		}
		o.sent++
		any = true
	}
	return any, nil
}

// sendOne sends one message, or as much of it as the kernel takes.
func (o *opener) sendOne() (whole bool, err error) {
	if o.line.index >= 0 {
		o.mark(o.out, uint64(o.sent))
	}
	for {
		n, err := o.line.send(o.out[o.partial:], unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
			o.blocked = true
			return false, nil
		case err != nil:
			return false, o.line.because("send", err)
		}
		if o.partial += n; o.partial == len(o.out) {
			o.partial, o.blocked = 0, false
			o.line.passed.Add(1)
			return true, nil
		}
	}
}

// receive takes what has come.
func (o *opener) receive() (bool, error) {
	any := false
	for range batch {
		var index int64
		if o.line.index >= 0 {
			got, ok, err := o.next(unix.MSG_DONTWAIT)
			if errors.Is(err, unix.EAGAIN) {
				return any, nil
			}
			if err != nil {
				return any, err
			}
			if any = true; !ok || got >= uint64(o.sent) {
				continue
			}
			index = int64(got)
		} else {
			n, err := o.line.recv(o.in[o.returned:], unix.MSG_DONTWAIT)
			if errors.Is(err, unix.EAGAIN) {
				return any, nil
			}
			if err != nil {
				return any, o.line.because("receive", err)
			}
			if n == 0 {
				return any, errEnded
			}
			any = true
			if o.returned += n; o.returned < len(o.in) {
				continue
			}
			o.returned, index = 0, o.answered
		}
		o.answered++
		if index >= o.counted {
			note(o.latency.Histogram, clock()-o.due(index))
			o.tally.Messages++
			o.tally.Bytes += int64(len(o.out))
		}
	}
	return any, nil
}

// wait sleeps until something comes or is due.
func (o *opener) wait(now int64) {
	events, until := int16(unix.POLLIN), int64(50*time.Millisecond)
	switch {
	case o.blocked:
		events |= unix.POLLOUT
	case o.sent < o.total:
		until = min(until, o.due(o.sent)-now)
	}
	o.line.poll(events, until)
}
