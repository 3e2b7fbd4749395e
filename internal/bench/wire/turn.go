package wire

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What is between a packet and its answer, or between the two readings of the clock, is in this
// file and has no place at which the runtime could take the thread away: each function is nosplit, so that
// no prologue asks for preemption, and makes system calls as C does. The runtime asks a hundred times a second; what it
// then does takes longer than a round trip. Between two round trips a loop gives way as any goroutine.

//go:linkname nanotime runtime.nanotime
//go:noescape
func nanotime() int64

// clock is the monotonic clock in nanoseconds, read without a system call.
//
//go:nosplit
func clock() int64 { return nanotime() }

//go:nosplit
func rawSend(fd int, b []byte, flags int) (int, syscall.Errno) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(flags|unix.MSG_NOSIGNAL), 0, 0)
		if e != unix.EINTR {
			return int(n), e
		}
	}
}

//go:nosplit
func rawRecv(fd int, b []byte, flags int) (int, syscall.Errno) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(flags), 0, 0)
		if e != unix.EINTR {
			return int(n), e
		}
	}
}

// rawSendAll writes all of b to a byte stream.
//
//go:nosplit
func rawSendAll(fd int, b []byte) syscall.Errno {
	for len(b) > 0 {
		n, e := rawSend(fd, b, 0)
		if e != 0 {
			return e
		}
		b = b[n:]
	}
	return 0
}

// rawFill fills b from a byte stream; false: the peer has ended it.
//
//go:nosplit
func rawFill(fd int, b []byte) (bool, syscall.Errno) {
	for len(b) > 0 {
		n, e := rawRecv(fd, b, 0)
		if e != 0 || n == 0 {
			return false, e
		}
		b = b[n:]
	}
	return true, 0
}

// streamTurn is one round trip on a byte stream: when it began and ended; false: the peer has ended it.
//
//go:nosplit
func streamTurn(fd int, out, in []byte) (at, now int64, ok bool, e syscall.Errno) {
	at = nanotime()
	if e = rawSendAll(fd, out); e != 0 {
		return at, at, false, e
	}
	ok, e = rawFill(fd, in)
	return at, nanotime(), ok, e
}

// datagramTurn sends a datagram and takes the next one that comes, which has n bytes.
//
//go:nosplit
func datagramTurn(fd int, out, in []byte) (at, now int64, n int, e syscall.Errno) {
	at = nanotime()
	if _, e = rawSend(fd, out, 0); e != 0 {
		return at, at, 0, e
	}
	n, e = rawRecv(fd, in, 0)
	return at, nanotime(), n, e
}

// echoStreamTurns sends back each message of a byte stream until it ends.
//
//go:nosplit
func echoStreamTurns(fd int, buf []byte, passed *atomic.Int64) syscall.Errno {
	for {
		ok, e := rawFill(fd, buf)
		if e != 0 || !ok {
			return e
		}
		if e = rawSendAll(fd, buf); e != 0 {
			return e
		}
		passed.Add(1)
	}
}

// echoDatagramTurns sends back each datagram until the socket is closed. What of a datagram
// is longer than buf is left out.
//
//go:nosplit
func echoDatagramTurns(fd int, buf []byte, passed *atomic.Int64, closed *atomic.Bool) syscall.Errno {
	for {
		n, e := rawRecv(fd, buf, 0)
		if e != 0 || n == 0 && closed.Load() {
			return e
		}
		if _, e = rawSend(fd, buf[:n], 0); e != 0 && e != unix.ENOBUFS {
			return e
		}
		passed.Add(1)
	}
}
