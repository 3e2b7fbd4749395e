package hostprep

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"neutrino/internal/ledger"
	"neutrino/internal/ledger/ledgertest"
	"neutrino/internal/machine/machinetest"
	"neutrino/internal/mstconfig"
)

var igbWant = Prep{PF: "enp1s0", VFs: 7, Mode: HostDev}

// TestFailureTakesAllBack: a program of the distribution fails; or the VFs do.
func TestFailureTakesAllBack(t *testing.T) {
	broken := errors.New("grub-probe: cannot find a device for /")
	for name, fail := range map[string]func(*Host, *distribution) error{
		"program": func(_ *Host, d *distribution) error { d.fail = broken; return broken },
		"VFs": func(s *Host, _ *distribution) error {
			react, failed := s.Sys.Wrote, false
			s.Sys.Wrote = func(path, text string) error {
				if strings.HasSuffix(path, "drivers_probe") && strings.HasSuffix(text, "0000:01:10.4") && !failed {
					failed = true
					return broken
				}
				return react(path, text)
			}
			return broken
		},
		"context": func(*Host, *distribution) error { return context.Canceled },
	} {
		t.Run(name, func(t *testing.T) {
			spec := machinetest.VMIGB()
			if name != "VFs" {
				spec = unprepared(spec)
			}
			s, tree, d := site(t, spec)
			before := picture(t, tree.Root)
			p, err := Prepare(t.Context(), s, igbWant)
			must(t, err)
			want := fail(&p.host, d)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if name == "context" {
				p.host.Run = func(rc context.Context, _ []string) error { cancel(); return rc.Err() }
			}
			err = p.Run(ctx, nil)
			if !errors.Is(err, want) {
				t.Errorf("error %v, want %v", err, want)
			}
			if errors.Is(err, ErrHalfDone) {
				t.Errorf("half done: %v", err)
			}
			if diff := ledgertest.Diff(before, picture(t, tree.Root)); diff != "" {
				t.Errorf("left behind:\n%s", diff)
			}
		})
	}
}

// TestFailureOfAnotherPreparation leaves the first one.
func TestFailureOfAnotherPreparation(t *testing.T) {
	s, tree, d := site(t, unprepared(machinetest.VMIGB()))
	before := picture(t, tree.Root)
	p, err := Prepare(t.Context(), s, igbWant)
	must(t, err)
	must(t, p.Run(t.Context(), nil))
	tree.NoRoom("0000:01:00.0")
	must(t, tree.Err())
	p, err = Prepare(t.Context(), s, Prep{PF: "enp1s0", VFs: 3, Mode: HostDev})
	must(t, err)
	d.fail = errors.New("no space left on device")
	if err = p.Run(t.Context(), nil); !errors.Is(err, ErrHalfDone) || !strings.Contains(err.Error(), "neutrino host undo") {
		t.Errorf("error %v", err)
	}
	d.fail = nil
	// Again: the program that did not end is run, although no file is to change.
	p, err = Prepare(t.Context(), s, Prep{PF: "enp1s0", VFs: 3, Mode: HostDev})
	must(t, err)
	if len(p.Files) != 0 || len(p.Programs) != 1 {
		t.Errorf("again:\n%s", inWords(p))
	}
	must(t, p.Run(t.Context(), nil))
	goBack(t, s, UndoWant{})
	after := picture(t, tree.Root)
	for _, same := range []string{"sys/devices/pci0000:00/0000:00:03.0/0000:01:00.0/resource"} { // changed by the test
		delete(before, same)
		delete(after, same)
	}
	if diff := ledgertest.Diff(before, after); diff != "" {
		t.Errorf("after undo:\n%s", diff)
	}
}

// TestUndoSparesOthers: VFs in use, and what somebody else has changed.
func TestUndoSparesOthers(t *testing.T) {
	s, tree, _ := site(t, machinetest.VMIGB())
	p, err := Prepare(t.Context(), s, igbWant)
	must(t, err)
	must(t, p.Run(t.Context(), nil))
	must(t, tree.Hold(4711, "vm1", "0000:01:10.2"))
	if _, err = PlanUndo(t.Context(), s, UndoWant{}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "vm1") || !strings.Contains(err.Error(), "--keep-vfs") {
		t.Errorf("a guest has one of the VFs: %v", err)
	}
	must(t, tree.Release(4711))
	tree.Write("etc/modules-load.d/neutrino.conf", "mine\n")
	must(t, tree.Err())
	u, err := PlanUndo(t.Context(), s, UndoWant{})
	must(t, err)
	out, err := u.Run(t.Context(), nil)
	if !errors.Is(err, ledger.ErrLeft) || tree.Read("etc/modules-load.d/neutrino.conf") != "mine\n" {
		t.Errorf("%v, %v", out, err)
	}
	goBack(t, s, UndoWant{Force: true})
	if tree.Read("etc/modules-load.d/neutrino.conf") != "" {
		t.Error("not forced")
	}
}

// TestUndoOfVFsThatSomebodyElseHasCounted leaves them.
func TestUndoOfVFsThatSomebodyElseHasCounted(t *testing.T) {
	s, _, _ := site(t, machinetest.Intel2SMLX5()) // 8 VFs
	p, err := Prepare(t.Context(), s, Prep{PF: "ens3f0np0", VFs: 16, Mode: MacVTap})
	must(t, err)
	must(t, p.Run(t.Context(), nil))
	must(t, s.Sys.SetNumVFs(t.Context(), "0000:af:00.0", 0))
	must(t, s.Sys.SetNumVFs(t.Context(), "0000:af:00.0", 5))
	u, err := PlanUndo(t.Context(), s, UndoWant{})
	must(t, err)
	if !strings.Contains(strings.Join(u.Notes, "\n"), "somebody else has given ens3f0np0 5 VFs") {
		t.Errorf("undo:\n%s", strings.Join(u.Notes, "\n"))
	}
	_, err = u.Run(t.Context(), nil)
	must(t, err)
	if n, _, _ := state(t, s, "ens3f0np0"); n != 5 {
		t.Errorf("%d VFs", n)
	}
}

// TestFirmware is set, and put back to what the next boot would have brought.
func TestFirmware(t *testing.T) {
	s, _, _ := site(t, machinetest.Intel2SMLX5())
	fw := firmware("True(1)", "16")
	s.Firmware = fw
	want := Prep{PF: "ens3f0np0", VFs: 64, Mode: Both, Firmware: true}
	p, err := Prepare(t.Context(), s, want)
	must(t, err)
	must(t, p.Run(t.Context(), nil))
	if fw.values["NUM_OF_VFS"].Next != "64" || len(p.Reboot) == 0 || p.VFs != nil {
		t.Errorf("firmware %v\n%s", fw.values, inWords(p))
	}
	if p, err = Prepare(t.Context(), s, want); err != nil || !p.Nothing() || len(p.Reboot) == 0 {
		t.Errorf("again: %v", err)
	}
	goBack(t, s, UndoWant{})
	if fw.values["NUM_OF_VFS"].Next != "16" {
		t.Errorf("firmware %v", fw.values)
	}
	// Without the program there is nothing to be done.
	fw.fail = mstconfig.ErrNotInstalled
	if _, err = Prepare(t.Context(), s, want); !errors.Is(err, ErrTooMany) || !strings.Contains(err.Error(), "mstconfig -d 0000:af:00.0 set SRIOV_EN=1 NUM_OF_VFS=64") {
		t.Errorf("without mstconfig: %v", err)
	}
}

// TestBadLedgerChangesNothing: what PFs were cannot be read.
func TestBadLedgerChangesNothing(t *testing.T) {
	s, tree, _ := site(t, machinetest.VMIGB())
	p, err := Prepare(t.Context(), s, igbWant)
	must(t, err)
	must(t, p.Run(t.Context(), nil))
	file := filepath.Join(tree.Root, LedgerDir, "ledger.json")
	text, err := os.ReadFile(file)
	must(t, err)
	must(t, os.WriteFile(file, []byte(strings.Replace(string(text), `"slot": "0000:01:00.0"`, `"slot": "../../etc"`, 1)), 0o600))
	before := picture(t, tree.Root)
	if _, err = PlanUndo(t.Context(), s, UndoWant{Force: true}); !errors.Is(err, ledger.ErrBad) {
		t.Errorf("error %v", err)
	}
	if diff := ledgertest.Diff(before, picture(t, tree.Root)); diff != "" {
		t.Errorf("changed:\n%s", diff)
	}
}
