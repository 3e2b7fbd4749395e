package plug

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"neutrino/internal/agent"
	"neutrino/internal/eswitch/veb"
	"neutrino/internal/model"
	"neutrino/internal/netspace"
)

// The tests run in a process that is in a network namespace of its own: there is the
// host's side of a software NIC.
const (
	insideEnv = "NEUTRINO_PLUG_TEST_INSIDE"
	childEnv  = "NEUTRINO_PLUG_TEST_CHILD"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(childEnv) != "":
		if err := runChild(os.Getenv(childEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case os.Geteuid() == 0 && os.Getenv(insideEnv) == "":
		code, err := inside()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}

// inside runs this test binary again in a namespace.
func inside() (int, error) {
	name := fmt.Sprintf("nv-plug-%d", os.Getpid())
	if err := netspace.Create(name, nil); err != nil {
		return 0, err
	}
	defer func() { _ = netspace.Delete(name) }()
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(exe, os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"="+name)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err = netspace.Do(name, cmd.Start); err != nil {
		return 0, err
	}
	var exit *exec.ExitError
	if err = cmd.Wait(); errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// host is a software NIC with the ports that tests say it has.
type host struct {
	t    *testing.T
	file string
	p    *ports
}

func newHost(t *testing.T) *host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces and eBPF")
	}
	pins := filepath.Join(t.TempDir(), "pins")
	ns := os.Getenv(insideEnv)
	t.Cleanup(func() {
		if err := veb.Destroy(context.Background(), "eth6", pins); err != nil {
			t.Error(err)
		}
	})
	if err := veb.Create(t.Context(), veb.Spec{Name: "eth6", PF: 1, VFs: 2, PinDir: pins, Netns: netspace.Path(ns)}); err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, file: filepath.Join(t.TempDir(), "agent.db"), p: newPorts()}
	h.p.set(softPort("port-a", 0, 1))
	return h
}

func softPort(id string, vf int, generation uint64) agent.PortState {
	return agent.PortState{
		Attachment: &model.Attachment{
			PortID: id, NetworkID: "net", VnicType: model.VnicDirect, PhysicalNetwork: "default", VLAN: 10 + vf,
			MAC: fmt.Sprintf("fa:16:3e:00:00:%02x", vf+1), MTU: 1400,
		},
		Assigned: true, Up: true,
		VF: agent.VF{PF: "eth6", Index: vf, PCISlot: veb.VFSlot(1, vf), Netdev: fmt.Sprintf("eth6v%d", vf), Generation: generation},
	}
}

// namespace makes a named namespace for an instance.
func namespace(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("nv-plugged-%d-%d", os.Getpid(), time.Now().UnixNano()%1e9)
	if err := netspace.Create(name, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netspace.Delete(name) })
	return name
}

// running is an engine at work.
type running struct {
	*Engine
	stop func()
}

func start(t *testing.T, file string, p *ports, o Options) running {
	t.Helper()
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	e, err := New(db, p, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); e.Run(ctx) }()
	var once sync.Once
	r := running{e, func() {
		once.Do(func() {
			cancel()
			<-done
			if cerr := db.Close(); cerr != nil {
				t.Error(cerr)
			}
		})
	}}
	t.Cleanup(r.stop)
	return r
}

// ports is the agent, as tests play it.
type ports struct {
	mu   sync.Mutex
	all  map[string]agent.PortState
	next chan struct{}
}

func newPorts() *ports {
	return &ports{all: map[string]agent.PortState{}, next: make(chan struct{})}
}

func (p *ports) set(s agent.PortState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all[s.Attachment.PortID] = s
	close(p.next)
	p.next = make(chan struct{})
}

func (p *ports) Port(id string) (agent.PortState, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.all[id]
	return s, ok
}

func (p *ports) All() []agent.PortState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.all))
}

func (p *ports) Next() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next
}

// where says where a VF's netdev is: a namespace, "host", or "nowhere".
func where(t *testing.T, vf int, mac string, spaces ...string) string {
	t.Helper()
	if _, err := netlink.LinkByName(fmt.Sprintf("eth6v%d", vf)); err == nil {
		return "host"
	}
	for _, s := range spaces {
		found := false
		_ = netspace.Do(s, func() error {
			l, err := netlink.LinkByName("eth0")
			found = err == nil && l.Attrs().HardwareAddr.String() == mac && l.Attrs().MTU == 1400
			return nil
		})
		if found {
			return s
		}
	}
	return "nowhere"
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	end := time.Now().Add(time.Minute)
	for !f() {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func withLog(o Options) Options {
	o.Log = slog.New(slog.DiscardHandler)
	return o
}
