package rack

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inside says that the process is in the rack's namespaces.
const inside = "NEUTRINO_RACK_INSIDE"

// frozen is set when a machine stood still, or its emulator died.
var frozen atomic.Bool

// runAgain is the exit code of a run in which a machine stood still: it says nothing of the
// product.
const runAgain = 75

// TestMain runs the tests in a process with namespaces of its own: what it starts, makes and
// sends is in there, and goes with it.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv("NEUTRINO_RACK") == "":
		os.Exit(m.Run())
	case os.Getenv(inside) != "":
		if err := settle(); err != nil {
			fmt.Fprintln(os.Stderr, "rack:", err)
			os.Exit(1)
		}
		code := m.Run()
		if code != 0 && frozen.Load() {
			code = runAgain
		}
		os.Exit(code)
	}
	code := runAgain
	for try := 0; code == runAgain && try < 3; try++ {
		if try > 0 {
			fmt.Println("=== AGAIN: a machine stood still")
		}
		code = enter()
	}
	os.Exit(code)
}

// enter runs this program in new namespaces and returns its exit code.
func enter() int {
	runtime.LockOSThread() // the child ends with the thread that started it
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "rack: make its namespaces:", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// settle keeps what is mounted, and the names of namespaces, to this process.
func settle() error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to itself: %w", err)
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil { //nolint:gosec // as ip netns makes it
		return err
	}
	if err := unix.Mount("tmpfs", "/run/netns", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount /run/netns: %w", err)
	}
	return nil
}

// sh runs a shell script in the rack's namespace.
func sh(script string) (string, error) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		return "", err
	}
	out, err := exec.Command(bash, "-c", script).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", script, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

func must(t *testing.T, script string) string {
	t.Helper()
	out, err := sh(script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
