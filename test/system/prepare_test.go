package system

import (
	"math/rand/v2"
	"os/exec"
	"testing"
	"time"

	"neutrino/internal/ledger/ledgertest"
	"neutrino/internal/machine/machinetest"
)

// TestPrepareIsKilled: the program itself, ended at any moment, however often; undo leads back.
func TestPrepareIsKilled(t *testing.T) {
	needRoot(t)
	bin := binary(t)
	tree := machinetest.New(t, machinetest.Intel2SMLX4())
	root := tree.Path()
	look := func() map[string]string {
		return ledgertest.Snapshot(t, root, func(name string) bool { return name == "run" }) // the kernel's
	}
	before := look()
	args := []string{"host", "prepare", "--root", root, "--pf", "enp4s0", "--vfs", "4", "--mode", "both", "--yes"}
	whole := time.Now()
	if out, err := exec.Command(bin, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	limit := time.Since(whole)
	if len(look()) <= len(before) {
		t.Fatal("nothing was written")
	}
	undo := func() {
		t.Helper()
		if out, err := exec.Command(bin, "host", "undo", "--root", root, "--yes").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	undo()
	kill := func(args ...string) (killed bool) {
		cmd := exec.Command(bin, args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(rand.N(limit), func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		return cmd.Wait() != nil
	}
	killed := 0
	for range 12 {
		for range 2 {
			if kill(args...) {
				killed++
			}
		}
		if kill("host", "undo", "--root", root, "--yes") {
			killed++
		}
		undo()
		if s := ledgertest.Diff(before, look()); s != "" {
			t.Fatalf("not as it was:\n%s", s)
		}
	}
	if killed == 0 {
		t.Error("nothing was ever killed: the test shows nothing")
	}
	t.Logf("killed %d times", killed)
}
