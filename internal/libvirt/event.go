package libvirt

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	rpc "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
)

// Happening is what an event tells.
type Happening string

// What events tell. Those about domains have Domain and UUID.
const (
	// Resync: events flow from here on; what happened before may have been missed.
	Resync Happening = "resync"
	// Lost: no events come until the next Resync; Err says why. Told once.
	Lost Happening = "lost"

	Defined   Happening = "defined" // or its configuration changed
	Undefined Happening = "undefined"
	Started   Happening = "started"
	Stopped   Happening = "stopped"   // shut down, saved, migrated away
	Destroyed Happening = "destroyed" // stopped by force
	Crashed   Happening = "crashed"   // the guest, which may be kept for a look at it, or its QEMU
	Removed   Happening = "removed"   // the guest has let go of the device Alias
)

// Event of libvirt's. It is a hint to look at [Client.Domains], not the truth: by the
// time that it is read things may be otherwise.
type Event struct {
	What   Happening
	Domain string // its name
	UUID   string
	Alias  string // of the device
	Err    error
}

const (
	firstReconnect = 250 * time.Millisecond
	lastReconnect  = 15 * time.Second
)

// Events tells what happens to domains until ctx ends; then the channel is closed. When
// the daemon goes, it connects again with growing pauses, as long as it takes. Events
// wait for the reader, however many.
func (c *Client) Events(ctx context.Context) <-chan Event {
	out := make(chan Event)
	go func() {
		defer close(out)
		c.tell(ctx, out)
	}()
	return out
}

// Watch calls changed whenever domains or their devices may have changed, until ctx
// ends.
func (c *Client) Watch(ctx context.Context, changed func()) {
	for e := range c.Events(ctx) {
		if e.What != Lost {
			changed()
		}
	}
}

func (c *Client) tell(ctx context.Context, out chan<- Event) {
	fails := 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		told, err := c.relay(ctx, out)
		if told {
			fails = 0
		}
		if fails == 0 && !send(ctx, out, Event{What: Lost, Err: err}) {
			return
		}
		pause := min(firstReconnect<<min(fails, 8), lastReconnect)
		timer.Reset(pause/2 + rand.N(pause/2))
		fails++
	}
}

// relay hands on events until the connection breaks or ctx ends. told says that there
// was a connection.
func (c *Client) relay(ctx context.Context, out chan<- Event) (told bool, err error) {
	s, err := c.at.connect(ctx)
	if err != nil {
		return false, err
	}
	defer s.close()
	lives, err := s.subscribe(rpc.DomainEventIDLifecycle)
	if err != nil {
		return false, err
	}
	removed, err := s.subscribe(rpc.DomainEventIDDeviceRemoved)
	if err != nil {
		return false, err
	}
	next := Event{What: Resync}
	for send(ctx, out, next) {
		var e any
		var open bool
		select {
		case e, open = <-lives:
		case e, open = <-removed:
		case <-ctx.Done():
		}
		if !open {
			break
		}
		next = eventOf(e)
	}
	return true, fmt.Errorf("%w: the connection broke", ErrUnavailable)
}

// send hands on an event; false when ctx has ended. Events that tell nothing are passed
// over.
func send(ctx context.Context, out chan<- Event, e Event) bool {
	if e.What == "" || ctx.Err() != nil {
		return ctx.Err() == nil
	}
	select {
	case out <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

func eventOf(e any) Event {
	switch m := e.(type) {
	case *rpc.DomainEventCallbackLifecycleMsg:
		return Event{What: happening(m.Msg.Event, m.Msg.Detail), Domain: m.Msg.Dom.Name, UUID: uuid.UUID(m.Msg.Dom.UUID).String()}
	case *rpc.DomainEventCallbackDeviceRemovedMsg:
		return Event{What: Removed, Domain: m.Msg.Dom.Name, UUID: uuid.UUID(m.Msg.Dom.UUID).String(), Alias: m.Msg.DevAlias}
	default:
		return Event{}
	}
}

// happening translates virDomainEventType and its details; "" for what changes nothing
// about devices: suspended, resumed, shutdown begun.
func happening(event, detail int32) Happening {
	switch rpc.DomainEventType(event) {
	case rpc.DomainEventDefined:
		return Defined
	case rpc.DomainEventUndefined:
		return Undefined
	case rpc.DomainEventStarted:
		return Started
	case rpc.DomainEventCrashed:
		return Crashed
	case rpc.DomainEventStopped:
		switch rpc.DomainEventStoppedDetailType(detail) {
		case rpc.DomainEventStoppedDestroyed:
			return Destroyed
		case rpc.DomainEventStoppedCrashed, rpc.DomainEventStoppedFailed: // the latter when QEMU is gone unasked
			return Crashed
		default:
			return Stopped
		}
	default:
		return ""
	}
}
