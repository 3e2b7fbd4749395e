package libvirt

import (
	"context"
	"fmt"
	"time"

	rpc "github.com/digitalocean/go-libvirt"
)

// busyPause is how long a domain is left alone that another change holds.
const busyPause = time.Second

// Attach makes the interface a part of the domain, named by name or UUID: of the running
// one where it runs, and of its configuration where it has one. Where it is already it is
// left alone. libvirt carries out both or none.
//
// When Attach returns, libvirt has written MAC and VLAN of the VF (see the package). When
// it fails the VF may be left with them, and a macvtap's netdev may have another name:
// libvirt gives the VF driver up and binds it again where the netdev refuses the MAC.
//
// Errors are ErrInvalid, ErrNoDomain, ErrConflict, ErrUnavailable, what libvirt says, or
// the end of ctx or of 3 minutes.
func (c *Client) Attach(ctx context.Context, domain string, i Interface) error {
	text, err := i.XML()
	if err != nil {
		return err
	}
	return c.with(ctx, attachTimeout, func(s *session) error {
		return s.attach(domain, i, text)
	})
}

func (s *session) attach(domain string, i Interface, text string) error {
	tried := rpc.DomainDeviceModifyFlags(-1)
	var last error
	for {
		v, err := s.find(domain)
		if err != nil {
			return err
		}
		todo, err := v.lacks(i)
		switch {
		case err != nil:
			return err
		case todo == 0:
			return nil
		case todo == tried && !busy(last): // looked again: nothing has changed
			return advice(fmt.Errorf("attach %s %s%s to domain %s: %w", i.Kind, i.PCISlot, i.Netdev, v.Name, last))
		}
		if todo == tried {
			if err = s.pause(busyPause); err != nil {
				return fmt.Errorf("attach to domain %s: %w: %w", v.Name, err, last)
			}
		}
		err = s.DomainAttachDeviceFlags(v.id, text, uint32(todo))
		if err == nil {
			return nil
		}
		tried, last = todo, reply(s.ctx, err)
		if s.ctx.Err() != nil {
			return fmt.Errorf("attach to domain %s: %w", v.Name, last)
		}
	}
}

// lacks says where the interface is missing, or ErrConflict.
func (v *view) lacks(i Interface) (rpc.DomainDeviceModifyFlags, error) {
	var todo rpc.DomainDeviceModifyFlags
	missing := func(there []element, where string) (bool, error) {
		for _, e := range there {
			switch {
			case !e.is(i) && !e.sits(i):
			case e.is(i) && e.same(i):
				return false, nil
			default:
				return false, fmt.Errorf("domain %s: %w: %s has %s; detach it first", v.Name, ErrConflict, where, e.Device)
			}
		}
		return true, nil
	}
	if v.active() {
		lack, err := missing(v.live, "it")
		if err != nil {
			return 0, err
		}
		if lack {
			todo |= rpc.DomainDeviceModifyLive
		}
	}
	if v.Persistent {
		lack, err := missing(v.config, "its configuration")
		if err != nil {
			return 0, err
		}
		if lack {
			todo |= rpc.DomainDeviceModifyConfig
		}
	}
	return todo, nil
}

func (s *session) pause(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}
