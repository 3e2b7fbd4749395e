package libvirt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/digitalocean/go-libvirt"
)

const (
	live   = uint32(libvirt.DomainDeviceModifyLive)
	config = uint32(libvirt.DomainDeviceModifyConfig)

	// askAgain is how often a guest that does not react is asked, and the domain read.
	askAgain = 5 * time.Second
)

// Attach makes the interface a part of the domain: of the running one where it runs, and
// of its configuration where it has one. What is there already is left.
func (c *Client) Attach(ctx context.Context, domain string, i Interface) error {
	text, err := i.XML()
	if err != nil {
		return err
	}
	return c.with(ctx, func(l *libvirt.Libvirt) error {
		d, err := lookup(l, domain)
		if err != nil {
			return err
		}
		now, err := describe(l, d)
		if err != nil {
			return err
		}
		have, _ := now.device(i.Alias)
		var flags uint32
		if now.Running && !have.Live {
			flags |= live
		}
		if now.Persistent && !have.Config {
			flags |= config
		}
		if flags == 0 {
			return nil
		}
		return wrap(fmt.Sprintf("attach interface %s to domain %s", i.MAC, d.Name), l.DomainAttachDeviceFlags(d, text, flags))
	})
}

// Has reports whether the domain exists and has a device of that alias, running or
// configured.
func (c *Client) Has(ctx context.Context, domain, alias string) (bool, error) {
	has := false
	err := c.with(ctx, func(l *libvirt.Libvirt) error {
		d, err := lookup(l, domain)
		if err != nil {
			return err
		}
		now, err := describe(l, d)
		_, has = now.device(alias)
		return err
	})
	if errors.Is(err, ErrNoDomain) || isNoDomain(err) {
		return false, nil
	}
	return has, err
}

// Detach takes the device away and returns when the running guest has let go of it, as
// libvirt says by its DEVICE_REMOVED event. A domain or device that is not there is no
// error. A guest that refuses, or does not react while ctx lasts, is ErrStillAttached.
func (c *Client) Detach(ctx context.Context, domain, alias string) error {
	err := c.with(ctx, func(l *libvirt.Libvirt) error {
		d, err := lookup(l, domain)
		if err != nil {
			return err
		}
		now, err := describe(l, d)
		if err != nil {
			return err
		}
		have, _ := now.device(alias)
		if have.Config {
			// First, so that a guest that restarts meanwhile comes up without it.
			err = l.DomainDetachDeviceAlias(d, alias, config)
			if err != nil && !gone(err) {
				return wrap(fmt.Sprintf("take %s from the configuration of domain %s", alias, d.Name), err)
			}
		}
		if !have.Live {
			return nil
		}
		return detachLive(ctx, l, d, alias)
	})
	if errors.Is(err, ErrNoDomain) || isNoDomain(err) {
		return nil
	}
	return err
}

// gone reports whether libvirt says that the device is not there.
func gone(err error) bool {
	c := code(err)
	return c == libvirt.ErrDeviceMissing || c == libvirt.ErrNoDomain
}

// detachLive asks the guest to let go, and waits until it has. The events are subscribed
// to before it is asked, so that none is missed; the domain is read again now and then
// all the same.
func detachLive(ctx context.Context, l *libvirt.Libvirt, d libvirt.Domain, alias string) error {
	events, stop, err := removals(ctx, l)
	if err != nil {
		return wrap("watch domain "+d.Name, err)
	}
	defer stop()
	ask := time.NewTimer(0)
	defer ask.Stop()
	var last error
	for {
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("detach %s from domain %s: %w: is the guest's system running, and does it support hot-unplug? Shut it down, or unplug there first", alias, d.Name, ErrStillAttached), last)
		case e, ok := <-events:
			switch {
			case !ok:
				return fmt.Errorf("detach %s from domain %s: %w: the connection was lost", alias, d.Name, ErrUnavailable)
			case e.domain != d.Name || e.alias != alias:
				continue
			case e.failed:
				return fmt.Errorf("detach %s from domain %s: %w: it refused", alias, d.Name, ErrStillAttached)
			default:
				return nil
			}
		case <-ask.C:
			now, derr := describe(l, d)
			if isNoDomain(derr) {
				return nil
			}
			if derr != nil {
				return derr
			}
			if have, _ := now.device(alias); !have.Live {
				return nil
			}
			// An unplug that is pending already is refused; it goes on all the same.
			if last = l.DomainDetachDeviceAlias(d, alias, live); gone(last) {
				return nil
			}
			ask.Reset(askAgain)
		}
	}
}
