package rig

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// emulator is one process of QEMU.
type emulator struct {
	args     []string
	taps     []*os.File // its descriptors from 3 on; closed here once it has them
	share    string     // holds "alive" and "monitor"; see watch
	output   io.Writer
	stillFor time.Duration
}

// errEnded is why a machine is not watched any more.
var errEnded = errors.New("the machine went down")

// run runs it until it ends. The error is nil when the machine went down by itself.
func (e emulator) run(ctx context.Context) error {
	// The signal comes when the thread ends that started QEMU: no other goroutine may
	// have that thread and end it (prctl(2), PR_SET_PDEATHSIG).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, off := context.WithCancelCause(ctx)
	defer off(nil)
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", e.args...)
	cmd.ExtraFiles = e.taps
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	console, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var words strings.Builder
	cmd.Stderr = &words
	if err = cmd.Start(); err != nil {
		return fmt.Errorf("start QEMU: %w", err)
	}
	closeAll(e.taps) // QEMU has them now
	var watching sync.WaitGroup
	watching.Go(func() {
		if frozen := e.watch(ctx); frozen != nil {
			off(frozen)
		}
	})
	cerr := copyConsole(e.output, console)
	if err = cmd.Wait(); powerIsCut(err) {
		err = nil
	}
	err = errors.Join(err, cerr)
	off(errEnded) // the first cause stays
	watching.Wait()
	switch {
	case !errors.Is(context.Cause(ctx), errEnded):
		return fmt.Errorf("the machine was switched off: %w", context.Cause(ctx))
	case died(err):
		return fmt.Errorf("%w: %w: %s", ErrDied, err, words.String())
	case err != nil:
		return fmt.Errorf("QEMU: %w: %s", err, words.String())
	}
	return nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// copyConsole passes lines on without the carriage returns of a serial line, until the
// console ends. It reads on when nobody takes what it reads: QEMU would stand still.
func copyConsole(to io.Writer, from io.Reader) error {
	r := bufio.NewReader(from)
	var failed error
	for {
		line, err := r.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); failed == nil && (line != "" || err == nil) {
			_, failed = fmt.Fprintln(to, line)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) {
			return failed
		}
		if err != nil {
			return errors.Join(failed, fmt.Errorf("read the console: %w", err))
		}
	}
}
