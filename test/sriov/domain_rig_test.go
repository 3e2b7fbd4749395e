package sriov

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	guest "neutrino/test/rig"
)

const domain = `<domain type='kvm'>
  <name>%[1]s</name><memory unit='MiB'>192</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type><kernel>%[2]s</kernel><initrd>%[3]s</initrd>
    <cmdline>console=ttyS0 quiet nokaslr mitigations=off</cmdline></os>
  <features><acpi/><apic/></features><cpu mode='host-passthrough'/>
  <on_poweroff>destroy</on_poweroff><on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <controller type='pci' model='pcie-root'/>
    <controller type='pci' model='pcie-root-port'/><controller type='pci' model='pcie-root-port'/><controller type='pci' model='pcie-root-port'/>
    <serial type='file'><source path='%[4]s'/></serial>
    <memballoon model='none'/>
  </devices>
</domain>
`

// hypervisor starts libvirtd; the machine is the test's own.
func hypervisor(t *testing.T) (virsh func(args ...string) string) {
	t.Helper()
	daemon, err := exec.LookPath("libvirtd")
	if err != nil {
		t.Skipf("%v: apt-get install libvirt-daemon-system libvirt-daemon-driver-qemu", err)
	}
	client, err := exec.LookPath("virsh")
	if err != nil {
		t.Skipf("%v: apt-get install libvirt-clients", err)
	}
	for name, text := range map[string]string{
		"qemu.conf":     "user = \"root\"\ngroup = \"root\"\nsecurity_driver = \"none\"\ncgroup_controllers = []\nnamespaces = []\nstdio_handler = \"file\"\n",
		"libvirtd.conf": "auth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n",
	} {
		if err = os.WriteFile(filepath.Join("/etc/libvirt", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(daemon)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err = cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	virsh = func(args ...string) string {
		t.Helper()
		out, verr := exec.Command(client, append([]string{"-c", "qemu:///system"}, args...)...).CombinedOutput()
		if verr != nil {
			t.Fatalf("virsh %s: %v: %s", strings.Join(args, " "), verr, out)
		}
		return string(out)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if exec.Command(client, "-c", "qemu:///system", "list").Run() == nil {
			return virsh
		}
		if time.Now().After(end) {
			t.Fatal("libvirtd does not answer")
		}
	}
}

// A guest boots with a VF by passthrough and another by macvtap; both get their address
// by DHCP, ping an instance on their network, and are let go of again.
func TestRigGuestGetsItsAddressOnVFAndMacvtap(t *testing.T) {
	s := rig(t)
	virsh := hypervisor(t)
	s.network(t, "guests", 130, "10.30.0.0/24")
	beside := s.port(t, "guests", "--vnic-type", "direct")
	ns := netns(t)
	s.run(t, "vif", "plug", beside.ID, "--netns", ns)
	addr := lease(t, ns)

	direct, macvtap := s.port(t, "guests", "--vnic-type", "direct"), s.port(t, "guests", "--vnic-type", "macvtap")
	dir := t.TempDir()
	console := filepath.Join(dir, "console")
	image, err := guest.WriteGuest(guest.Guest{Modules: []string{"igbvf", "virtio_pci", "virtio_net"}, Script: guestScript(addr)}, filepath.Join(dir, "guest"))
	if err != nil {
		t.Fatal(err)
	}
	def := filepath.Join(dir, "vm1.xml")
	if err = os.WriteFile(def, fmt.Appendf(nil, domain, "vm1", image, filepath.Join(dir, "guest"), console), 0o600); err != nil {
		t.Fatal(err)
	}
	virsh("define", def)
	for _, p := range []port{direct, macvtap} {
		s.run(t, "vif", "plug", p.ID, "--domain", "vm1")
	}
	v := s.vf(t, direct.ID)
	if v.Driver != "vfio-pci" || v.Plugged != "domain vm1" {
		t.Errorf("VF of the passed port: %+v", v)
	}
	virsh("start", "vm1")
	start := time.Now()
	says := func(what string) bool {
		b, _ := os.ReadFile(console)
		return strings.Contains(string(b), what)
	}
	for _, want := range []string{"address " + direct.Fixed[0].IP, "address " + macvtap.Fixed[0].IP, "guest: ping ok"} {
		if err = s.until(want, 6*time.Minute, func() bool { return says(want) }); err != nil {
			b, _ := os.ReadFile(console)
			t.Fatalf("%v; the console says:\n%s", err, b[max(0, len(b)-3000):])
		}
		t.Logf("%s after %s", want, time.Since(start).Round(time.Second))
	}
	for _, p := range []port{direct, macvtap} {
		f := s.vf(t, p.ID)
		if k := kernel(t, f.PF, f.Index); k.MAC != p.MAC || k.vlan() != 130 || !k.Spoof {
			t.Errorf("with the guest up the kernel shows %+v", k)
		}
	}
	if revision := s.show(t, beside.ID).Revision; revision != beside.Revision {
		t.Errorf("the port beside went from revision %d to %d", beside.Revision, revision)
	}

	// The passed VF is taken from the running guest; the other goes with the domain.
	start = time.Now()
	s.run(t, "vif", "unplug", direct.ID)
	t.Logf("the guest let go after %s", time.Since(start).Round(time.Second))
	if f := s.vf(t, direct.ID); f.Driver == "vfio-pci" || f.Plugged != "" {
		t.Errorf("VF after the unplug: %+v", f)
	}
	if strings.Contains(virsh("dumpxml", "vm1"), direct.MAC) {
		t.Error("the domain still has the interface")
	}
	virsh("destroy", "vm1")
	virsh("undefine", "vm1")
	s.eventually(t, "the VF of the domain that is gone is freed", func() bool { return s.vf(t, macvtap.ID).Plugged == "" })
}

func guestScript(ping string) string {
	return `
for n in 0 1; do
	ip link set eth$n up
	for try in 1 2 3 4 5 6; do udhcpc -i eth$n -s /lease -n -q -f -t 5 -T 2 && break; done
done
until ping -c 3 -W 2 ` + ping + `; do sleep 1; done
echo guest: ping ok
`
}
