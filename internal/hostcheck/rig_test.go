package hostcheck

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"neutrino/internal/pci"
)

// rig is the real kernel with SR-IOV NICs; the first PF of NEUTRINO_SRIOV_PFS.
func rig(t *testing.T) (*pci.Sys, pci.PF, string) {
	t.Helper()
	name, _, _ := strings.Cut(os.Getenv("NEUTRINO_SRIOV_PFS"), ",")
	if name == "" {
		t.Skip("NEUTRINO_SRIOV_PFS names no SR-IOV NIC: run it in the rig's VM")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("iproute2 is not installed")
	}
	s := &pci.Sys{}
	p, err := s.PF(name)
	if err != nil {
		t.Fatal(err)
	}
	return s, p, name
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// found judges the PF and gives the finding of a check.
func found(t *testing.T, pf, check string) Finding {
	t.Helper()
	f, err := Look(t.Context(), Options{PFs: []string{pf}})
	if err != nil {
		t.Fatal(err)
	}
	r := Judge(f)
	i := slices.IndexFunc(r.Findings, func(x Finding) bool { return x.Check == check })
	if i < 0 {
		t.Fatalf("no finding %s:\n%s", check, text(r))
	}
	return r.Findings[i]
}

func TestRigIsJudged(t *testing.T) {
	_, p, name := rig(t)
	f, err := Look(t.Context(), Options{PFs: []string{name}})
	if err != nil {
		t.Fatal(err)
	}
	r := Judge(f)
	t.Logf("\n%s", text(r))
	want := map[string]string{ // what the emulated machine surely has
		"cpu-virt": "/dev/kvm", "iommu-firmware": "DMAR", "iommu-enabled": "groups, units dmar0", "vfio": "vfio-pci", "driver": "igb",
		"sriov-memory": "there are VFs", "vf-count": "7 VFs of 7", "vf-driver": "7 igbvf", "vf-leftover": "0 used, 7 free", "iommu-group": "a group for each VF",
		"pcie-link": "not judged", "pcie-payload": "MaxPayload 128, MaxReadReq 128", "numa": "one NUMA node", "link": "1000 Mbit/s", "mtu": "1500", "management": "not reached",
	}
	for _, x := range r.Findings {
		part, listed := want[x.Check]
		if listed && (x.Status != OK || !strings.Contains(x.Evidence, part)) {
			t.Errorf("%s %s: %s, want %q", x.Status, x.Check, x.Evidence, part)
		}
		delete(want, x.Check)
	}
	if len(want) > 0 {
		t.Errorf("nothing is said of %v", want)
	}
	if n, has := f.Machine.NIC(p.Slot); !has || n.BARs.VF == 0 || n.BARs.Absent != 0 || n.PCIe.Slot == "" || n.PCIe.SlotMax.Width == 0 || len(n.IRQs) == 0 {
		t.Errorf("machine %+v", n)
	}
}

func TestRigFindsWhatIsLeftOnVFs(t *testing.T) {
	s, p, name := rig(t)
	ip(t, "link", "set", name, "vf", "3", "vlan", "77")
	x := found(t, name, "vf-leftover")
	ip(t, "link", "set", name, "vf", "3", "vlan", "0")
	if x.Status != Warn || !strings.Contains(x.Evidence, "VF 3 vlan 77") {
		t.Errorf("VLAN: %+v", x)
	}
	slot := p.VFs[2].Slot
	if err := s.Bind(t.Context(), slot, pci.VFIODriver); err != nil {
		t.Fatal(err)
	}
	x = found(t, name, "vf-leftover")
	if x.Status != Warn || !strings.Contains(x.Evidence, "VFs 2 are on vfio-pci") {
		t.Errorf("on vfio-pci: %+v", x)
	}
	group, err := os.Readlink("/sys/bus/pci/devices/" + slot + "/iommu_group")
	if err != nil {
		t.Fatal(err)
	}
	held, err := os.OpenFile("/dev/vfio/"+group[strings.LastIndexByte(group, '/')+1:], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	x = found(t, name, "vf-leftover")
	if x.Status != OK || !strings.Contains(x.Evidence, "1 used, 6 free") {
		t.Errorf("a process has it: %+v", x)
	}
	held.Close()
	if err = s.Bind(t.Context(), slot, ""); err != nil {
		t.Fatal(err)
	}
	if x = found(t, name, "vf-driver"); x.Status != Warn || !strings.Contains(x.Evidence, "VFs 2 have none") {
		t.Errorf("without a driver: %+v", x)
	}
	if err = s.BindDefault(t.Context(), slot); err != nil {
		t.Fatal(err)
	}
	if x = found(t, name, "vf-leftover"); x.Status != OK {
		t.Errorf("all given back: %+v", x)
	}
}

func TestRigFindsThePFDown(t *testing.T) {
	_, _, name := rig(t)
	ip(t, "link", "set", name, "down")
	x := found(t, name, "link")
	ip(t, "link", "set", name, "up")
	if x.Status != Fail || !strings.Contains(x.Mend, "ip link set "+name+" up") {
		t.Errorf("%+v", x)
	}
}
