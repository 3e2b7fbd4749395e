package libvirt

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/digitalocean/go-libvirt"
)

// removal is what became of a device that a guest was asked to let go.
type removal struct {
	domain, alias string
	failed        bool
}

// removals subscribes to the ends of unplugs. stop ends the subscription and waits for
// it; it has to be called before the connection is closed.
func removals(ctx context.Context, l *libvirt.Libvirt) (<-chan removal, func(), error) {
	ctx, cancel := context.WithCancel(ctx)
	ok, err := l.SubscribeEvents(ctx, libvirt.DomainEventIDDeviceRemoved, nil)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	bad, err := l.SubscribeEvents(ctx, libvirt.DomainEventIDDeviceRemovalFailed, nil)
	if err != nil {
		cancel()
		drain(ok)
		return nil, nil, err
	}
	out, done := make(chan removal), make(chan struct{})
	go func() {
		defer close(done)
		defer close(out)
		relay(ctx, ok, bad, out)
		drain(ok)
		drain(bad)
	}()
	return out, func() { cancel(); <-done }, nil
}

// drain reads a subscription to its end: go-libvirt's sender waits for a reader.
func drain(events <-chan any) {
	for range events { //nolint:revive // nobody wants them any more
	}
}

func relay(ctx context.Context, ok, bad <-chan any, out chan<- removal) {
	for {
		var r removal
		select {
		case <-ctx.Done():
			return
		case e, open := <-ok:
			m, is := e.(*libvirt.DomainEventCallbackDeviceRemovedMsg)
			if !open || !is {
				return
			}
			r = removal{domain: m.Msg.Dom.Name, alias: m.Msg.DevAlias}
		case e, open := <-bad:
			m, is := e.(*libvirt.DomainEventCallbackDeviceRemovalFailedMsg)
			if !open || !is {
				return
			}
			r = removal{domain: m.Dom.Name, alias: m.DevAlias, failed: true}
		}
		select {
		case out <- r:
		case <-ctx.Done():
			return
		}
	}
}

const (
	firstReconnect = 250 * time.Millisecond
	lastReconnect  = 30 * time.Second
)

// Watch calls changed after every event in the life of a domain (started, stopped,
// undefined, ...), after each loss of a device, and whenever events may have been
// missed, that is after each connection. It blocks until ctx ends, and connects again,
// with growing pauses, when the daemon goes. changed must not block.
func (c *Client) Watch(ctx context.Context, changed func()) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	fails := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		connected := false
		_ = c.with(ctx, func(l *libvirt.Libvirt) error { //nolint:errcheck // it is tried again
			connected = true
			return watch(ctx, l, changed)
		})
		fails++
		if connected {
			fails = 1
		}
		pause := min(firstReconnect<<min(fails-1, 8), lastReconnect)
		timer.Reset(pause/2 + rand.N(pause/2))
	}
}

// watch reports until the connection is lost or ctx ends.
func watch(ctx context.Context, l *libvirt.Libvirt, changed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	life, err := l.SubscribeEvents(ctx, libvirt.DomainEventIDLifecycle, nil)
	if err != nil {
		return fmt.Errorf("subscribe to the lives of domains: %w", err)
	}
	defer func() { cancel(); drain(life) }()
	gone, stop, err := removals(ctx, l)
	if err != nil {
		return fmt.Errorf("subscribe to unplugs: %w", err)
	}
	defer stop()
	changed()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.Disconnected():
			return ErrUnavailable
		case _, ok := <-life:
			if !ok {
				return ErrUnavailable
			}
		case _, ok := <-gone:
			if !ok {
				return ErrUnavailable
			}
		}
		changed()
	}
}
