package host

import (
	"os"
	"sync/atomic"
	"testing"

	"neutrino/test/rig"
)

// frozen is set when the machine stood still, went down unasked, or its emulator died: what
// is not the emulator's doing happens again when it is run again.
var frozen atomic.Bool

// inside says that the process is one try.
const inside = "NEUTRINO_HOST_INSIDE"

// TestMain runs the tests, and again when the emulator has failed.
func TestMain(m *testing.M) {
	if os.Getenv("NEUTRINO_HOST") == "" {
		os.Exit(m.Run())
	}
	if os.Getenv(inside) != "" {
		code := m.Run()
		if code != 0 && frozen.Load() {
			code = rig.FailedCode
		}
		os.Exit(code)
	}
	os.Exit(rig.Tries(inside+"=1", 0))
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
