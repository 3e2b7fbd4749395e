package plug

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.etcd.io/bbolt"

	"neutrino/internal/agent"
	"neutrino/internal/journal"
	"neutrino/internal/netspace"
	"neutrino/internal/pci"
)

func softOptions() Options { return Options{Devices: &HostDevices{Sys: &pci.Sys{}}} }

const macA = "fa:16:3e:00:00:01"

func TestPluggedAndUnplugged(t *testing.T) {
	h, ns := newHost(t), namespace(t)
	e := start(t, h.file, h.p, softOptions())
	v, err := e.Plug(t.Context(), "port-a", Target{Netns: ns})
	if err != nil {
		t.Fatal(err)
	}
	if got := where(t, 0, macA, ns); got != ns {
		t.Fatalf("netdev is in %s, want %s", got, ns)
	}
	if v.PluggedAt.IsZero() || v.Kind != Netns || v.Generation != 1 || v.Target.Ifname != "eth0" {
		t.Errorf("VIF %+v", v)
	}
	if p := e.Plugged()[v.PCISlot]; p.PortID != "port-a" || p.Generation != 1 || !strings.Contains(p.By, ns) {
		t.Errorf("plugged %+v", p)
	}
	again, err := e.Plug(t.Context(), "port-a", Target{Netns: ns, Ifname: "eth0"})
	if err != nil || again != v {
		t.Errorf("plugged again: %+v, %v; want the same", again, err)
	}
	if _, err = e.Plug(t.Context(), "port-a", Target{Netns: "other"}); !errors.Is(err, ErrPlugged) {
		t.Errorf("plugged elsewhere: %v, want ErrPlugged", err)
	}
	if err = e.Unplug(t.Context(), "port-a", 2); !errors.Is(err, ErrFenced) {
		t.Errorf("release of another generation: %v, want ErrFenced", err)
	}
	if err = e.Unplug(t.Context(), "port-a", 1); err != nil {
		t.Fatal(err)
	}
	if got := where(t, 0, macA, ns); got != "host" {
		t.Errorf("netdev is in %s, want the host", got)
	}
	if len(e.Plugged()) != 0 || len(e.List()) != 0 {
		t.Errorf("still plugged: %v %v", e.Plugged(), e.List())
	}
	if err = e.Unplug(t.Context(), "port-a", 0); !errors.Is(err, ErrNotPlugged) {
		t.Errorf("unplugged twice: %v, want ErrNotPlugged", err)
	}
}

func TestBadTargetsChangeNothing(t *testing.T) {
	h, ns := newHost(t), namespace(t)
	e := start(t, h.file, h.p, softOptions())
	if err := netspace.Do(ns, func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "p"})
	}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		to   Target
	}{
		{"nothing", Target{}},
		{"two things", Target{Netns: ns, Domain: "vm"}},
		{"a path", Target{Netns: "../x"}},
		{"no such namespace", Target{Netns: "nv-nowhere"}},
		{"a name that is taken", Target{Netns: ns}},
		{"a bad name", Target{Netns: ns, Ifname: "a/b"}},
		{"a domain without libvirt", Target{Domain: "vm"}},
		{"passthrough of a software NIC", Target{External: true}},
	} {
		if _, err := e.Plug(t.Context(), "port-a", c.to); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", c.what, err)
		}
		if got := where(t, 0, macA, ns); got != "host" {
			t.Fatalf("%s: netdev is in %s", c.what, got)
		}
		if len(e.Plugged()) != 0 {
			t.Fatalf("%s: plugged %v", c.what, e.Plugged())
		}
	}
}

func TestPlugWaitsForThePort(t *testing.T) {
	h, ns := newHost(t), namespace(t)
	e := start(t, h.file, h.p, softOptions())
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := e.Plug(short, "port-b", Target{Netns: ns}); !errors.Is(err, ErrNoPort) {
		t.Errorf("unknown port: %v, want ErrNoPort", err)
	}
	s := softPort("port-b", 1, 2)
	s.Up, s.Reason = false, "VF 1 is being returned"
	h.p.set(s)
	short, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := e.Plug(short, "port-b", Target{Netns: ns}); !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), s.Reason) {
		t.Errorf("port that is down: %v, want ErrNotReady with its reason", err)
	}
	done := make(chan error, 1)
	go func() { _, err := e.Plug(t.Context(), "port-b", Target{Netns: ns}); done <- err }()
	h.p.set(softPort("port-b", 1, 2))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestReleasedVFIsUnpluggedAndAnotherIsNot(t *testing.T) {
	h, ns, other := newHost(t), namespace(t), namespace(t)
	h.p.set(softPort("port-b", 1, 2))
	e := start(t, h.file, h.p, softOptions())
	for id, n := range map[string]string{"port-a": ns, "port-b": other} {
		if _, err := e.Plug(t.Context(), id, Target{Netns: n}); err != nil {
			t.Fatal(err)
		}
	}
	e.Release([]string{softPort("port-a", 0, 1).VF.PCISlot, "0000:00:00.0"})
	eventually(t, "the netdev comes back", func() bool { return where(t, 0, macA, ns) == "host" && len(e.List()) == 1 })
	if got := where(t, 1, "fa:16:3e:00:00:02", other); got != other {
		t.Errorf("the other port's netdev is in %s", got)
	}
}

// A namespace that dies takes the software NIC's netdev along; unplugging finds nothing
// to bring back and is done.
func TestNamespaceThatDiedIsUnplugged(t *testing.T) {
	h, ns := newHost(t), namespace(t)
	e := start(t, h.file, h.p, softOptions())
	if _, err := e.Plug(t.Context(), "port-a", Target{Netns: ns}); err != nil {
		t.Fatal(err)
	}
	if err := netspace.Delete(ns); err != nil {
		t.Fatal(err)
	}
	if err := e.Unplug(t.Context(), "port-a", 0); err != nil {
		t.Fatal(err)
	}
	if len(e.List()) != 0 {
		t.Error("still listed")
	}
}

func TestRestartKeepsWhatIsPlugged(t *testing.T) {
	h, ns := newHost(t), namespace(t)
	e := start(t, h.file, h.p, softOptions())
	v, err := e.Plug(t.Context(), "port-a", Target{Netns: ns})
	if err != nil {
		t.Fatal(err)
	}
	e.stop()
	if got := where(t, 0, macA, ns); got != ns {
		t.Errorf("the engine's end took the netdev to %s", got)
	}
	e = start(t, h.file, h.p, softOptions())
	if l := e.List(); len(l) != 1 || l[0].PortID != v.PortID || !l[0].PluggedAt.Equal(v.PluggedAt) {
		t.Errorf("after the restart: %+v, want %+v", l, v)
	}
}

// runChild plugs or unplugs and is killed at a point of the journal: "file ns verb point", and
// the database of an Open vSwitch when it is about a port of a bridge.
func runChild(arg string) error {
	var file, ns, verb, database string
	var point int
	if n, err := fmt.Sscan(arg, &file, &ns, &verb, &point, &database); n < 4 {
		return err
	}
	db, err := bbolt.Open(file, 0o600, nil)
	if err != nil {
		return err
	}
	n := 0
	o := softOptions()
	o.Journal = []journal.Option{journal.WithHook(func(string) {
		if n == point {
			self, _ := os.FindProcess(os.Getpid())
			_ = self.Kill()
			select {}
		}
		n++
	})}
	o.Log = nil
	p, port := newPorts(), softPort("port-a", 0, 1)
	if database != "" {
		if o.Bridges, err = childSwitch(database); err != nil {
			return err
		}
		port = agent.PortState{Attachment: attachment(portX), Assigned: true, VF: agent.VF{PF: bridgeName, Index: -1}}
	}
	p.set(port)
	e, err := New(db, p, withLog(o))
	if err != nil {
		return err
	}
	if verb == "plug" {
		_, err = e.Plug(context.Background(), port.Attachment.PortID, Target{Netns: ns})
	} else {
		err = e.Unplug(context.Background(), port.Attachment.PortID, port.VF.Generation)
	}
	if err == nil {
		fmt.Println("survived")
	}
	return err
}

// childSwitch waits for the database, as an agent that says a port is ready has done.
func childSwitch(database string) (Bridges, error) {
	sw, err := openSwitch(database)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(time.Minute); !sw.There()[bridgeName]; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return nil, errors.New("no bridge within a minute")
		}
	}
	return OpenVSwitch{sw}, nil
}

// Killed with kill -9 at every step of plug and unplug, the next start ends with the
// netdev where the record says it is, and with nothing pending.
func TestKilledAtEveryStep(t *testing.T) {
	h, ns := newHost(t), namespace(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"plug", "unplug"} {
		points := 0
		for survived := false; !survived; points++ {
			cmd := exec.Command(exe)
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s %d", childEnv, h.file, ns, verb, points))
			out, cerr := cmd.CombinedOutput()
			survived = strings.Contains(string(out), "survived")
			if !survived && cmd.ProcessState.ExitCode() != -1 {
				t.Fatalf("child: %v %s", cerr, out)
			}
			e := start(t, h.file, h.p, softOptions())
			eventually(t, "recovery", func() bool {
				left, perr := e.journal.Pending()
				e.mu.Lock()
				defer e.mu.Unlock()
				return perr == nil && len(left) == 0 && len(e.pending) == 0
			})
			plugged := len(e.List()) == 1
			want := "host"
			if plugged {
				want = ns
			}
			if got := where(t, 0, macA, ns); got != want {
				t.Fatalf("%s killed at point %d: recorded plugged %v, netdev is in %s", verb, points, plugged, got)
			}
			if _, held := e.Plugged()[softPort("port-a", 0, 1).VF.PCISlot]; held != plugged {
				t.Errorf("%s killed at point %d: the VF is held %v, plugged %v", verb, points, held, plugged)
			}
			if survived && plugged != (verb == "plug") {
				t.Errorf("%s was done, plugged %v", verb, plugged)
			}
			// Back to where the verb starts from.
			switch {
			case verb == "plug" && plugged && !survived:
				err = e.Unplug(t.Context(), "port-a", 0)
			case verb == "unplug" && !plugged && !survived:
				_, err = e.Plug(t.Context(), "port-a", Target{Netns: ns})
			}
			if err != nil {
				t.Fatal(err)
			}
			e.stop()
		}
		if points < 4 {
			t.Errorf("%s: only %d points to die at", verb, points)
		}
	}
}
