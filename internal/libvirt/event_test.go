package libvirt_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	rpc "github.com/digitalocean/go-libvirt"
	"go.uber.org/goleak"

	"neutrino/internal/libvirt"
)

// until reads events up to the one, and returns what it has read of the domain or of
// none.
func until(t *testing.T, events <-chan libvirt.Event, what libvirt.Happening, domain string) []libvirt.Happening {
	t.Helper()
	var seen []libvirt.Happening
	for e := range events {
		if e.Domain != domain && e.Domain != "" {
			continue
		}
		seen = append(seen, e.What)
		if e.What == what {
			return seen
		}
	}
	t.Fatalf("no %s of %q: %v", what, domain, seen)
	return nil
}

func TestEventsTellTheLifeOfADomain(t *testing.T) {
	d := system(t)
	a := administer(t, d)
	events := client(t, d).Events(within(t, patient))
	until(t, events, libvirt.Resync, "")
	dom := a.define(domainXML("life", "", ""))
	a.start(dom, rpc.DomainStartPaused)
	a.do(a.l.DomainDestroy(dom))
	a.start(dom, rpc.DomainStartPaused)
	a.do(d.do("crash life"))
	have := until(t, events, libvirt.Crashed, "life")
	want := []libvirt.Happening{libvirt.Defined, libvirt.Started, libvirt.Destroyed, libvirt.Started, libvirt.Crashed}
	if !slices.Equal(have, want) {
		t.Errorf("have %v\nwant %v", have, want)
	}
	a.do(a.l.DomainUndefine(dom))
	until(t, events, libvirt.Undefined, "life")
}

func TestEventsGoOnAfterLibvirtd(t *testing.T) {
	d := system(t)
	c := client(t, d)
	a := administer(t, d)
	dom := a.define(domainXML("survivor", "", ""))
	a.start(dom, rpc.DomainStartPaused)
	i := tap("p7", "52:54:00:00:00:07", "vf2")
	a.do(c.Attach(within(t, patient), "survivor", i))

	ctx := within(t, patient)
	events := c.Events(ctx)
	until(t, events, libvirt.Resync, "")
	detached := make(chan error, 1)
	go func() { detached <- c.Detach(ctx, "survivor", i) }()
	select { // it waits for the guest, which is paused
	case err := <-detached:
		t.Fatal(err)
	case <-time.After(500 * time.Millisecond):
	}
	a.do(d.do("kill"))
	e := <-events
	for e.What != libvirt.Lost { // what the detach has changed in the configuration
		e = <-events
	}
	if !errors.Is(e.Err, libvirt.ErrUnavailable) {
		t.Error(e.Err)
	}
	if err := <-detached; !errors.Is(err, libvirt.ErrUnavailable) {
		t.Error("detach while libvirtd died:", err)
	}
	if _, err := c.Domains(ctx); !errors.Is(err, libvirt.ErrUnavailable) {
		t.Error(err)
	}
	a.do(d.do("start"))
	if have := until(t, events, libvirt.Resync, ""); len(have) != 1 {
		t.Error("told of the loss more than once:", have)
	}
	expect(t, "after libvirtd's restart", devices(t, c, "survivor"), "paused: macvtap vf2 (ua-neutrino-p7) with MAC 52:54:00:00:00:07, VLAN 0 live")
	a = administer(t, d) // the other one's connection is gone
	// libvirtd has taken the domain up again when it lets others at it. Who destroys it before is
	// told that it does not run, once it is destroyed.
	a.do(a.l.DomainSendKey(dom, 0, 0, []uint32{1}, 0))
	a.do(a.l.DomainDestroy(dom))
	until(t, events, libvirt.Destroyed, "survivor")
	a.do(a.l.DomainUndefine(dom))
}

func TestEventsEndWithTheirContextWithoutAReader(t *testing.T) {
	d := system(t)
	c, a := client(t, d), administer(t, d)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ctx, cancel := context.WithCancel(within(t, patient))
	events := c.Events(ctx)
	until(t, events, libvirt.Resync, "")
	for n := range 20 {
		a.define(domainXML(fmt.Sprint("unread", n), "", ""))
	}
	cancel() // there are events that nobody reads
}

func TestWatchIsToldOfChanges(t *testing.T) {
	d := system(t)
	c, a := client(t, d), administer(t, d)
	ctx, cancel := context.WithCancel(within(t, patient))
	changed, ended := make(chan struct{}, 100), make(chan struct{})
	go func() {
		defer close(ended)
		c.Watch(ctx, func() { changed <- struct{}{} })
	}()
	<-changed
	a.define(domainXML("watched", "", ""))
	<-changed
	cancel()
	<-ended
}

func TestNoEventsWithoutLibvirt(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	c, err := libvirt.New("qemu:///system?socket=/nonexistent/sock")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := c.Events(ctx)
	seen := []libvirt.Event{<-events}
	defer time.AfterFunc(1500*time.Millisecond, cancel).Stop() // it tries on, and says nothing new
	for e := range events {
		seen = append(seen, e)
	}
	if len(seen) != 1 || seen[0].What != libvirt.Lost || !errors.Is(seen[0].Err, libvirt.ErrUnavailable) {
		t.Error(seen)
	}
}
