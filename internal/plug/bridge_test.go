package plug

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"neutrino/internal/agent"
	"neutrino/internal/model"
	"neutrino/internal/netspace"
	"neutrino/internal/ovs"
	"neutrino/internal/ovs/ovstest"
)

const (
	bridgeName = "br-plug"
	portX      = "11111111-2222-4333-8444-000000000001"
	macX       = "fa:16:3e:00:01:01"
)

// bridged is an Open vSwitch in the test's namespace, and what an agent does with it: it
// keeps the bridge at the wanted port and says how that stands.
type bridged struct {
	*ovstest.Instance
	sw   *ovs.Switch
	p    *ports
	file string
	mu   sync.Mutex
	want []ovs.Port
}

func attachment(id string) *model.Attachment {
	return &model.Attachment{
		Kind: model.AttachOVS, Bridge: bridgeName, PortID: id, NetworkID: "net", VnicType: model.VnicNormal,
		PhysicalNetwork: "default", VLAN: 101, MAC: macX, MTU: 1400,
	}
}

func newBridged(t *testing.T) *bridged {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces")
	}
	b := &bridged{Instance: ovstest.StartIn(t, os.Getenv(insideEnv)), p: newPorts(), file: filepath.Join(t.TempDir(), "agent.db")}
	var err error
	b.sw, err = openSwitch(b.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.keep(ctx) }()
	t.Cleanup(func() { cancel(); <-done; b.sw.Close() })
	b.bind(portX)
	return b
}

func openSwitch(endpoint string) (*ovs.Switch, error) {
	return ovs.Open(ovs.Options{
		Endpoint: endpoint, Datapath: "netdev", Bridges: []ovs.Bridge{{Name: bridgeName, PhysicalNetwork: "default"}},
	})
}

// bind says which ports are to be here.
func (b *bridged) bind(ids ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.want = nil
	for _, id := range ids {
		a := attachment(id)
		b.want = append(b.want, ovs.Port{ID: id, NetworkID: a.NetworkID, Bridge: a.Bridge, VLAN: a.VLAN, MAC: a.MAC, MTU: a.MTU})
	}
}

func (b *bridged) keep(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-b.sw.Events():
		case <-time.After(200 * time.Millisecond):
		}
		b.mu.Lock()
		want := b.want
		b.mu.Unlock()
		status, err := b.sw.Set(ctx, want)
		if err != nil {
			continue
		}
		for _, w := range want {
			st := status[w.ID]
			now := agent.PortState{
				Attachment: attachment(w.ID), Assigned: true, Up: st.Up(),
				VF: agent.VF{PF: bridgeName, Index: -1, Netdev: st.Interface, Ifindex: st.Ifindex},
			}
			if old, ok := b.p.Port(w.ID); !ok || old.VF != now.VF || old.Up != now.Up {
				b.p.set(now)
			}
		}
	}
}

func (b *bridged) options() Options {
	o := softOptions()
	o.Bridges = OpenVSwitch{b.sw}
	return o
}

// netdev is the state of a netdev in a namespace; "" = there is none.
func netdev(ns, name string) string {
	out := ""
	_ = netspace.Do(ns, func() error {
		l, err := netlink.LinkByName(name)
		if err == nil {
			a := l.Attrs()
			out = fmt.Sprintf("%s mtu %d", a.HardwareAddr, a.MTU)
			if a.Flags&net.FlagUp != 0 && a.OperState != netlink.OperDown {
				out += " up"
			}
		}
		return nil
	})
	return out
}

func index(ns, name string) int {
	out := 0
	_ = netspace.Do(ns, func() error {
		if l, err := netlink.LinkByName(name); err == nil {
			out = l.Attrs().Index
		}
		return nil
	})
	return out
}

// inPlace is a netdev that somebody holds at the other end.
const inPlace = macX + " mtu 1400 up"

func (b *bridged) where(ns string) string {
	switch {
	case netdev(ns, "eth0") == inPlace && netdev(b.Netns, ovs.Name(portX)) != "":
		return ns
	case netdev(b.Netns, ovs.Name(portX)) != "":
		return "host"
	default:
		return "nowhere"
	}
}

func TestPortOfABridgeIsPluggedIntoANamespace(t *testing.T) {
	b, ns := newBridged(t), namespace(t)
	e := start(t, b.file, b.p, b.options())
	v, err := e.Plug(t.Context(), portX, Target{Netns: ns})
	if err != nil {
		t.Fatal(err)
	}
	if v.Kind != Netns || v.Bridge != bridgeName || v.Netdev != "tap11111111-22" {
		t.Errorf("VIF %+v", v)
	}
	if got := netdev(ns, "eth0"); got != inPlace {
		t.Errorf("in the namespace: %q, want %q", got, inPlace)
	}
	eventually(t, "the port is up", func() bool { s, _ := b.p.Port(portX); return s.Up })
	for what, want := range map[string]string{
		"get Port tap11111111-22 tag":                        "101",
		"get Port tap11111111-22 other_config:transient":     `"true"`,
		"get Interface tap11111111-22 external_ids:iface-id": `"` + portX + `"`,
	} {
		if got := b.Vsctl(strings.Fields(what)...); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	before := b.Dump()
	if again, aerr := e.Plug(t.Context(), portX, Target{Netns: ns}); aerr != nil || again != v || b.Dump() != before {
		t.Errorf("plugged again: %+v, %v", again, aerr)
	}
	// Straight away and back again: nothing of the old interface is taken for the new one.
	for range 3 {
		if err = e.Unplug(t.Context(), portX, 0); err != nil {
			t.Fatal(err)
		}
		if got := b.where(ns); got != "nowhere" || b.Vsctl("list-ports", bridgeName) != "" {
			t.Fatalf("unplugged, the interface is %s, ports %q", got, b.Vsctl("list-ports", bridgeName))
		}
		if _, err = e.Plug(t.Context(), portX, Target{Netns: ns}); err != nil {
			t.Fatal(err)
		}
		if got := b.where(ns); got != ns {
			t.Fatalf("plugged again, the interface is %s", got)
		}
	}
}

// Restarts of Open vSwitch, and of the agent, leave what is plugged where it is, by whatever
// name it has there.
func TestPluggedInterfaceOutlivesOpenVSwitch(t *testing.T) {
	b, ns := newBridged(t), namespace(t)
	e := start(t, b.file, b.p, b.options())
	if _, err := e.Plug(t.Context(), portX, Target{Netns: ns}); err != nil {
		t.Fatal(err)
	}
	before, was := b.Dump(), index(ns, "eth0")
	b.StopSwitch()
	b.StartSwitch()
	e.stop()
	b.StopDatabase()
	b.StartDatabase()
	e = start(t, b.file, b.p, b.options())
	eventually(t, "the port is up", func() bool { s, _ := b.p.Port(portX); return s.Up })
	if now := index(ns, "eth0"); now != was || b.where(ns) != ns {
		t.Errorf("the interface is %s, ifindex %d, was %d", b.where(ns), now, was)
	}
	if after := b.Dump(); after != before {
		t.Errorf("%s\nis not\n%s", after, before)
	}
	eventually(t, "the database answers again", func() bool { return len(b.sw.There()) > 0 })
	if err := e.Unplug(t.Context(), portX, 0); err != nil {
		t.Fatal(err)
	}
	if got := b.where(ns); got != "nowhere" {
		t.Errorf("unplugged, the interface is %s", got)
	}
}

// As after a reboot: the namespace has gone, and with it what was plugged.
func TestBridgePortWhoseNamespaceIsGoneIsUnplugged(t *testing.T) {
	b, ns := newBridged(t), namespace(t)
	e := start(t, b.file, b.p, b.options())
	if _, err := e.Plug(t.Context(), portX, Target{Netns: ns}); err != nil {
		t.Fatal(err)
	}
	e.stop()
	if err := netspace.Delete(ns); err != nil {
		t.Fatal(err)
	}
	e = start(t, b.file, b.p, b.options())
	eventually(t, "nothing is plugged", func() bool { return len(e.List()) == 0 && len(e.Plugged()) == 0 })
	if got := b.Vsctl("list-ports", bridgeName); got != "" {
		t.Errorf("ports left: %s", got)
	}
}

func TestBridgePortOfAPortThatLeavesIsUnplugged(t *testing.T) {
	b, ns := newBridged(t), namespace(t)
	e := start(t, b.file, b.p, b.options())
	v, err := e.Plug(t.Context(), portX, Target{Netns: ns})
	if err != nil {
		t.Fatal(err)
	}
	b.bind()
	e.Release([]string{v.PCISlot})
	eventually(t, "it is unplugged", func() bool {
		return len(e.List()) == 0 && b.where(ns) == "nowhere" && b.Vsctl("list-ports", bridgeName) == ""
	})
}

func TestBridgePortOfADomainIsLibvirtsToMake(t *testing.T) {
	p := newPorts()
	s := agent.PortState{Attachment: attachment(portX), Assigned: true, VF: agent.VF{PF: bridgeName, Index: -1}}
	p.set(s)
	doms := &fakeDomains{has: map[string]bool{}}
	e := start(t, filepath.Join(t.TempDir(), "db"), p, Options{Devices: &fakeDevices{}, Domains: doms, Bridges: OpenVSwitch{}})
	v, err := e.Plug(t.Context(), portX, Target{Domain: "vm1"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := InterfaceXML(v)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`type="bridge"`, `<source bridge="br-plug"/>`, `interfaceid="` + portX + `"`, `<target dev="tap11111111-22"/>`, `<mtu size="1400"/>`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
	if !doms.has[portX] || v.Kind != Tap {
		t.Errorf("attached %v as %s", doms.has, v.Kind)
	}
	if err = e.Unplug(t.Context(), portX, 0); err != nil || doms.has[portX] {
		t.Errorf("unplugged: %v, %v", err, doms.has)
	}
}

// Killed with kill -9 at every step of plug and unplug, the next start ends with the port in
// the bridge and its interface in the namespace, or with neither.
func TestBridgePortKilledAtEveryStep(t *testing.T) {
	b, ns := newBridged(t), namespace(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"plug", "unplug"} {
		points := 0
		for survived := false; !survived; points++ {
			cmd := exec.Command(exe)
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s %d %s", childEnv, b.file, ns, verb, points, b.Endpoint()))
			out, cerr := cmd.CombinedOutput()
			survived = strings.Contains(string(out), "survived")
			if !survived && cmd.ProcessState.ExitCode() != -1 {
				t.Fatalf("child: %v %s", cerr, out)
			}
			e := start(t, b.file, b.p, b.options())
			eventually(t, "recovery", func() bool {
				left, perr := e.journal.Pending()
				e.mu.Lock()
				defer e.mu.Unlock()
				return perr == nil && len(left) == 0 && len(e.pending) == 0
			})
			plugged := len(e.List()) == 1
			want, rows := "nowhere", ""
			if plugged {
				want, rows = ns, ovs.Name(portX)
			}
			if got, have := b.where(ns), b.Vsctl("list-ports", bridgeName); got != want || have != rows {
				t.Fatalf("%s killed at point %d: recorded plugged %v, the interface is %s, ports %q", verb, points, plugged, got, have)
			}
			if survived && plugged != (verb == "plug") {
				t.Errorf("%s was done, plugged %v", verb, plugged)
			}
			switch {
			case verb == "plug" && plugged && !survived:
				err = e.Unplug(t.Context(), portX, 0)
			case verb == "unplug" && !plugged && !survived:
				_, err = e.Plug(t.Context(), portX, Target{Netns: ns})
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
