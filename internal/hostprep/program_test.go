package hostprep

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// runs names the FIFO that a process of TestProgramsDieWithUs has open while anything of it lives.
const runs = "NEUTRINO_TEST_RUNS"

// TestProgramsDieWithUs: with what they have started, however neutrino ends.
func TestProgramsDieWithUs(t *testing.T) {
	script := `exec 9>"$` + runs + `"; sleep 1000 & echo ready >&9; wait`
	if os.Getenv(runs) != "" {
		t.Fatal((Host{}).program(context.Background(), []string{"sh", "-c", script}))
	}
	if os.Geteuid() != 0 {
		t.Skip("PID namespaces take root: run it as root")
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	must(t, unix.Mkfifo(fifo, 0o600))
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), runs+"="+fifo)
	must(t, cmd.Start())
	f, err := os.Open(fifo)
	must(t, err)
	defer f.Close()
	word := make([]byte, len("ready\n"))
	if _, err = io.ReadFull(f, word); err != nil || string(word) != "ready\n" {
		t.Fatalf("%q, %v", word, err)
	}
	must(t, cmd.Process.Kill())
	if err = cmd.Wait(); err == nil {
		t.Error("it was not killed")
	}
	// The end of the FIFO comes when the last one that has it open has ended.
	rest, err := io.ReadAll(f)
	if err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

// TestProgramsSayWhatFailed in few words, and end with their context.
func TestProgramsSayWhatFailed(t *testing.T) {
	h := Host{}
	must(t, h.program(t.Context(), []string{"true"}))
	err := h.program(t.Context(), []string{"sh", "-c", "for i in 1 2 3 4 5 6 7; do echo line $i; done; echo no space left >&2; exit 3"})
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(err.Error(), "line 7; no space left") || strings.Contains(err.Error(), "line 1") {
		t.Errorf("error %v", err)
	}
	if err = h.program(t.Context(), []string{"no-such-program"}); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err = h.program(ctx, []string{"sleep", "1000"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
