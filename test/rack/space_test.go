package rack

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inside says that the process is in the rack's namespaces.
const inside = "NEUTRINO_RACK_INSIDE"

// TestMain moves the process into namespaces of its own before anything runs: what it
// starts, makes and sends is in there, and goes with it.
func TestMain(m *testing.M) {
	if os.Getenv("NEUTRINO_RACK") == "" || os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	fmt.Fprintln(os.Stderr, "rack:", enter())
	os.Exit(1)
}

// enter returns only when it fails.
func enter() error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to itself: %w", err)
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil { //nolint:gosec // as ip netns makes it
		return err
	}
	if err := unix.Mount("tmpfs", "/run/netns", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount /run/netns: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, append(os.Environ(), inside+"=1")) //nolint:gosec // itself
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
