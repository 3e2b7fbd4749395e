package lab_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"neutrino/internal/lab"
	"neutrino/internal/netspace"
)

var labs atomic.Int32

// newNames is of a lab that no other test and no other process has. It is taken down
// and looked for at the end.
func newNames(t *testing.T) lab.Names {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces and eBPF")
	}
	base, err := os.MkdirTemp("", "lab") // shorter than t.TempDir: a socket goes in there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	n, err := lab.NewNames(fmt.Sprintf("w%dn%d", os.Getpid(), labs.Add(1)), base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Down(context.Background(), n, lab.Progress{}); err != nil {
			t.Error(err)
		}
		nothingLeft(t, n)
	})
	return n
}

func progress(t *testing.T) lab.Progress { return lab.NewProgress(t.Output(), false) }

// nothingLeft looks for whatever carries the lab's name.
func nothingLeft(t *testing.T, n lab.Names) {
	t.Helper()
	if left, _ := netspace.List(n.Prefix()); len(left) > 0 {
		t.Errorf("namespaces left: %v", left)
	}
	if _, err := os.Stat(n.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", n.Dir(), err)
	}
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), n.Dir()) {
		t.Error("a mount is left")
	}
	if p := processes(n); len(p) > 0 {
		t.Errorf("processes left: %v", p)
	}
	dhcp, _ := netspace.List("qdhcp-")
	routers, _ := netspace.List("qrouter-")
	for _, name := range append(dhcp, routers...) { // those of other labs stand on hosts that exist
		if strings.Contains(name, n.Lab) {
			t.Errorf("namespace left: %s", name)
		}
	}
}

// processes are those with one of the lab's files on their command line.
func processes(n lab.Names) []string {
	var out []string
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, l := range lines {
		if b, err := os.ReadFile(l); err == nil && strings.Contains(string(b), n.Dir()+"/") {
			out = append(out, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return out
}

var quick = lab.Effort{Rounds: 2, RTT: 10 * time.Millisecond, Stream: 20 * time.Millisecond}

func TestRunTwoLabsSideBySide(t *testing.T) {
	before, _ := netspace.List("")
	var wg sync.WaitGroup
	for range 2 {
		n := newNames(t)
		wg.Go(func() {
			r, err := lab.Run(t.Context(), lab.RunOptions{Options: lab.Options{Names: n, VFs: 4, Progress: progress(t)}, Effort: quick})
			if err != nil {
				t.Error(err)
				return
			}
			if !r.OK || len(r.Pings) != 20 || len(r.Spoofs) != 6 || len(r.Paths) != 5 || len(r.Instances) != 5 {
				b, _ := json.MarshalIndent(r, "", " ")
				t.Errorf("%s", b)
			}
			nothingLeft(t, n)
		})
	}
	wg.Wait()
	after, _ := netspace.List("")
	if !cmp.Equal(before, after) && len(after) > len(before) {
		t.Logf("namespaces before %v, after %v", before, after) // other tests make some, too
	}
}

func TestLifeOfALab(t *testing.T) {
	n := newNames(t)
	ctx := t.Context()
	if _, err := lab.Look(ctx, n); !errors.Is(err, lab.ErrDown) {
		t.Errorf("Look before Up: %v", err)
	}
	s, err := lab.Up(ctx, lab.Options{Names: n, VFs: 2, Identity: true, Progress: progress(t)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lab.Up(ctx, lab.Options{Names: n}); !errors.Is(err, lab.ErrUp) {
		t.Errorf("Up again: %v", err)
	}
	api := lab.NewAPI(s.API)
	net, err := api.CreateNetwork(ctx, "green")
	if err != nil {
		t.Fatal(err)
	}
	boot := func(name, host, port string) (*lab.Instance, error) {
		return lab.Boot(ctx, n, lab.BootOptions{Name: name, Host: host, Network: net.ID, PortID: port, NoDHCP: true})
	}
	a, err := boot("a", "compute1", "")
	if err != nil {
		t.Fatal(err)
	}
	own, err := api.CreatePort(ctx, net, "mine", "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := boot("b", "compute1", own.ID)
	if err != nil {
		t.Fatal(err)
	}
	if a.VF == b.VF || b.PortID != own.ID || b.OwnPort || b.Network != "green" {
		t.Errorf("a %+v, b %+v", a, b)
	}
	for _, bad := range []struct{ name, host, says string }{
		{"c", "compute1", "no free VF"},
		{"a", "compute2", "already"},
		{"compute1", "compute2", "already"},
		{"c", "nowhere", "no host"},
		{"C d", "compute2", "not a name"},
		{"trunk", "compute2", "not a name"},
	} {
		if _, err := boot(bad.name, bad.host, ""); err == nil || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("boot %s on %s: %v, want %q", bad.name, bad.host, err, bad.says)
		}
	}
	look, err := lab.Look(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	if !look.Ready || !look.Answers || len(look.Agents) != 4 || len(look.Instances) != 2 || look.NICs[0].InHost != 0 || look.NICs[1].InHost != 2 {
		t.Errorf("%+v", look)
	}
	look.WriteTable(t.Output(), false)
	for _, name := range []string{"a", "b"} {
		if err := lab.Kill(ctx, n, name); err != nil {
			t.Error(err)
		}
	}
	if p, err := api.GetPort(ctx, own.ID); err != nil || p.HostID != "" {
		t.Errorf("the port that was there before: %+v, %v", p, err)
	}
	if _, err := api.GetPort(ctx, a.PortID); err == nil {
		t.Error("the lab's own port outlives its instance")
	}
	if _, err := boot("c", "compute1", ""); err != nil {
		t.Errorf("a VF that came back: %v", err)
	}
}

// start runs the lab's command as another process, in a state directory of ours.
func start(t *testing.T, n lab.Names, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", append([]string{"lab", "--name", n.Lab, "--state-dir", n.Base}, args...)...)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_, _ = cmd.Process.Wait()
	})
	return cmd
}

// until waits for the state file to say something.
func until(t *testing.T, n lab.Names, ok func(*lab.State) bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		if s, err := lab.Read(n); err == nil && ok(s) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the lab does not get there")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestInterruptLeavesNothing(t *testing.T) {
	n := newNames(t)
	cmd := start(t, n, "run", "--vfs", "3", "--rounds", "100")
	until(t, n, func(s *lab.State) bool { return len(s.Instances) > 0 })
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	var failed *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &failed) || failed.ExitCode() != 1 {
		t.Errorf("an interrupted run ends with %v, want exit code 1", err)
	}
	nothingLeft(t, n)
}

// TestDownAfterKill9 kills "run" at several moments, and takes away what is left:
// with the state file, and with names alone.
func TestDownAfterKill9(t *testing.T) {
	first := func(*lab.State) bool { return true }
	agents := func(s *lab.State) bool { return len(s.Processes) == 2 }
	instances := func(s *lab.State) bool { return len(s.Instances) == 2 }
	for name, tc := range map[string]struct {
		moment func(*lab.State) bool
		forget bool
	}{
		"at the start, by names":        {first, true},
		"with agents, by state":         {agents, false},
		"with instances, by state":      {instances, false},
		"with instances, by names only": {instances, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNames(t)
			cmd := start(t, n, "run", "--vfs", "3")
			until(t, n, tc.moment)
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if tc.forget {
				_ = os.Remove(n.File("state.json"))
			}
			if err := lab.Down(t.Context(), n, progress(t)); err != nil {
				t.Error(err)
			}
			nothingLeft(t, n)
		})
	}
}

func TestUpThatCannot(t *testing.T) {
	n := newNames(t)
	_, err := lab.Up(t.Context(), lab.Options{Names: n, Binary: "/bin/false", VFs: 2})
	if err == nil || !strings.Contains(err.Error(), "controller") || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("err = %v", err)
	}
	nothingLeft(t, n)
}

func TestExec(t *testing.T) {
	n := newNames(t)
	if _, err := lab.Up(t.Context(), lab.Options{Names: n, VFs: 2}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		code int
		out  string
	}{
		{[]string{"compute2", "--", "cat", "/sys/class/net/nothing"}, 1, ""},
		{[]string{"compute2", "--", "sh", "-c", "cat /proc/net/dev | grep -c eth6v; exit 7"}, 7, "2\n"},
		{[]string{"compute2", "cat", "/proc/net/if_inet6"}, 0, ""},
		{[]string{"nowhere", "--", "true"}, 1, ""},
	} {
		cmd := exec.Command("/proc/self/exe", append([]string{"lab", "--name", n.Lab, "--state-dir", n.Base, "exec"}, tc.args...)...)
		cmd.Stderr = io.Discard
		out, err := cmd.Output()
		code := 0
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			code = failed.ExitCode()
		}
		if code != tc.code || tc.out != "" && string(out) != tc.out {
			t.Errorf("%v: exit code %d, %q; want %d, %q", tc.args, code, out, tc.code, tc.out)
		}
	}
}

// TestDownSparesOthers: a process with the right pid and another start time, and a
// namespace of the right name without the mark, are not the lab's.
func TestDownSparesOthers(t *testing.T) {
	n := newNames(t)
	stranger := exec.Command("sleep", "60")
	stranger.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stranger.Process.Kill()
		_ = stranger.Wait()
	}()
	if err := netspace.Create(n.Namespace("foreign"), nil); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = netspace.Delete(n.Namespace("foreign")) }()
	if err := os.MkdirAll(n.Dir(), 0o755); err != nil {
		t.Fatal(err)
	}
	state := fmt.Sprintf(`{"version":1,"name":%q,"processes":[{"name":"agent","pid":%d,"start":1}]}`, n.Lab, stranger.Process.Pid)
	if err := os.WriteFile(n.File("state.json"), []byte(state), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := lab.Down(t.Context(), n, lab.Progress{}); err != nil {
		t.Error(err)
	}
	if err := stranger.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("a stranger was killed: %v", err)
	}
	if names, _ := netspace.List(n.Namespace("foreign")); len(names) != 1 {
		t.Error("a foreign namespace was removed")
	}
	_ = netspace.Delete(n.Namespace("foreign"))
}
