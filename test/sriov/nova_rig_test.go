package sriov

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const novaInterface = `<interface type='hostdev' managed='yes'>
  <mac address='%s'/><source><address type='pci' domain='0x0000' bus='0x%s' slot='0x%s' function='0x%s'/></source>
  <vlan><tag id='%d'/></vlan>
</interface>
`

// Nova chooses the VF and has libvirt bind and program it (managed='yes'). The agent has
// set the same before, so nobody fights: the port's revision stands still while the
// domain starts and ends, and the VF carries what the port asks at all times.
func TestRigAgentDoesNotFightLibvirt(t *testing.T) {
	s := rig(t)
	virsh := hypervisor(t)
	s.network(t, "nova", 140, "10.40.0.0/24", "--no-dhcp")
	var slot string
	for _, v := range s.vfs(t) {
		if v.Port == "" && v.Netdev != "" {
			slot = v.Slot
		}
	}
	p := s.port(t, "nova", "--vnic-type", "direct", "--vf", slot, "--device-owner", "compute:nova", "--device", "f0d6f3a4-0000-4000-8000-000000000001")
	v := s.vf(t, p.ID)
	if v.Slot != slot || v.Driver != "igbvf" {
		t.Fatalf("VF %+v", v)
	}
	at := strings.FieldsFunc(slot, func(r rune) bool { return r == ':' || r == '.' })
	iface := fmt.Sprintf(novaInterface, p.MAC, at[1], at[2], at[3], 140)
	dir := t.TempDir()
	def := filepath.Join(dir, "nova1.xml")
	text := fmt.Sprintf(domain, "nova1", "/boot/none", "/boot/none", filepath.Join(dir, "console"))
	text = text[:strings.Index(text, "  <os>")] + "  <os><type arch='x86_64' machine='q35'>hvm</type></os>\n" + text[strings.Index(text, "  <features>"):]
	text = strings.Replace(text, "</devices>", iface+"</devices>", 1)
	if err := os.WriteFile(def, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	right := func(what string) {
		t.Helper()
		k := kernel(t, v.PF, v.Index)
		if k.MAC != p.MAC || k.vlan() != 140 || !k.Spoof {
			t.Errorf("%s: the kernel shows %+v", what, k)
		}
	}
	before := drift(t)
	for range 2 {
		virsh("create", "--paused", def)
		right("the domain runs")
		if now := s.vf(t, p.ID); now.Driver != "vfio-pci" || now.Plugged != "" {
			t.Errorf("VF of the domain: %+v", now)
		}
		if _, err := s.try("vif", "plug", p.ID, "-o", "xml", "--wait", "5s"); err == nil || !strings.Contains(err.Error(), "used by guest nova1") {
			t.Errorf("plugging what libvirt has: %v", err)
		}
		virsh("destroy", "nova1")
		s.eventually(t, "libvirt gives the VF back", func() bool { return s.vf(t, p.ID).Driver == "igbvf" })
		s.restored(t, p, 140)
	}
	if now := s.show(t, p.ID); now.Revision != p.Revision || now.Status != "ACTIVE" {
		t.Errorf("revision %d, was %d; %s", now.Revision, p.Revision, now.Status)
	}
	t.Logf("put back %v attributes meanwhile", drift(t)-before)
}
