package rig

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrFrozen: the machine stood still, its processors halted. That is the emulator's doing,
// which loses interrupts now and then, and says nothing of what ran in it: run it again.
var ErrFrozen = errors.New("the emulated machine stood still")

// ErrDied: the emulator itself died of a signal, by a failed assertion say. With a thread
// per processor QEMU's emulation now and then flushes what another one uses
// (iotlb_to_section). It says nothing of what ran in the machine either.
var ErrDied = errors.New("the emulator died")

// ErrReset: the machine went down in the midst of its script. It was seen once, while a
// nested guest booted and without a word of the kernel's, which says on the console when it
// panics: most likely the emulated processor was reset. What brings it about each time is no
// fault of the emulator: run it again, but not for ever.
var ErrReset = errors.New("the machine went down before its script ended")

// EmulatorFailed reports whether a run ended by what is likely a fault of the emulator,
// ErrFrozen, ErrDied or ErrReset, so that it is to be run again.
func EmulatorFailed(err error) bool {
	return errors.Is(err, ErrFrozen) || errors.Is(err, ErrDied) || errors.Is(err, ErrReset)
}

// died tells the death of QEMU from its refusal to start.
func died(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	st, ok := exit.Sys().(syscall.WaitStatus)
	return ok && st.Signaled()
}

// stillFor is after how long without a sign of life a machine counts as frozen. It gives
// one every two seconds while its script runs.
const stillFor = 2 * time.Minute

// watch returns ErrFrozen, with the state of the processors, when the machine has given no
// sign of life for too long, and nil when ctx ends.
func (e emulator) watch(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last, seen := time.Now(), time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if st, err := os.Stat(filepath.Join(e.share, "alive")); err == nil && !st.ModTime().Equal(seen) {
			last, seen = time.Now(), st.ModTime()
		}
		if still := time.Since(last); still > cmp.Or(e.stillFor, stillFor) {
			return fmt.Errorf("%w for %s: %s", ErrFrozen, still.Round(time.Second), e.registers())
		}
	}
}

// registers asks QEMU for the instruction pointers of its processors, twice: whether they
// move tells a machine that is stuck from one that is starved.
func (e emulator) registers() string {
	c, err := net.DialTimeout("unix", filepath.Join(e.share, "monitor"), 5*time.Second)
	if err != nil {
		return "QEMU's monitor does not answer: " + err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err = io.WriteString(c, "info registers -a\ninfo registers -a\ninfo status\n"); err != nil {
		return err.Error()
	}
	var words []string
	for lines := bufio.NewScanner(c); lines.Scan(); {
		text := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(text, "CPU#") || strings.HasPrefix(text, "RIP=") {
			words = append(words, text)
		}
		if strings.HasPrefix(text, "VM status:") {
			words = append(words, text)
			break
		}
	}
	return strings.Join(words, "; ")
}
