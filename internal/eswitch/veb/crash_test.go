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
	partial := 0
	for try := range 13 {
		dir := filepath.Join(t.TempDir(), "pin")
		spec := Spec{Name: "eth6", VFs: 6, PinDir: dir, Netns: h.path, Peer: Peer{Name: "wire", Netns: far.path}}
		// Killed when so many devices are there, lo included.
		links := func() bool {
			d, err := h.l.dump(t.Context())
			return err == nil && len(d.byName) > try
		}
		killed := killedCreate(t, spec, links, try == 0)
		if killed {
			all, err := List(dir)
			must(t, err)
			if len(all) == 1 && all[0].Complete { // it was done already
				must(t, Destroy(t.Context(), "eth6", dir))
				continue
			}
			if _, err := Open("eth6", dir); !errors.Is(err, ErrIncomplete) && !errors.Is(err, ErrNotFound) {
				t.Errorf("killed at %d devices, then opened: %v", try, err)
			}
			if d, err := h.l.dump(t.Context()); err == nil && len(d.byName) > 1 {
				partial++
			}
		}
		must(t, Destroy(t.Context(), "eth6", dir))
		wantLinks(t, h, "lo")
		wantLinks(t, far, "lo")
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) || isMounted(t, dir) {
			t.Errorf("killed at %d devices: %s is left behind: %v", try, dir, err)
		}
	}
	if partial == 0 {
		t.Error("no kill came in the middle")
	}
}

// killedCreate runs Create in a process and kills it when now says so, or lets it end.
func killedCreate(t *testing.T, s Spec, now func() bool, whole bool) (killed bool) {
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
	if whole {
		if !lines.Scan() {
			t.Fatalf("create: %v", cmd.Wait())
		}
		must(t, cmd.Wait())
		return false
	}
	for end := time.Now().Add(10 * time.Second); !now(); {
		if time.Now().After(end) {
			break
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return true
}
