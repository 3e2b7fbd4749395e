package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMachineThatStandsStillIsSwitchedOff(t *testing.T) {
	m := machine(t)
	m.stillFor = 20 * time.Second
	m.Script = "echo up\nsleep 600\n"
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	m.Output = trigger{"up", func() {
		c, err := net.Dial("unix", filepath.Join(m.Share, "monitor"))
		if err != nil {
			t.Error(err)
			cancel()
			return
		}
		defer c.Close()
		if _, err = io.WriteString(c, "stop\ninfo status\n"); err != nil {
			t.Error(err)
		}
		buf, said := make([]byte, 4096), ""
		for !strings.Contains(said, "paused") {
			n, rerr := c.Read(buf)
			if rerr != nil {
				t.Error(rerr)
				break
			}
			said += string(buf[:n])
		}
	}}
	_, err := m.Run(ctx)
	if !errors.Is(err, ErrFrozen) || !strings.Contains(err.Error(), "CPU#1") || !strings.Contains(err.Error(), "RIP=") {
		t.Errorf("%v; want that it stood still, and where", err)
	}
}

func TestDeathOfTheEmulatorIsToldFromItsRefusal(t *testing.T) {
	m := machine(t)
	m.Script = "echo up\nsleep 600\n"
	m.Output = trigger{"up", func() {
		qemu := 0
		for _, pid := range children(t) {
			if args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && strings.Contains(string(args), m.Share) {
				qemu = pid
			}
		}
		if qemu == 0 {
			t.Error("no process of QEMU found")
			return
		}
		if err := syscall.Kill(qemu, syscall.SIGABRT); err != nil {
			t.Error(err)
		}
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if _, err := m.Run(ctx); !errors.Is(err, ErrDied) || !EmulatorFailed(err) {
		t.Errorf("%v; want that it died", err)
	}
	if err := exec.CommandContext(ctx, "sh", "-c", "exit 1").Run(); died(err) {
		t.Errorf("an exit code is no death: %v", err)
	}
}

func TestMachineThatGoesDownInTheMidstIsToldFromAnExitCode(t *testing.T) {
	m := machine(t)
	m.Script = "echo o >/proc/sysrq-trigger\nsleep 600\n"
	m.Output = io.Discard
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if _, err := m.Run(ctx); !errors.Is(err, ErrReset) || !EmulatorFailed(err) {
		t.Errorf("%v; want that it went down", err)
	}
}

// children of this process.
func children(t *testing.T) (out []int) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range tasks {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		for _, word := range strings.Fields(string(data)) {
			pid, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, pid)
		}
	}
	return out
}
