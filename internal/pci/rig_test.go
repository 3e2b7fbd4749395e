package pci_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"neutrino/internal/pci"
	"neutrino/internal/pci/pcitest"
)

// rig is the real kernel with the first PF of NEUTRINO_SRIOV_PFS, which has VFs.
func rig(t *testing.T) (*pci.Sys, pci.PF) {
	t.Helper()
	name, _, _ := strings.Cut(os.Getenv("NEUTRINO_SRIOV_PFS"), ",")
	if name == "" {
		t.Skip("NEUTRINO_SRIOV_PFS names no SR-IOV NIC: run it in the rig's VM")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("iproute2 is not installed")
	}
	s := &pci.Sys{}
	p := pf(t, s, name)
	if p.NumVFs == 0 {
		must(t, s.SetNumVFs(t.Context(), p.Slot, p.TotalVFs))
		p = pf(t, s, name)
	}
	for _, v := range p.VFs {
		must(t, s.BindDefault(t.Context(), v.Slot))
	}
	return s, p
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func wantUsers(t *testing.T, s *pci.Sys, slot, want string) {
	t.Helper()
	users, err := s.Users(slot)
	must(t, err)
	have := ""
	for _, u := range users {
		have += u.String() + ";"
	}
	if have != want {
		t.Errorf("users of %s: %q, want %q", slot, have, want)
	}
}

func TestRigBindsVFIOAndBack(t *testing.T) {
	s, p := rig(t)
	override := func(slot string) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join("/sys/bus/pci/devices", slot, "driver_override"))
		if err != nil || string(b) != "(null)\n" {
			t.Errorf("override %q, %v; want it cleared", b, err)
		}
	}
	for _, v := range p.VFs {
		was, err := s.Driver(v.Slot)
		must(t, err)
		if was == "" {
			t.Fatalf("VF %d has no driver", v.Index)
		}
		must(t, s.GroupViable(v.Slot))
		must(t, s.Bind(t.Context(), v.Slot, pci.VFIODriver))
		override(v.Slot)
		if _, ok := s.Netdev(v.Slot, 0); ok {
			t.Errorf("VF %d still has a netdev", v.Index)
		}
		wantUsers(t, s, v.Slot, "")
		must(t, s.BindDefault(t.Context(), v.Slot))
		override(v.Slot)
		if now, _ := s.Driver(v.Slot); now != was {
			t.Errorf("VF %d has driver %q, want %q", v.Index, now, was)
		}
		if _, err = s.WaitNetdev(t.Context(), v.Slot, 0, func(d pci.Netdev) bool { return d.MAC != "" }); err != nil {
			t.Error(err)
		}
	}
}

func TestRigEveryVFHasAGroupOfItsOwn(t *testing.T) {
	s, p := rig(t)
	for _, v := range p.VFs {
		others, err := s.Group(v.Slot)
		if err != nil || len(others) != 0 {
			t.Errorf("VF %d shares its group with %+v, %v", v.Index, others, err)
		}
	}
}

func TestRigSeesWhoUsesAVF(t *testing.T) {
	s, p := rig(t)
	slot := p.VFs[0].Slot
	netdev := func() string {
		d, err := s.WaitNetdev(t.Context(), slot, 0, func(pci.Netdev) bool { return true })
		must(t, err)
		return d.Name
	}
	ip(t, "link", "set", netdev(), "down")
	wantUsers(t, s, slot, "")
	ip(t, "link", "add", "link", netdev(), "name", "mt77", "type", "macvtap")
	wantUsers(t, s, slot, "device mt77;")

	// A macvtap that went into a container is no upper that the kernel shows.
	ip(t, "netns", "add", "pci77")
	defer func() { ip(t, "netns", "del", "pci77") }()
	ip(t, "link", "set", "mt77", "netns", "pci77")
	wantUsers(t, s, slot, "")
	ip(t, "-n", "pci77", "link", "del", "mt77")

	name := netdev()
	ip(t, "link", "set", name, "netns", "pci77")
	wantUsers(t, s, slot, "another network namespace;")
	ip(t, "-n", "pci77", "link", "set", name, "netns", "1")
	wantUsers(t, s, slot, "")

	must(t, s.Bind(t.Context(), slot, pci.VFIODriver))
	defer func() { must(t, s.BindDefault(t.Context(), slot)) }()
	group, err := os.Readlink("/sys/bus/pci/devices/" + slot + "/iommu_group")
	must(t, err)
	f, err := os.OpenFile("/dev/vfio/"+filepath.Base(group), os.O_RDWR, 0)
	must(t, err)
	comm, err := os.ReadFile("/proc/self/comm")
	must(t, err)
	wantUsers(t, s, slot, fmt.Sprintf("%s (pid %d);", strings.TrimSpace(string(comm)), os.Getpid()))
	f.Close()
	wantUsers(t, s, slot, "")
}

func TestRigResets(t *testing.T) {
	s, p := rig(t)
	if err := s.Reset(t.Context(), p.VFs[0].Slot); !errors.Is(err, pci.ErrBound) {
		t.Errorf("under its network driver: %v", err)
	}
	must(t, s.Bind(t.Context(), p.VFs[0].Slot, ""))
	must(t, s.Reset(t.Context(), p.VFs[0].Slot))
	must(t, s.BindDefault(t.Context(), p.VFs[0].Slot))
	must(t, s.Bind(t.Context(), p.VFs[1].Slot, pci.VFIODriver))
	must(t, s.Reset(t.Context(), p.VFs[1].Slot))
	must(t, s.BindDefault(t.Context(), p.VFs[1].Slot))
}

// TestRigAnswersAsTheFixture does the same to the kernel and to the fixture.
func TestRigAnswersAsTheFixture(t *testing.T) {
	s, p := rig(t)
	tree := build(t, pcitest.IGB())
	type machine struct {
		s *pci.Sys
		p pci.PF
	}
	for name, m := range map[string]machine{"kernel": {s, p}, "fixture": {tree.Sys, pf(t, tree.Sys, "ens3f0")}} {
		t.Run(name, func(t *testing.T) {
			s, slot, ctx := m.s, m.p.Slot, t.Context()
			if err := s.SetNumVFs(ctx, slot, 3); !errors.Is(err, pci.ErrVFsBusy) || !errors.Is(err, syscall.EBUSY) {
				t.Errorf("7 to 3: %v", err)
			}
			if now := pf(t, s, slot); now.NumVFs != 7 || len(now.VFs) != 7 {
				t.Errorf("after it %d VFs", now.NumVFs)
			}
			must(t, s.SetAutoprobe(ctx, slot, false))
			must(t, s.SetNumVFs(ctx, slot, 0))
			must(t, s.SetNumVFs(ctx, slot, 3))
			now := pf(t, s, slot)
			if len(now.VFs) != 3 || now.Autoprobe {
				t.Errorf("%+v", now)
			}
			vf := now.VFs[0].Slot
			if d, _ := s.Driver(vf); d != "" {
				t.Errorf("driver %q with autoprobe off", d)
			}
			err := s.BindDefault(ctx, vf)
			if !errors.Is(err, pci.ErrNoDriver) || !strings.Contains(err.Error(), "sriov_drivers_autoprobe") {
				t.Errorf("default driver with autoprobe off: %v", err)
			}
			must(t, s.Bind(ctx, vf, pci.VFIODriver))
			must(t, s.SetAutoprobe(ctx, slot, true))
			must(t, s.BindDefault(ctx, vf))
			must(t, s.SetNumVFs(ctx, slot, 0))
			if s.Exists(vf) {
				t.Error("a VF outlives its count")
			}
			must(t, s.SetNumVFs(ctx, slot, 7))
		})
	}
}
