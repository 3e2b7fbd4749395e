package libvirt_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	rpc "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"github.com/google/uuid"

	"neutrino/internal/libvirt"
)

func connectTo(t testing.TB, sock string) *rpc.Libvirt {
	t.Helper()
	l := rpc.NewWithDialer(dialers.NewLocal(dialers.WithSocket(sock)))
	if err := l.Connect(); err != nil {
		t.Fatal(err)
	}
	return l
}

// tap is a macvtap on a netdev that stands for a VF.
func tap(port, mac, netdev string) libvirt.Interface {
	return libvirt.Interface{Kind: libvirt.Macvtap, Alias: libvirt.AliasOf(port), MAC: mac, Netdev: netdev}
}

// devices of a domain, as text.
func devices(t testing.TB, c *libvirt.Client, name string) string {
	t.Helper()
	all, err := c.Domains(within(t, patient))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if d.Name != name {
			continue
		}
		var out []string
		for _, dev := range d.Devices {
			s := dev.String()
			if dev.Live {
				s += " live"
			}
			if dev.Config {
				s += " config"
			}
			out = append(out, s)
		}
		return string(d.State) + ": " + strings.Join(out, "; ")
	}
	return "none"
}

func expect(t testing.TB, what, have, want string) {
	t.Helper()
	if have != want {
		t.Fatalf("%s:\nhave %s\nwant %s", what, have, want)
	}
}

func TestDomainsAreFoundByNameAndUUID(t *testing.T) {
	d := system(t)
	c, a := client(t, d), administer(t, d)
	dom := a.define(domainXML("found", "", ""))
	id := uuid.UUID(dom.UUID).String()
	for _, by := range []string{"found", id, strings.ToUpper(id)} {
		name, have, err := c.Find(within(t, patient), by)
		if err != nil || name != "found" || have != id {
			t.Errorf("%s: %s %s %v", by, name, have, err)
		}
	}
	for _, by := range []string{"lost", uuid.NewString()} {
		_, _, err := c.Find(within(t, patient), by)
		if !errors.Is(err, libvirt.ErrNoDomain) || !strings.Contains(err.Error(), by) {
			t.Errorf("%s: %v", by, err)
		}
		if err = c.Attach(within(t, patient), by, tap("p", "52:54:00:00:00:01", "vf0")); !errors.Is(err, libvirt.ErrNoDomain) {
			t.Errorf("attach to %s: %v", by, err)
		}
		if err = c.Detach(within(t, patient), by, tap("p", "52:54:00:00:00:01", "vf0")); err != nil {
			t.Errorf("detach from %s: %v", by, err)
		}
		if has, err := c.Has(within(t, patient), by, tap("p", "52:54:00:00:00:01", "vf0")); has || err != nil {
			t.Errorf("%s has it: %v", by, err)
		}
	}
}

func TestStoppedDomainIsConfigured(t *testing.T) {
	d := system(t)
	c, a := client(t, d), administer(t, d)
	a.define(domainXML("cold", "", ""))
	i := tap("p1", "52:54:00:00:00:01", "vf0")
	for range 2 { // twice: what is there is left
		a.do(c.Attach(within(t, patient), "cold", i))
		expect(t, "attached", devices(t, c, "cold"), "shut off: macvtap vf0 (ua-neutrino-p1) with MAC 52:54:00:00:00:01, VLAN 0 config")
	}
	other := i
	other.Netdev = "vf1"
	if err := c.Detach(within(t, patient), "cold", libvirt.Interface{MAC: i.MAC}); !errors.Is(err, libvirt.ErrInvalid) {
		t.Errorf("a MAC alone: %v", err)
	}
	if err := c.Attach(within(t, patient), "cold", other); !errors.Is(err, libvirt.ErrConflict) {
		t.Errorf("the same port on another VF: %v", err)
	}
	other = tap("p2", "52:54:00:00:00:02", "vf0")
	if err := c.Attach(within(t, patient), "cold", other); !errors.Is(err, libvirt.ErrConflict) {
		t.Errorf("another port on the same VF: %v", err)
	}
	a.do(c.Attach(within(t, patient), "cold", tap("p2", "52:54:00:00:00:02", "vf1")))
	for range 2 {
		a.do(c.Detach(within(t, patient), "cold", i))
		expect(t, "detached", devices(t, c, "cold"), "shut off: macvtap vf1 (ua-neutrino-p2) with MAC 52:54:00:00:00:02, VLAN 0 config")
	}
}

func TestInterfaceOfOthersIsFoundByMACAndDevice(t *testing.T) {
	d := system(t)
	c, a := client(t, d), administer(t, d)
	a.define(domainXML("nova", "", "", `<interface type='direct'><mac address='52:54:00:00:00:0A'/><source dev='vf2' mode='passthrough'/><model type='virtio'/></interface>`,
		`<hostdev mode='subsystem' type='pci' managed='no'><source><address domain='0' bus='0x41' slot='0x10' function='0x3'/></source></hostdev>`))
	i := tap("p3", "52:54:00:00:00:0a", "vf2")
	expect(t, "as defined", devices(t, c, "nova"), "shut off: macvtap vf2 with MAC 52:54:00:00:00:0a, VLAN 0 config; hostdev 0000:41:10.3 config")
	a.do(c.Attach(within(t, patient), "nova", i)) // there already
	if has, err := c.Has(within(t, patient), "nova", i); !has || err != nil {
		t.Error(has, err)
	}
	elsewhere := i
	elsewhere.Netdev = "vf3"
	a.do(c.Detach(within(t, patient), "nova", elsewhere))
	expect(t, "after detaching one that is not there", devices(t, c, "nova"), "shut off: macvtap vf2 with MAC 52:54:00:00:00:0a, VLAN 0 config; hostdev 0000:41:10.3 config")
	a.do(c.Detach(within(t, patient), "nova", i))
	expect(t, "detached", devices(t, c, "nova"), "shut off: hostdev 0000:41:10.3 config")
}

func TestPausedGuestHoldsItsDevice(t *testing.T) {
	d := system(t)
	c, a := client(t, d), administer(t, d)
	dom := a.define(domainXML("paused", "", ""))
	a.start(dom, rpc.DomainStartPaused)
	i := tap("p4", "52:54:00:00:00:04", "vf0")
	for range 2 {
		a.do(c.Attach(within(t, patient), "paused", i))
		expect(t, "attached", devices(t, c, "paused"), "paused: macvtap vf0 (ua-neutrino-p4) with MAC 52:54:00:00:00:04, VLAN 0 live config")
	}
	var err error
	// It has to get as far as asking the guest before its time is up.
	for wait := 2 * time.Second; wait < patient; wait *= 2 {
		if err = c.Detach(within(t, wait), "paused", i); errors.Is(err, libvirt.ErrStillAttached) {
			break
		}
	}
	if !errors.Is(err, libvirt.ErrStillAttached) || !strings.Contains(err.Error(), "resume it") {
		t.Fatal(err)
	}
	expect(t, "detached from the configuration", devices(t, c, "paused"), "paused: macvtap vf0 (ua-neutrino-p4) with MAC 52:54:00:00:00:04, VLAN 0 live")
	// Its end is noticed at once, not when the domain is read again 6 s later: one try in five
	// shows that, however busy the machine is.
	for try, took := 0, time.Hour; took > 3*time.Second; try++ {
		if try == 5 {
			t.Fatal("noticed after", took)
		}
		if try > 0 {
			a.start(dom, rpc.DomainStartPaused)
			a.do(c.Attach(within(t, patient), "paused", i))
		}
		gone := make(chan error, 1)
		go func() { gone <- c.Detach(within(t, patient), "paused", i) }()
		select {
		case err = <-gone:
			t.Fatal("detached from a paused guest:", err)
		case <-time.After(time.Second):
		}
		a.do(a.l.DomainDestroy(dom))
		begun := time.Now()
		a.do(<-gone)
		took = time.Since(begun)
	}
	a.do(d.do("macvtaps"))
}

// together does the same several times at once: each is to succeed.
func together(t *testing.T, do func(context.Context) error) {
	t.Helper()
	ctx := within(t, patient)
	errs := make(chan error)
	for range 4 {
		go func() { errs <- do(ctx) }()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestRunningGuestLetsGo(t *testing.T) {
	d := system(t)
	osText, console := boot(t, d.dir)
	c, a := client(t, d), administer(t, d)
	dom := a.define(domainXML("running", osText, console))
	a.start(dom, 0)
	i := tap("p5", "52:54:00:00:00:05", "vf1")
	a.do(c.Attach(within(t, patient), "running", i))
	// Its Linux is not up yet and misses the first request.
	begun := time.Now()
	a.do(c.Detach(within(t, patient), "running", i))
	up, _ := os.ReadFile(console)
	t.Logf("detached from a booting guest after %v; up: %v", time.Since(begun), strings.Contains(string(up), "guest is up"))
	expect(t, "detached", devices(t, c, "running"), "running: ")
	a.do(d.do("macvtaps"))

	events := c.Events(within(t, patient))
	if e := <-events; e.What != libvirt.Resync {
		t.Fatal(e)
	}
	together(t, func(ctx context.Context) error { return c.Attach(ctx, "running", i) })
	begun = time.Now()
	together(t, func(ctx context.Context) error { return c.Detach(ctx, "running", i) })
	t.Logf("detached from a running guest after %v", time.Since(begun))
	a.do(d.do("macvtaps"))
	for e := range events {
		if e.What == libvirt.Removed {
			if e.Alias != "ua-neutrino-p5" || e.Domain != "running" || e.UUID != uuid.UUID(dom.UUID).String() {
				t.Error(e)
			}
			break
		}
	}
}

func TestTransientDomainHasNoConfiguration(t *testing.T) {
	d := system(t)
	c, a := client(t, d), administer(t, d)
	dom, err := a.l.DomainCreateXML(domainXML("transient", "", ""), rpc.DomainStartPaused)
	a.do(err)
	i := tap("p6", "52:54:00:00:00:06", "vf3")
	a.do(c.Attach(within(t, patient), "transient", i))
	expect(t, "attached", devices(t, c, "transient"), "paused: macvtap vf3 (ua-neutrino-p6) with MAC 52:54:00:00:00:06, VLAN 0 live")
	gone := make(chan error, 1)
	ctx := within(t, patient)
	go func() { gone <- c.Detach(ctx, "transient", i) }()
	a.do(a.l.DomainDestroy(dom))
	a.do(<-gone)
	expect(t, "destroyed", devices(t, c, "transient"), "none")
}
