package wire

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// line is a flow's socket as a loop uses it: blocking, outside the runtime's poller.
type line struct {
	f  *os.File
	fd int
	// Where a message's index stands; < 0: the messages have no bounds and no index.
	index int
	// Counts messages or bytes as they pass, for whoever watches.
	passed atomic.Int64
	// The message being waited for, and messages that were given up, for whoever watches.
	awaited atomic.Int64
	closed  atomic.Bool
}

// filer is a connection whose descriptor can be had.
type filer interface{ File() (*os.File, error) }

// take makes a line of a connection, which is closed: the line has a descriptor of its own.
func take(c net.Conn, index int) (*line, error) {
	defer c.Close()
	has, ok := c.(filer)
	if !ok {
		return nil, fmt.Errorf("take the descriptor of a %T: %w", c, errors.ErrUnsupported)
	}
	f, err := has.File()
	if err != nil {
		return nil, fmt.Errorf("take the descriptor of a connection: %w", err)
	}
	return &line{f: f, fd: int(f.Fd()), index: index}, nil // Fd makes it blocking
}

// end wakes whoever is blocked on the line: its calls fail or read nothing from now on.
func (l *line) end() {
	l.closed.Store(true)
	_ = unix.Shutdown(l.fd, unix.SHUT_RDWR)
}

func (l *line) close() { _ = l.f.Close() }

// endSend tells the peer of a connection that no more comes.
func (l *line) endSend() { _ = unix.Shutdown(l.fd, unix.SHUT_WR) }

// rawSyscall6 is replaced for an experiment.
func rawSyscall6(call, a, b, c, d, e, f uintptr) (r1, r2 uintptr, errno syscall.Errno) {
	return syscall.RawSyscall6(call, a, b, c, d, e, f)
}

// These are system calls as C makes them: the runtime is not told, so none of its
// bookkeeping is between a packet and its answer. Loops only (see quiet).

func (l *line) send(b []byte, flags int) (int, error) {
	for {
		n, _, e := rawSyscall6(unix.SYS_SENDTO, uintptr(l.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(flags|unix.MSG_NOSIGNAL), 0, 0)
		if e == 0 {
			return int(n), nil
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

func (l *line) recv(b []byte, flags int) (int, error) {
	for {
		n, _, e := rawSyscall6(unix.SYS_RECVFROM, uintptr(l.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(flags), 0, 0)
		if e == 0 {
			return int(n), nil
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

// errEnded: the line was shut down, by us or by the peer.
var errEnded = errors.New("the flow has ended")

// sendAll writes all of b to a byte stream, or b as one datagram.
func (l *line) sendAll(b []byte) error {
	for {
		n, err := l.send(b, 0)
		if err != nil {
			return l.because("send", err)
		}
		if n == len(b) || l.index >= 0 {
			return nil
		}
		b = b[n:]
	}
}

// recvAll fills b from a byte stream.
func (l *line) recvAll(b []byte) error {
	for len(b) > 0 {
		n, err := l.recv(b, 0)
		if err != nil {
			return l.because("receive", err)
		}
		if n == 0 {
			return errEnded
		}
		b = b[n:]
	}
	return nil
}

// because names an error; that of a line that was ended is errEnded.
func (l *line) because(what string, err error) error {
	if l.closed.Load() || errors.Is(err, unix.EPIPE) {
		return errEnded
	}
	return fmt.Errorf("%s: %w", what, err)
}

// poll waits until the line has one of the events or the time is over, in nanoseconds.
func (l *line) poll(events int16, wait int64) int16 {
	p := unix.PollFd{Fd: int32(l.fd), Events: events}
	t := unix.NsecToTimespec(max(wait, 0))
	_, _, e := rawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
	if e != 0 {
		return 0
	}
	return p.Revents
}

// nap sleeps without the runtime.
func nap(ns int64) {
	if ns <= 0 {
		return
	}
	t := unix.NsecToTimespec(ns)
	_, _, _ = rawSyscall6(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0, 0, 0, 0)
}

// set sets an integer socket option.
func (l *line) set(level, option, value int, what string) error {
	if err := unix.SetsockoptInt(l.fd, level, option, value); err != nil {
		return fmt.Errorf("set %s of a socket: %w", what, err)
	}
	return nil
}
