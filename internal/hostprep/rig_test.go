package hostprep

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"neutrino/internal/pci"
)

// rig is the real kernel with the first PF of NEUTRINO_SRIOV_PFS, with 7 VFs.
func rig(t *testing.T) (Host, string) {
	t.Helper()
	name, _, _ := strings.Cut(os.Getenv("NEUTRINO_SRIOV_PFS"), ",")
	if name == "" {
		t.Skip("NEUTRINO_SRIOV_PFS names no SR-IOV NIC: run it in the rig's VM")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("iproute2 is not installed")
	}
	h := Host{Sys: &pci.Sys{}, Dir: t.TempDir()}
	set(t, h, Want{PF: name, N: 7, Autoprobe: true})
	return h, name
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func TestRigCountGoesDownAndUpThroughZero(t *testing.T) {
	h, name := rig(t)
	set(t, h, Want{PF: name, N: 3, Autoprobe: true})
	wantState(t, h, name, true, of("igbvf", 3)...)
	set(t, h, Want{PF: name, N: 7, Driver: "vfio-pci", Autoprobe: true})
	wantState(t, h, name, true, of("vfio-pci", 7)...)
	set(t, h, Want{PF: name, N: 7, Autoprobe: true})
	wantState(t, h, name, true, of("igbvf", 7)...)
	p, err := h.Sys.PF(name)
	must(t, err)
	for _, v := range p.VFs {
		if _, ok := h.Sys.Netdev(v.Slot, 0); !ok {
			t.Errorf("VF %d has no netdev", v.Index)
		}
	}
}

func TestRigVFsInUseStay(t *testing.T) {
	h, name := rig(t)
	p, err := h.Sys.PF(name)
	must(t, err)
	slot := p.VFs[2].Slot
	refused := func(want string) {
		t.Helper()
		if _, perr := PlanVFs(t.Context(), h, Want{PF: name, N: 3, Autoprobe: true}); !errors.Is(perr, ErrInUse) || !strings.Contains(perr.Error(), "VF 2 ("+slot+") by "+want) {
			t.Errorf("got %v, want %q", perr, want)
		}
		if n, _, _ := state(t, h, name); n != 7 {
			t.Errorf("%d VFs", n)
		}
	}
	d, ok := h.Sys.Netdev(slot, 0)
	if !ok {
		t.Fatal("no netdev")
	}
	ip(t, "netns", "add", "prep77")
	defer func() { ip(t, "netns", "del", "prep77") }()
	ip(t, "link", "set", d.Name, "netns", "prep77")
	refused("another network namespace")
	ip(t, "-n", "prep77", "link", "set", d.Name, "netns", "1")

	ip(t, "addr", "add", "192.0.2.7/24", "dev", d.Name)
	ip(t, "link", "set", d.Name, "up")
	refused("this host, which has addresses or routes on " + d.Name)
	ip(t, "addr", "flush", "dev", d.Name)

	must(t, h.Sys.Bind(t.Context(), slot, pci.VFIODriver))
	group, err := os.Readlink("/sys/bus/pci/devices/" + slot + "/iommu_group")
	must(t, err)
	f, err := os.OpenFile("/dev/vfio/"+filepath.Base(group), os.O_RDWR, 0)
	must(t, err)
	comm, err := os.ReadFile("/proc/self/comm")
	must(t, err)
	refused(strings.TrimSpace(string(comm)) + " (pid ")
	f.Close()
	set(t, h, Want{PF: name, N: 3, Autoprobe: true})
}

func TestRigRecordIsMadeSoAgain(t *testing.T) {
	h, name := rig(t)
	set(t, h, Want{PF: name, N: 5, Driver: "vfio-pci", Autoprobe: true, Persist: true})
	p, err := h.Sys.PF(name)
	must(t, err)
	for range 2 {
		must(t, os.WriteFile("/sys/bus/pci/devices/"+p.Slot+"/sriov_numvfs", []byte("0"), 0))
		all, aerr := h.Apply(t.Context())
		if aerr != nil || len(all) != 1 || len(all[0].Done) == 0 {
			t.Fatalf("%+v, %v", all, aerr)
		}
		wantState(t, h, name, true, of("vfio-pci", 5)...)
		if all, aerr = h.Apply(t.Context()); aerr != nil || len(all[0].Done) != 0 {
			t.Errorf("once more: %+v, %v", all, aerr)
		}
	}
	rows, err := h.Show(t.Context(), name)
	if err != nil || len(rows) != 1 || rows[0].Now != 5 || rows[0].AtBoot == nil || *rows[0].AtBoot != 5 {
		t.Errorf("%+v, %v", rows, err)
	}
}

func TestRigManagementNICNeedsAWord(t *testing.T) {
	h, name := rig(t)
	ip(t, "addr", "add", "192.0.2.7/24", "dev", name)
	defer func() { ip(t, "addr", "flush", "dev", name, "scope", "global") }()
	ip(t, "link", "set", name, "up")
	w := Want{PF: name, N: 2, Autoprobe: true}
	if _, err := PlanVFs(t.Context(), h, w); !errors.Is(err, ErrManagement) {
		t.Error(err)
	}
	w.ManagementToo = true
	set(t, h, w)
	wantState(t, h, name, true, of("igbvf", 2)...)
}
