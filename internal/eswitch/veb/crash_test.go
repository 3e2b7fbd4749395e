package veb

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// childEnv makes the test binary a process that creates a NIC and waits to be killed.
const childEnv = "NEUTRINO_VEB_CHILD"

func child() {
	var s struct {
		Spec
		PinDir string
	}
	if err := json.Unmarshal([]byte(os.Getenv(childEnv)), &s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	s.Spec.PinDir = s.PinDir
	fmt.Println("go")
	if err := Create(context.Background(), s.Spec); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ok")
}

// However far Create got when it was killed, Destroy leaves nothing.
func TestKilledCreateLeavesNothing(t *testing.T) {
	t.Parallel()
	h, far := newHost(t), newHost(t)
	whole := time.Duration(0)
	partial := 0
	for try := range 13 {
		dir := filepath.Join(t.TempDir(), "pin")
		spec := Spec{Name: "eth6", VFs: 6, PinDir: dir, Netns: h.path, Peer: Peer{Name: "wire", Netns: far.path}}
		after := whole * time.Duration(try) / 12
		took, killed := killedCreate(t, spec, after, try == 0)
		if try == 0 {
			whole = took
		}
		if killed {
			all, err := List(dir)
			must(t, err)
			if len(all) == 1 && all[0].Complete { // it was done already
				must(t, Destroy(t.Context(), "eth6", dir))
				continue
			}
			if _, err := Open("eth6", dir); !errors.Is(err, ErrIncomplete) && !errors.Is(err, ErrNotFound) {
				t.Errorf("killed after %s, then opened: %v", after, err)
			}
			if d, err := h.l.dump(t.Context()); err == nil && len(d.byName) > 1 {
				partial++
			}
		}
		must(t, Destroy(t.Context(), "eth6", dir))
		wantLinks(t, h, "lo")
		wantLinks(t, far, "lo")
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) || isMounted(t, dir) {
			t.Errorf("killed after %s: %s is left behind: %v", after, dir, err)
		}
	}
	if partial == 0 {
		t.Error("no kill came in the middle")
	}
}

// killedCreate runs Create in a process and kills it after a time, or lets it end.
func killedCreate(t *testing.T, s Spec, after time.Duration, whole bool) (took time.Duration, killed bool) {
	t.Helper()
	env, err := json.Marshal(struct {
		Spec
		PinDir string
	}{s, s.PinDir})
	must(t, err)
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe, "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+string(env))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatalf("the process said nothing: %v", lines.Err())
	}
	start := time.Now()
	if whole {
		if !lines.Scan() {
			t.Fatalf("create: %v", cmd.Wait())
		}
		took = time.Since(start)
		must(t, cmd.Wait())
		return took, false
	}
	time.Sleep(after) // where it is killed is the point of the test
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return 0, true
}
