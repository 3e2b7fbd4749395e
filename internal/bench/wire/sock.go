package wire

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// line is a flow's socket as a loop uses it: blocking, outside the runtime's poller.
type line struct {
	fd int
	// Where a message's index stands; < 0: the messages have no bounds and no index.
	index int
	// Counts messages or bytes as they pass, for whoever watches.
	passed atomic.Int64
	// The message being waited for, and messages that were given up, for whoever watches.
	awaited atomic.Int64
	closed  atomic.Bool
}

// take makes a line of a connection, which is closed. The line has a descriptor of its own that the
// runtime's poller does not know: a socket in an epoll set wakes two threads for each packet.
func take(c syscall.Conn, index int) (*line, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("take the descriptor of a connection: %w", err)
	}
	fd := -1
	var failed error
	err = raw.Control(func(theirs uintptr) {
		if fd, failed = unix.FcntlInt(theirs, unix.F_DUPFD_CLOEXEC, 0); failed == nil {
			failed = unix.SetNonblock(fd, false)
		}
	})
	if err = errors.Join(err, failed); err != nil {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return nil, fmt.Errorf("take the descriptor of a connection: %w", err)
	}
	return &line{fd: fd, index: index}, nil
}

// end wakes whoever is blocked on the line: its calls fail or read nothing from now on.
func (l *line) end() {
	l.closed.Store(true)
	_ = unix.Shutdown(l.fd, unix.SHUT_RDWR)
}

func (l *line) close() { _ = unix.Close(l.fd) }

// endSend tells the peer of a connection that no more comes.
func (l *line) endSend() { _ = unix.Shutdown(l.fd, unix.SHUT_WR) }

// send and recv are as the calls of their names. Loops only (see quiet).

func (l *line) send(b []byte, flags int) (int, error) { return result(rawSend(l.fd, b, flags)) }
func (l *line) recv(b []byte, flags int) (int, error) { return result(rawRecv(l.fd, b, flags)) }

func result(n int, e syscall.Errno) (int, error) {
	if e != 0 {
		return 0, e
	}
	return n, nil
}

// errEnded: the line was shut down, by us or by the peer.
var errEnded = errors.New("the flow has ended")

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
	_, _, e := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
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
	_, _, _ = syscall.RawSyscall6(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0, 0, 0, 0)
}
