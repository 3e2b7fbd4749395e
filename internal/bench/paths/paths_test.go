package paths

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"neutrino/internal/bench"
	"neutrino/internal/bench/wire"
	"neutrino/internal/netspace"
)

// heldEnv has a test's child build a path, say so, and wait to be killed.
const heldEnv = "PATHS_TEST_HELD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(heldEnv); dir != "" {
		hold(dir)
	}
	goleak.VerifyTestMain(m)
}

func hold(dir string) {
	s, err := lockSite(dir)
	if err == nil {
		for _, k := range Kinds {
			if _, err = s.Build(context.Background(), k); err != nil && !errors.Is(err, ErrMissing) {
				break
			}
			err = nil
		}
	}
	if err != nil {
		os.Stdout.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Stdout.WriteString("built\n")
	select {}
}

func site(t *testing.T) *Site {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	dir, err := os.MkdirTemp("", "nb") // a short path: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	s, err := lockSite(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 1 {
			t.Errorf("left in %s: %v (%v)", dir, left, err)
		}
		_ = os.RemoveAll(dir)
		if names, err := s.namespaces(); err != nil || len(names) > 0 {
			t.Errorf("namespaces left: %v (%v)", names, err)
		}
	})
	return s
}

func TestEveryPathIsBuiltMeasuredAndGone(t *testing.T) {
	s := site(t)
	var all []Path
	for _, k := range Kinds {
		p, err := s.Build(t.Context(), k)
		if errors.Is(err, ErrMissing) {
			t.Logf("%s: %v", k.Key, err)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", k.Key, err)
			continue
		}
		all = append(all, p)
	}
	all = append(all, Path{Key: "none", Title: "nowhere", A: all[0].A, B: End{s.Prefix + "nowhere", all[0].B.Addr}})
	e := Effort{Rounds: 2, Specs: wire.Campaign{
		Tests: []wire.Test{wire.UDP, wire.Stream}, Flows: 1, Time: 40 * time.Millisecond, Warmup: 10 * time.Millisecond,
	}.Specs()}
	turns := 0
	series, err := Measure(t.Context(), all, e, func(n, of int, what string) { turns++ })
	if err != nil {
		t.Fatal(err)
	}
	if len(series) != 2*len(all) || turns != 2*(len(all)-1) {
		t.Errorf("%d series, %d turns of %d paths", len(series), turns, len(all))
	}
	for _, x := range series {
		if x.Path == "none" {
			if x.Err == "" || len(x.Runs) > 0 {
				t.Errorf("a path to nowhere was measured: %+v", x)
			}
			continue
		}
		if x.Err != "" || len(x.Runs) != 2 {
			t.Errorf("%s %s: %d runs, %s", x.Path, x.Test, len(x.Runs), x.Err)
			continue
		}
		m := x.Metrics()[0]
		t.Logf("%-16s %-8s %-10s %s %s", x.Path, x.Test, m.Title, bench.Figure(bench.SpreadOf(x.Values(m)).Median), m.Unit)
	}
}

func TestWhatAKilledOneLeftIsSweptAway(t *testing.T) {
	s := site(t)
	s.lock.Close() // the child takes it
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), heldEnv+"="+s.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err = cmd.Start(); err != nil {
		t.Fatal(err)
	}
	word := make([]byte, 500)
	n, _ := out.Read(word)
	_, busy := Open(t.Context(), s.Dir)
	if err = cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if string(word[:n]) != "built\n" {
		t.Fatalf("the child said %q", word[:n])
	}
	if !errors.Is(busy, ErrBusy) {
		t.Errorf("two at a time: %v", busy)
	}
	left, err := s.namespaces()
	if err != nil || len(left) < 10 {
		t.Fatalf("the child left %v (%v)", left, err)
	}
	again, err := lockSite(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if err = again.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, err = again.namespaces(); err != nil || len(left) > 0 {
		t.Errorf("still there: %v (%v)", left, err)
	}
	again.lock.Close()
	if procs, err := exec.Command("sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '").Output(); err != nil || strings.Contains(string(procs), s.Dir) {
		t.Errorf("a process is left (%v)", err)
	}
}

func TestNamespacesOfOthersAreLeftAlone(t *testing.T) {
	s := site(t)
	name := s.Prefix + "theirs"
	if err := netspace.CreateMarked(name, "somebody's"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = netspace.Delete(name) }()
	if err := s.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !netspace.IsMarked(name, "somebody's") {
		t.Error("it is gone")
	}
	if err := netspace.CreateMarked(s.Prefix+"wire-b", "somebody's"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = netspace.Delete(s.Prefix + "wire-b") }()
	if _, err := s.Build(t.Context(), Kinds[0]); !errors.Is(err, netspace.ErrExist) {
		t.Errorf("built over somebody's: %v", err)
	}
}

func TestChoose(t *testing.T) {
	all, err := Choose(nil)
	if err != nil || len(all) != len(Kinds) {
		t.Error(len(all), err)
	}
	some, err := Choose([]string{"bridge"})
	if err != nil || len(some) != 2 || some[0].Key != "wire" || some[1].Key != "bridge" {
		t.Error(some, err)
	}
	if _, err = Choose([]string{"warp"}); err == nil || !strings.Contains(err.Error(), "bridge-vxlan") {
		t.Error(err)
	}
	s := &Site{Prefix: "nbench-"}
	if got, want := s.Plan(Kinds[0]), "wire: a veth pair in namespaces nbench-wire-a, nbench-wire-b"; got != want {
		t.Error(got)
	}
}
