package vfnl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Conn is one kept rtnetlink socket. It is safe for concurrent use; requests go one
// after the other.
//
// The kernel carries a request out inside the call that sends it, on the caller's
// thread, so a driver that hangs holds the caller, and nothing can interrupt it. A
// context is obeyed before that: while another request is under way. Who must not be
// held calls from a goroutine that can be left behind, and has a Conn for each PF, so
// that one driver does not hold up the requests to others.
type Conn struct {
	nl   *netlink.Conn
	turn chan struct{} // capacity 1: full while a request is under way
	quit chan struct{}
	once sync.Once // closes quit
	shut sync.Once // closes nl
}

// Dial opens a socket in the calling thread's network namespace.
func Dial() (*Conn, error) {
	s, err := openSocket()
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	port, err := s.port()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open rtnetlink socket: %w", err), s.Close())
	}
	return New(netlink.NewConn(s, port)), nil
}

// New makes a Conn of an open socket, which it owns from now on.
func New(nl *netlink.Conn) *Conn {
	return &Conn{nl: nl, turn: make(chan struct{}, 1), quit: make(chan struct{})}
}

// Close closes the socket; where a driver holds a request, as soon as it lets go.
func (c *Conn) Close() error {
	c.once.Do(func() { close(c.quit) })
	return c.closeIdle()
}

// closeIdle closes the socket unless a request is under way.
func (c *Conn) closeIdle() (err error) {
	select {
	case c.turn <- struct{}{}:
		c.shut.Do(func() { err = c.nl.Close() })
		<-c.turn
	default: // whoever has the turn closes it, see release
	}
	return err
}

func (c *Conn) closed() bool {
	select {
	case <-c.quit:
		return true
	default:
		return false
	}
}

func (c *Conn) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case c.turn <- struct{}{}:
	case <-c.quit:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("the kernel is still at an earlier request: %w", errors.Join(ErrBusy, ctx.Err()))
	}
	if c.closed() {
		c.release()
		return ErrClosed
	}
	return nil
}

func (c *Conn) release() {
	<-c.turn
	if c.closed() {
		_ = c.closeIdle()
	}
}

// request carries out one request. The answer is good while the turn is held.
func (c *Conn) request(typ netlink.HeaderType, flags netlink.HeaderFlags, body []byte) ([]netlink.Message, error) {
	return c.nl.Execute(netlink.Message{Header: netlink.Header{Type: typ, Flags: netlink.Request | flags}, Data: body})
}

// PF reads one PF and its VFs, with the VFs' statistics if stats says so.
//
// Errors: ErrNoPF; ErrTruncated (the kernel may say EMSGSIZE instead); ErrClosed;
// ErrBusy with the context's while another request is under way.
func (c *Conn) PF(ctx context.Context, ifindex int, stats bool) (PF, error) {
	p, err := c.pf(ctx, ifindex, stats)
	if err == nil {
		return p, nil
	}
	if errors.Is(err, unix.EMSGSIZE) {
		err = fmt.Errorf("%w: %w", ErrTruncated, err)
	}
	return PF{}, fmt.Errorf("read VFs of interface %d: %w", ifindex, worded(err))
}

func (c *Conn) pf(ctx context.Context, ifindex int, stats bool) (PF, error) {
	if err := c.take(ctx); err != nil {
		return PF{}, err
	}
	defer c.release()
	msgs, err := c.request(rtmGetLink, 0, EncodeGet(ifindex, stats))
	if err != nil {
		return PF{}, err
	}
	for _, m := range msgs {
		if m.Header.Type == rtmNewLink {
			return Decode(m.Data, stats)
		}
	}
	return PF{}, fmt.Errorf("the kernel gave no answer: %w", os.ErrInvalid)
}

// Set carries out the changes in their order in one request. The kernel stops at the
// first attribute that its driver refuses; what came before is done.
//
// Errors: ErrInvalid before anything was sent; a *SetError, which wraps ErrUnsupported,
// ErrNoVF, ErrBusy or ErrNoPF where one fits, and the errno; ErrClosed; ErrBusy with the
// context's while another request is under way.
func (c *Conn) Set(ctx context.Context, ifindex int, changes ...Change) error {
	body, err := Encode(ifindex, changes...)
	if err != nil {
		return err
	}
	if err = c.set(ctx, body); err != nil {
		return setError(ifindex, changes, err)
	}
	return nil
}

// SetAddress sets a netdev's own address, such as a VF netdev's in this namespace.
func (c *Conn) SetAddress(ctx context.Context, ifindex int, m MAC) error {
	if err := c.set(ctx, encodeAddress(ifindex, m)); err != nil {
		return fmt.Errorf("set address %v of interface %d: %w", m, ifindex, worded(err))
	}
	return nil
}

func (c *Conn) set(ctx context.Context, body []byte) error {
	if err := c.take(ctx); err != nil {
		return err
	}
	defer c.release()
	_, err := c.request(rtmSetLink, netlink.Acknowledge, body)
	return err
}
