package hostprep

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"neutrino/internal/pci/pcitest"
)

func TestGuestOnAVariantOfVFIOKeepsItsVF(t *testing.T) {
	c := pcitest.MLX5()
	h, tree := build(t, c)
	vf := c.VFSlot(0)
	must(t, os.MkdirAll(filepath.Join(tree.Root, "sys/bus/pci/drivers/mlx5_vfio_pci"), 0o755))
	must(t, tree.Sys.Bind(t.Context(), vf, "mlx5_vfio_pci"))
	must(t, tree.Hold(4711, "vm1", vf))
	for _, w := range []Want{{PF: c.Slot, N: 2, Autoprobe: true}, {PF: c.Slot, N: 4, Driver: "vfio-pci"}, {PF: c.Slot, N: 4, Autoprobe: true}} {
		if _, err := PlanVFs(t.Context(), h, w); !errors.Is(err, ErrInUse) {
			t.Errorf("%+v: %v", w, err)
		}
	}
	must(t, tree.Release(4711))
	set(t, h, Want{PF: c.Slot, N: 4, Autoprobe: true})
	if d, _ := tree.Sys.Driver(vf); d != c.VFDriver {
		t.Errorf("driver %q, want %q", d, c.VFDriver)
	}
}

func TestVariantOfVFIOComesBackWhenAStepFails(t *testing.T) {
	c := pcitest.MLX5()
	h, tree := build(t, c)
	vf := c.VFSlot(0)
	must(t, os.MkdirAll(filepath.Join(tree.Root, "sys/bus/pci/drivers/mlx5_vfio_pci"), 0o755))
	must(t, tree.Sys.Bind(t.Context(), vf, "mlx5_vfio_pci"))
	p, err := PlanVFs(t.Context(), h, Want{PF: c.Slot, N: 2, Driver: "vfio-pci"})
	must(t, err)
	must(t, os.RemoveAll(filepath.Join(tree.Root, "sys/bus/pci/drivers/vfio-pci")))
	if err = p.Run(t.Context(), nil); err == nil || errors.Is(err, ErrHalfDone) {
		t.Fatal(err)
	}
	if d, _ := tree.Sys.Driver(vf); d != "mlx5_vfio_pci" {
		t.Errorf("driver %q after it was taken back", d)
	}
}

func TestDevicesWithoutHardwareAreNoOtherWayToTheHost(t *testing.T) {
	c := pcitest.IGB()
	h, tree := build(t, c)
	plan := func() error {
		_, err := PlanVFs(t.Context(), h, Want{PF: c.Slot, N: 2, Autoprobe: true})
		return err
	}
	must(t, tree.Route("ens3f0", "0002000A"))
	must(t, os.MkdirAll(filepath.Join(tree.Root, "sys/class/net/virbr0/lower_vnet0"), 0o755))
	must(t, os.MkdirAll(filepath.Join(tree.Root, "sys/class/net/vnet0"), 0o755))
	must(t, tree.Route("virbr0", "007AA8C0"))
	if err := plan(); !errors.Is(err, ErrManagement) {
		t.Errorf("beside a bridge for guests: %v", err)
	}
	must(t, os.MkdirAll(filepath.Join(tree.Root, "sys/class/net/eno1"), 0o755))
	must(t, os.Symlink("../../../0000:01:00.0", filepath.Join(tree.Root, "sys/class/net/eno1/device")))
	must(t, tree.Upper("eno1", "br0"))
	must(t, tree.Route("br0", "0003000A"))
	must(t, plan())
}

func TestUplinkOfOpenVSwitchCarriesWhatItsBridgesHave(t *testing.T) {
	c := pcitest.IGB()
	h, tree := build(t, c)
	must(t, tree.Upper("ens3f0", openVSwitch))
	must(t, os.MkdirAll(filepath.Join(tree.Root, "sys/class/net/br-ex"), 0o755))
	must(t, tree.Route("br-ex", "default"))
	if _, err := PlanVFs(t.Context(), h, Want{PF: c.Slot, N: 2, Autoprobe: true}); !errors.Is(err, ErrManagement) {
		t.Error(err)
	}
}

func TestCardThatCannotBeToldYetIsLeftAlone(t *testing.T) {
	c := pcitest.IGB()
	c.VFs = 0
	h, tree := build(t, c)
	must(t, h.put(c.Slot, Record{Slot: c.Slot, MAC: "90:e2:ba:aa:aa:aa", Count: 5, Autoprobe: true}.Text()))
	must(t, os.RemoveAll(tree.Device(c.Slot, "net"))) // its driver still probes
	if _, err := h.Apply(t.Context()); !errors.Is(err, ErrOtherCard) {
		t.Error(err)
	}
	if p, err := tree.Sys.PF(c.Slot); err != nil || p.NumVFs != 0 {
		t.Errorf("%d VFs on a card that may be another, %v", p.NumVFs, err)
	}
}

func TestSettingAMovedCardForgetsItsOldSlot(t *testing.T) {
	c := pcitest.IGB()
	c.VFs = 0
	h, _ := build(t, c)
	const was = "0000:99:00.0"
	must(t, h.put(was, Record{Slot: was, MAC: c.MAC, Count: 3, Autoprobe: true}.Text()))
	set(t, h, Want{PF: c.Slot, N: 5, Autoprobe: true, Persist: true})
	if left, err := h.slots(); err != nil || len(left) != 1 || left[0] != c.Slot {
		t.Errorf("records %v, %v", left, err)
	}
	set(t, h, Want{PF: c.Slot, N: 0, Persist: true})
	if left, err := h.slots(); err != nil || len(left) != 0 {
		t.Errorf("records %v, %v", left, err)
	}
}

func TestRecordOfTheSlotWinsOverOneOfAnOldSlot(t *testing.T) {
	c := pcitest.IGB()
	c.VFs = 0
	h, tree := build(t, c)
	for slot, n := range map[string]int{c.Slot: 5, "0000:00:1f.0": 3, "0000:99:00.0": 2} {
		must(t, h.put(slot, Record{Slot: slot, MAC: c.MAC, Count: n, Autoprobe: true}.Text()))
	}
	all, err := h.Apply(t.Context())
	if !errors.Is(err, ErrBadRecord) || len(all) != 3 {
		t.Errorf("%d records, %v", len(all), err)
	}
	if p, perr := tree.Sys.PF(c.Slot); perr != nil || p.NumVFs != 5 {
		t.Errorf("%d VFs, want 5; %v", p.NumVFs, perr)
	}
}
