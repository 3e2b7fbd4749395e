package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// tokenSize is how much chance is in the token of a measurement.
const tokenSize = 16

// attachSize is the size of the word with which a flow joins its measurement.
const attachSize = 8 + tokenSize + 2

// patience is how long the other end may take for a step of the protocol.
const patience = 5 * time.Second

// attachWord is what a flow says first.
func attachWord(token []byte, flow int) []byte {
	return binary.BigEndian.AppendUint16(append(append(make([]byte, 0, attachSize), flowMagic[:]...), token...), uint16(flow))
}

// parseAttach reads what a flow says first.
func parseAttach(b []byte) (token [tokenSize]byte, flow int, err error) {
	if len(b) != attachSize || !bytes.Equal(b[:8], flowMagic[:]) {
		return token, 0, fmt.Errorf("%d bytes that open no flow: %w", len(b), ErrProtocol)
	}
	return [tokenSize]byte(b[8:]), int(binary.BigEndian.Uint16(b[8+tokenSize:])), nil
}

// attachTCP opens a flow to a server that waits for it.
func attachTCP(d net.Dialer, to netip.AddrPort, token []byte, flow int) (*line, error) {
	d.Timeout = patience
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		return nil, fmt.Errorf("open flow %d: %w", flow, err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err = c.Write(attachWord(token, flow)); err == nil {
		_, err = io.ReadFull(c, make([]byte, 1)) // the server has it
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("open flow %d: %w", flow, err)
	}
	defer c.Close()
	return take(c.(*net.TCPConn), -1)
}

// retry is how long an answer to the first datagram is waited for before it is sent again.
const retry = 200 * time.Millisecond

// attachUDP opens a flow to a server that waits for it. The word may get lost, so it is repeated.
func attachUDP(d net.Dialer, to netip.AddrPort, token []byte, flow int) (*line, error) {
	c, err := d.Dial("udp", to.String())
	if err != nil {
		return nil, fmt.Errorf("open flow %d: %w", flow, err)
	}
	answer := make([]byte, attachSize+1)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err = c.Write(attachWord(token, flow)); err != nil {
			break
		}
		_ = c.SetReadDeadline(time.Now().Add(retry))
		var n int
		if n, err = c.Read(answer); err == nil && n == len(flowMagic) && bytes.Equal(answer[:n], flowMagic[:]) {
			defer c.Close()
			return take(c.(*net.UDPConn), 0)
		}
		if errors.Is(err, unix.ECONNREFUSED) {
			break
		}
	}
	c.Close()
	if err == nil {
		err = ErrProtocol
	}
	return nil, fmt.Errorf("open flow %d by UDP to %s: %w; does a firewall let UDP through?", flow, to, err)
}

// awaitUDP waits, as long as the socket's deadline lets it, until the client's first datagram comes to a socket, and from then on hears
// nobody else on it. Nothing but the right token, from where the control connection comes from, is answered.
func awaitUDP(c *net.UDPConn, from netip.Addr, token [tokenSize]byte, flow int) (*line, error) {
	word := make([]byte, attachSize+1)
	for {
		n, at, err := c.ReadFromUDPAddrPort(word)
		if err != nil {
			c.Close()
			return nil, fmt.Errorf("wait for UDP flow %d: %w", flow, err)
		}
		got, index, err := parseAttach(word[:n])
		if err != nil || got != token || index != flow || at.Addr().Unmap() != from.Unmap() {
			continue
		}
		if err = connect(c, at); err == nil {
			_, err = c.Write(flowMagic[:])
		}
		if err != nil {
			c.Close()
			return nil, fmt.Errorf("answer UDP flow %d: %w", flow, err)
		}
		defer c.Close()
		return take(c, 0)
	}
}

// connect gives a socket its one peer.
func connect(c *net.UDPConn, to netip.AddrPort) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var connected error
	err = raw.Control(func(fd uintptr) {
		var sa unix.Sockaddr
		if sa, connected = peerAddress(int(fd), to); connected == nil {
			connected = unix.Connect(int(fd), sa)
		}
	})
	return errors.Join(err, connected)
}

// peerAddress is an address in the family of a socket.
func peerAddress(fd int, to netip.AddrPort) (unix.Sockaddr, error) {
	own, err := unix.Getsockname(fd)
	if err != nil {
		return nil, err
	}
	if _, six := own.(*unix.SockaddrInet6); six && to.Addr().Unmap().Is4() {
		return &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}, nil
	}
	return sockaddr(to)
}
