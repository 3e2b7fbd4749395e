package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"neutrino/internal/netspace"
)

// duplex is one standing TCP connection between the ends of a path: two blocking
// descriptors, because a measurement must not include anybody's event loop.
type duplex struct{ a, b int }

// bufBytes is the size of every socket's buffers. Left to themselves they grow
// differently from one connection to the next, up to megabytes, and what is measured
// is then how much of them the CPU's cache holds: 0.7 of the direct pair or 1.0,
// whatever the path. 256 KiB fill every path measured here.
const bufBytes = 256 << 10

// stall is after how long without a byte a measurement gives up.
const stall = 2 * time.Second

func (d duplex) close() {
	_ = unix.Close(d.a)
	_ = unix.Close(d.b)
}

// connect opens a connection from a to b.
func connect(p path) (duplex, error) {
	fail := func(what string, err error) (duplex, error) {
		return duplex{}, fmt.Errorf("measure %s: %s: %w", p.title, what, err)
	}
	listener, port, err := listen(p.b)
	if err != nil {
		return fail("listen", err)
	}
	defer func() { _ = unix.Close(listener) }()
	a, err := dial(p.a, netip.AddrPortFrom(p.b.ip, port))
	if err != nil {
		return fail("connect", err)
	}
	b, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		_ = unix.Close(a)
		return fail("accept", err)
	}
	d := duplex{a, b}
	for _, fd := range []int{a, b} {
		if err := prepare(fd); err != nil {
			d.close()
			return fail("set socket options", err)
		}
	}
	return d, nil
}

func prepare(fd int) error {
	t := unix.NsecToTimeval(stall.Nanoseconds())
	return errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, bufBytes),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bufBytes),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &t),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &t),
	)
}

func listen(e end) (fd int, port uint16, err error) {
	err = netspace.Do(e.namespace, func() error {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		t := unix.NsecToTimeval((5 * time.Second).Nanoseconds())
		bound := &unix.SockaddrInet4{Addr: e.ip.As4()}
		err = errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &t), unix.Bind(fd, bound), unix.Listen(fd, 1))
		if err == nil {
			var sa unix.Sockaddr
			if sa, err = unix.Getsockname(fd); err == nil {
				port = uint16(sa.(*unix.SockaddrInet4).Port) //nolint:errcheck,forcetypeassert // an AF_INET socket
			}
		}
		if err != nil {
			_ = unix.Close(fd)
		}
		return err
	})
	return fd, port, err
}

func dial(e end, to netip.AddrPort) (fd int, err error) {
	err = netspace.Do(e.namespace, func() error {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		t := unix.NsecToTimeval((5 * time.Second).Nanoseconds()) // bounds connect as well
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &t)
		if err == nil {
			err = retryEINTR(func() error {
				return unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
			})
		}
		if err != nil {
			_ = unix.Close(fd)
		}
		return err
	})
	return fd, err
}

func retryEINTR(fn func() error) error {
	for {
		err := fn()
		if !errors.Is(err, unix.EINTR) || errors.Is(err, unix.EISCONN) {
			return err
		}
	}
}

var errClosed = errors.New("the other end closed the connection")

func readFull(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Read(fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n == 0:
			return errClosed
		default:
			b = b[n:]
		}
	}
	return nil
}

func writeFull(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		default:
			b = b[n:]
		}
	}
	return nil
}
