package sriov_test

import (
	"testing"
	"time"

	"neutrino/internal/eswitch"
	"neutrino/internal/eswitch/sriov"
	"neutrino/internal/model"
	"neutrino/internal/vfnl"
	"neutrino/internal/vfnl/vfnltest"
)

func TestForeignChangeOfAVFIsAnEvent(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	observe(t, s)
	r.k.Change(6, func(l *vfnltest.Link) { l.VFs[0].VLAN.ID = 9 })
	if !event(s, time.Second) {
		t.Error("no event")
	}
}

func TestForeignChangeDuringApplyIsAnEventToo(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	r.away(mlx5, 0)
	observe(t, s)
	first := true
	r.k.FailWith(func(vfnltest.Request) *vfnltest.Fault {
		if first {
			first = false
			go r.k.Change(6, func(l *vfnltest.Link) { l.VFs[1].VLAN.ID = 9 })
			time.Sleep(20 * time.Millisecond)
		}
		return nil
	})
	must(t, apply(t, s, "eth6", 0, port()))
	if !event(s, time.Second) {
		t.Error("no event")
	}
}

func TestPFThatIsDownIsLookedAtOnlyThen(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	r.k.Change(6, func(l *vfnltest.Link) { l.Up = false })
	event(s, time.Second)
	observe(t, s)
	if event(s, 700*time.Millisecond) {
		t.Error("an event although nothing of its VFs changed")
	}
	r.k.Change(6, func(l *vfnltest.Link) { l.VFs[0].VLAN.ID = 9 }) // of which the kernel tells nothing
	if !event(s, time.Second) {
		t.Error("no event within a second")
	}
	r.k.Change(6, func(l *vfnltest.Link) { l.Up = true })
	event(s, time.Second)
	observe(t, s)
	time.Sleep(600 * time.Millisecond) // the last look under way
	r.k.Counts()
	if event(s, 700*time.Millisecond) {
		t.Error("an event although nothing happened")
	}
	if n := r.k.Counts(); n.Gets != 0 {
		t.Errorf("up again it is still read: %+v", n)
	}
}

func TestLinksThatAreAboutVFsAreEventsAndOthersAreNot(t *testing.T) {
	r := newRack(t, mlx5)
	r.k.Change(99, func(l *vfnltest.Link) { *l = vfnltest.Link{Ifindex: 99, Name: "br0", Up: true} })
	s := r.open()
	observe(t, s)
	for _, c := range []struct {
		name string
		do   func()
		want bool
	}{
		{"another link", func() { r.k.Change(99, func(l *vfnltest.Link) { l.MTU = 9000 }) }, false},
		{"another link went", func() { r.k.Remove(99) }, false},
		{"VF netdev's flags", func() { r.k.Change(6000, func(l *vfnltest.Link) { l.Up = true }) }, false},
		{"VF netdev's address", func() { r.k.Change(6000, func(l *vfnltest.Link) { l.Up, l.Address = true, vfnl.MAC{2} }) }, true},
		{"VF netdev moved away", func() { r.k.Remove(6001) }, true},
		{"carrier of the PF", func() { r.k.Change(6, func(l *vfnltest.Link) { l.Carrier = false }) }, true},
		{"lost messages", r.k.Overflow, true},
		{"VF netdev under a name", func() { renamed(r); r.k.Change(6002, func(l *vfnltest.Link) { l.Name, l.Up = "blue", true }) }, true},
	} {
		c.do()
		if got := event(s, 200*time.Millisecond); got != c.want {
			t.Errorf("%s: event %v", c.name, got)
		}
	}
}

func renamed(r *rack) {
	r.link("class/net/blue", "devices/pci0000:00/"+mlx5.vfSlot(2)+"/net/eth6v2")
}

func TestUeventsThatAreAboutVFsAreEventsAndOthersAreNot(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	observe(t, s)
	base := "/devices/pci0000:00/"
	for name, c := range map[string]struct {
		e    sriov.Uevent
		want bool
	}{
		"number of VFs":     {sriov.Uevent{Action: "change", Path: base + mlx5.slot(), Subsystem: "pci"}, true},
		"driver of a VF":    {sriov.Uevent{Action: "bind", Path: base + mlx5.vfSlot(1), Subsystem: "pci"}, true},
		"netdev of a VF":    {sriov.Uevent{Action: "remove", Path: base + mlx5.vfSlot(1) + "/net/eth6v1", Subsystem: "net", Interface: "eth6v1"}, true},
		"queue of a VF":     {sriov.Uevent{Action: "add", Path: base + mlx5.vfSlot(1) + "/net/eth6v1/queues/rx-0", Subsystem: "queues"}, false},
		"another function":  {sriov.Uevent{Action: "bind", Path: base + "0000:07:00.0", Subsystem: "pci"}, false},
		"another netdev":    {sriov.Uevent{Action: "add", Path: "/devices/virtual/net/br0", Subsystem: "net", Interface: "br0"}, false},
		"lost":              {sriov.Uevent{Action: "lost"}, true},
		"PF under its name": {sriov.Uevent{Action: "add", Path: base + "0000:08:00.0/net/eth6", Subsystem: "net", Interface: "eth6"}, true},
	} {
		r.ue <- c.e
		if got := event(s, 300*time.Millisecond); got != c.want {
			t.Errorf("%s: event %v", name, got)
		}
	}
}

// The agent's part is done here by hand: what drifts is back within a second.
func TestDriftIsBackWithinASecond(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	r.away(mlx5, 0)
	settleOn(t, s, "eth6", 0, port())
	start := time.Now()
	r.k.Change(6, func(l *vfnltest.Link) { l.VFs[0].Spoof, l.VFs[0].Link = false, model.LinkDisable })
	<-s.Events()
	settleOn(t, s, "eth6", 0, port())
	if v := r.k.VF(6, 0); !v.Spoof || v.Link != model.LinkEnable || time.Since(start) > time.Second {
		t.Errorf("after %v: %+v", time.Since(start), v)
	}
	if v := look(t, s, "eth6", 0); v.Attrs.SpoofCheck != eswitch.Set(true) {
		t.Error("and does not read back")
	}
}
