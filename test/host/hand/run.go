package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"time"

	"neutrino/test/rig"
)

// strike ends a run in the middle: when a line of its output matches for the Nth time,
// its process is killed, and no other that it started, or the machine loses its power.
type strike struct {
	Line string `json:"line"`
	Nth  int    `json:"nth"`
	Cut  bool   `json:"cut"`
}

// run runs a script in a process group of its own and returns its exit code and output.
func run(o order) (code int, out string) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		return 255, err.Error()
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, bash, "-c", o.Script) //nolint:gosec // that is its purpose
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // what it left behind may hold its output
	w := &watcher{}
	if o.Strike != nil {
		if w.line, err = regexp.Compile(o.Strike.Line); err != nil {
			return 255, err.Error()
		}
		w.left, w.strike = o.Strike.Nth, func() error { return cmd.Process.Kill() }
		if o.Strike.Cut {
			w.strike = cutPower
		}
	}
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && ctx.Err() == nil:
		return exit.ExitCode(), w.String()
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return 255, w.String() + "\n" + err.Error()
	}
	return 0, w.String()
}

// watcher keeps output, and strikes when it has seen what it waits for.
type watcher struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	seen   int // up to where whole lines were looked at
	line   *regexp.Regexp
	left   int
	strike func() error
}

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(p)
	for w.line != nil && w.left > 0 {
		rest := w.buf.Bytes()[w.seen:]
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			break
		}
		w.seen += end + 1
		if w.line.Match(rest[:end]) {
			w.left--
		}
		if w.left == 0 {
			return len(p), w.strike()
		}
	}
	return len(p), nil
}

func (w *watcher) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

// cutPower ends the machine between two instructions: QEMU's isa-debug-exit, which the rig gives its hosts.
func cutPower() error {
	f, err := os.OpenFile("/dev/port", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt([]byte{rig.PowerCut}, rig.PowerPort)
	return err
}
