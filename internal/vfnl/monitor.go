package vfnl

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Kind of an Event.
type Kind int

// What happened to an interface.
const (
	// Everything may have changed: the kernel had more to tell than the socket holds.
	Everything Kind = iota
	// Changed: it is new, or something of it is. A change of VFs says no more than this.
	Changed
	// Gone: it was deleted, or moved to another network namespace.
	Gone
)

// Event is a reason to look.
type Event struct {
	Kind    Kind
	Ifindex int    // 0 for Everything
	Name    string // as it is now
	Up      bool
	Carrier bool
	Address MAC
}

// Monitor is a subscription to link changes (RTNLGRP_LINK). It begins when it is
// opened.
//
// The kernel sends an event after an RTM_SETLINK that changed a VF, whoever sent it, and
// before it acknowledges that request, but only while the PF is administratively up
// (do_setlink, netdev_state_change). The event does not say what was changed. Nothing is
// sent for changes by devlink or a driver's own sysfs files.
type Monitor struct {
	nl *netlink.Conn
}

// OpenMonitor subscribes in the calling thread's network namespace.
func OpenMonitor() (*Monitor, error) {
	nl, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: 1 << (groupLink - 1)})
	if err != nil {
		return nil, fmt.Errorf("subscribe to link changes: %w", err)
	}
	_ = nl.SetReadBuffer(1 << 20) // smaller only means more often Everything
	return NewMonitor(nl), nil
}

// NewMonitor makes a Monitor of a socket that is subscribed, and owns it.
func NewMonitor(nl *netlink.Conn) *Monitor { return &Monitor{nl: nl} }

// Run calls f with each event, until ctx ends or the socket fails. It closes the
// Monitor, and is called once.
func (m *Monitor) Run(ctx context.Context, f func(Event)) error {
	stop := context.AfterFunc(ctx, func() { m.nl.Close() })
	defer stop()
	for {
		msgs, err := m.nl.Receive()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, unix.ENOBUFS):
			f(Event{Kind: Everything})
			continue
		case err != nil:
			return errors.Join(fmt.Errorf("receive link changes: %w", err), m.nl.Close())
		}
		for _, msg := range msgs {
			if e, ok := DecodeEvent(uint16(msg.Header.Type), msg.Data); ok {
				f(e)
			}
		}
	}
}

// Close ends a Monitor that is not running.
func (m *Monitor) Close() error { return m.nl.Close() }

// DecodeEvent reads a message of RTNLGRP_LINK: its type and its body.
func DecodeEvent(typ uint16, body []byte) (Event, bool) {
	e := Event{Kind: Changed}
	switch typ {
	case rtmNewLink:
	case rtmDelLink:
		e.Kind = Gone
	default:
		return Event{}, false
	}
	if len(body) < linkHeader {
		return Event{}, false
	}
	if body[0] != unix.AF_UNSPEC { // bridges and IPv6 have their own
		return Event{}, false
	}
	p := PF{}
	flags := order.Uint32(body[8:])
	e.Ifindex = int(int32(order.Uint32(body[4:])))
	p.Carrier = flags&flagLowerUp != 0
	for b := body[linkHeader:]; len(b) > 0; {
		t, v, rest, ok := next(b)
		if !ok {
			break
		}
		p.attr(t, v)
		b = rest
	}
	e.Name, e.Address, e.Up, e.Carrier = p.Name, p.Address, flags&flagUp != 0, p.Carrier
	return e, true
}
