package plug

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"neutrino/internal/agent"
	"neutrino/internal/model"
)

// fakeDevices is one VF with a PCI function. The real ones are tested in the SR-IOV rig.
type fakeDevices struct {
	mu     sync.Mutex
	driver string
	log    []string
	group  error
	user   string
}

func (f *fakeDevices) did(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, what)
}

func (f *fakeDevices) done() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.log)
}

func (f *fakeDevices) HasPCI(string) bool { return true }
func (f *fakeDevices) Driver(string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.driver, nil
}

func (f *fakeDevices) Bind(_ context.Context, _, driver string) error {
	if now, _ := f.Driver(""); now == driver {
		return nil
	}
	f.mu.Lock()
	f.driver = driver
	f.mu.Unlock()
	f.did("bind " + orNone(driver))
	return nil
}

func (f *fakeDevices) BindNetwork(ctx context.Context, s string) error {
	return f.Bind(ctx, s, "igbvf")
}
func (f *fakeDevices) Reset(context.Context, string) error         { f.did("reset"); return nil }
func (f *fakeDevices) GroupViable(string) error                    { return f.group }
func (f *fakeDevices) Netdev(context.Context, VIF) (string, error) { return "enp3s0f0v0", nil }
func (f *fakeDevices) Prepare(_ context.Context, n string, _ int) error {
	f.did("up " + n)
	return nil
}
func (f *fakeDevices) Restore(context.Context, VIF) error { f.did("down"); return nil }
func (f *fakeDevices) MoveIn(context.Context, VIF) error  { return errors.New("not asked for") }
func (f *fakeDevices) MoveOut(context.Context, VIF) error { return errors.New("not asked for") }
func (f *fakeDevices) In(VIF) (bool, error)               { return false, nil }
func (f *fakeDevices) HasSpace(VIF) (bool, error)         { return false, errors.New("not asked for") }

func (f *fakeDevices) User(context.Context, string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.user, nil
}

// fakeDomains is a hypervisor with one domain. The real one is tested in internal/libvirt.
type fakeDomains struct {
	mu      sync.Mutex
	has     map[string]bool // port ids
	gone    bool
	attach  error
	detach  error
	changed func()
}

func (f *fakeDomains) Find(_ context.Context, d string) (string, error) {
	if d != "vm1" {
		return "", errors.New("no such domain")
	}
	return "uuid-of-vm1", nil
}

func (f *fakeDomains) Attach(_ context.Context, v VIF) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.attach != nil {
		return f.attach
	}
	f.has[v.PortID] = true
	return nil
}

func (f *fakeDomains) Detach(_ context.Context, v VIF) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.detach != nil {
		return f.detach
	}
	delete(f.has, v.PortID)
	return nil
}

func (f *fakeDomains) Has(_ context.Context, v VIF) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.has[v.PortID] && !f.gone, nil
}

func (f *fakeDomains) Watch(ctx context.Context, changed func()) {
	f.mu.Lock()
	f.changed = changed
	f.mu.Unlock()
	<-ctx.Done()
}

func (f *fakeDomains) set(do func(*fakeDomains)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(f)
}

func cardPort(vnic string) agent.PortState {
	s := softPort("port-a", 0, 1)
	s.Attachment.VnicType = vnic
	s.VF.PCISlot = "0000:03:10.0"
	return s
}

func newDomainRig(t *testing.T, vnic string) (running, *fakeDevices, *fakeDomains) {
	t.Helper()
	dev, doms := &fakeDevices{driver: "igbvf"}, &fakeDomains{has: map[string]bool{}}
	p := newPorts()
	p.set(cardPort(vnic))
	return start(t, filepath.Join(t.TempDir(), "db"), p, Options{Devices: dev, Domains: doms}), dev, doms
}

func TestPassedToADomainAndBack(t *testing.T) {
	e, dev, doms := newDomainRig(t, model.VnicDirect)
	v, err := e.Plug(t.Context(), "port-a", Target{Domain: "vm1"})
	if err != nil {
		t.Fatal(err)
	}
	if v.Kind != Hostdev || v.DomainUUID != "uuid-of-vm1" || v.Driver != "igbvf" || !doms.has["port-a"] {
		t.Errorf("VIF %+v", v)
	}
	if want := []string{"bind vfio-pci", "reset"}; !slices.Equal(dev.done(), want) {
		t.Errorf("did %v, want %v", dev.done(), want)
	}
	if err = e.Unplug(t.Context(), "port-a", 0); err != nil {
		t.Fatal(err)
	}
	if want := []string{"bind vfio-pci", "reset", "reset", "bind igbvf"}; !slices.Equal(dev.done(), want) || doms.has["port-a"] {
		t.Errorf("did %v, want %v", dev.done(), want)
	}
}

func TestMacvtapKeepsTheNetworkDriver(t *testing.T) {
	e, dev, _ := newDomainRig(t, model.VnicMacvtap)
	v, err := e.Plug(t.Context(), "port-a", Target{Domain: "vm1"})
	if err != nil || v.Kind != Macvtap {
		t.Fatalf("%+v, %v", v, err)
	}
	if err = e.Unplug(t.Context(), "port-a", 0); err != nil {
		t.Fatal(err)
	}
	// What a guest may have left in the VF goes with the driver, the reset and back.
	if want := []string{"up enp3s0f0v0", "down", "bind no driver", "reset", "bind igbvf"}; !slices.Equal(dev.done(), want) {
		t.Errorf("did %v, want %v", dev.done(), want)
	}
}

func TestFailedAttachLeavesTheVFAsItWas(t *testing.T) {
	e, dev, doms := newDomainRig(t, model.VnicDirect)
	doms.attach = errors.New("no PCI slot left")
	if _, err := e.Plug(t.Context(), "port-a", Target{Domain: "vm1"}); err == nil || !strings.Contains(err.Error(), "no PCI slot left") {
		t.Fatalf("err = %v", err)
	}
	if d, _ := dev.Driver(""); d != "igbvf" || len(e.Plugged()) != 0 {
		t.Errorf("driver %s, plugged %v", d, e.Plugged())
	}
	doms.set(func(f *fakeDomains) { f.attach = nil })
	if _, err := e.Plug(t.Context(), "port-a", Target{Domain: "vm1"}); err != nil {
		t.Errorf("after the fault: %v", err)
	}
}

func TestSharedIOMMUGroupIsRefused(t *testing.T) {
	e, dev, _ := newDomainRig(t, model.VnicDirect)
	dev.group = errors.New("0000:03:00.1 has igb")
	if _, err := e.Plug(t.Context(), "port-a", Target{Domain: "vm1"}); err == nil {
		t.Fatal("plugged")
	}
	if d, _ := dev.Driver(""); d != "igbvf" {
		t.Errorf("the VF keeps %s", d)
	}
}

func TestVFOfSomebodyElseIsRefused(t *testing.T) {
	e, dev, _ := newDomainRig(t, model.VnicDirect)
	dev.user = "guest other (qemu, pid 7)"
	if _, err := e.Plug(t.Context(), "port-a", Target{Domain: "vm1"}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "guest other") {
		t.Fatalf("err = %v", err)
	}
	if len(dev.done()) != 0 {
		t.Errorf("did %v", dev.done())
	}
}

func TestDomainThatGoesFreesItsVF(t *testing.T) {
	e, dev, doms := newDomainRig(t, model.VnicDirect)
	if _, err := e.Plug(t.Context(), "port-a", Target{Domain: "vm1"}); err != nil {
		t.Fatal(err)
	}
	var changed func()
	eventually(t, "the engine watches", func() bool {
		doms.set(func(f *fakeDomains) { changed = f.changed })
		return changed != nil
	})
	changed() // a domain's event that does not concern the VF
	doms.set(func(f *fakeDomains) { f.gone = true })
	changed()
	eventually(t, "the VF is the host's again", func() bool { d, _ := dev.Driver(""); return d == "igbvf" && len(e.Plugged()) == 0 })
}

func TestGuestThatHoldsOnIsAskedAgain(t *testing.T) {
	e, dev, doms := newDomainRig(t, model.VnicDirect)
	if _, err := e.Plug(t.Context(), "port-a", Target{Domain: "vm1"}); err != nil {
		t.Fatal(err)
	}
	doms.set(func(f *fakeDomains) { f.detach = errors.New("guest does not let go") })
	if err := e.Unplug(t.Context(), "port-a", 0); err == nil || !strings.Contains(err.Error(), "does not let go") {
		t.Fatalf("err = %v", err)
	}
	slot := "0000:03:10.0"
	if why := e.Stuck()[slot]; why == "" || len(e.Plugged()) != 1 {
		t.Errorf("stuck %q, plugged %v: the VF has to stay held", why, e.Plugged())
	}
	doms.set(func(f *fakeDomains) { f.detach = nil })
	eventually(t, "it is tried again", func() bool {
		d, _ := dev.Driver("")
		return d == "igbvf" && len(e.Plugged()) == 0 && len(e.Stuck()) == 0
	})
}

func TestVFStaysHeldWhileAProcessUsesIt(t *testing.T) {
	e, dev, _ := newDomainRig(t, model.VnicDirect)
	if _, err := e.Plug(t.Context(), "port-a", Target{External: true}); err != nil {
		t.Fatal(err)
	}
	dev.mu.Lock()
	dev.user = "qemu-system-x86 (pid 12)"
	dev.mu.Unlock()
	if err := e.Unplug(t.Context(), "port-a", 0); err == nil || !strings.Contains(err.Error(), "pid 12") {
		t.Fatalf("err = %v", err)
	}
	if d, _ := dev.Driver(""); d != vfioPCI || len(e.Plugged()) != 1 {
		t.Errorf("driver %s, plugged %v", d, e.Plugged())
	}
	dev.mu.Lock()
	dev.user = ""
	dev.mu.Unlock()
	eventually(t, "it is given up", func() bool { return len(e.Plugged()) == 0 })
}

func TestInterfaceForOnesOwnTool(t *testing.T) {
	e, _, _ := newDomainRig(t, model.VnicDirect)
	v, err := e.Plug(t.Context(), "port-a", Target{External: true})
	if err != nil {
		t.Fatal(err)
	}
	text, err := InterfaceXML(v)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`type="hostdev"`, `managed="no"`, `address="fa:16:3e:00:00:01"`, `bus="0x03"`, `<tag id="10"`, `ua-neutrino-port-a`} {
		if !strings.Contains(text, part) {
			t.Errorf("interface has no %s:\n%s", part, text)
		}
	}
}
