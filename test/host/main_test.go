package host

import (
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"

	"neutrino/test/rig"
)

// frozen is set when the machine stood still, or its emulator died.
var frozen atomic.Bool

// inside says that the process is one try.
const inside = "NEUTRINO_HOST_INSIDE"

// runAgain is the exit code of a run in which the emulator failed: it says nothing of the
// product.
const runAgain = 75

// TestMain runs the tests, and again when the emulator has failed.
func TestMain(m *testing.M) {
	if os.Getenv("NEUTRINO_HOST") == "" {
		os.Exit(m.Run())
	}
	if os.Getenv(inside) != "" {
		code := m.Run()
		if code != 0 && frozen.Load() {
			code = runAgain
		}
		os.Exit(code)
	}
	code := runAgain
	for try := 0; code == runAgain && try < 3; try++ {
		if try > 0 {
			fmt.Println("=== AGAIN: the emulated machine stood still")
		}
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
		err := cmd.Run()
		if code = cmd.ProcessState.ExitCode(); code < 0 {
			fmt.Fprintln(os.Stderr, "host:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// wanted skips where the test was not asked for, or cannot be run.
func wanted(t *testing.T) {
	t.Helper()
	if os.Getenv(inside) == "" {
		t.Skip("NEUTRINO_HOST is not set: run it by make test-host")
	}
	if err := rig.Check(t.Context()); err != nil {
		cannot(t, err)
	}
	for _, p := range []string{"mmdebstrap", "mke2fs", "sfdisk"} {
		program(t, p)
	}
}

// cannot skips, but where nothing may be skipped.
func cannot(t *testing.T, why error) {
	t.Helper()
	if os.Getenv("RIG_STRICT") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}
