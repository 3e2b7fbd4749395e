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

// receiveBuffer holds the answer for a PF of 255 VFs with statistics (75 KiB) three
// times over.
const receiveBuffer = 256 << 10

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

type call struct {
	msg  netlink.Message
	done chan answer // capacity 1: nobody may be there any more
}

type answer struct {
	msgs []netlink.Message
	err  error
}

// Dial opens a socket in the calling thread's network namespace.
func Dial() (*Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{MessageBufferSize: receiveBuffer})
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	// Explanations in errors, since 4.12; an older kernel still answers. (Not with
	// NETLINK_CAP_ACK, which leaves the request out of the error: mdlayher/netlink looks
	// for the explanation behind it.)
	if err := c.SetOption(netlink.ExtendedAcknowledge, true); err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return nil, errors.Join(fmt.Errorf("set up rtnetlink socket: %w", err), c.Close())
	}
	return New(c), nil
}

// New makes a Conn of an open socket, which it owns from now on.
func New(nl *netlink.Conn) *Conn {
	c := &Conn{nl: nl, calls: make(chan *call), quit: make(chan struct{}), idle: make(chan struct{})}
	go c.work()
	return c
}

func (c *Conn) work() {
	defer close(c.idle)
	for {
		select {
		case <-c.quit:
			return
		case x := <-c.calls:
			var a answer
			a.msgs, a.err = c.nl.Execute(x.msg)
			x.done <- a
		}
	}
}

// Close closes the socket and waits for the goroutine; not for one that a driver holds,
// which goes when the driver lets go.
func (c *Conn) Close() error {
	var err error
	c.once.Do(func() {
		close(c.quit)
		err = c.nl.Close()
	})
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	select {
	case <-c.idle:
	case <-patience.C:
	}
	return err
}

func (c *Conn) execute(ctx context.Context, typ netlink.HeaderType, flags netlink.HeaderFlags, body []byte) ([]netlink.Message, error) {
	x := &call{done: make(chan answer, 1), msg: netlink.Message{
		Header: netlink.Header{Type: typ, Flags: netlink.Request | flags}, Data: body,
	}}
	select {
	case c.calls <- x:
	case <-c.quit:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("the kernel is still at an earlier request: %w", errors.Join(ErrBusy, ctx.Err()))
	}
	select {
	case a := <-x.done:
		return a.msgs, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("the kernel does not answer: %w", ctx.Err())
	}
}

// PF reads one PF and its VFs, with the VFs' statistics if stats says so.
//
// Errors: ErrNoPF; ErrTruncated (the kernel may say EMSGSIZE instead); the context's.
func (c *Conn) PF(ctx context.Context, ifindex int, stats bool) (PF, error) {
	msgs, err := c.execute(ctx, rtmGetLink, 0, EncodeGet(ifindex, stats))
	if err != nil {
		if errors.Is(err, unix.EMSGSIZE) {
			err = fmt.Errorf("%w: %w", ErrTruncated, err)
		}
		with, text := explain(err)
		if text != "" {
			with = fmt.Errorf("%w (%s)", with, text)
		}
		return PF{}, fmt.Errorf("read VFs of interface %d: %w", ifindex, with)
	}
	for _, m := range msgs {
		if m.Header.Type != rtmNewLink {
			continue
		}
		p, err := Decode(m.Data, stats)
		if err != nil {
			return PF{}, fmt.Errorf("read VFs of interface %d: %w", ifindex, err)
		}
		return p, nil
	}
	return PF{}, fmt.Errorf("read VFs of interface %d: the kernel gave no answer: %w", ifindex, os.ErrInvalid)
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
	if _, err = c.execute(ctx, rtmSetLink, netlink.Acknowledge, body); err != nil {
		return setError(ifindex, changes, err)
	}
	return nil
}

// SetAddress sets a netdev's own address, such as a VF netdev's in this namespace.
func (c *Conn) SetAddress(ctx context.Context, ifindex int, m MAC) error {
	if _, err := c.execute(ctx, rtmSetLink, netlink.Acknowledge, encodeAddress(ifindex, m)); err != nil {
		with, text := explain(err)
		if text != "" {
			with = fmt.Errorf("%w (%s)", with, text)
		}
		return fmt.Errorf("set address %v of interface %d: %w", m, ifindex, with)
	}
	return nil
}
