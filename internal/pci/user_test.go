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

// words are the users of every VF of a card.
func words(t testing.TB, tree *pcitest.Tree, c pcitest.Card) []string {
	t.Helper()
	var slots []string
	for _, v := range pf(t, tree.Sys, c.Slot).VFs {
		slots = append(slots, v.Slot)
	}
	users, err := tree.Sys.Users(slots...)
	must(t, err)
	var out []string
	for _, u := range users {
		out = append(out, u.Slot+" "+u.String())
	}
	return out
}

func TestEveryKindOfUserIsFound(t *testing.T) {
	c := pcitest.IGB()
	tree := build(t, c)
	if w := words(t, tree, c); len(w) != 0 {
		t.Fatalf("users of what nobody uses: %v", w)
	}
	for _, i := range []int{0, 1, 5} {
		must(t, tree.Sys.Bind(t.Context(), c.VFSlot(i), pci.VFIODriver)) // 5 is held by nobody
	}
	must(t, tree.Hold(4711, "vm1", c.VFSlot(0)))
	must(t, tree.Hold(4712, "", c.VFSlot(1)))
	must(t, tree.Upper("ens3f0v2", "macvtap0"))
	must(t, tree.Upper("ens3f0v2", "vlan7"))
	must(t, tree.Away(c.VFSlot(3)))
	must(t, tree.Sys.Bind(t.Context(), c.VFSlot(4), ""))
	want := []string{
		"0000:03:10.0 guest vm1 (qemu-system-x86, pid 4711)",
		"0000:03:10.2 dpdk-testpmd (pid 4712)",
		"0000:03:10.4 device macvtap0",
		"0000:03:10.4 device vlan7",
		"0000:03:10.6 another network namespace",
	}
	if have := words(t, tree, c); !slices.Equal(have, want) {
		t.Errorf("users\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	must(t, tree.Release(4711))
	if have := words(t, tree, c); !slices.Equal(have, want[1:]) {
		t.Errorf("users after the guest has ended\n%s", strings.Join(have, "\n"))
	}
}

func TestWhoHoldsAGroupHoldsAllOfIt(t *testing.T) {
	c := pcitest.IXGBE()
	c.Group = "shared"
	tree := build(t, c)
	for i := range 2 {
		must(t, tree.Sys.Bind(t.Context(), c.VFSlot(i), pci.VFIODriver))
	}
	must(t, tree.Hold(9, "vm1", c.VFSlot(0)))
	if have := words(t, tree, c); len(have) != 2 {
		t.Errorf("users %v, want vm1 of two VFs", have)
	}
}

func TestCharacterDevicesOfIommufdAreFound(t *testing.T) {
	c := pcitest.IGB()
	tree := build(t, c)
	must(t, tree.Sys.Bind(t.Context(), c.VFSlot(0), pci.VFIODriver))
	must(t, os.MkdirAll(tree.Device(c.VFSlot(0), "vfio-dev/vfio3"), 0o755))
	dir := filepath.Join(tree.Root, "proc/88")
	must(t, os.MkdirAll(filepath.Join(dir, "fd"), 0o755))
	must(t, os.Symlink("/dev/vfio/devices/vfio3", filepath.Join(dir, "fd/4")))
	if have := words(t, tree, c); !slices.Equal(have, []string{"0000:03:10.0 a process (pid 88)"}) {
		t.Errorf("users %v", have)
	}
}

func TestUsersOfWhatIsNotThere(t *testing.T) {
	tree := build(t, pcitest.IGB())
	if _, err := tree.Sys.Users("0000:99:00.0"); !errors.Is(err, pci.ErrNoDevice) {
		t.Error(err)
	}
	if _, err := tree.Sys.Users("nonsense"); !errors.Is(err, pci.ErrBadSlot) {
		t.Error(err)
	}
}

// FuzzSmallFiles: whatever stands in a function's files and in a process's command
// line, reading ends without a panic and in bounds.
func FuzzSmallFiles(f *testing.F) {
	f.Add("7\n", "0x8086\n", "-1\n", "flr bus\n", "qemu\x00-name\x00guest=vm,x=y\x00", "virtfn0")
	f.Add("99999999999999999999", "", "0x", "\x00", "-name", "virtfn-1")
	f.Add("-5", "0b1", "1 2", "pm", "-name\x00,\x00", "virtfn99999999999999999999")
	c := pcitest.IGB()
	c.VFs = 1
	f.Fuzz(func(t *testing.T, count, id, node, method, cmdline, link string) {
		tree := build(t, c)
		vf := c.VFSlot(0)
		must(t, tree.Sys.Bind(t.Context(), vf, pci.VFIODriver))
		must(t, tree.Hold(5, "x", vf))
		must(t, os.WriteFile(filepath.Join(tree.Root, "proc/5/cmdline"), []byte(cmdline), 0o600))
		for name, text := range map[string]string{"sriov_numvfs": count, "sriov_totalvfs": count, "sriov_drivers_autoprobe": node, "vendor": id, "numa_node": node} {
			must(t, os.WriteFile(tree.Device(c.Slot, name), []byte(text), 0o600))
		}
		must(t, os.WriteFile(tree.Device(vf, "reset_method"), []byte(method), 0o600))
		if !strings.ContainsAny(link, "/\x00") && strings.HasPrefix(link, "virtfn") && len(link) < 64 && link != "virtfn0" {
			must(t, os.Symlink("elsewhere", tree.Device(c.Slot, link)))
		}
		p, err := tree.Sys.PF(c.Slot)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.VFs) != 1 || p.NUMANode < -1 {
			t.Errorf("%+v", p)
		}
		users, err := tree.Sys.Users(vf)
		if err != nil || len(users) != 1 || users[0].PID != 5 {
			t.Errorf("users %+v, %v", users, err)
		}
		if guest := users[0].Guest; guest != "" && !strings.Contains(cmdline, guest) {
			t.Errorf("guest %q out of %q", guest, cmdline)
		}
	})
}
