package rig

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// Console keeps what a machine writes. It may be read meanwhile.
type Console struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.Write(p)
}

func (c *Console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

// FailedCode is the exit code of a test binary in which the emulator failed: it says
// nothing of what was tested.
const FailedCode = 75

// tries is how often a test whose emulator fails is run.
const tries = 3

// Tries runs this very program, with one more variable in its environment and in new
// namespaces if any are named (CLONE_NEW...), until its exit code is not FailedCode, and
// returns the last one.
func Tries(variable string, namespaces uintptr) (code int) {
	runtime.LockOSThread() // the child ends with the thread that started it
	defer runtime.UnlockOSThread()
	for try := range tries {
		if try > 0 {
			fmt.Println("=== AGAIN: the emulator failed")
		}
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), variable)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL}
		err := cmd.Run()
		if cmd.ProcessState == nil {
			fmt.Fprintln(os.Stderr, "run the tests in a process of their own:", err)
			return 1
		}
		if code = cmd.ProcessState.ExitCode(); code != FailedCode {
			break
		}
	}
	return code
}
