package ovs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"neutrino/internal/ovs/ovstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rack is one Open vSwitch and a Switch on it.
type rack struct {
	*ovstest.Instance
	*Switch
	t testing.TB
}

const br = "br-eth6"

func start(t testing.TB) *rack {
	t.Helper()
	i := ovstest.Start(t)
	i.Run("ip", "-n", i.Netns, "link", "add", "eth6", "type", "veth", "peer", "name", "wire")
	i.Run("ip", "-n", i.Netns, "link", "set", "wire", "up")
	i.Run("ip", "-n", i.Netns, "link", "set", "eth6", "up")
	return &rack{i, open(t, i), t}
}

func open(t testing.TB, i *ovstest.Instance) *Switch {
	t.Helper()
	s, err := Open(Options{
		Endpoint: i.Endpoint(), Datapath: "netdev", Bridges: []Bridge{{Name: br, PhysicalNetwork: "default", Uplink: "eth6"}},
		MayTake: func(string) error { return nil }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func port(n, vlan int) Port {
	return Port{
		ID: fmt.Sprintf("%08d-0000-4000-8000-000000000000", n), NetworkID: "net", ProjectID: "p", Bridge: br, VLAN: vlan,
		MAC: fmt.Sprintf("fa:16:3e:00:00:%02x", n), MTU: 1450, Internal: true,
	}
}

// settle sets until every port is up.
func (r *rack) settle(ports ...Port) map[string]Status {
	r.t.Helper()
	var last map[string]Status
	var err error
	defer func() {
		if r.t.Failed() {
			r.t.Logf("%+v, %v", last, err)
		}
	}()
	eventually(r.t, "the ports are in place", func() bool {
		var st map[string]Status
		st, err = r.Set(context.Background(), ports)
		last = st
		if err != nil || len(st) != len(ports) {
			return false
		}
		for _, s := range st {
			if !s.Up() {
				return false
			}
		}
		return true
	})
	return last
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(8 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// station makes an instance's namespace of an internal port.
func (r *rack) station(p Port, addr string) string {
	r.t.Helper()
	ns := r.Netns + "-" + Name(p.ID)
	r.Run("ip", "netns", "add", ns)
	r.t.Cleanup(func() { r.Run("ip", "netns", "del", ns) })
	r.Run("ip", "-n", r.Netns, "link", "set", Name(p.ID), "netns", ns)
	r.Run("ip", "-n", ns, "addr", "add", addr, "dev", Name(p.ID))
	r.Run("ip", "-n", ns, "link", "set", Name(p.ID), "up")
	return ns
}

func (r *rack) pings(ns, addr string) bool {
	return r.Try("ip", "netns", "exec", ns, "busybox", "ping", "-c", "2", "-W", "1", addr) == nil
}

func TestPortsOfOneVLANTalkOthersDoNot(t *testing.T) {
	if _, err := exec.LookPath("busybox"); err != nil {
		t.Skip("needs busybox: apt-get install busybox-static")
	}
	r := start(t)
	a, b, c := port(1, 101), port(2, 101), port(3, 102)
	r.settle(a, b, c)
	na := r.station(a, "10.0.0.1/24")
	r.station(b, "10.0.0.2/24")
	nc := r.station(c, "10.0.0.3/24")
	eventually(t, "ports of VLAN 101 talk", func() bool { return r.pings(na, "10.0.0.2") })
	if r.pings(na, "10.0.0.3") || r.pings(nc, "10.0.0.2") {
		t.Error("VLANs 101 and 102 reach each other")
	}
	// A move to another VLAN is one column, and takes effect.
	c.VLAN = 101
	r.settle(a, b, c)
	eventually(t, "the moved port talks", func() bool { return r.pings(na, "10.0.0.3") })
}

func TestPortIsOwnedTransientAndGoesWhenItIsNotWanted(t *testing.T) {
	r := start(t)
	a, b := port(1, 101), port(2, 0)
	r.settle(a, b)
	for what, want := range map[string]string{
		"get Port " + Name(a.ID) + " tag":                        "101",
		"get Port " + Name(b.ID) + " tag":                        "0",
		"get Port " + Name(a.ID) + " other_config:transient":     `"true"`,
		"get Port " + Name(a.ID) + " external_ids:neutrino":      `"` + a.ID + `"`,
		"get Interface " + Name(a.ID) + " external_ids:iface-id": `"` + a.ID + `"`,
		"get Interface " + Name(a.ID) + " mac":                   `"` + a.MAC + `"`,
		"get Port eth6 tag":                                      "[]",
		"get Bridge br-eth6 datapath_type":                       "netdev",
	} {
		if got := r.Vsctl(strings.Fields(what)...); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	if got := r.Run("ip", "-n", r.Netns, "link", "show", Name(a.ID)); !strings.Contains(got, "mtu 1450") || !strings.Contains(got, a.MAC) {
		t.Errorf("the interface is %s", got)
	}
	// Somebody else's port, and one of somebody else's bridge, are left alone.
	r.Vsctl("add-port", br, "other", "tag=7", "--", "set", "Interface", "other", "type=internal")
	r.settle(b)
	if got := r.Vsctl("list-ports", br); got != "eth6\nother\n"+Name(b.ID) {
		t.Errorf("ports: %q", got)
	}
	before := r.Dump()
	r.settle(b)
	if after := r.Dump(); after != before {
		t.Errorf("asked for the same, it changed\n%s\nto\n%s", before, after)
	}
}

func TestPortOfNovaGetsItsTagAndLosesItToTheDeadVLAN(t *testing.T) {
	r := start(t)
	p := port(1, 101)
	p.Internal = false
	st, err := r.Set(t.Context(), []Port{p})
	for errors.Is(err, ErrUnavailable) {
		st, err = r.Set(t.Context(), []Port{p})
	}
	if err != nil || st[p.ID].Up() || st[p.ID].Interface != "" || st[p.ID].Err != nil {
		t.Fatalf("nobody has plugged it: %+v, %v", st, err)
	}
	// As os-vif does it.
	r.Vsctl("add-port", br, Name(p.ID), "--", "set", "Interface", Name(p.ID), "type=internal",
		"external_ids:iface-id="+p.ID, "external_ids:attached-mac="+p.MAC, "external_ids:iface-status=active", "external_ids:vm-uuid=x")
	r.settle(p)
	if tag := r.Vsctl("get", "Port", Name(p.ID), "tag"); tag != "101" {
		t.Errorf("tag %s", tag)
	}
	bound := r.Dump()
	r.settle()
	if tag := r.Vsctl("get", "Port", Name(p.ID), "tag", "vlan_mode", "trunks", "protected"); tag != "4095\ntrunk\n[4095]\ntrue" {
		t.Errorf("not bound any more, its tag is %s", tag)
	}
	r.settle(p)
	if again := r.Dump(); again != bound {
		t.Errorf("bound again it is\n%s\nnot\n%s", again, bound)
	}
}

func TestSomebodysChangeIsPutRight(t *testing.T) {
	r := start(t)
	p := port(1, 101)
	r.settle(p)
	before := r.Dump()
	for _, disturb := range [][]string{
		{"set", "Port", Name(p.ID), "tag=5"},
		{"clear", "Port", Name(p.ID), "tag"},
		{"del-port", Name(p.ID)},
		{"remove", "Port", Name(p.ID), "other_config", "transient"},
		{"set", "Port", "eth6", "tag=9"},
		{"set", "Port", Name(p.ID), "vlan_mode=trunk"},
		{"set", "Port", Name(p.ID), "vlan_mode=native-untagged", "trunks=1,2"},
		{"del-br", br},
	} {
		for drained := false; !drained; {
			select {
			case <-r.Events():
			default:
				drained = true
			}
		}
		r.Vsctl(disturb...)
		select {
		case <-r.Events():
		case <-time.After(time.Minute):
			t.Fatalf("%v: no event", disturb)
		}
		r.settle(p)
		if after := r.Dump(); after != before {
			t.Errorf("after %v\n%s\nis not\n%s", disturb, after, before)
		}
	}
}

func TestDaemonsThatGoAndComeLeaveTheSamePorts(t *testing.T) {
	r := start(t)
	a, b := port(1, 101), port(2, 102)
	r.settle(a, b)
	before := r.Dump()
	r.Run("ovs-appctl", "-t", r.Dir+"/ovsdb.ctl", "ovsdb-server/reconnect") // drops every connection
	r.settle(a, b)
	r.StopDatabase()
	eventually(t, "it says that the database is gone", func() bool {
		_, err := r.Set(context.Background(), []Port{a, b})
		return errors.Is(err, ErrUnavailable)
	})
	r.StartDatabase()
	r.settle(a, b)
	r.StopSwitch()
	r.StartSwitch()
	r.settle(a, b)
	again := open(t, r.Instance) // a new agent
	(&rack{r.Instance, again, t}).settle(a, b)
	if after := r.Dump(); after != before {
		t.Errorf("%s\nis not\n%s", after, before)
	}
}

func TestUplinkThatIsRefusedIsNotTaken(t *testing.T) {
	r := start(t)
	bad := errors.New("it has the host's address")
	s, err := Open(Options{Endpoint: r.Endpoint(), Datapath: "netdev", Bridges: []Bridge{{Name: "br-x", PhysicalNetwork: "x", Uplink: "wire"}}, MayTake: func(string) error { return bad }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	eventually(t, "it refuses", func() bool {
		_, err = s.Set(context.Background(), nil)
		return errors.Is(err, bad)
	})
	if got := r.Vsctl("list-ports", "br-x"); got != "" {
		t.Errorf("ports of br-x: %s", got)
	}
}

func TestEndpointsAndMappingsThatAreWrong(t *testing.T) {
	for e, ok := range map[string]bool{
		"unix:/run/db.sock": true, "unix:run/db.sock": false, "tcp:127.0.0.1:6640": true, "tcp:192.0.2.1:6640": false,
		"ssl:db:6640": true, "ssl:db": false, "": false, "ptcp:1": false,
	} {
		if err := CheckEndpoint(e); (err == nil) != ok {
			t.Errorf("%q: %v", e, err)
		}
	}
	for _, b := range [][]Bridge{{{Name: ""}}, {{Name: "a"}, {Name: "a"}}, {{Name: "a", Uplink: "u"}, {Name: "b", Uplink: "u"}}, {{Name: "much-too-long-name"}}} {
		if _, err := Open(Options{Bridges: b}); err == nil {
			t.Errorf("%+v is taken", b)
		}
	}
}

func FuzzEndpoint(f *testing.F) {
	f.Add("unix:/x")
	f.Add("ssl:[::1]:6640")
	f.Fuzz(func(_ *testing.T, e string) { _ = CheckEndpoint(e) })
}
