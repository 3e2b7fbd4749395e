package system

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// raced: the tests run under the race detector, and so shall what they start. It costs
// no more than a link then: everything it is made of is built for the tests already.
var raced bool

// built is the binary, built once for all tests: as it is delivered, or with the race
// detector.
var built struct {
	once sync.Once
	path string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.path != "" {
		if err := os.RemoveAll(filepath.Dir(built.path)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("root is needed: namespaces, mounts and eBPF")
	}
}

// binary returns the path of neutrino.
func binary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		dir, err := os.MkdirTemp("", "neutrino-system-")
		if err != nil {
			built.err = err
			return
		}
		built.path = filepath.Join(dir, "neutrino")
		how, cgo := "-trimpath", "CGO_ENABLED=0"
		if raced {
			how, cgo = "-race", "CGO_ENABLED=1"
		}
		cmd := exec.Command("go", "build", how, "-o", built.path, "neutrino/cmd/neutrino")
		cmd.Env = append(os.Environ(), cgo)
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build neutrino: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// process is one that a test started and that ends with it at the latest.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	log   *logBuffer
	ended chan struct{} // closed when it has ended
}

// launcher starts a command from whatever namespaces its process is to live in.
type launcher func(*exec.Cmd) error

func here(cmd *exec.Cmd) error { return cmd.Start() }

// start starts neutrino with the arguments. Its log is shown if the test fails.
func start(t *testing.T, how launcher, log *logBuffer, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary(t), args...), log: log, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = log, log, "/"
	p.cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1 atexit_sleep_ms=0")
	if err := how(p.cmd); err != nil {
		t.Fatalf("start neutrino %v: %v", args, err)
	}
	go func() { // ends with the process, which the cleanup below ends
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(p.kill)
	return p
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// stop asks the process to end, and fails the test when it does not end well.
func (p *process) stop() {
	p.t.Helper()
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.ended:
	case <-time.After(15 * time.Second):
		p.t.Error("the process does not end when it is told to")
		p.kill()
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("the process ended with %d", code)
	}
}

func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// logBuffer keeps what one process, or one after the other in the same place, says.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// newLog returns a buffer whose end is shown when the test has failed.
func newLog(t *testing.T, name string) *logBuffer {
	l := &logBuffer{}
	t.Cleanup(func() {
		if t.Failed() {
			text := l.String()
			t.Logf("%s said:\n%s", name, text[max(0, len(text)-6000):])
		}
	})
	return l
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// until asks again and again until ok; it fails the test after the deadline.
func until(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(within); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, within)
		}
	}
}

// freePort finds a loopback port that nobody has.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// controller is one that listens on loopback, with its state in a directory of its own.
type controller struct {
	*process
	api   *api
	files []string
}

// startController starts a controller with an option file of the text, beside what it
// needs to live next to others, and waits until it serves.
func startController(t *testing.T, dir, text string) *controller {
	t.Helper()
	port := freePort(t)
	own := fmt.Sprintf("[DEFAULT]\nbind_port = %d\nstate_path = %s\n[fabric]\nlisten = unix://%s/fabric.sock\n", port, dir, dir)
	c := &controller{
		api:   &api{base: fmt.Sprintf("http://127.0.0.1:%d", port), client: &http.Client{Timeout: 30 * time.Second}},
		files: []string{"--config-file", writeFile(t, filepath.Join(dir, "own.conf"), own), "--config-file", writeFile(t, filepath.Join(dir, "test.conf"), text)},
	}
	t.Cleanup(c.api.client.CloseIdleConnections)
	c.begin(t, newLog(t, "controller"))
	return c
}

func (c *controller) begin(t *testing.T, log *logBuffer) {
	t.Helper()
	c.process = start(t, here, log, append([]string{"controller"}, c.files...)...)
	c.serves(t)
}

// again starts it anew after its end.
func (c *controller) again() {
	c.t.Helper()
	c.begin(c.t, c.log)
}

func (c *controller) serves(t *testing.T) {
	t.Helper()
	until(t, "the API answering", 30*time.Second, func() bool {
		if c.over() {
			t.Fatal("the controller has ended")
		}
		return c.api.answers(t.Context())
	})
}

func (a *api) answers(ctx context.Context) bool {
	r := a.do(ctx, http.MethodGet, "/v2.0/networks?limit=1", nil)
	return r.status == http.StatusOK
}
