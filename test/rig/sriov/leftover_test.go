package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestSharesOfKilledRunsAreRemoved(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	dir, dead := t.TempDir(), cmd.Process.Pid
	names := map[string]bool{ // still there afterwards
		fmt.Sprintf("neutrino-rig-%d-1", dead):         false,
		fmt.Sprintf("neutrino-rig-%d-2", os.Getppid()): true,
		"neutrino-rig-0-3":                             true,
		"neutrino-rig-x-4":                             true,
		fmt.Sprintf("other-%d-5", dead):                true,
	}
	for name := range names {
		if err := os.MkdirAll(filepath.Join(dir, name, "below"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	share, err := newShare(dir)
	if err != nil {
		t.Fatal(err)
	}
	names[filepath.Base(share)] = true
	for name, want := range names {
		_, err = os.Stat(filepath.Join(dir, name))
		if (err == nil) != want || err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: there %v, want %v; %v", name, err == nil, want, err)
		}
	}
}

// TestMain also is the process that TestRunnerEndsWhenItsParentIsKilled starts: the child
// that waits for its parent's end, and the parent.
func TestMain(m *testing.M) {
	switch role := os.Getenv("LEFTOVER_ROLE"); role {
	case "":
		os.Exit(m.Run())
	case "parent":
		child := exec.Command("/proc/self/exe")
		child.Env = append(os.Environ(), "LEFTOVER_ROLE=child")
		child.Stdout = os.Stdout
		fmt.Fprintln(os.Stderr, child.Run())
	default:
		end := make(chan os.Signal, 1)
		signal.Notify(end, syscall.SIGTERM)
		if err := endWithParent(); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("up")
		select {
		case s := <-end:
			fmt.Println(s)
		case <-time.After(time.Minute):
		}
	}
}

func TestRunnerEndsWhenItsParentIsKilled(t *testing.T) {
	parent := exec.Command("/proc/self/exe")
	parent.Env = append(os.Environ(), "LEFTOVER_ROLE=parent")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	parent.Stdout = w
	if err = parent.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	lines := bufio.NewScanner(r)
	if !lines.Scan() || lines.Text() != "up" {
		t.Fatalf("the child says %q", lines.Text())
	}
	if err = parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	if !lines.Scan() || lines.Text() != "terminated" {
		t.Errorf("the child says %q, want terminated", lines.Text())
	}
}
