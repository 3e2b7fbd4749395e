package hostcheck

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"neutrino/internal/hostprep"
	"neutrino/internal/machine/machinetest"
	"neutrino/internal/mstconfig"
)

var update = flag.Bool("update", false, "write the golden files of this package anew")

// fit makes a machine that was prepared: VFs are made at boot, nobody takes them.
func fit(t *testing.T, spec machinetest.Spec) *machinetest.Tree {
	t.Helper()
	tree := machinetest.New(t, spec)
	for _, c := range spec.Cards {
		if c.Driver == mlx4 {
			tree.Write("etc/modprobe.d/mlx4_core.conf", fmt.Sprintf("options mlx4_core num_vfs=0,0,%d port_type_array=2,2 probe_vf=0,0,%d log_num_mgm_entry_size=-1\n", c.VFs, c.VFs))
			continue
		}
		r := hostprep.Record{PF: c.Netdevs[0], Slot: c.Slot, MAC: c.MAC, Count: c.VFs, Autoprobe: true}
		tree.Write(strings.TrimPrefix(hostprep.DefaultDir, "/")+"/"+c.Slot+".conf", r.Text())
		tree.Service("neutrino-vfs.service", true, false)
	}
	tree.Write("etc/NetworkManager/conf.d/90-vfs.conf", "[keyfile]\nunmanaged-devices=driver:mlx5_core\n")
	if err := tree.Err(); err != nil {
		t.Fatal(err)
	}
	return tree
}

// look gathers the facts of a tree; Mellanox cards have good firmware settings.
func look(t testing.TB, tree *machinetest.Tree) Facts {
	t.Helper()
	if err := tree.Err(); err != nil {
		t.Fatal(err)
	}
	f, err := Look(t.Context(), Options{Root: tree.Root})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range f.Machine.NICs {
		if n.PF != nil && n.Vendor == mellanox {
			f.Firmware[n.Slot] = Firmware{Card: goodCard()}
		}
	}
	return f
}

func goodCard() mstconfig.Card {
	return mstconfig.Card{Type: "ConnectX", Settings: map[string]mstconfig.Setting{
		"SRIOV_EN": {Default: "False(0)", Current: "True(1)", Next: "True(1)"}, "NUM_OF_VFS": {Default: "0", Current: "16", Next: "16"},
		"LINK_TYPE_P1": {Default: "ETH(2)", Current: "ETH(2)", Next: "ETH(2)"}, "LINK_TYPE_P2": {Default: "ETH(2)", Current: "ETH(2)", Next: "ETH(2)"},
	}}
}

func text(r Report) string {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%-7s %-12s %-15s %s\n", f.Status, f.Subject, f.Check, f.Evidence)
		if f.Mend != "" {
			fmt.Fprintf(&b, "%37s%s\n", "mend: ", f.Mend)
		}
	}
	return b.String() + r.Summary() + "\n"
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew):\n%s", file, got)
	}
}

func TestPreparedMachinesAreFit(t *testing.T) {
	for name, spec := range machinetest.All() {
		t.Run(name, func(t *testing.T) {
			r := Judge(look(t, fit(t, spec())))
			if r.Worst != OK {
				t.Errorf("worst is %s", r.Worst)
			}
			golden(t, name, text(r))
		})
	}
}

// A machine as the distribution's installer leaves it.
func TestFreshMachinesAreNot(t *testing.T) {
	for name, all := range machinetest.All() {
		t.Run(name, func(t *testing.T) {
			spec := all()
			spec.Line = strings.NewReplacer(" intel_iommu=on", "", " iommu=pt", "").Replace(spec.Line)
			spec.Services, spec.Programs = nil, nil
			spec.Units = nil
			var modules []string
			for _, m := range spec.Modules {
				if !strings.HasPrefix(m, "vfio") {
					modules = append(modules, m)
				}
			}
			spec.Modules = modules
			for i := range spec.Cards {
				spec.Cards[i].VFs, spec.Cards[i].Triplet, spec.Cards[i].Group = 0, [3]int{}, "none"
			}
			tree := machinetest.New(t, spec)
			for _, c := range spec.Cards {
				tree.NoRoom(c.Slot)
				for _, n := range c.Netdevs {
					tree.Write("sys/class/net/"+n+"/flags", "0x1002\n")
					tree.Write("sys/class/net/"+n+"/carrier", "")
				}
			}
			r := Judge(look(t, tree))
			if r.Worst != Fail {
				t.Errorf("worst is %s", r.Worst)
			}
			golden(t, name+"-fresh", text(r))
		})
	}
}
