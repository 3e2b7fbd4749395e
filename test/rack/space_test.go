package rack

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"neutrino/test/rig"
)

// inside says that the process is in the rack's namespaces.
const inside = "NEUTRINO_RACK_INSIDE"

// frozen is set when a machine stood still, or its emulator died.
var frozen atomic.Bool

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
			code = rig.FailedCode
		}
		os.Exit(code)
	}
	os.Exit(rig.Tries(inside+"=1", unix.CLONE_NEWNET|unix.CLONE_NEWNS))
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
