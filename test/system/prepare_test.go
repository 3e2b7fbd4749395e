package system

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"neutrino/internal/machine/machinetest"
)

// TestPrepareIsKilled: the program itself, ended at any moment, however often; undo leads back.
func TestPrepareIsKilled(t *testing.T) {
	needRoot(t)
	bin := binary(t)
	tree := machinetest.New(t, machinetest.Intel2SMLX4())
	root := tree.Path()
	before := sums(t, root)
	args := []string{"host", "prepare", "--root", root, "--pf", "enp4s0", "--vfs", "4", "--mode", "both", "--yes"}
	whole := time.Now()
	if out, err := exec.Command(bin, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	limit := time.Since(whole)
	if len(sums(t, root)) <= len(before) {
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
		after := sums(t, root)
		for name, sum := range after {
			if before[name] != sum {
				t.Fatalf("%s is %s, was %s", name, sum, before[name])
			}
		}
		if len(after) != len(before) {
			t.Fatalf("%d names, were %d", len(after), len(before))
		}
	}
	if killed == 0 {
		t.Error("nothing was ever killed: the test shows nothing")
	}
	t.Logf("killed %d times", killed)
}

// sums is a tree's names, with modes and contents; run is the kernel's.
func sums(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.Walk(root, func(p string, info os.FileInfo, err error) error {
		name, _ := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		if name == "run" {
			return filepath.SkipDir
		}
		say := info.Mode().String()
		if info.Mode().IsRegular() {
			data, rerr := os.ReadFile(p)
			if rerr != nil {
				return rerr
			}
			say += info.ModTime().String() + string(data)
		}
		out[name] = say
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
