package hostprep

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"neutrino/internal/ledger/ledgertest"
	"neutrino/internal/machine"
	"neutrino/internal/machine/machinetest"
	"neutrino/internal/mstconfig"
	"neutrino/internal/pci"
)

// distribution runs the programs of a fixture's distribution: like theirs, none makes the same twice.
type distribution struct {
	root string
	runs int
	fail error
	amid func()
}

func (d *distribution) run(_ context.Context, argv []string) error {
	d.runs++
	if d.fail != nil {
		return d.fail
	}
	patterns := map[string][]string{
		"update-grub": {"boot/grub/grub.cfg"}, "grub2-mkconfig": {"boot/grub2/grub.cfg"},
		"update-initramfs": {"boot/initrd.img-*", "var/lib/initramfs-tools/*"}, "dracut": {"boot/initramfs-*"},
	}[argv[0]]
	if patterns == nil {
		return fmt.Errorf("there is no %v", argv)
	}
	for _, p := range patterns {
		names, err := filepath.Glob(filepath.Join(d.root, p))
		if err != nil {
			return err
		}
		for _, name := range names {
			if err = os.WriteFile(name, fmt.Appendf(nil, "made by %s, run %d\n", argv[0], d.runs), 0o600); err != nil {
				return err
			}
			if d.amid != nil {
				d.amid()
			}
		}
	}
	return nil
}

// card is a NIC's firmware.
type card struct {
	values map[string]mstconfig.Setting
	fail   error
}

func (c *card) Query(context.Context, string) (mstconfig.Card, error) {
	return mstconfig.Card{Type: "ConnectX5", Settings: maps.Clone(c.values)}, c.fail
}

func (c *card) Set(_ context.Context, _ string, values map[string]string) error {
	for k, v := range values {
		s := c.values[k]
		s.Next = mstconfig.Value(v)
		c.values[k] = s
	}
	return nil
}

func firmware(sriov, vfs string) *card {
	return &card{values: map[string]mstconfig.Setting{
		"SRIOV_EN":   {Default: "False(0)", Current: mstconfig.Value(sriov), Next: mstconfig.Value(sriov)},
		"NUM_OF_VFS": {Default: "0", Current: mstconfig.Value(vfs), Next: mstconfig.Value(vfs)},
	}}
}

// unprepared takes away what would be there after a preparation.
func unprepared(s machinetest.Spec) machinetest.Spec {
	s.Line = strings.NewReplacer(" intel_iommu=on", "", " iommu=pt", "").Replace(s.Line)
	s.Units = nil
	for i := range s.Cards {
		s.Cards[i].Group, s.Cards[i].VFs = "none", 0
	}
	return s
}

// site is a fixture with its distribution.
func site(t testing.TB, s machinetest.Spec) (Host, *machinetest.Tree, *distribution) {
	t.Helper()
	tree := machinetest.New(t, s)
	d := &distribution{root: tree.Root}
	if o := machine.ParseOSRelease(s.OSRelease); o.Family == machine.Debian {
		tree.Write("usr/sbin/update-initramfs", "#!/bin/sh\n")
		tree.Write("boot/initrd.img-"+s.Kernel, "image")
		tree.Write("var/lib/initramfs-tools/"+s.Kernel, "sum")
	}
	must(t, tree.Err())
	return Host{Sys: tree.Sys, Wait: time.Second, Run: d.run}, tree, d
}

// systemdBoot is a machine with that.
func systemdBoot(tree *machinetest.Tree, line string) {
	tree.Write("boot/efi/loader/entries/debian.conf", "title Debian\nlinux /debian/linux\noptions "+line+"\n")
}

// plans are what the golden files are about.
var plans = []struct {
	name string
	spec func() machinetest.Spec
	want Prep
	with func(*machinetest.Tree, *Host)
	err  error
}{
	{name: "intel-2s-mlx5", spec: machinetest.Intel2SMLX5, want: Prep{PF: "ens3f0np0", VFs: 16, Mode: HostDev}},
	{name: "intel-2s-mlx5-bare", spec: func() machinetest.Spec { return unprepared(machinetest.Intel2SMLX5()) }, want: Prep{PF: "ens3f0np0", VFs: 16, Mode: HostDev}},
	{
		name: "intel-2s-mlx5-rhel8", spec: func() machinetest.Spec { return unprepared(machinetest.Intel2SMLX5()) }, want: Prep{PF: "ens3f0np0", VFs: 16, Mode: HostDev},
		with: func(tree *machinetest.Tree, _ *Host) {
			tree.Write("boot/loader/entries/0123456789abcdef0123456789abcdef-"+tree.Spec.Kernel+".conf",
				"title Red Hat Enterprise Linux 8\nlinux /vmlinuz\ninitrd /initramfs.img $tuned_initrd\noptions $kernelopts $tuned_params\n")
		},
	},
	{
		name: "intel-2s-mlx5-firmware", spec: machinetest.Intel2SMLX5, want: Prep{PF: "0000:af:00.0", VFs: 64, Mode: Both, Firmware: true},
		with: func(_ *machinetest.Tree, s *Host) { s.Firmware = firmware("True(1)", "16") },
	},
	{
		name: "intel-2s-mlx5-in-use", spec: machinetest.Intel2SMLX5, want: Prep{PF: "ens3f0np0", VFs: 16, Mode: HostDev}, err: ErrInUse,
		with: func(tree *machinetest.Tree, s *Host) {
			tree.Write("sys/class/net/ens3f0np0v0/upper_macvtap0/x", "")
		},
	},
	{name: "intel-2s-mlx5-management", spec: machinetest.Intel2SMLX5, want: Prep{PF: "ens3f0np0", VFs: 16, Mode: MacVTap}, err: ErrManagement, with: managed},
	{name: "intel-2s-mlx5-even-management", spec: machinetest.Intel2SMLX5, want: Prep{PF: "ens3f0np0", VFs: 16, Mode: MacVTap, ManagementToo: true}, with: managed},
	{name: "amd-epyc-mlx5", spec: machinetest.EPYCMLX5, want: Prep{PF: "enp65s0f0np0", VFs: 8, Mode: Both}},
	{name: "amd-epyc-mlx5-bare", spec: func() machinetest.Spec { return unprepared(machinetest.EPYCMLX5()) }, want: Prep{PF: "enp65s0f0np0", VFs: 8, Mode: HostDev}},
	{
		name: "amd-epyc-mlx5-off", spec: func() machinetest.Spec {
			s := unprepared(machinetest.EPYCMLX5())
			s.Line += " amd_iommu=off"
			return s
		}, want: Prep{PF: "enp65s0f0np0", VFs: 8, Mode: HostDev}, err: ErrContradiction,
	},
	{name: "intel-2s-mlx4", spec: machinetest.Intel2SMLX4, want: Prep{PF: "enp4s0", VFs: 8, Mode: Both}},
	{
		name: "intel-2s-mlx4-triplet", spec: machinetest.Intel2SMLX4, want: Prep{
			PF: "enp4s0", VFs: 10, Ports: []int{4, 4, 2}, Mode: Both, Probe: []int{6}, Options: map[string]string{"enable_64b_cqe_eqe": "0"},
		},
		with: func(tree *machinetest.Tree, _ *Host) {
			tree.Write("etc/modprobe.d/mellanox.conf", "# theirs\noptions mlx4_core debug_level=1\n")
		},
	},
	{name: "intel-2s-mlx4-hostdev", spec: func() machinetest.Spec { return unprepared(machinetest.Intel2SMLX4()) }, want: Prep{PF: "enp4s0d1", VFs: 8, Mode: HostDev}},
	{name: "vm-igb", spec: machinetest.VMIGB, want: Prep{PF: "enp1s0", VFs: 7, Mode: HostDev}},
	{
		name: "vm-igb-bare", spec: func() machinetest.Spec { return unprepared(machinetest.VMIGB()) }, want: Prep{PF: "enp1s0", VFs: 7, Mode: HostDev},
		with: func(tree *machinetest.Tree, _ *Host) {
			tree.NoRoom("0000:01:00.0")
			tree.Service("systemd-networkd.service", true, true)
			tree.Write("etc/default/grub.d/50-cloudimg-settings.cfg", "GRUB_CMDLINE_LINUX_DEFAULT=\"console=ttyS0\"\n")
		},
	},
	{
		name: "vm-igb-systemd-boot", spec: func() machinetest.Spec {
			s := unprepared(machinetest.VMIGB())
			s.Loader = "systemd-boot"
			return s
		}, want: Prep{PF: "enp1s0", VFs: 7, Mode: HostDev},
		with: func(tree *machinetest.Tree, _ *Host) { systemdBoot(tree, "root=/dev/vda1 ro") },
	},
	{
		name: "vm-igb-no-loader", spec: func() machinetest.Spec {
			s := unprepared(machinetest.VMIGB())
			s.Loader = ""
			return s
		}, want: Prep{PF: "enp1s0", VFs: 7, Mode: HostDev}, err: ErrLoader,
	},
	{
		name: "vm-igb-no-iommu", spec: func() machinetest.Spec {
			s := unprepared(machinetest.VMIGB())
			s.Table = ""
			return s
		}, want: Prep{PF: "enp1s0", VFs: 7, Mode: HostDev}, err: ErrNoIOMMU,
	},
	{
		name: "vm-igb-no-update-grub", spec: func() machinetest.Spec { return unprepared(machinetest.VMIGB()) }, want: Prep{PF: "enp1s0", VFs: 7, Mode: HostDev}, err: ErrNoProgram,
		with: func(tree *machinetest.Tree, _ *Host) { tree.Remove("usr/sbin/update-grub") },
	},
	{name: "vm-igb-too-many", spec: machinetest.VMIGB, want: Prep{PF: "enp1s0", VFs: 8, Mode: HostDev}, err: ErrTooMany},
	{name: "vm-igb-triplet", spec: machinetest.VMIGB, want: Prep{PF: "enp1s0", VFs: 3, Ports: []int{1, 1, 1}, Mode: HostDev}, err: ErrBadOption},
	{name: "vm-igb-a-vf", spec: machinetest.VMIGB, want: Prep{PF: "enp1s0v0", VFs: 1, Mode: HostDev}, err: pci.ErrNotPF},
	{name: "vm-igb-none", spec: machinetest.VMIGB, want: Prep{PF: "eth9", VFs: 1, Mode: HostDev}, err: pci.ErrNoDevice},
}

// managed has the host reached over its NIC with SR-IOV, by a bridge.
func managed(tree *machinetest.Tree, _ *Host) {
	tree.Write("sys/class/net/br0/address", "02:00:00:00:00:01\n")
	tree.Write("sys/class/net/br0/lower_ens3f0np0/x", "")
	tree.Write("sys/class/net/ens3f0np0/upper_br0/x", "")
	tree.Write("proc/net/route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\nbr0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n")
}

// TestPlans: what is planned on whole machines, word for word; it changes nothing, and once it has been
// done there is nothing to do.
func TestPlans(t *testing.T) {
	for _, c := range plans {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, tree, _ := site(t, c.spec())
			if c.with != nil {
				c.with(tree, &s)
			}
			must(t, tree.Err())
			before := picture(t, tree.Root)
			p, err := Prepare(t.Context(), s, c.want)
			if diff := ledgertest.Diff(before, picture(t, tree.Root)); diff != "" {
				t.Errorf("a plan has changed:\n%s", diff)
			}
			if c.err != nil || err != nil {
				if !errors.Is(err, c.err) {
					t.Errorf("error %v, want %v", err, c.err)
				}
				return
			}
			golden(t, filepath.Join("testdata", "plans", c.name+".txt"), inWords(p))
			must(t, p.Run(t.Context(), nil))
			again, err := Prepare(t.Context(), s, c.want)
			must(t, err)
			if !again.Nothing() || len(p.Reboot) > 0 && len(again.Reboot) == 0 {
				t.Errorf("once it has been done, there is to do:\n%s", inWords(again))
			}
			goBack(t, s, UndoWant{ManagementToo: true})
			if diff := ledgertest.Diff(before, picture(t, tree.Root)); diff != "" {
				t.Errorf("after undo:\n%s", diff)
			}
		})
	}
}

func goBack(t testing.TB, s Host, w UndoWant) {
	t.Helper()
	u, err := PlanUndo(t.Context(), s, w)
	must(t, err)
	_, err = u.Run(t.Context(), nil)
	must(t, err)
}

func golden(t *testing.T, file, text string) {
	t.Helper()
	if *update {
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(t, os.WriteFile(file, []byte(text), 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if text != string(want) {
		t.Errorf("%s (write it anew with -update):\n got\n%s\nwant\n%s", file, text, want)
	}
}

// picture is a machine in words. Of sysfs it has what is in it, for VFs go and come; the numbers of IOMMU
// groups are whatever is free, run is gone after a boot.
func picture(t interface{ Fatal(...any) }, root string) map[string]string {
	out := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, rerr := filepath.Rel(root, p)
		if rerr != nil {
			return rerr
		}
		if name == "run" || name == "sys/kernel/iommu_groups" {
			return fs.SkipDir
		}
		if rest, ok := strings.CutPrefix(name, "sys/bus/pci/devices/"); ok && strings.Contains(rest, "/") {
			slot, file, _ := strings.Cut(rest, "/")
			if exists(filepath.Join(root, "sys/bus/pci/devices", slot, "physfn")) && file != "driver" && file != "driver_override" {
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil // VFs that come anew have less in these trees
			}
		}
		if strings.HasPrefix(name, "sys/bus/pci/drivers") && (strings.HasSuffix(name, "_probe") || strings.HasSuffix(name, "/unbind")) {
			return nil // only written to
		}
		say := d.Type().String()
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			to, lerr := os.Readlink(p)
			if filepath.Base(p) == "iommu_group" {
				to = "some group"
			}
			say, err = say+" -> "+to, lerr
		case d.Type().IsRegular():
			data, ferr := os.ReadFile(p)
			say, err = fmt.Sprintf("%v %q", info.Mode(), data), ferr
			if !strings.HasPrefix(name, "sys/") {
				say += info.ModTime().String()
			}
		}
		out[name] = say
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
