package vfnl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// closePatience is how long Close waits for a request under way.
const closePatience = time.Second

// Conn is one kept rtnetlink socket. It is safe for concurrent use; requests go one
// after the other.
//
// The kernel carries a request out inside the call that sends it, so a driver that
// hangs holds that call, and nothing can interrupt it. A Conn has one goroutine for
// these calls: whoever waits leaves when the context ends, the goroutine stays until
// the kernel lets go, and meanwhile all calls on this Conn end with their contexts. Who
// has several PFs and wants one not to hold up the others has a Conn for each.
type Conn struct {
	nl    *netlink.Conn
	calls chan *call
	quit  chan struct{}
	idle  chan struct{} // closed when the goroutine is gone
	once  sync.Once
}

// call is one request. The goroutine decodes the answer, which is good only until the
// next one.
type call struct {
	msg    netlink.Message
	decode func(netlink.Message) error // nil for an acknowledgement
	done   chan error                  // capacity 1: nobody may be there any more
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
	c := &Conn{nl: nl, calls: make(chan *call), quit: make(chan struct{}), idle: make(chan struct{})}
	go c.work()
	return c
}

func (c *Conn) work() {
	defer close(c.idle)
	defer c.nl.Close() // here and not in Close: no call is under way on it
	for {
		select {
		case <-c.quit:
			return
		case x := <-c.calls:
			x.done <- c.carryOut(x)
		}
	}
}

func (c *Conn) carryOut(x *call) error {
	msgs, err := c.nl.Execute(x.msg)
	if err != nil || x.decode == nil {
		return err
	}
	for _, m := range msgs {
		if m.Header.Type == rtmNewLink {
			return x.decode(m)
		}
	}
	return fmt.Errorf("the kernel gave no answer: %w", os.ErrInvalid)
}

// Close closes the socket and waits for the goroutine; not for one that a driver holds,
// which closes the socket and goes when the driver lets go.
func (c *Conn) Close() error {
	c.once.Do(func() { close(c.quit) })
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	select {
	case <-c.idle:
	case <-patience.C:
	}
	return nil
}

func (c *Conn) execute(ctx context.Context, typ netlink.HeaderType, flags netlink.HeaderFlags, body []byte, decode func(netlink.Message) error) error {
	x := &call{done: make(chan error, 1), decode: decode, msg: netlink.Message{
		Header: netlink.Header{Type: typ, Flags: netlink.Request | flags}, Data: body,
	}}
	select {
	case c.calls <- x:
	case <-c.quit:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("the kernel is still at an earlier request: %w", errors.Join(ErrBusy, ctx.Err()))
	}
	select {
	case err := <-x.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("the kernel does not answer: %w", ctx.Err())
	}
}

// PF reads one PF and its VFs, with the VFs' statistics if stats says so.
//
// Errors: ErrNoPF; ErrTruncated (the kernel may say EMSGSIZE instead); the context's.
func (c *Conn) PF(ctx context.Context, ifindex int, stats bool) (PF, error) {
	got := new(PF) // a caller that has left does not see it change
	err := c.execute(ctx, rtmGetLink, 0, EncodeGet(ifindex, stats), func(m netlink.Message) (err error) {
		*got, err = Decode(m.Data, stats)
		return err
	})
	if err == nil {
		return *got, nil
	}
	if errors.Is(err, unix.EMSGSIZE) {
		err = fmt.Errorf("%w: %w", ErrTruncated, err)
	}
	return PF{}, fmt.Errorf("read VFs of interface %d: %w", ifindex, worded(err))
}

// Set carries out the changes in their order in one request. The kernel stops at the
// first attribute that its driver refuses; what came before is done.
//
// Errors: ErrInvalid before anything was sent; a *SetError, which wraps ErrUnsupported,
// ErrNoVF, ErrBusy or ErrNoPF where one fits, and the errno; the context's, after which
// the change may still happen.
func (c *Conn) Set(ctx context.Context, ifindex int, changes ...Change) error {
	body, err := Encode(ifindex, changes...)
	if err != nil {
		return err
	}
	if err = c.execute(ctx, rtmSetLink, netlink.Acknowledge, body, nil); err != nil {
		return setError(ifindex, changes, err)
	}
	return nil
}

// SetAddress sets a netdev's own address, such as a VF netdev's in this namespace.
func (c *Conn) SetAddress(ctx context.Context, ifindex int, m MAC) error {
	if err := c.execute(ctx, rtmSetLink, netlink.Acknowledge, encodeAddress(ifindex, m), nil); err != nil {
		return fmt.Errorf("set address %v of interface %d: %w", m, ifindex, worded(err))
	}
	return nil
}
