package libvirt_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	rpc "github.com/digitalocean/go-libvirt"
	"github.com/vishvananda/netlink"

	"neutrino/internal/libvirt"
	"neutrino/internal/pci"
)

// These tests say what libvirt does to VFs of a real kernel, and that guests let go of
// them. They run in the rig's VM.

// rigged is the first PF of NEUTRINO_SRIOV_PFS and a libvirtd that sees it.
type rigged struct {
	t   *testing.T
	d   *daemon
	c   *libvirt.Client
	a   *admin
	sys pci.Sys
	pf  string
	vfs []string // PCI slots
}

func rig(t *testing.T) *rigged {
	t.Helper()
	name, _, _ := strings.Cut(os.Getenv("NEUTRINO_SRIOV_PFS"), ",")
	if name == "" {
		t.Skip("NEUTRINO_SRIOV_PFS names no SR-IOV NIC: run it in the rig's VM")
	}
	needs(t)
	r := &rigged{t: t, pf: name}
	p, err := r.sys.PF(name)
	r.must(err)
	if p.NumVFs == 0 {
		r.must(r.sys.SetNumVFs(t.Context(), p.Slot, min(4, p.TotalVFs)))
		p, err = r.sys.PF(name)
		r.must(err)
	}
	l, err := netlink.LinkByName(name)
	r.must(err)
	r.must(netlink.LinkSetUp(l))
	for _, v := range p.VFs {
		r.vfs = append(r.vfs, v.Slot)
	}
	dir, err := os.MkdirTemp("", "nlv")
	r.must(err)
	r.d, err = start(dir, 0)
	r.must(err)
	t.Cleanup(r.d.stop)
	r.c, r.a = client(t, r.d), administer(t, r.d)
	return r
}

func (r *rigged) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rigged) link() netlink.Link {
	r.t.Helper()
	l, err := netlink.LinkByName(r.pf)
	r.must(err)
	return l
}

// program sets a VF through its PF.
func (r *rigged) program(vf int, mac string, vlan, qos int) {
	r.t.Helper()
	hw, err := net.ParseMAC(mac)
	r.must(err)
	r.must(netlink.LinkSetVfHardwareAddr(r.link(), vf, hw))
	r.must(netlink.LinkSetVfVlanQos(r.link(), vf, vlan, qos))
}

// shows is what the PF shows of a VF.
func (r *rigged) shows(vf int) string {
	r.t.Helper()
	for _, v := range r.link().Attrs().Vfs {
		if v.ID == vf {
			return fmt.Sprintf("%s vlan %d qos %d", v.Mac, v.Vlan, v.Qos)
		}
	}
	r.t.Fatalf("%s shows no VF %d", r.pf, vf)
	return ""
}

func (r *rigged) hostdev(vf int, mac string, vlan int) libvirt.Interface {
	return libvirt.Interface{Kind: libvirt.Hostdev, Alias: libvirt.AliasOf(fmt.Sprint("vf", vf)), MAC: mac, VLAN: vlan, PCISlot: r.vfs[vf]}
}

func (r *rigged) long() context.Context { return within(r.t, 120*time.Second) }

func TestRigHostdevTakesMACAndVLANOfTheXML(t *testing.T) {
	r := rig(t)
	dom := r.a.define(domainXML("rig", "", ""))
	r.a.start(dom, rpc.DomainStartPaused)
	r.program(0, "52:54:00:aa:00:00", 77, 3)
	i := r.hostdev(0, "52:54:00:bb:00:00", 55)
	err := r.c.Attach(r.long(), "rig", i)
	if err == nil || !strings.Contains(err.Error(), "bind the VF to vfio-pci") {
		t.Fatal("attached with its network driver:", err)
	}
	r.must(r.sys.Bind(t.Context(), r.vfs[0], pci.VFIODriver))
	r.must(r.c.Attach(r.long(), "rig", i))
	expect(t, "attached", r.shows(0), "52:54:00:bb:00:00 vlan 55 qos 0")
	has, err := r.c.Has(r.long(), "rig", libvirt.Interface{MAC: i.MAC, PCISlot: i.PCISlot})
	if !has || err != nil {
		t.Error(has, err)
	}
	if err = r.c.Detach(within(t, 3*time.Second), "rig", i); !errors.Is(err, libvirt.ErrStillAttached) {
		t.Error(err)
	}
	r.program(0, "52:54:00:cc:00:00", 88, 0)
	r.must(r.a.l.DomainDestroy(dom))
	r.must(r.c.Detach(r.long(), "rig", i))
	// Not what was set last, but what libvirt found; without the VLAN's priority.
	expect(t, "the domain has ended", r.shows(0), "52:54:00:aa:00:00 vlan 77 qos 0")

	r.a.start(dom, rpc.DomainStartPaused)
	i.VLAN = 0
	r.must(r.c.Attach(r.long(), "rig", i))
	expect(t, "attached without a VLAN", r.shows(0), "52:54:00:bb:00:00 vlan 0 qos 0")
	r.must(r.a.l.DomainDestroy(dom))
	r.must(r.c.Detach(r.long(), "rig", i))
	expect(t, "the domain has ended", r.shows(0), "52:54:00:aa:00:00 vlan 77 qos 0")

	// As neutrino does it: the VF carries what the XML says.
	r.program(0, i.MAC, 55, 0)
	i.VLAN = 55
	r.a.start(dom, rpc.DomainStartPaused)
	r.must(r.c.Attach(r.long(), "rig", i))
	expect(t, "attached with what it carries", r.shows(0), "52:54:00:bb:00:00 vlan 55 qos 0")
	r.must(r.a.l.DomainDestroy(dom))
	expect(t, "the domain has ended", r.shows(0), "52:54:00:bb:00:00 vlan 55 qos 0")
	if driver, err := r.sys.Driver(r.vfs[0]); driver != pci.VFIODriver || err != nil {
		t.Errorf("unmanaged, its driver is %q: %v", driver, err)
	}
}

func TestRigMacvtapTakesMACAndVLANOfTheXML(t *testing.T) {
	r := rig(t)
	dom := r.a.define(domainXML("rigtap", "", ""))
	r.a.start(dom, rpc.DomainStartPaused)
	r.program(1, "52:54:00:aa:00:01", 77, 3)
	r.must(r.sys.Rebind(t.Context(), r.vfs[1])) // its driver reads the MAC anew
	nd, err := r.sys.WaitNetdev(r.long(), r.vfs[1], 0, func(n pci.Netdev) bool { return n.MAC == "52:54:00:aa:00:01" })
	r.must(err)
	before, err := netlink.LinkByName(nd.Name)
	r.must(err)
	r.must(netlink.LinkSetUp(before))
	i := tap("vf1", nd.MAC, nd.Name)
	i.VLAN = 55
	r.must(r.c.Attach(r.long(), "rigtap", i))
	expect(t, "attached", r.shows(1), "52:54:00:aa:00:01 vlan 55 qos 0")
	after, err := netlink.LinkByName(nd.Name)
	r.must(err)
	t.Logf("netdev with the MAC already: index %d before, %d attached, flags %v", before.Attrs().Index, after.Attrs().Index, after.Attrs().Flags)
	r.must(r.a.l.DomainDestroy(dom))
	expect(t, "the domain has ended", r.shows(1), "52:54:00:aa:00:01 vlan 77 qos 0")
	nd, err = r.sys.WaitNetdev(r.long(), r.vfs[1], 0, func(pci.Netdev) bool { return true })
	r.must(err)
	last, err := netlink.LinkByName(nd.Name)
	r.must(err)
	t.Logf("after its end: %s, index %d, MAC %s, flags %v", nd.Name, last.Attrs().Index, nd.MAC, last.Attrs().Flags)
}

func TestRigGuestLetsGoOfItsVF(t *testing.T) {
	r := rig(t)
	osText, console := boot(t, r.d.dir)
	dom := r.a.define(domainXML("rigguest", osText, console))
	r.program(2, "52:54:00:aa:00:02", 77, 0)
	r.must(r.sys.Bind(t.Context(), r.vfs[2], pci.VFIODriver))
	i := r.hostdev(2, "52:54:00:bb:00:02", 55)
	r.must(r.c.Attach(r.long(), "rigguest", i)) // into the configuration
	r.a.start(dom, 0)
	expect(t, "started", r.shows(2), "52:54:00:bb:00:02 vlan 55 qos 0")
	begun := time.Now()
	r.must(r.c.Detach(within(t, 200*time.Second), "rigguest", i))
	t.Logf("a booting guest let go after %v", time.Since(begun))
	expect(t, "detached", r.shows(2), "52:54:00:aa:00:02 vlan 77 qos 0")
	r.must(r.c.Attach(r.long(), "rigguest", i))
	begun = time.Now()
	r.must(r.c.Detach(r.long(), "rigguest", i))
	t.Logf("a running guest let go after %v", time.Since(begun))
	expect(t, "detached", r.shows(2), "52:54:00:aa:00:02 vlan 77 qos 0")
	users, err := r.sys.Users(r.vfs[2])
	if len(users) > 0 || err != nil {
		t.Errorf("still used by %v: %v", users, err)
	}
}
