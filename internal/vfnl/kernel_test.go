package vfnl_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"neutrino/internal/eswitch"
	"neutrino/internal/vfnl"
)

// apart runs f on a thread of its own, in a network namespace of its own.
func apart(t *testing.T, f func(h *netlink.Handle)) {
	if os.Getuid() != 0 {
		t.Skip("needs root: a network namespace of its own")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		h, err := netlink.NewHandle()
		if err != nil {
			t.Error(err)
			return
		}
		defer h.Close()
		f(h)
	}()
	<-done
}

func TestKernelsLinksAreReadSetAndWatched(t *testing.T) {
	apart(t, func(h *netlink.Handle) {
		m, err := vfnl.OpenMonitor()
		if err != nil {
			t.Error(err)
			return
		}
		c, err := vfnl.Dial()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		events := make(chan vfnl.Event, 100)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.Run(ctx, func(e vfnl.Event) { events <- e }) }()
		defer func() {
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}()
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "a"}, PeerName: "b"}
		if err = h.LinkAdd(veth); err != nil {
			t.Error(err)
			return
		}
		l, err := h.LinkByName("a")
		if err != nil {
			t.Error(err)
			return
		}
		i, mac := l.Attrs().Index, vfnl.MAC{2, 0, 0, 0, 0, 7}
		if err = c.SetAddress(t.Context(), i, mac); err != nil {
			t.Error(err)
		}
		p, err := c.PF(t.Context(), i, true)
		if err != nil || p.Address != mac || p.Name != "a" || p.NumVFs != 0 || p.Ifindex != i || p.MTU != 1500 {
			t.Errorf("reads %+v, %v", p, err)
		}
		if _, err = c.PF(t.Context(), 1<<20, false); !errors.Is(err, vfnl.ErrNoPF) {
			t.Errorf("an interface that is not there: %v", err)
		}
		if err = c.Set(t.Context(), i, vfnl.Change{Attrs: vfnl.Attrs{MAC: eswitch.Set(mac)}}); !errors.Is(err, vfnl.ErrUnsupported) {
			t.Errorf("a VF of an interface that has none: %v", err)
		}
		if err = h.LinkDel(veth); err != nil {
			t.Error(err)
		}
		for {
			select {
			case e := <-events:
				if e.Kind == vfnl.Gone && e.Ifindex == i {
					return
				}
			case <-time.After(5 * time.Second):
				t.Error("the kernel does not tell that the interface went")
				return
			}
		}
	})
}

func TestMonitorThatWasTooSlowLooksAtEverything(t *testing.T) {
	apart(t, func(h *netlink.Handle) {
		m, err := vfnl.OpenMonitor()
		if err != nil {
			t.Error(err)
			return
		}
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "a"}, PeerName: "b"}
		if err = h.LinkAdd(veth); err != nil {
			t.Error(err)
			return
		}
		for i := range 4000 { // nobody reads meanwhile
			if err = h.LinkSetMTU(veth, 1000+i%2); err != nil {
				t.Error(err)
				return
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		said := false
		err = m.Run(ctx, func(e vfnl.Event) {
			if e.Kind == vfnl.Everything {
				said = true
				cancel()
			}
		})
		if !said || !errors.Is(err, context.Canceled) {
			t.Errorf("said %v, %v", said, err)
		}
	})
}
