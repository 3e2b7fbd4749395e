package tune

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"neutrino/internal/ethtool"
	"neutrino/internal/machine/machinetest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// settings of the drivers' defaults, by driver.
func settings(driver string) ethtool.Settings {
	switch driver {
	case "mlx5_core":
		return ethtool.Settings{
			"channels combined": {Value: 20, Max: 40}, "rings rx": {Value: 1024, Max: 8192}, "rings tx": {Value: 1024, Max: 8192},
			"coalesce adaptive-rx": {Value: 1}, "coalesce adaptive-tx": {Value: 1}, "coalesce rx-usecs": {Value: 8}, "coalesce tx-usecs": {Value: 8},
			"coalesce tx-frames": {Value: 128}, "pause autoneg": {Value: 0, Fixed: true}, "pause rx": {Value: 1}, "pause tx": {Value: 1},
			"feature rx-gro": {Value: 1}, "feature rx-lro": {Value: 0}, "feature tx-nocache-copy": {Value: 0},
		}
	case "mlx4_core":
		return ethtool.Settings{
			"channels rx": {Value: 8, Max: 128}, "channels tx": {Value: 8, Max: 32}, "rings rx": {Value: 1024, Max: 8192}, "rings tx": {Value: 512, Max: 8192},
			"coalesce adaptive-rx": {Value: 1}, "coalesce rx-usecs": {Value: 16}, "coalesce tx-usecs": {Value: 16}, "coalesce tx-frames": {Value: 16},
			"pause autoneg": {Value: 0, Fixed: true}, "pause rx": {Value: 1}, "pause tx": {Value: 1},
			"feature rx-gro": {Value: 1}, "feature rx-lro": {Value: 0, Fixed: true}, "feature tx-nocache-copy": {Value: 0},
		}
	case "igb":
		return ethtool.Settings{
			"channels combined": {Value: 2, Max: 2}, "rings rx": {Value: 256, Max: 4096}, "rings tx": {Value: 256, Max: 4096},
			"coalesce rx-usecs": {Value: 3}, "coalesce tx-usecs": {Value: 0}, "pause autoneg": {Value: 1}, "pause rx": {Value: 1}, "pause tx": {Value: 0},
			"feature rx-gro": {Value: 1}, "feature rx-lro": {Value: 0, Fixed: true}, "feature tx-nocache-copy": {Value: 0},
		}
	case "virtio_net":
		return ethtool.Settings{
			"channels combined": {Value: 1, Max: 2}, "rings rx": {Value: 256, Max: 1024}, "rings tx": {Value: 256, Max: 1024},
			"coalesce rx-usecs": {Value: 0}, "coalesce adaptive-rx": {Value: 0},
			"feature rx-gro": {Value: 1}, "feature rx-lro": {Value: 0}, "feature tx-nocache-copy": {Value: 0},
		}
	}
	return ethtool.Settings{"feature rx-gro": {Value: 1}, "feature tx-nocache-copy": {Value: 1}}
}

// whole is a fixture machine with the drivers' defaults.
func whole(t testing.TB, tree *machinetest.Tree) *Host {
	t.Helper()
	files(t, tree.Root, map[string]string{"proc/sys/kernel/random/boot_id": "boot-1"})
	h := &Host{Root: tree.Root, Sys: tree.Sys}
	nics := fakeNIC{}
	for _, name := range h.tree().Names(netDir) {
		_, driver := h.function(name)
		nics[name] = settings(driver)
	}
	h.Ethtool = nics
	return h
}

// virtioGuest is a guest of two CPUs whose only NIC is virtio's: its device is one level
// below the PCI function, which has the interrupts.
func virtioGuest(t testing.TB) *Host {
	t.Helper()
	s := machinetest.VMIGB()
	s.Name, s.Cards, s.Port.Name = "virtio-guest", nil, "eth0"
	tree := machinetest.New(t, s)
	at := "sys/bus/pci/devices/" + s.Port.Slot
	tree.Remove(at + "/msi_irqs")
	text := "           CPU0       CPU1\n"
	for i, name := range []string{"config", "input.0", "output.0"} {
		irq := 60 + i
		text += fmt.Sprintf(" %d:          0          1 PCI-MSIX-%s   %d-edge      virtio0-%s\n", irq, s.Port.Slot, i, name)
		files(t, tree.Root, map[string]string{irqFile(irq): "0-1", fmt.Sprintf("%s/msi_irqs/%d", at, irq): "msix"})
	}
	tree.Write("proc/interrupts", text)
	must(t, tree.Err())
	return whole(t, tree)
}

// machines are those of the golden plans.
func machines(t testing.TB) map[string]*Host {
	t.Helper()
	out := map[string]*Host{"virtio-guest": virtioGuest(t)}
	for name, spec := range machinetest.All() {
		out[name] = whole(t, machinetest.New(t, spec()))
	}
	return out
}

// What each profile does to each machine, to be read by people.
func TestGoldenPlans(t *testing.T) {
	for name, h := range machines(t) {
		for _, p := range Profiles {
			d, err := h.Draft(Want{Profile: p.Name, Persist: true})
			must(t, err)
			have := texts(d.Findings)
			file := filepath.Join("testdata", "plans", name+"-"+string(p.Name)+".txt")
			if *update {
				must(t, os.MkdirAll(filepath.Dir(file), 0o755))
				must(t, os.WriteFile(file, []byte(have), 0o644))
			}
			want, err := os.ReadFile(file)
			must(t, err)
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(have, "\n")); diff != "" {
				t.Errorf("%s, %s (go test -update writes it anew): %s", name, p.Name, diff)
			}
		}
	}
}

// On whole machines too, undo leads back to the start, and applying twice does nothing
// more.
func TestUndoIsExactOnWholeMachines(t *testing.T) {
	for name, h := range machines(t) {
		for _, p := range Profiles {
			before := state(t, h)
			apply(t, h, Want{Profile: p.Name, Persist: true, EvenManagement: true})
			if again := apply(t, h, Want{Profile: p.Name, Persist: true, EvenManagement: true}); len(again) > 0 {
				t.Errorf("%s, %s, applied twice: %v", name, p.Name, again)
			}
			if all, err := h.Undo(t.Context(), false); err != nil {
				for _, u := range all {
					if u.Fate != Restored {
						t.Logf("%+v", u)
					}
				}
				t.Fatal(name, err)
			}
			if d := cmp.Diff(settled(before), settled(state(t, h))); d != "" {
				t.Errorf("%s, %s: %s", name, p.Name, d)
			}
		}
	}
}
