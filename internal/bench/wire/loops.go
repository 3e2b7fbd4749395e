package wire

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"

	"neutrino/internal/machine"
)

// outcome is what the loops of one end had.
type outcome struct {
	tally tally
	err   error
}

// runLoops runs a loop per flow and waits for all. A loop that fails ends the others.
func runLoops(lines []*line, cpus machine.CPUList, loop func(*line) (tally, error)) outcome {
	var all sync.WaitGroup
	each := make([]outcome, len(lines))
	for i, l := range lines {
		all.Go(func() {
			each[i].err = onThread(pick(cpus, i), func() (err error) {
				each[i].tally, err = loop(l)
				return err
			})
			if each[i].err != nil {
				for _, other := range lines {
					other.end()
				}
			}
		})
	}
	all.Wait()
	var out outcome
	var errs []error
	for _, o := range each {
		out.tally.add(o.tally)
		if o.err != nil && !errors.Is(o.err, errEnded) {
			errs = append(errs, o.err)
		} else if o.err != nil && len(errs) == 0 {
			out.err = o.err
		}
	}
	if len(errs) > 0 {
		out.err = errors.Join(errs...)
	}
	return out
}

// sender sends as a throughput test does.
func sender(l *line, spec Spec) error {
	if spec.Test == Stream {
		return sendStream(l, spec)
	}
	return sendDatagrams(l, spec, l.segments(spec))
}

// receiver counts as a throughput test does.
func receiver(l *line, spec Spec) (tally, error) {
	if spec.Test == Stream {
		return receiveStream(l, spec)
	}
	return receiveDatagrams(l, spec)
}

// segments lets the kernel cut long messages into datagrams, for throughput, where it can;
// packets per second are each a message of their own, and those of a rate are not to come in bursts.
func (l *line) segments(spec Spec) int {
	n := min(maxDatagram/spec.Size, crowd)
	if spec.Test != UDPStream || spec.Rate > 0 || n < 2 {
		return 1
	}
	if err := unix.SetsockoptInt(l.fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, spec.Size); err != nil {
		return 1
	}
	return n
}
