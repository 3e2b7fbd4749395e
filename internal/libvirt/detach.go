package libvirt

import (
	"context"
	"errors"
	"fmt"
	"time"

	rpc "github.com/digitalocean/go-libvirt"
)

// askAgain is how long a guest has before it is asked again and the domain is read again.
// It is longer than the five seconds for which a PCIe guest lets the power indicator
// blink, during which asking again would mean "do not".
const askAgain = 6 * time.Second

// Detach takes the interface out of the domain, named by name or UUID: first out of its
// configuration, so that a guest that is started anew comes up without it, then out of
// the running one. It returns nil when both are without it, which takes a running guest
// a second or more. The interface is known by Alias, or by MAC with PCISlot or Netdev;
// the other fields do not matter. An interface or domain that is not there is a success.
//
// A guest that refuses, or does not react for as long as ctx lasts (a minute where it has
// no end), is ErrStillAttached; the guest may still let go of it later. Other errors are
// ErrInvalid, ErrUnavailable, what libvirt says, or the end of ctx. It needs libvirt 4.4.
func (c *Client) Detach(ctx context.Context, domain string, i Interface) error {
	if i.Alias == "" && (i.MAC == "" || i.PCISlot+i.Netdev == "") {
		return fmt.Errorf("detach from domain %s: %w: it has neither an alias nor a MAC with a PCI slot or netdev", domain, ErrInvalid)
	}
	timeout := detachTimeout
	if _, ends := ctx.Deadline(); ends {
		timeout = 0
	}
	err := c.with(ctx, timeout, func(s *session) error { return s.detach(domain, i) })
	if errors.Is(err, ErrNoDomain) {
		return nil
	}
	return err
}

func (s *session) detach(domain string, i Interface) error {
	d, err := s.lookup(domain)
	if err != nil {
		return err
	}
	u := unplug{s: s, i: i, name: d.Name}
	for {
		v, err := s.look(d)
		if err != nil {
			return u.hangs(err)
		}
		live, config := find(v.live, i), find(v.config, i)
		if live == nil && config == nil {
			return nil
		}
		u.state = v.State
		if config != nil {
			if err = u.forget(&v, config); err != nil {
				return u.hangs(err)
			}
		}
		if live != nil {
			if err = u.ask(&v, live); err != nil {
				return u.hangs(err)
			}
		}
		if err = u.wait(d); err != nil {
			return u.hangs(err)
		}
	}
}

func find(there []element, i Interface) *element {
	for n := range there {
		if there[n].is(i) {
			return &there[n]
		}
	}
	return nil
}

// unplug is a detach under way.
type unplug struct {
	s     *session
	i     Interface
	name  string // of the domain
	alias string // of the device in the running one
	state State
	asked bool  // the guest, once at least
	why   error // libvirt's last word, where it has to be asked again
	pause time.Duration

	// An error that may only mean that things have changed, of the configuration and of
	// the guest: the second one in a row is taken for what it says.
	oddConfig, oddLive bool

	removed, refused, lives <-chan any // nil until the first ask
}

// forget takes the interface out of the configuration.
func (u *unplug) forget(v *view, e *element) error {
	var err error
	u.pause = 0
	if e.Alias != "" {
		err = u.s.DomainDetachDeviceAlias(v.id, e.Alias, uint32(rpc.DomainDeviceModifyConfig))
	} else {
		var text string
		if text, err = e.xml.Marshal(); err == nil {
			err = u.s.DomainDetachDeviceFlags(v.id, text, uint32(rpc.DomainDeviceModifyConfig))
		}
	}
	return u.judge(err, &u.oddConfig)
}

// ask asks the guest to let go. The events are subscribed to before.
func (u *unplug) ask(v *view, e *element) (err error) {
	for _, sub := range []struct {
		to *<-chan any
		id rpc.DomainEventID
	}{
		{&u.removed, rpc.DomainEventIDDeviceRemoved},
		{&u.refused, rpc.DomainEventIDDeviceRemovalFailed},
		{&u.lives, rpc.DomainEventIDLifecycle},
	} {
		if *sub.to == nil {
			if *sub.to, err = u.s.subscribe(sub.id); err != nil {
				return err
			}
		}
	}
	u.alias, u.asked, u.pause = e.Alias, true, askAgain
	return u.judge(u.s.DomainDetachDeviceAlias(v.id, e.Alias, uint32(rpc.DomainDeviceModifyLive)), &u.oddLive)
}

// judge passes errors on after which there is no sense in going on.
func (u *unplug) judge(err error, odd *bool) error {
	switch code := codeOf(err); {
	case err == nil:
		*odd = false
	case unplugging(err): // asked before: the guest is at it
		u.why = err
	case busy(err):
		u.why, u.pause = err, busyPause
	case code != rpc.ErrOk && code != rpc.ErrNoDomain && !*odd:
		// Has the guest let go meanwhile, or the domain stopped? libvirt has several
		// numbers for it, so look again.
		u.why, *odd, u.pause = err, true, 0
	default:
		return reply(u.s.ctx, err)
	}
	return nil
}

// wait returns when it is time to look again.
func (u *unplug) wait(d rpc.Domain) error {
	t := time.NewTimer(u.pause)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			return nil
		case <-u.s.ctx.Done():
			return context.Cause(u.s.ctx)
		case e, open := <-u.removed:
			if m, is := e.(*rpc.DomainEventCallbackDeviceRemovedMsg); is && m.Msg.Dom.UUID == d.UUID {
				return nil
			} else if !open {
				return u.lost()
			}
		case e, open := <-u.refused:
			if m, is := e.(*rpc.DomainEventCallbackDeviceRemovalFailedMsg); is && m.Dom.UUID == d.UUID && m.DevAlias == u.alias {
				return fmt.Errorf("the guest refused: %w", ErrStillAttached)
			} else if !open {
				return u.lost()
			}
		case e, open := <-u.lives:
			if m, is := e.(*rpc.DomainEventCallbackLifecycleMsg); is && m.Msg.Dom.UUID == d.UUID {
				return nil
			} else if !open {
				return u.lost()
			}
		}
	}
}

func (u *unplug) lost() error {
	if u.s.ctx.Err() != nil {
		return context.Cause(u.s.ctx)
	}
	return fmt.Errorf("%w: the connection broke", ErrUnavailable)
}

// hangs makes the error of a detach that has not come to its end.
func (u *unplug) hangs(err error) error {
	if errors.Is(err, ErrNoDomain) {
		return err
	}
	what := fmt.Sprintf("detach %s%s (MAC %s) from domain %s", u.i.PCISlot, u.i.Netdev, u.i.MAC, u.name)
	if !u.asked || (u.s.ctx.Err() == nil && !errors.Is(err, ErrStillAttached)) {
		return fmt.Errorf("%s: %w", what, err)
	}
	if !errors.Is(err, ErrStillAttached) {
		err = fmt.Errorf("%w: the guest does not let go: %w", ErrStillAttached, err)
	}
	if u.why != nil {
		err = fmt.Errorf("%w (%w)", err, u.why)
	}
	hint := "its system has to be up, with hot-unplug of PCI devices; take the device down in the guest and detach again, or shut the domain down"
	if u.state == Paused {
		hint = "the domain is paused, and can let go only when it runs: resume it, or destroy it"
	}
	return fmt.Errorf("%s: %w; %s", what, err, hint)
}
