package hostprep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// program runs one that makes files of the system. All that it starts dies with neutrino: what is still being
// written after undo has begun would outlive it.
func (h Host) program(ctx context.Context, argv []string) error {
	if h.Run != nil {
		return h.Run(ctx, argv)
	}
	// The first process of a PID namespace takes all others with it, and the kernel ends it with neutrino.
	attr := syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	err := run(ctx, argv, attr)
	if errors.Is(err, syscall.EPERM) { // a container without CAP_SYS_ADMIN
		attr.Cloneflags = 0
		err = run(ctx, argv, attr)
	}
	return err
}

// plain is for programs that talk to daemons, which want to see who they are.
var plain = syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

// killDelay is how long what a killed program has started may keep its output open, where it outlives it.
const killDelay = 5 * time.Second

// lastLines is how much of what a program prints is kept for its error.
const lastLines = 5

func run(ctx context.Context, argv []string, attr syscall.SysProcAttr) error {
	program, err := exec.LookPath(argv[0])
	if err != nil {
		return fmt.Errorf("%w: it is part of the system: install it", err)
	}
	// The signal comes when the thread ends that has started the program, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, program, argv[1:]...)
	cmd.SysProcAttr = &attr
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = killDelay
	if err = cmd.Run(); err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	said := strings.Join(lines[max(len(lines)-lastLines, 0):], "; ")
	if said != "" {
		said = ": " + said
	}
	return fmt.Errorf("%s: %w%s", strings.Join(argv, " "), err, said)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
