package pci_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"neutrino/internal/pci"
	"neutrino/internal/pci/pcitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func build(t testing.TB, cards ...pcitest.Card) *pcitest.Tree {
	t.Helper()
	return pcitest.New(t, cards...)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pf(t testing.TB, s *pci.Sys, name string) pci.PF {
	t.Helper()
	p, err := s.PF(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// every card, as it is described.
func every() map[string]pcitest.Card {
	return map[string]pcitest.Card{
		"igb": pcitest.IGB(), "ixgbe": pcitest.IXGBE(), "i40e": pcitest.I40E(), "ice": pcitest.ICE(), "mlx5 with OFED": pcitest.MLX5(),
		"mlx4 port 1": pcitest.MLX4(4, 0, 0), "mlx4 port 2": pcitest.MLX4(0, 4, 0), "mlx4 both ports": pcitest.MLX4(0, 0, 4),
		"mlx4 of each": pcitest.MLX4(2, 1, 3), "255 VFs": pcitest.Many(),
	}
}

func TestEveryCardIsReadAsItIs(t *testing.T) {
	for name, c := range every() {
		t.Run(name, func(t *testing.T) {
			s := build(t, c).Sys
			p := pf(t, s, c.Netdevs[0])
			if p.Slot != c.Slot || p.Driver != c.Driver || p.TotalVFs != c.Total || p.NumVFs != c.VFs || !p.Autoprobe ||
				p.NUMANode != c.NUMA || p.Vendor != c.Vendor || p.Device != c.Device || !p.IOMMU || p.PhysFn != "" {
				t.Errorf("PF %+v, want what %+v says", p, c)
			}
			if p.Settable != (c.Driver != "mlx4_core") {
				t.Errorf("settable %v", p.Settable)
			}
			if len(p.VFs) != c.VFs {
				t.Fatalf("%d VFs, want %d", len(p.VFs), c.VFs)
			}
			for i, v := range p.VFs {
				f, err := s.Function(v.Slot)
				must(t, err)
				var have []string
				for port, d := range f.Netdevs {
					have = append(have, d.Name)
					if d.DevPort != port || d.MAC == "" {
						t.Errorf("netdev %+v, want dev_port %d and a MAC", d, port)
					}
				}
				if v.Index != i || v.Slot != c.VFSlot(i) || f.PhysFn != c.Slot || f.Driver != c.VFDriver || !slices.Equal(have, c.VFNetdevs(i)) {
					t.Errorf("VF %d: %+v %+v, want %s with %v", i, v, f, c.VFSlot(i), c.VFNetdevs(i))
				}
			}
		})
	}
}

func TestVFsOfOneCardGoOverTheEndOfItsBus(t *testing.T) {
	p := pf(t, build(t, pcitest.Many()).Sys, "ens16f0")
	if a, b := p.VFs[0].Slot, p.VFs[254].Slot; a != "0000:10:10.0" || b != "0000:11:0f.6" {
		t.Errorf("first %s, last %s; want 0000:10:10.0, 0000:11:0f.6", a, b)
	}
}

func TestVFOfOnePortHasOneNetdevAndOfBothHasTwo(t *testing.T) {
	c := pcitest.MLX4(1, 1, 1)
	s := build(t, c).Sys
	for i, want := range []string{"ens8v0", "ens8v1", "ens8v2d1"} {
		d, ok := s.Netdev(c.VFSlot(i), 1)
		if !ok || d.Name != want {
			t.Errorf("VF %d for port 1: %q, want %q", i, d.Name, want)
		}
	}
	if p := pf(t, s, "ens8d1"); len(p.Netdevs) != 2 || p.Netdevs[1].Name != "ens8d1" || p.Netdevs[1].DevPort != 1 {
		t.Errorf("netdevs of the PF: %+v", p.Netdevs)
	}
	if _, ok := s.Netdev(c.VFSlot(2), 2); ok {
		t.Error("a netdev for a port that the card does not have")
	}
}

func TestAllPFsAreListed(t *testing.T) {
	s := build(t, pcitest.IXGBE(), pcitest.IGB(), pcitest.MLX4(1, 0, 0)).Sys
	all, err := s.PFs()
	must(t, err)
	var have []string
	for _, p := range all {
		have = append(have, p.Driver)
	}
	if want := []string{"igb", "ixgbe", "mlx4_core"}; !slices.Equal(have, want) {
		t.Errorf("PFs %v, want %v", have, want)
	}
	if _, err = (&pci.Sys{Root: t.TempDir()}).PFs(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without sysfs: %v", err)
	}
}

func TestVFThatSomebodyRemovedLeavesAGap(t *testing.T) {
	c := pcitest.IGB()
	c.Missing = []int{2, 3}
	p := pf(t, build(t, c).Sys, c.Slot)
	var have []int
	for _, v := range p.VFs {
		have = append(have, v.Index)
		if v.Slot != c.VFSlot(v.Index) {
			t.Errorf("VF %d is %s, want %s", v.Index, v.Slot, c.VFSlot(v.Index))
		}
	}
	if want := []int{0, 1, 4, 5, 6}; !slices.Equal(have, want) || p.NumVFs != 7 {
		t.Errorf("VFs %v of %d, want %v of 7", have, p.NumVFs, want)
	}
}

func TestNamesThatAreNoPF(t *testing.T) {
	tree := build(t, pcitest.IGB())
	must(t, os.MkdirAll(filepath.Join(tree.Root, "sys/class/net/lo"), 0o755))
	for name, want := range map[string]error{
		"eth7": pci.ErrNoDevice, "": pci.ErrNoDevice, "..": pci.ErrNoDevice, "a/b": pci.ErrNoDevice, "0000:ff:00.0": pci.ErrNoDevice,
		"lo": pci.ErrNotPF, "0000:03:10.0": pci.ErrNotPF, "ens3f0v0": pci.ErrNotPF,
	} {
		if _, err := tree.Sys.PF(name); !errors.Is(err, want) {
			t.Errorf("PF %q: %v, want %v", name, err, want)
		}
	}
}

func TestCountGoesToZeroAndUpAgain(t *testing.T) {
	for name, c := range every() {
		if c.Driver == "mlx4_core" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := build(t, c).Sys
			for _, n := range []int{c.VFs, 0, 2, 2, 0, c.Total, 0} {
				must(t, s.SetNumVFs(t.Context(), c.Slot, n))
				p := pf(t, s, c.Slot)
				if p.NumVFs != n || len(p.VFs) != n {
					t.Fatalf("%d VFs, %d links, want %d", p.NumVFs, len(p.VFs), n)
				}
				for i := range c.Total {
					if s.Exists(c.VFSlot(i)) != (i < n) {
						t.Errorf("VF %d of %d is there: %v", i, n, i >= n)
					}
				}
			}
		})
	}
}

func TestCountThatCannotBe(t *testing.T) {
	c := pcitest.IGB()
	tree := build(t, c, pcitest.MLX4(1, 0, 0))
	s := tree.Sys
	err := s.SetNumVFs(t.Context(), c.Slot, 3)
	if !errors.Is(err, pci.ErrVFsBusy) || !errors.Is(err, syscall.EBUSY) {
		t.Errorf("7 to 3: %v", err)
	}
	if p := pf(t, s, c.Slot); p.NumVFs != 7 || len(p.VFs) != 7 {
		t.Errorf("after it %d VFs, want 7", p.NumVFs)
	}
	for _, n := range []int{-1, 8} {
		if err = s.SetNumVFs(t.Context(), c.Slot, n); err == nil || !strings.Contains(err.Error(), "0 to 7") {
			t.Errorf("%d VFs: %v", n, err)
		}
	}
	if err = s.SetNumVFs(t.Context(), "ens8", 4); !errors.Is(err, pci.ErrNoDevice) && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("mlx4: %v", err)
	}
	if err = s.SetNumVFs(t.Context(), "0000:08:00.0", 4); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("mlx4: %v", err)
	}
	if err = s.SetNumVFs(t.Context(), c.VFSlot(0), 1); !errors.Is(err, pci.ErrNotPF) {
		t.Errorf("a VF: %v", err)
	}
}

func TestNoRoomForVFsSaysWhatToDo(t *testing.T) {
	c := pcitest.IGB()
	c.VFs, c.Refuses = 0, int(syscall.ENOMEM)
	err := build(t, c).Sys.SetNumVFs(t.Context(), c.Slot, 3)
	if !errors.Is(err, syscall.ENOMEM) || !strings.Contains(err.Error(), "pci=realloc") {
		t.Error(err)
	}
}

func TestAutoprobeOffLeavesVFsWithoutDriver(t *testing.T) {
	c := pcitest.I40E()
	s := build(t, c).Sys
	ctx := t.Context()
	must(t, s.SetAutoprobe(ctx, c.Slot, false))
	must(t, s.SetNumVFs(ctx, c.Slot, 0))
	must(t, s.SetNumVFs(ctx, c.Slot, 2))
	if d, err := s.Driver(c.VFSlot(0)); err != nil || d != "" {
		t.Errorf("driver %q, %v; want none", d, err)
	}
	if pf(t, s, c.Slot).Autoprobe {
		t.Error("autoprobe reads as on")
	}
	if err := s.BindDefault(ctx, c.VFSlot(0)); !errors.Is(err, pci.ErrNoDriver) || !strings.Contains(err.Error(), "sriov_drivers_autoprobe") {
		t.Errorf("default driver: %v", err)
	}
	must(t, s.Bind(ctx, c.VFSlot(0), pci.VFIODriver)) // an override is probed for all the same
	old := pcitest.IGB()
	old.NoAutoprobe = true
	s = build(t, old).Sys
	if err := s.SetAutoprobe(ctx, old.Slot, false); !errors.Is(err, errors.ErrUnsupported) || !pf(t, s, old.Slot).Autoprobe {
		t.Errorf("before Linux 4.12: %v", err)
	}
}

func TestDriverIsBoundAndTheOverrideClearedAgain(t *testing.T) {
	for name, c := range every() {
		t.Run(name, func(t *testing.T) {
			tree := build(t, c)
			s, ctx, slot := tree.Sys, t.Context(), c.VFSlot(1)
			check := func(driver string, netdevs int) {
				t.Helper()
				f, err := s.Function(slot)
				must(t, err)
				override, err := os.ReadFile(tree.Device(slot, "driver_override"))
				must(t, err)
				if f.Driver != driver || len(f.Netdevs) != netdevs || string(override) != "(null)\n" {
					t.Fatalf("driver %q, %d netdevs, override %q; want %q, %d, (null)", f.Driver, len(f.Netdevs), override, driver, netdevs)
				}
			}
			n := len(c.VFNetdevs(1))
			for range 2 {
				must(t, s.Bind(ctx, slot, pci.VFIODriver))
				check(pci.VFIODriver, 0)
			}
			must(t, s.Rebind(ctx, slot))
			check(pci.VFIODriver, 0)
			for range 2 {
				must(t, s.BindDefault(ctx, slot))
				check(c.VFDriver, n)
			}
			must(t, s.Rebind(ctx, slot))
			check(c.VFDriver, n)
			must(t, s.Bind(ctx, slot, ""))
			check("", 0)
		})
	}
}

func TestOverrideGoesAlsoWhenProbingFails(t *testing.T) {
	c := pcitest.IGB()
	c.Group = "none" // vfio-pci does not take it
	tree := build(t, c)
	slot := c.VFSlot(0)
	if err := tree.Sys.Bind(t.Context(), slot, pci.VFIODriver); !errors.Is(err, pci.ErrNoDriver) {
		t.Errorf("without IOMMU: %v", err)
	}
	if b, _ := os.ReadFile(tree.Device(slot, "driver_override")); string(b) != "(null)\n" {
		t.Errorf("override %q remains", b)
	}
	must(t, tree.Sys.BindDefault(t.Context(), slot))
	if err := tree.Sys.Bind(t.Context(), slot, "no-such"); !errors.Is(err, pci.ErrNoDriver) || !strings.Contains(err.Error(), "modprobe no-such") {
		t.Errorf("a driver that is not loaded: %v", err)
	}
	if d, _ := tree.Sys.Driver(slot); d != "igbvf" {
		t.Errorf("it lost its driver to one that is not there: %q", d)
	}
	for _, bad := range []string{"../igb", "a\nb", ".."} {
		if err := tree.Sys.Bind(t.Context(), slot, bad); err == nil || !strings.Contains(err.Error(), "not the name") {
			t.Errorf("driver %q: %v", bad, err)
		}
	}
}

func TestForeignOverrideDoesNotOutliveBindDefault(t *testing.T) {
	c := pcitest.IGB()
	tree := build(t, c)
	slot := c.VFSlot(0)
	must(t, tree.Sys.Bind(t.Context(), slot, pci.VFIODriver))
	must(t, os.WriteFile(tree.Device(slot, "driver_override"), []byte("vfio-pci\n"), 0o600))
	must(t, tree.Sys.BindDefault(t.Context(), slot))
	if d, _ := tree.Sys.Driver(slot); d != "igbvf" {
		t.Errorf("driver %q", d)
	}
}

func TestResetOnlyWhereItHitsNobodyElse(t *testing.T) {
	for method, good := range map[string]bool{"": true, "flr": true, "af_flr flr bus": true, "pm bus": false, "bus": false, "none": false} {
		c := pcitest.IGB()
		c.Reset = method
		s := build(t, c).Sys
		if err := s.Reset(t.Context(), c.VFSlot(0)); good && !errors.Is(err, pci.ErrBound) {
			t.Errorf("under igbvf: %v", err)
		}
		must(t, s.Bind(t.Context(), c.VFSlot(0), ""))
		err := s.Reset(t.Context(), c.VFSlot(0))
		if (err == nil) != good || !good && !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("reset_method %q: %v", method, err)
		}
	}
	if err := build(t, pcitest.IGB()).Sys.Reset(t.Context(), "0000:99:00.0"); !errors.Is(err, pci.ErrNoDevice) {
		t.Error(err)
	}
}

func TestGroupCanBeHandedOnOnlyWhole(t *testing.T) {
	own, shared, none := pcitest.IGB(), pcitest.IXGBE(), pcitest.I40E()
	shared.Group, none.Group = "shared", "none"
	s := build(t, own, shared, none).Sys
	if err := s.GroupViable(own.VFSlot(0)); err != nil {
		t.Errorf("a group of its own: %v", err)
	}
	err := s.GroupViable(shared.VFSlot(0))
	if !errors.Is(err, pci.ErrGroup) || !strings.Contains(err.Error(), shared.Slot+" has ixgbe") {
		t.Errorf("shared with its PF: %v", err)
	}
	if err = s.GroupViable(none.VFSlot(0)); !errors.Is(err, pci.ErrNoDevice) || !strings.Contains(err.Error(), "intel_iommu=on") {
		t.Errorf("no IOMMU: %v", err)
	}
	members, err := s.Group(shared.VFSlot(0))
	must(t, err)
	if len(members) != shared.VFs {
		t.Errorf("%d others in the group, want %d", len(members), shared.VFs)
	}
}

func TestHangingWriteLetsTheCallerGo(t *testing.T) {
	c := pcitest.IGB()
	tree := build(t, c)
	free := make(chan struct{})
	react := tree.Sys.Wrote
	tree.Sys.Wrote = func(path, text string) error {
		if strings.HasSuffix(path, "sriov_numvfs") {
			<-free
		}
		return react(path, text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := tree.Sys.SetNumVFs(ctx, c.Slot, 0); !errors.Is(err, pci.ErrTimeout) {
		t.Errorf("got %v, want a timeout", err)
	}
	if err := tree.Sys.SetNumVFs(t.Context(), c.Slot, 3); !errors.Is(err, pci.ErrTimeout) || !strings.Contains(err.Error(), "earlier write") {
		t.Errorf("got %v, want to be turned away at once", err)
	}
	close(free)
	must(t, wait(t, func() bool { return len(pf(t, tree.Sys, c.Slot).VFs) == 0 }))
}

// wait polls what another goroutine does.
func wait(t testing.TB, done func() bool) error {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("it does not come: %w", ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

func TestNetdevThatComesLaterIsWaitedFor(t *testing.T) {
	c := pcitest.IGB()
	s := build(t, c).Sys
	slot := c.VFSlot(3)
	must(t, s.Bind(t.Context(), slot, pci.VFIODriver))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.WaitNetdev(ctx, slot, 0, func(pci.Netdev) bool { return true }); !errors.Is(err, pci.ErrTimeout) {
		t.Errorf("none comes: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- s.BindDefault(t.Context(), slot) }()
	d, err := s.WaitNetdev(t.Context(), slot, 0, func(d pci.Netdev) bool { return d.MAC != "" })
	if err = errors.Join(err, <-done); err != nil || d.Name != "ens3f0v3" {
		t.Errorf("%+v, %v", d, err)
	}
}
