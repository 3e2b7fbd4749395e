package hostprep

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"neutrino/internal/pci"
	"neutrino/internal/pci/pcitest"
)

func FuzzParseRecord(f *testing.F) {
	f.Add(Record{PF: "ens1f0", Slot: "0000:03:00.0", MAC: "52:54:00:05:ea:00", Count: 8, Driver: "vfio-pci", Autoprobe: true}.Text())
	f.Add("[vfs]\npci_slot=0000:03:00.0\ncount = 0\n; remark\n\nautoprobe = no")
	f.Add("count = 1\ncount = 2")
	f.Add("pf = \x7f")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRecord(text)
		if err != nil {
			if !errors.Is(err, ErrBadRecord) {
				t.Errorf("%v", err)
			}
			return
		}
		if err = pci.CheckSlot(r.Slot); err != nil || r.Count < 0 || r.Count > maxVFs {
			t.Errorf("%+v", r)
		}
		if again, aerr := ParseRecord(r.Text()); aerr != nil || again != r {
			t.Errorf("%+v is written and read as %+v, %v", r, again, aerr)
		}
	})
}

func TestFilesThatAreNoRecords(t *testing.T) {
	const good = "pci_slot = 0000:03:00.0\ncount = 4\n"
	if r, err := ParseRecord(good); err != nil || !r.Autoprobe || r.Driver != "" || r.ManagementToo {
		t.Errorf("the least record: %+v, %v", r, err)
	}
	for text, want := range map[string]string{
		"":                           "must be there",
		"count = 4":                  "must be there",
		good + "nonsense":            "line 3",
		good + "colour = red":        "no such option",
		good + "count = 5":           "once",
		good + "driver = igb":        "allowed are",
		good + "pf_mac = zz":         "pf_mac",
		"pci_slot = 3:0.0\ncount=1":  "not a PCI address",
		"pci_slot = x\n":             "not a PCI address",
		"count = -1":                 "not in 0",
		"count = 1e9":                "invalid syntax",
		good + "autoprobe = perhaps": "invalid syntax",
	} {
		if _, err := ParseRecord(text); !errors.Is(err, ErrBadRecord) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// boot is the next boot: no VFs, whatever was bound is gone.
func boot(t testing.TB, tree *pcitest.Tree, change func([]pcitest.Card)) Host {
	t.Helper()
	cards := slices.Clone(tree.Cards)
	for i := range cards {
		cards[i].VFs = 0
	}
	if change != nil {
		change(cards)
	}
	next := pcitest.New(t, cards...)
	h := Host{Sys: next.Sys, Dir: filepath.Join(tree.Root, DefaultDir), Wait: defaultWait}
	return h
}

func TestRecordsAreMadeSoAtBootAndOnceMoreChangesNothing(t *testing.T) {
	h, tree := build(t, pcitest.IGB(), pcitest.IXGBE(), pcitest.I40E())
	set(t, h, Want{PF: "ens3f0", N: 3, Autoprobe: true, Persist: true})
	set(t, h, Want{PF: "ens4f1", N: 6, Driver: "vfio-pci", Autoprobe: true, Persist: true})
	h = boot(t, tree, nil)
	for i := range 2 {
		all, err := h.Apply(t.Context())
		must(t, err)
		if len(all) != 2 || (len(all[0].Done) > 0) != (i == 0) || (len(all[1].Done) > 0) != (i == 0) {
			t.Errorf("run %d: %+v", i, all)
		}
		wantState(t, h, "ens3f0", true, of("igbvf", 3)...)
		wantState(t, h, "ens4f1", true, of("vfio-pci", 6)...)
		wantState(t, h, "ens5f0", true)
	}
}

func TestOneBrokenRecordDoesNotKeepTheOthers(t *testing.T) {
	h, tree := build(t, pcitest.IGB(), pcitest.IXGBE(), pcitest.I40E())
	for _, pf := range []string{"ens3f0", "ens4f1", "ens5f0"} {
		set(t, h, Want{PF: pf, N: 2, Autoprobe: true, Persist: true})
	}
	must(t, os.WriteFile(h.file("0000:03:00.0"), []byte("nonsense\n"), 0o600))
	h = boot(t, tree, func(c []pcitest.Card) { c[1].Total = 1 })
	h.Wait = 10 * time.Millisecond
	all, err := h.Apply(t.Context())
	if !errors.Is(err, ErrBadRecord) || !errors.Is(err, ErrTooMany) || len(all) != 3 || all[2].Err != nil {
		t.Errorf("%+v, %v", all, err)
	}
	wantState(t, h, "ens5f0", true, of("iavf", 2)...)
}

func TestCardThatMovedIsFoundByItsMAC(t *testing.T) {
	h, tree := build(t, pcitest.IGB(), pcitest.IXGBE())
	set(t, h, Want{PF: "ens3f0", N: 2, Autoprobe: true, Persist: true})
	set(t, h, Want{PF: "ens4f1", N: 3, Autoprobe: true, Persist: true})
	h = boot(t, tree, func(c []pcitest.Card) { // they change places
		c[0].Slot, c[1].Slot = c[1].Slot, c[0].Slot
		c[0].Netdevs, c[1].Netdevs = []string{"new0"}, []string{"new1"}
	})
	if _, err := h.Apply(t.Context()); err != nil {
		t.Error(err)
	}
	wantState(t, h, "new0", true, of("igbvf", 2)...)
	wantState(t, h, "new1", true, of("ixgbevf", 3)...)
}

func TestAnotherCardInTheSlotIsNotTouched(t *testing.T) {
	h, tree := build(t, pcitest.IGB())
	set(t, h, Want{PF: "ens3f0", N: 2, Autoprobe: true, Persist: true})
	h = boot(t, tree, func(c []pcitest.Card) { c[0].MAC = "52:54:00:00:00:99" })
	h.Wait = 10 * time.Millisecond
	if _, err := h.Apply(t.Context()); !errors.Is(err, ErrOtherCard) {
		t.Error(err)
	}
	wantState(t, h, "ens3f0", true)
	rows, err := h.Show(t.Context(), "")
	must(t, err)
	if len(rows) != 2 || rows[0].AtBoot != nil || rows[1].AtBoot == nil || *rows[1].AtBoot != 2 || !strings.Contains(rows[1].Note, "52:54:00:00:00:99") {
		t.Errorf("%+v", rows)
	}
}

func TestNICThatComesLateIsWaitedFor(t *testing.T) {
	h, tree := build(t, pcitest.IGB())
	set(t, h, Want{PF: "ens3f0", N: 2, Autoprobe: true, Persist: true})
	h = boot(t, tree, nil)
	at := filepath.Join(h.path("sys/bus/pci/devices"), "0000:03:00.0")
	must(t, os.Rename(at, at+".later"))
	done := make(chan error, 1)
	go func() {
		_, err := h.Apply(t.Context())
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	must(t, os.Rename(at+".later", at))
	must(t, <-done)
	wantState(t, h, "ens3f0", true, of("igbvf", 2)...)
}

func TestApplyLeavesPluggedVFsAlone(t *testing.T) {
	h, tree := build(t, pcitest.IGB())
	set(t, h, Want{PF: "ens3f0", N: 3, Autoprobe: true, Persist: true})
	vf := pcitest.IGB().VFSlot(1)
	must(t, h.Sys.Bind(t.Context(), vf, pci.VFIODriver))
	must(t, tree.Hold(9, "vm1", vf))
	all, err := h.Apply(t.Context())
	must(t, err)
	if len(all) != 1 || len(all[0].Done) != 0 || len(all[0].Found) != 1 || !strings.Contains(all[0].Found[0], "guest vm1") {
		t.Errorf("%+v", all)
	}
	wantState(t, h, "ens3f0", true, "igbvf", "vfio-pci", "igbvf")
}

func TestShowSaysWhatIsAndWhatWillBe(t *testing.T) {
	h, tree := build(t, pcitest.IGB(), pcitest.MLX4(0, 0, 2))
	set(t, h, Want{PF: "ens3f0", N: 3, Driver: "vfio-pci", Autoprobe: true, Persist: true})
	must(t, tree.Hold(9, "vm1", pcitest.IGB().VFSlot(1)))
	rows, err := h.Show(t.Context(), "")
	must(t, err)
	if len(rows) != 2 {
		t.Fatalf("%+v", rows)
	}
	a, b := rows[0], rows[1]
	if a.PF != "ens3f0" || a.Total != 7 || a.Now != 3 || a.AtBoot == nil || *a.AtBoot != 3 || a.VFs != "vfio-pci" ||
		!slices.Equal(a.Users, []string{"VF 1: guest vm1 (qemu-system-x86, pid 9)"}) {
		t.Errorf("%+v", a)
	}
	if b.PF != "ens8" || b.Now != 2 || b.AtBoot != nil || len(b.Users) != 0 {
		t.Errorf("%+v", b)
	}
	if _, err = h.Show(t.Context(), "ens3f0v0"); !errors.Is(err, pci.ErrNoDevice) {
		t.Error(err) // bound to vfio-pci, it has no netdev
	}
}
