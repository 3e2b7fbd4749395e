package sriov_test

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"neutrino/internal/eswitch/sriov"
)

func TestKernelsUeventsAreRead(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: a network namespace of its own")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		must(t, unix.Unshare(unix.CLONE_NEWNET))
		u, err := sriov.OpenUevents()
		must(t, err)
		seen := make(chan sriov.Uevent)
		go func() {
			defer close(seen)
			for {
				e, err := u.Next()
				if err != nil {
					return
				}
				if e.Subsystem == "net" && e.Interface == "a" {
					seen <- e
				}
			}
		}()
		h, err := netlink.NewHandle()
		must(t, err)
		defer h.Close()
		must(t, h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "a"}, PeerName: "b"}))
		select {
		case e := <-seen:
			if e.Action != "add" || e.Path != "/devices/virtual/net/a" || e.Slot() != "" {
				t.Errorf("%+v", e)
			}
		case <-time.After(5 * time.Second):
			t.Error("the kernel does not tell of a new interface")
		}
		must(t, u.Close())
		for range seen { // its end is what is waited for
		}
	}()
	<-done
}
