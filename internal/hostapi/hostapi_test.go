package hostapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"neutrino/internal/agent"
	"neutrino/internal/agent/switchtest"
	"neutrino/internal/model"
	"neutrino/internal/pci"
	"neutrino/internal/plug"
)

const childEnv = "NEUTRINO_HOSTAPI_TEST_CHILD" // socket to ask as another user

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		_, err := NewClient(path).VFs(context.Background(), false)
		fmt.Println(err, errors.Is(err, ErrForbidden))
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// ports is the agent, as tests play it.
type ports struct{ all map[string]agent.PortState }

func (p ports) Port(id string) (agent.PortState, bool) { s, ok := p.all[id]; return s, ok }
func (p ports) Next() <-chan struct{}                  { return make(chan struct{}) }
func (p ports) All() []agent.PortState {
	var out []agent.PortState
	for _, s := range p.all {
		out = append(out, s)
	}
	return out
}

type rig struct {
	client *Client
	path   string
	log    *locked
}

// locked is a buffer that a server logs to.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newRig serves a NIC of three VFs, the first a port's.
func newRig(t *testing.T) rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "hostapi") // a socket's path has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err = os.Chmod(dir, 0o755); err != nil { //nolint:gosec // others are to be refused by the socket
		t.Fatal(err)
	}
	db, err := bbolt.Open(filepath.Join(dir, "db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	sw := switchtest.New(switchtest.Spec{PF: "eth6", Number: 1, VFs: 3, Lacks: []string{"link_state"}})
	p := ports{map[string]agent.PortState{"5f0c-1": {
		Attachment: &model.Attachment{PortID: "5f0c-1", NetworkID: "net", VnicType: "direct", MAC: "fa:16:3e:00:00:01", VLAN: 101, MTU: 1500},
		Assigned:   true, Up: true, VF: agent.VF{PF: "eth6", Index: 0, PCISlot: switchtest.Slot(1, 0), Generation: 3},
	}}}
	log := &locked{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	e, err := plug.New(db, p, plug.Options{Devices: &plug.HostDevices{Sys: &pci.Sys{Root: t.TempDir()}}, Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Switch: sw, Ports: p, Engine: e, XML: plug.InterfaceXML, Log: logger}
	path := filepath.Join(dir, "agent.sock")
	ctx, cancel := context.WithCancel(context.Background())
	l, gid, err := Listen(ctx, path, "")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, l, gid) }()
	t.Cleanup(func() {
		cancel()
		if serr := <-done; serr != nil {
			t.Error(serr)
		}
	})
	return rig{NewClient(path), path, log}
}

func TestVFsSayWhoseTheyAreAndWhatTheDriverLacks(t *testing.T) {
	r := newRig(t)
	vfs, err := r.client.VFs(t.Context(), true)
	if err != nil || len(vfs) != 3 {
		t.Fatalf("%v, %v", vfs, err)
	}
	v := vfs[0]
	if v.PF != "eth6" || v.PortID != "5f0c-1" || v.Generation != 3 || !v.Up || v.PCISlot != switchtest.Slot(1, 0) {
		t.Errorf("first VF %+v", v)
	}
	if v.LinkState != nil || v.SpoofCheck == nil || v.VLAN == nil || *v.VLAN != 0 {
		t.Errorf("an attribute that the driver lacks is null, others are not: %+v", v)
	}
	if vfs[1].PortID != "" || vfs[2].Index != 2 {
		t.Errorf("others %+v", vfs[1:])
	}
	ports, err := r.client.Ports(t.Context())
	if err != nil || len(ports) != 1 || ports[0].VLAN != 101 || ports[0].VF != 0 {
		t.Errorf("ports %+v, %v", ports, err)
	}
	vifs, err := r.client.VIFs(t.Context())
	if err != nil || len(vifs) != 0 {
		t.Errorf("VIFs %v, %v", vifs, err)
	}
}

func TestErrorsKeepTheirMeaningOverTheSocket(t *testing.T) {
	r := newRig(t)
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.client.Plug(short, PlugRequest{PortID: "none", Target: plug.Target{Netns: "x"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("unknown port: %v", err)
	}
	if _, err := r.client.Plug(t.Context(), PlugRequest{PortID: "5f0c-1"}); !errors.Is(err, plug.ErrRefused) {
		t.Errorf("no target: %v", err)
	}
	if _, err := r.client.Plug(t.Context(), PlugRequest{PortID: "5f0c-1", Target: plug.Target{External: true}}); !errors.Is(err, plug.ErrRefused) || !strings.Contains(err.Error(), "software NIC") {
		t.Errorf("passthrough of a software NIC: %v", err)
	}
	if err := r.client.Unplug(t.Context(), "5f0c-1", 0); !errors.Is(err, plug.ErrNotPlugged) {
		t.Errorf("not plugged: %v", err)
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/v1/vifs", "{"},
		{"POST", "/v1/vifs", `{"port":"x"}`},
		{"POST", "/v1/vifs", `{"netns":"x"}`},
		{"POST", "/v1/vifs", `[1]`},
		{"DELETE", "/v1/vifs/x?generation=-1", ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://agent"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := r.client.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s %s %s: %s", c.method, c.path, c.body, resp.Status)
		}
	}
}

func TestOtherUsersAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it becomes another user")
	}
	r := newRig(t)
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(filepath.Dir(r.path), "client") // where another user can run it
	if err = os.WriteFile(program, exe, 0o755); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	ask := func() string {
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), childEnv+"="+r.path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, cerr := cmd.CombinedOutput()
		if cerr != nil {
			t.Fatalf("%v: %s", cerr, out)
		}
		return string(out)
	}
	if got := ask(); !strings.Contains(got, "true") || !strings.Contains(got, "be root") {
		t.Errorf("by the socket's mode: %s", got)
	}
	if err = os.Chmod(r.path, 0o666); err != nil { //nolint:gosec // so that the peer check has to do it
		t.Fatal(err)
	}
	if got := ask(); !strings.Contains(got, "user 65534 may not") {
		t.Errorf("by who he is: %s", got)
	}
	if !strings.Contains(r.log.String(), "uid=65534") {
		t.Errorf("it is not logged: %s", r.log)
	}
}

func TestSocketIsReplacedOnlyWhenNobodyServesIt(t *testing.T) {
	r := newRig(t)
	if _, _, err := Listen(t.Context(), r.path, ""); !errors.Is(err, ErrInUse) {
		t.Errorf("socket of a living agent: %v, want ErrInUse", err)
	}
	dead := filepath.Join(filepath.Dir(r.path), "dead.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err = NewClient(dead).VIFs(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("nobody serves it: %v, want ErrUnavailable", err)
	}
	again, _, err := Listen(t.Context(), dead, "")
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if _, _, err = Listen(t.Context(), dead, "no-such-group"); err == nil || !strings.Contains(err.Error(), "socket_group no-such-group") {
		t.Errorf("unknown group: %v", err)
	}
}

func TestBeginningOfAPortIsCompleted(t *testing.T) {
	ids := []string{"5f0c-1", "5f0d-2", "5f"}
	for _, c := range []struct {
		begin, want string
		err         error
	}{{"5f0c", "5f0c-1", nil}, {"5f", "5f", nil}, {"5f0", "", ErrAmbiguous}, {"6", "", ErrNotFound}, {"", "", ErrNotFound}} {
		if got, err := Resolve(c.begin, ids); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%q: %q, %v", c.begin, got, err)
		}
	}
}
