package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is one that the lab started. A pid alone may have become somebody else's;
// with the start time it cannot.
type Process struct {
	Name  string `json:"name"`
	Host  string `json:"host,omitempty"` // the host it runs in; "" = the machine
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot: field 22 of /proc/PID/stat
	Log   string `json:"log"`
}

// Alive reports whether that very process still runs.
func (p Process) Alive() bool {
	start, state, err := procStat(p.PID)
	return err == nil && start == p.Start && state != 'Z' && state != 'X'
}

// procStat reads the start time and the state of a process.
func procStat(pid int) (start uint64, state byte, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The name in parentheses may hold anything, parentheses too.
	i := strings.LastIndexByte(string(b), ')')
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 20 {
		return 0, 0, fmt.Errorf("/proc/%d/stat: not understood", pid)
	}
	start, err = strconv.ParseUint(f[19], 10, 64)
	return start, f[0][0], err
}

// spawn starts argv as a process of its own session that outlives this one, in the
// network namespace of the calling thread. The returned channel is closed when it ends.
func spawn(name, host, logFile string, argv []string) (Process, <-chan struct{}, error) {
	out, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return Process{}, nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err = cmd.Start(); err != nil {
		return Process{}, nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := Process{Name: name, Host: host, PID: cmd.Process.Pid, Log: logFile}
	p.Start, _, err = procStat(p.PID)
	ended := make(chan struct{})
	go func() { // reaps; ends with the process, at the latest when "down" kills it
		_ = cmd.Wait()
		close(ended)
	}()
	if err != nil {
		return p, ended, fmt.Errorf("start %s: %w", name, err)
	}
	return p, ended, nil
}

// stopGrace is how long a process may take to end by itself.
const stopGrace = 5 * time.Second

// stop ends the process: asked first, then killed. It checks the start time with the
// process held open, so that it can never hit another one.
func (p Process) stop(ctx context.Context, grace time.Duration) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop %s (pid %d): %w", p.Name, p.PID, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if !p.Alive() {
		return nil
	}
	for _, try := range []struct {
		sig  unix.Signal
		wait time.Duration
	}{{unix.SIGTERM, grace}, {unix.SIGKILL, stopGrace}} {
		if err := unix.PidfdSendSignal(fd, try.sig, nil, 0); errors.Is(err, unix.ESRCH) {
			return nil
		} else if err != nil {
			return fmt.Errorf("stop %s (pid %d): %w", p.Name, p.PID, err)
		}
		if waitPidfd(ctx, fd, try.wait) {
			return nil
		}
	}
	return fmt.Errorf("stop %s (pid %d): it does not end", p.Name, p.PID)
}

// waitPidfd waits until the process has ended; false when it has not in time.
func waitPidfd(ctx context.Context, fd int, d time.Duration) bool {
	deadline := time.Now().Add(d)
	for {
		left := min(time.Until(deadline), 100*time.Millisecond) // so that ctx is noticed
		if left <= 0 || ctx.Err() != nil {
			return false
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n > 0 {
			return true
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
}

// strays finds processes that belong to the lab by their marks alone: those started
// with one of its files on the command line, and those that live in its namespaces.
func (n Names) strays(inodes map[uint64]bool) []Process {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	var out []Process
	for _, d := range dirs {
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil || pid == os.Getpid() || !n.owns(d, inodes) {
			continue
		}
		start, _, err := procStat(pid)
		if err == nil {
			out = append(out, Process{Name: "process " + strconv.Itoa(pid), PID: pid, Start: start})
		}
	}
	return out
}

func (n Names) owns(procDir string, inodes map[uint64]bool) bool {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(procDir, "ns/net"), &st); err == nil && inodes[st.Ino] {
		return true
	}
	cmdline, err := os.ReadFile(filepath.Join(procDir, "cmdline"))
	if err != nil {
		return false
	}
	args := strings.Split(string(cmdline), "\x00")
	if len(args) < 2 || args[1] != "controller" && args[1] != "agent" {
		return false
	}
	for _, a := range args[2:] {
		if strings.HasPrefix(strings.TrimPrefix(a, "--config-file="), n.Dir()+"/") {
			return true
		}
	}
	return false
}

// tail returns the last lines of a log, for error messages.
func tail(path string, lines int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
