package hostprep

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"neutrino/internal/ledger"
	"neutrino/internal/machine/machinetest"
	"neutrino/internal/mstconfig"
)

var update = flag.Bool("update", false, "write the golden files anew")

// bare is a machine that nobody has prepared.
func bare(t testing.TB, s machinetest.Spec) (Host, *machinetest.Tree) {
	t.Helper()
	s.Line = strings.NewReplacer(" intel_iommu=on", "", " iommu=pt", "", " amd_iommu=on", "", " pci=realloc", "").Replace(s.Line)
	s.Modules = slices.DeleteFunc(slices.Clone(s.Modules), func(m string) bool { return strings.HasPrefix(m, "vfio") || m == "macvtap" })
	s.Cards = slices.Clone(s.Cards)
	for i := range s.Cards {
		s.Cards[i].VFs = 0
	}
	tree := machinetest.New(t, s)
	return Host{Sys: tree.Sys, Wait: 50 * time.Millisecond}, tree
}

func pfOf(s machinetest.Spec) string { return s.Cards[0].Netdevs[0] }

// inWords is a plan as the golden files have it.
func inWords(p *Preparation) string {
	var b strings.Builder
	for _, d := range p.Files {
		fmt.Fprintf(&b, "== /%s (%s, %s -> %s)\n", d.Path, d.Why, d.Now.Kind, d.Want.Kind)
		switch {
		case d.Want.Kind == ledger.Symlink:
			fmt.Fprintf(&b, "-> %s\n", d.Want.Target)
		case strings.HasSuffix(d.Path, ".service"):
			fmt.Fprintln(&b, "(the unit)")
		default:
			b.Write(d.Want.Data)
		}
	}
	list := func(name string, of []string) {
		for _, x := range of {
			fmt.Fprintf(&b, "%s: %s\n", name, x)
		}
	}
	list("run", p.Programs)
	list("load", p.Modules)
	for _, k := range p.Firmware {
		fmt.Fprintf(&b, "firmware: %s %s -> %s\n", k.Key, k.Was, k.To)
	}
	if p.VFs != nil {
		list("vfs", words(*p.VFs))
	}
	list("cuts", p.Cuts)
	list("reboot", p.Reboot)
	list("note", p.Notes)
	return b.String()
}

// TestGoldenPlans: what bare machines would become.
func TestGoldenPlans(t *testing.T) {
	for name, spec := range machinetest.All() {
		for _, mode := range []Mode{HostDev, MacVTap, Both} {
			t.Run(name+"-"+string(mode), func(t *testing.T) {
				h, _ := bare(t, spec())
				p, err := Prepare(t.Context(), h, Prep{PF: pfOf(spec()), VFs: 4, Mode: mode})
				must(t, err)
				file, got := filepath.Join("testdata", "prepare", name+"-"+string(mode)+".txt"), inWords(p)
				if *update {
					must(t, os.MkdirAll(filepath.Dir(file), 0o755))
					must(t, os.WriteFile(file, []byte(got), 0o644))
				}
				want, err := os.ReadFile(file)
				must(t, err)
				if got != string(want) {
					t.Errorf("the plan is\n%s\nwant\n%s", got, want)
				}
			})
		}
	}
}

// files is everything of a tree but proc and run, which are the kernel's; of sys only what VFs are.
func files(t testing.TB, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, p)
		switch {
		case err != nil:
			return err
		case name == "proc" || name == "run":
			return fs.SkipDir
		case strings.HasPrefix(name, "sys/") && d.Type().IsRegular() && filepath.Base(name) != "sriov_numvfs" && filepath.Base(name) != "sriov_drivers_autoprobe":
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		say := info.Mode().String()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			say += fmt.Sprintf(" %d:%d", st.Uid, st.Gid)
		}
		if d.Type()&fs.ModeSymlink != 0 {
			to, _ := os.Readlink(p)
			say += " -> " + to
		} else if d.Type().IsRegular() {
			data, rerr := os.ReadFile(p)
			if rerr != nil {
				return rerr
			}
			if !strings.HasPrefix(name, "sys/") {
				say += fmt.Sprint(" ", info.ModTime().UnixNano())
			}
			say += fmt.Sprintf(" %q", data)
		}
		out[name] = say
		return nil
	})
	must(t, err)
	return out
}

func compare(t testing.TB, before, after map[string]string) {
	t.Helper()
	for _, k := range slices.Sorted(maps.Keys(before)) {
		if before[k] != after[k] {
			t.Errorf("%s is %s, was %s", k, after[k], before[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(after)) {
		if _, there := before[k]; !there {
			t.Errorf("%s is there: %s", k, after[k])
		}
	}
}

// TestPrepareThenUndoIsNothing on every machine, whatever it is prepared for, once or more often.
func TestPrepareThenUndoIsNothing(t *testing.T) {
	for name, spec := range machinetest.All() {
		for _, modes := range [][]Mode{{HostDev}, {MacVTap}, {Both, MacVTap}, {MacVTap, HostDev, HostDev}} {
			t.Run(fmt.Sprint(name, modes), func(t *testing.T) {
				h, tree := bare(t, spec())
				before := files(t, tree.Path())
				var last *Preparation
				for i, mode := range modes {
					w := Prep{PF: pfOf(spec()), VFs: 2 + i, Mode: mode}
					p, err := Prepare(t.Context(), h, w)
					must(t, err)
					if p.Nothing() {
						t.Fatalf("%s: nothing to do", mode)
					}
					must(t, p.Run(t.Context(), nil))
					last, err = Prepare(t.Context(), h, w)
					must(t, err)
					if !last.Nothing() {
						t.Errorf("%s: prepared, and this is left:\n%s", mode, inWords(last))
					}
				}
				if s := files(t, tree.Path()); len(s) <= len(before) {
					t.Error("no file was written")
				}
				goBack(t, h, UndoWant{})
				compare(t, before, files(t, tree.Path()))
				if _, err := PlanUndo(t.Context(), h, UndoWant{}); !errors.Is(err, ledger.ErrNothing) {
					t.Errorf("undo again: %v", err)
				}
			})
		}
	}
}

// TestPrepareRefuses what would cut the host off, what contradicts it, and what cannot be.
func TestPrepareRefuses(t *testing.T) {
	for name, x := range map[string]struct {
		spec  func() machinetest.Spec
		spoil func(*machinetest.Tree, string)
		want  Prep
		is    error
		says  string
	}{
		"management": {machinetest.VMIGB, func(tr *machinetest.Tree, pf string) {
			tr.Write("proc/net/route", "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"+pf+"\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n")
		}, Prep{VFs: 2, Mode: HostDev}, ErrManagement, "--even-management"},
		"off": {machinetest.VMIGB, func(tr *machinetest.Tree, _ string) {
			tr.Replace("etc/default/grub", "GRUB_CMDLINE_LINUX=\"\"", "GRUB_CMDLINE_LINUX=\"intel_iommu=off\"")
		}, Prep{VFs: 2, Mode: HostDev}, ErrContradiction, "/etc/default/grub:"},
		"too many":   {machinetest.VMIGB, nil, Prep{VFs: 8, Mode: HostDev}, ErrTooMany, "0 to 7"},
		"none":       {machinetest.VMIGB, nil, Prep{VFs: 0, Mode: HostDev}, ErrTooMany, "1 or more"},
		"mlx4 port":  {machinetest.Intel2SMLX4, nil, Prep{VFs: 64, Mode: HostDev}, ErrTooMany, "0 to 16"},
		"mlx4 ports": {machinetest.Intel2SMLX4, nil, Prep{VFs: 4, Mode: HostDev, Ports: []int{1, 1, 1}}, ErrBadOption, "is 3 VFs, --vfs 4"},
		"mlx4 options": {machinetest.Intel2SMLX4, func(tr *machinetest.Tree, _ string) {
			tr.Write("etc/modprobe.d/mine.conf", "# mine\noptions mlx4_core num_vfs=3\n")
		}, Prep{VFs: 4, Mode: HostDev}, ErrContradiction, "/etc/modprobe.d/mine.conf: options mlx4_core num_vfs"},
	} {
		t.Run(name, func(t *testing.T) {
			h, tree := bare(t, x.spec())
			if x.spoil != nil {
				x.spoil(tree, pfOf(x.spec()))
			}
			before := files(t, tree.Path())
			x.want.PF = pfOf(x.spec())
			if _, err := Prepare(t.Context(), h, x.want); !errors.Is(err, x.is) || !strings.Contains(err.Error(), x.says) {
				t.Errorf("%v, want %v: %s", err, x.is, x.says)
			}
			compare(t, before, files(t, tree.Path()))
		})
	}
}

// TestFirmwareKeys: what hinders is said, or set where it was asked for.
func TestFirmwareKeys(t *testing.T) {
	h, _ := bare(t, machinetest.Intel2SMLX5())
	h.Firmware = &card{values: map[string]mstconfig.Setting{
		"SRIOV_EN": {Next: "False(0)"}, "NUM_OF_VFS": {Next: "8"}, "LINK_TYPE_P1": {Next: "ETH(2)"}, "LINK_TYPE_P2": {Next: "IB(1)"},
	}}
	w := Prep{PF: pfOf(machinetest.Intel2SMLX5()), VFs: 8, Mode: MacVTap}
	p, err := Prepare(t.Context(), h, w)
	must(t, err)
	if s := inWords(p); len(p.Firmware) != 0 || !strings.Contains(s, "SRIOV_EN=False(0)") || !strings.Contains(s, "LINK_TYPE_P2=IB(1)") || strings.Contains(s, "NUM_OF_VFS") {
		t.Error(s)
	}
	w.Firmware = true
	p, err = Prepare(t.Context(), h, w)
	must(t, err)
	if len(p.Firmware) != 2 || !slices.ContainsFunc(p.Reboot, func(s string) bool { return strings.Contains(s, "firmware") }) {
		t.Error(inWords(p))
	}
}

func FuzzContradicts(f *testing.F) {
	f.Add("GRUB_CMDLINE_LINUX=\"quiet intel_iommu=off\"\n")
	f.Add("options root=/dev/sda1 iommu=off\n")
	f.Add("# iommu=off\n")
	f.Fuzz(func(t *testing.T, text string) {
		if err := contradicts("f", text); err != nil && !errors.Is(err, ErrContradiction) {
			t.Error(err)
		}
	})
}
