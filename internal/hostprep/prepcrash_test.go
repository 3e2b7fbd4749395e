package hostprep

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"neutrino/internal/ledger"
	"neutrino/internal/ledger/ledgertest"
	"neutrino/internal/pci"
	"neutrino/internal/pci/pcitest"
)

// small is a host with little on it: the file that some system has, or none.
func small(t *rapid.T, root string) (*pcitest.Tree, *distribution, string) {
	card := rapid.SampledFrom([]func() pcitest.Card{pcitest.IGB, pcitest.IXGBE, pcitest.I40E, func() pcitest.Card { return pcitest.MLX4(0, 0, 2) }}).Draw(t, "card")()
	if card.Driver != "mlx4_core" {
		card.VFs = rapid.IntRange(0, 3).Draw(t, "VFs")
	}
	card.Total = 7
	tree, err := pcitest.Build(root, card)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		at := filepath.Join(root, name)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o644))
	}
	maybe := func(name, text string) {
		if rapid.Bool().Draw(t, name) {
			write(name, text)
		}
	}
	for _, name := range card.Netdevs {
		write(filepath.Join("sys/class/net", name, "type"), "1\n")
	}
	write("proc/cpuinfo", "vendor_id\t: GenuineIntel\n")
	write("usr/sbin/update-initramfs", "")
	write("usr/sbin/update-grub", "")
	write("usr/sbin/grub2-mkconfig", "")
	maybe("boot/initrd.img-6.1", "image")
	maybe("var/lib/initramfs-tools/6.1", "sum")
	maybe("usr/lib/systemd/system/neutrino-vfs.service", "[Service]\n")
	maybe("etc/modules-load.d/neutrino.conf", "vfio\n")
	maybe("etc/modprobe.d/neutrino-mlx4.conf", "options mlx4_core num_vfs=1 probe_vf=1\n")
	maybe("etc/modprobe.d/other.conf", "options mlx4_core debug_level=1\n")
	maybe("etc/neutrino/vfs.d/"+card.Slot+".conf", "[vfs]\npci_slot = "+card.Slot+"\ncount = 1\n")
	switch rapid.SampledFrom([]string{"debian", "suse", "rhel", "systemd-boot"}).Draw(t, "loader") {
	case "debian":
		write("etc/os-release", "ID=debian\n")
		write("etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n")
		maybe("boot/grub/grub.cfg", "old")
	case "suse":
		write("etc/os-release", "ID=opensuse-leap\nID_LIKE=suse\n")
		write("etc/default/grub", "GRUB_CMDLINE_LINUX=\"\"\n")
		maybe("boot/grub2/grub.cfg", "old")
	case "rhel":
		write("etc/os-release", "ID=rhel\n")
		write("etc/default/grub", "GRUB_CMDLINE_LINUX=\"rhgb\"\nGRUB_ENABLE_BLSCFG=true\n")
		write("boot/loader/entries/1.conf", "options root=/dev/sda1\n")
		maybe("boot/loader/entries/2.conf", "options $kernelopts\n")
	case "systemd-boot":
		write("etc/os-release", "ID=arch\n")
		write("boot/loader/loader.conf", "")
		write("boot/loader/entries/1.conf", "options root=/dev/sda1\n")
		maybe("etc/kernel/cmdline", "root=/dev/sda1")
	}
	if err != nil {
		t.Fatal(err)
	}
	pf, perr := tree.Sys.PF(card.Slot)
	if perr != nil {
		t.Fatal(perr)
	}
	for _, v := range pf.VFs {
		if rapid.Bool().Draw(t, "vfio") && card.Driver != "mlx4_core" {
			if err = tree.Sys.Bind(context.Background(), v.Slot, pci.VFIODriver); err != nil {
				t.Fatal(err)
			}
		}
	}
	return tree, &distribution{root: root}, card.Slot
}

// TestPrepareCrashes: whatever the host, what is asked for, and the moment: undo leads back to what was.
func TestPrepareCrashes(t *testing.T) {
	base := pcitest.Dir(t)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		root := filepath.Join(base, fmt.Sprint(n))
		defer func() { _ = os.RemoveAll(root) }()
		if err := os.MkdirAll(root, 0o755); err != nil {
			t.Fatal(err)
		}
		tree, d, slot := small(t, root)
		before := picture(t, root)
		s := Host{Sys: tree.Sys, Wait: time.Second, Run: d.run, Firmware: firmware("True(1)", "7")}
		for range rapid.IntRange(1, 2).Draw(t, "times") {
			w := Prep{PF: slot, VFs: rapid.IntRange(1, 7).Draw(t, "n"), Mode: rapid.SampledFrom([]Mode{HostDev, MacVTap, Both}).Draw(t, "mode")}
			ledgertest.Dies(rapid.IntRange(0, 60).Draw(t, "prepare dies"), func(hook func(string)) {
				s.Hook, d.amid = hook, func() { hook("amid a program") }
				p, err := Prepare(context.Background(), s, w)
				if err == nil {
					err = p.Run(context.Background(), nil)
				}
				if err != nil {
					t.Fatal(err)
				}
			})
		}
		d.amid = nil
		for i := range 3 {
			ledgertest.Dies(rapid.IntRange(0, 30).Draw(t, "undo dies")+i*1000, func(hook func(string)) {
				s.Hook = hook
				if i == 2 {
					s.Hook = nil
				}
				u, err := PlanUndo(context.Background(), s, UndoWant{})
				switch {
				case errors.Is(err, ledger.ErrNothing):
					err = s.Tidy(context.Background())
				case err == nil:
					_, err = u.Run(context.Background(), nil)
				}
				if err != nil {
					t.Fatal(err)
				}
			})
		}
		if diff := ledgertest.Diff(before, picture(t, root)); diff != "" {
			t.Fatalf("not as it was:\n%s", diff)
		}
	})
}
