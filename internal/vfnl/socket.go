package vfnl

import (
	"errors"
	"fmt"
	"iter"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// receiveBuffer holds the answer for a PF of 255 VFs with statistics (75 KiB) three
// times over.
const receiveBuffer = 256 << 10

// socket is a netlink.Socket for requests: blocking calls without the runtime's poller,
// and one buffer for all answers. It is used by one goroutine.
//
// rtnetlink carries a request out inside the call that sends it, and the answer is
// there when that returns.
type socket struct {
	fd  int
	out []byte
	in  []byte
}

func openSocket() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &socket{fd: fd, in: make([]byte, receiveBuffer)}
	if err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), s.Close())
	}
	// The largest answer has to fit beside what the kernel keeps per buffer.
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 2*receiveBuffer); err != nil {
		return nil, errors.Join(os.NewSyscallError("setsockopt", err), s.Close())
	}
	// Explanations in errors, since 4.12; an older kernel still answers. (Not with
	// NETLINK_CAP_ACK, which leaves the request out of the error: mdlayher/netlink looks
	// for the explanation behind it.)
	err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	if err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return nil, errors.Join(os.NewSyscallError("setsockopt", err), s.Close())
	}
	return s, nil
}

func (s *socket) port() (uint32, error) {
	sa, err := unix.Getsockname(s.fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	nl, ok := sa.(*unix.SockaddrNetlink)
	if !ok {
		return 0, fmt.Errorf("not a netlink socket: %w", os.ErrInvalid)
	}
	return nl.Pid, nil
}

// Close implements [netlink.Socket].
func (s *socket) Close() error { return unix.Close(s.fd) }

// SendMessages implements [netlink.Socket].
func (s *socket) SendMessages(ms []netlink.Message) error {
	s.out = s.out[:0]
	for _, m := range ms {
		s.append(m)
	}
	return s.flush()
}

// Send implements [netlink.Socket].
func (s *socket) Send(m netlink.Message) error {
	s.out = s.out[:0]
	s.append(m)
	return s.flush()
}

func (s *socket) append(m netlink.Message) {
	h := m.Header
	s.out = order.AppendUint32(s.out, h.Length)
	s.out = order.AppendUint16(s.out, uint16(h.Type))
	s.out = order.AppendUint16(s.out, uint16(h.Flags))
	s.out = order.AppendUint32(s.out, h.Sequence)
	s.out = order.AppendUint32(s.out, h.PID)
	s.out = append(s.out, m.Data...)
	for len(s.out)%4 != 0 {
		s.out = append(s.out, 0)
	}
}

var kernel = &unix.SockaddrNetlink{Family: unix.AF_NETLINK}

func (s *socket) flush() error {
	for {
		err := unix.Sendto(s.fd, s.out, 0, kernel)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("sendto", err)
		}
	}
}

// Receive implements [netlink.Socket]. The messages are good until the next call.
func (s *socket) Receive() ([]netlink.Message, error) {
	var n int
	var err error
	for {
		if n, _, err = unix.Recvfrom(s.fd, s.in, unix.MSG_TRUNC); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, os.NewSyscallError("recvfrom", err)
	}
	if n > len(s.in) {
		return nil, fmt.Errorf("the answer has %d bytes: %w", n, ErrTruncated)
	}
	var out []netlink.Message
	for b := s.in[:n]; len(b) >= unix.NLMSG_HDRLEN; {
		h := netlink.Header{
			Length: order.Uint32(b), Type: netlink.HeaderType(order.Uint16(b[4:])), Flags: netlink.HeaderFlags(order.Uint16(b[6:])),
			Sequence: order.Uint32(b[8:]), PID: order.Uint32(b[12:]),
		}
		if h.Length < unix.NLMSG_HDRLEN || int64(h.Length) > int64(len(b)) {
			return nil, errMalformed
		}
		out = append(out, netlink.Message{Header: h, Data: b[unix.NLMSG_HDRLEN:h.Length]})
		b = b[min(align(int(h.Length)), len(b)):]
	}
	return out, nil
}

// ReceiveIter implements [netlink.Socket].
func (s *socket) ReceiveIter() iter.Seq2[netlink.Message, error] {
	return func(yield func(netlink.Message, error) bool) {
		ms, err := s.Receive()
		if err != nil {
			yield(netlink.Message{}, err)
			return
		}
		for _, m := range ms {
			if !yield(m, nil) {
				return
			}
		}
	}
}
