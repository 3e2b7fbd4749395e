package bench

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"neutrino/internal/netspace"
)

// scratch holds the binary and what outlives one benchmark.
var scratch struct {
	once   sync.Once
	dir    string
	binary string
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if scratch.dir != "" {
		if err := os.RemoveAll(scratch.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// binary returns the path of neutrino, built once as it is delivered.
func binary(b *testing.B) string {
	b.Helper()
	scratch.once.Do(func() {
		if scratch.dir, scratch.err = os.MkdirTemp("", "neutrino-bench-"); scratch.err != nil {
			return
		}
		scratch.binary = filepath.Join(scratch.dir, "neutrino")
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", scratch.binary, "neutrino/cmd/neutrino")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			scratch.err = fmt.Errorf("build neutrino: %w\n%s", err, out)
		}
	})
	if scratch.err != nil {
		b.Fatal(scratch.err)
	}
	return scratch.binary
}

// daemon is a neutrino process.
type daemon struct {
	cmd   *exec.Cmd
	log   bytes.Buffer // read only after the end
	ended chan struct{}
}

// start starts neutrino with the arguments, in the network namespace of that name if one
// is given.
func start(b *testing.B, namespace string, args ...string) *daemon {
	b.Helper()
	d := &daemon{cmd: exec.Command(binary(b), args...), ended: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr, d.cmd.Dir = &d.log, &d.log, "/"
	begin := d.cmd.Start
	if namespace != "" {
		begin = func() error { return netspace.Do(namespace, d.cmd.Start) }
	}
	if err := begin(); err != nil {
		b.Fatalf("start neutrino %v: %v", args, err)
	}
	go func() { // ends with the process, which stop ends
		_ = d.cmd.Wait()
		close(d.ended)
	}()
	b.Cleanup(func() { d.stop(b) })
	return d
}

// stop ends the process as an operator would; it does nothing the second time.
func (d *daemon) stop(b *testing.B) {
	b.Helper()
	if d.over() {
		return
	}
	_ = d.cmd.Process.Signal(os.Interrupt)
	select {
	case <-d.ended:
	case <-time.After(20 * time.Second):
		_ = d.cmd.Process.Kill()
		<-d.ended
		b.Error("a daemon does not end when it is told to")
	}
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		b.Errorf("a daemon ended with %d: %s", code, d.log.String())
	}
}

func (d *daemon) over() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// alive fails the benchmark when the process has ended by itself.
func (d *daemon) alive(b *testing.B) {
	b.Helper()
	if d.over() {
		b.Fatalf("a daemon has ended: %s", d.log.String())
	}
}

// memory is what the kernel says a process has in RAM, in MB of 10^6 bytes
// (proc_pid_status(5)): all of it, and the part that is the process's own, without pages
// of the binary and of etcd's mapped file, which the kernel takes back when it wants.
type memory struct{ resident, own float64 }

func (d *daemon) memory(b *testing.B) memory {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	return memory{resident: field(b, string(text), "VmRSS:"), own: field(b, string(text), "RssAnon:")}
}

func field(b *testing.B, status, name string) float64 {
	b.Helper()
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kb, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			if err != nil {
				b.Fatalf("%s %v", line, err)
			}
			return kb * 1024 / 1e6
		}
	}
	b.Fatalf("no %s in %s", name, status)
	return 0
}

// tick is the unit of the times in proc_pid_stat(5) on every architecture Go knows.
const tick = 10 * time.Millisecond

// cpu is what the process has used of the processors so far, to a tick: unlike the time
// that goes by, it hardly depends on what else the machine does.
func (d *daemon) cpu(b *testing.B) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // past the name, which may hold blanks
	f := strings.Fields(rest)
	if len(f) < 13 {
		b.Fatalf("%q", text)
	}
	user, err := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	if err = errors.Join(err, err2); err != nil {
		b.Fatal(err)
	}
	return time.Duration(user+system) * tick
}

// site is a controller's directory: its option file, its data, its address.
type site struct {
	dir  string
	conf string
	api  *api
}

// newSite writes what a controller needs. dir "" is a fresh directory of the benchmark's.
func newSite(b *testing.B, dir string) *site {
	b.Helper()
	if dir == "" {
		dir = b.TempDir()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := l.Addr().(*net.TCPAddr)
	_ = l.Close()
	s := &site{dir: dir, conf: filepath.Join(dir, "controller.conf")}
	s.api = &api{base: "http://" + address.String(), client: &http.Client{Timeout: time.Minute}}
	text := fmt.Sprintf(`[DEFAULT]
auth_strategy = noauth
bind_port = %d
state_path = %s
[ml2]
type_drivers = vlan
tenant_network_types = vlan
mechanism_drivers = sriovnicswitch
[ml2_type_vlan]
network_vlan_ranges = default:2:1000
[quotas]
quota_port = -1
[fabric]
listen = unix://%s
`, address.Port, dir, s.socket())
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(s.conf, []byte(text), 0o600)); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.api.client.CloseIdleConnections)
	return s
}

func (s *site) socket() string { return filepath.Join(s.dir, "fabric.sock") }

// begin starts the controller and returns once it has answered, and how long that took.
func (s *site) begin(b *testing.B) (*daemon, time.Duration) {
	b.Helper()
	began := time.Now()
	d := start(b, "", "controller", "--config-file", s.conf)
	for !s.api.answers(b) {
		d.alive(b)
		if time.Since(began) > 30*time.Second {
			b.Fatal("the controller does not answer")
		}
		time.Sleep(time.Millisecond)
	}
	return d, time.Since(began)
}
