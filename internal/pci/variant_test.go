package pci_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"neutrino/internal/pci"
	"neutrino/internal/pci/pcitest"
)

// variant is a driver of VFIO that is not called vfio-pci.
const variant = "mlx5_vfio_pci"

func TestVariantOfVFIOIsADriverOfVFIO(t *testing.T) {
	c := pcitest.MLX5()
	c.Group = "shared"
	tree := build(t, c)
	s, vf := tree.Sys, c.VFSlot(0)
	must(t, os.MkdirAll(filepath.Join(tree.Root, "sys/bus/pci/drivers", variant), 0o755))
	for _, v := range []string{c.Slot, c.VFSlot(1), c.VFSlot(2), c.VFSlot(3)} {
		must(t, s.Bind(t.Context(), v, ""))
	}
	must(t, s.Bind(t.Context(), vf, variant))
	must(t, tree.Hold(4711, "vm1", vf))
	if have := words(t, tree, c); !slices.Equal(have, []string{vf + " guest vm1 (qemu-system-x86, pid 4711)"}) {
		t.Errorf("users %v", have)
	}
	must(t, tree.Release(4711))
	must(t, s.GroupViable(c.VFSlot(1)))
	must(t, s.Rebind(t.Context(), vf))
	if d, _ := s.Driver(vf); d != variant {
		t.Errorf("driver %q after binding it again", d)
	}
	must(t, s.BindDefault(t.Context(), vf))
	if d, _ := s.Driver(vf); d != c.VFDriver {
		t.Errorf("default driver %q", d)
	}
}

func TestFewerVFsThanAskedAreNotWaitedFor(t *testing.T) {
	c := pcitest.IGB()
	c.VFs = 0
	tree := build(t, c)
	react := tree.Sys.Wrote
	tree.Sys.Wrote = func(path, text string) error {
		if strings.HasSuffix(path, "sriov_numvfs") && text == "5" {
			text = "3" // as a driver's sriov_configure may
		}
		return react(path, text)
	}
	err := tree.Sys.SetNumVFs(t.Context(), c.Slot, 5)
	if err == nil || errors.Is(err, pci.ErrTimeout) || !strings.Contains(err.Error(), "made it 3") {
		t.Error(err)
	}
}
