package agent

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"neutrino/internal/model"
	"neutrino/internal/rpc"
	"neutrino/internal/rpc/fabricv1"
)

var quiet = slog.New(slog.DiscardHandler)

func compareAddrs() cmp.Option {
	return cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	}
}

func network(id string, hosts ...string) *model.DHCPNetwork {
	n := &model.DHCPNetwork{
		NetworkID: id, PortID: "dhcp-" + id, MAC: "fa:16:3e:ff:00:01", MTU: 1500,
		Addresses: []model.FixedIP{{SubnetID: "s1", IP: netip.MustParseAddr("10.0.0.2")}},
		Subnets:   []*model.Subnet{{Meta: model.Meta{ID: "s1"}, NetworkID: id, IPVersion: 4, CIDR: netip.MustParsePrefix("10.0.0.0/24"), EnableDHCP: true}},
	}
	for i, h := range hosts {
		n.Hosts = append(n.Hosts, model.DHCPHost{
			PortID: h, MAC: attachment(i).MAC, HostName: "host-" + h,
			Addresses: []model.FixedIP{{SubnetID: "s1", IP: netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + i)})}},
		})
	}
	return n
}

func TestStateFileRoundTrip(t *testing.T) {
	file := filepath.Join(t.TempDir(), "deep", "state.db")
	f, s, err := openState(file, "h", quiet)
	if err != nil || s.known {
		t.Fatalf("new file: known %t, %v", s.known, err)
	}
	atts := wish(attachment(0), attachment(1))
	assigned := Assignments{"port-00": {PortID: "port-00", PF: "eth6", Index: 3, PCISlot: "fffe:01:00.3", Netdev: "v3"}}
	nets := map[string]*model.DHCPNetwork{"n1": network("n1", "port-00"), "n2": network("n2")}
	if err = errors.Join(f.record(nil, atts, holdings{}, holdings{assigned: assigned}), f.recordNetworks(nil, nets)); err != nil {
		t.Fatal(err)
	}
	if _, _, err = openState(file, "h", quiet); !errors.Is(err, ErrStateInUse) {
		t.Errorf("a second agent on the file: %v, want ErrStateInUse", err)
	}
	rest := wish(atts["port-01"])
	if err = errors.Join(f.record(atts, rest, holdings{assigned: assigned}, holdings{}), f.recordNetworks(nets, map[string]*model.DHCPNetwork{"n1": nets["n1"]}), f.close()); err != nil {
		t.Fatal(err)
	}
	if f, s, err = openState(file, "h", quiet); err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if diff := cmp.Diff(rest, s.attachments, compareAddrs()); diff != "" || !s.known || len(s.assigned) != 0 {
		t.Errorf("attachments (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]*model.DHCPNetwork{"n1": nets["n1"]}, s.networks, compareAddrs()); diff != "" {
		t.Errorf("networks (-want +got):\n%s", diff)
	}
}

func TestStateFileOfAnotherHost(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.db")
	f, _, err := openState(file, "h1", quiet)
	if err != nil {
		t.Fatal(err)
	}
	f.close()
	if _, _, err = openState(file, "h2", quiet); err == nil || !strings.Contains(err.Error(), `belongs to host "h1"`) {
		t.Errorf("error %v", err)
	}
}

// Whatever became of the file, the agent starts, and keeps the file for those who want
// to know.
func TestStateFileDamaged(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good.db")
	f, _, err := openState(good, "h", quiet)
	if err != nil {
		t.Fatal(err)
	}
	atts := map[string]*model.Attachment{}
	for i := range 40 {
		atts[attachment(i).PortID] = attachment(i)
	}
	if err = errors.Join(f.record(nil, atts, holdings{}, holdings{}), f.close()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	damage := map[string]func([]byte) []byte{
		"empty":     func([]byte) []byte { return nil },
		"text":      func([]byte) []byte { return []byte("not a database\n") },
		"cut short": func(d []byte) []byte { return d[:len(d)/2] },
		"one page":  func(d []byte) []byte { return d[:4096] },
		"no metas":  func(d []byte) []byte { clear(d[:8192]); return d },
		"no data":   func(d []byte) []byte { clear(d[8192:]); return d },
		"noise": func(d []byte) []byte {
			for i := 8192; i < len(d); i += 7 {
				d[i] ^= 0xa5
			}
			return d
		},
	}
	for _, name := range slices.Sorted(maps.Keys(damage)) {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "state.db")
			if err := os.WriteFile(file, damage[name](slices.Clone(data)), 0o600); err != nil {
				t.Fatal(err)
			}
			f, _, err := openState(file, "h", quiet)
			if err != nil {
				t.Fatalf("the agent does not start: %v", err)
			}
			if err = errors.Join(f.record(nil, wish(attachment(0)), holdings{}, holdings{}), f.close()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTableDeltas(t *testing.T) {
	tb := newTable(saved{})
	if err := tb.delta(&fabricv1.Delta{Revision: 1}); !errors.Is(err, errOutOfStep) {
		t.Errorf("delta before a snapshot: %v", err)
	}
	snap := &fabricv1.Snapshot{
		Epoch: "e", Revision: 7,
		Attachments:  []*fabricv1.Attachment{rpc.EncodeAttachment(attachment(0)), rpc.EncodeAttachment(attachment(1))},
		DhcpNetworks: []*fabricv1.DHCPNetwork{rpc.EncodeDHCPNetwork(network("n1", "port-00", "port-01"))},
	}
	if err := tb.snapshot(snap); err != nil {
		t.Fatal(err)
	}
	before := tb.get()
	changed := *attachment(1)
	changed.VLAN, changed.Revision = 7, 70
	err := tb.delta(&fabricv1.Delta{
		BaseRevision: 7, Revision: 8, RemovedPorts: []string{"port-00"},
		Attachments: []*fabricv1.Attachment{rpc.EncodeAttachment(&changed), rpc.EncodeAttachment(attachment(2))},
		DhcpHosts: []*fabricv1.DHCPHosts{{NetworkId: "n1", RemovedPorts: []string{"port-00"}, Hosts: []*fabricv1.DHCPHost{
			{PortId: "port-01", Mac: "fa:16:3e:00:00:09"}, {PortId: "port-02", Mac: "fa:16:3e:00:00:0a"},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(before.Attachments) != 2 || len(before.Networks["n1"].Hosts) != 2 || before.Attachments["port-01"].VLAN != 101 {
		t.Error("a view that was handed out has changed")
	}
	now := tb.get()
	var hosts []string
	for _, h := range now.Networks["n1"].Hosts {
		hosts = append(hosts, h.PortID+" "+h.MAC)
	}
	if diff := cmp.Diff([]string{"port-01 fa:16:3e:00:00:09", "port-02 fa:16:3e:00:00:0a"}, hosts); diff != "" {
		t.Error(diff)
	}
	if len(now.Attachments) != 2 || now.Attachments["port-01"].VLAN != 7 || now.Attachments["port-02"] == nil {
		t.Errorf("attachments %v", now.Attachments)
	}
	for name, d := range map[string]*fabricv1.Delta{
		"skips one":         {BaseRevision: 9, Revision: 10},
		"repeated":          {BaseRevision: 7, Revision: 8},
		"backwards":         {BaseRevision: 8, Revision: 3},
		"hosts of nowhere":  {BaseRevision: 8, Revision: 9, DhcpHosts: []*fabricv1.DHCPHosts{{NetworkId: "n9"}}},
		"port without id":   {BaseRevision: 8, Revision: 9, Attachments: []*fabricv1.Attachment{{}}},
		"network of no MAC": {BaseRevision: 8, Revision: 9, DhcpNetworks: []*fabricv1.DHCPNetwork{{NetworkId: "n", PortId: "p"}}},
	} {
		if err := tb.delta(d); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, rev := tb.position(); rev != 8 {
			t.Errorf("%s: now at %d", name, rev)
		}
	}
}

func TestOutbox(t *testing.T) {
	o := newOutbox()
	r := func(port string, rev int64, up bool) model.PortReport {
		return model.PortReport{PortID: port, Revision: rev, Up: up}
	}
	set := func(rs ...model.PortReport) {
		m := map[string]model.PortReport{}
		for _, x := range rs {
			m[x.PortID] = x
		}
		o.replace(m)
	}
	set(r("a", 1, false), r("b", 1, true))
	seq, out, _ := o.take()
	if seq != 1 || len(out) != 2 || out[0].PortID != "a" {
		t.Fatalf("took %d %v", seq, out)
	}
	set(r("a", 1, true), r("b", 1, true)) // a changes while its first report is under way
	seq2, out, _ := o.take()
	if seq2 != 2 || len(out) != 1 || !out[0].Up {
		t.Fatalf("took %d %v", seq2, out)
	}
	o.ack(seq)
	if o.pending() != 1 {
		t.Errorf("%d pending after the first ack, want the newer report of a", o.pending())
	}
	o.ack(seq2)
	if _, out, _ = o.take(); len(out) != 0 || o.pending() != 0 {
		t.Errorf("left: %v", out)
	}
	set(r("b", 1, true))
	o.restart()
	if seq, out, _ = o.take(); seq != 1 || len(out) != 1 {
		t.Errorf("a new stream is told %d %v, want everything", seq, out)
	}
}

func TestParseController(t *testing.T) {
	tests := []struct{ in, base, socket, err string }{
		{"unix:///run/n.sock", "http://controller", "/run/n.sock", ""},
		{"127.0.0.1:9695", "http://127.0.0.1:9695", "", ""},
		{"[::1]:9695", "http://[::1]:9695", "", ""},
		{"http://localhost:9695", "http://localhost:9695", "", ""},
		{"ctl.example:9695", "https://ctl.example:9695", "", ""},
		{"tcp://10.0.0.1:1", "https://10.0.0.1:1", "", ""},
		{"https://10.0.0.1:1/", "https://10.0.0.1:1", "", ""},
		{"http://10.0.0.1:1", "", "", "plaintext"},
		{"unix://run/n.sock", "", "", "unix:///path"},
		{"ctl.example", "", "", "not unix"},
		{"https://ctl.example", "", "", "port"},
		{"https://a@ctl.example:1", "", "", "nothing but an address"},
		{"ftp://a:1", "", "", "not unix"},
		{"", "", "", "not unix"},
	}
	for _, tc := range tests {
		c, err := parseController(tc.in)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%q: %v, want %q", tc.in, err, tc.err)
			}
			continue
		}
		if err != nil || c.base != tc.base || c.socket != tc.socket {
			t.Errorf("%q: %+v %v", tc.in, c, err)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := func() Config {
		return Config{
			Host: "h", StateFile: filepath.Join(t.TempDir(), "s"), Controllers: []string{"unix:///none"},
			PhysicalDeviceMappings: map[string][]string{"default": {"eth6"}}, ExcludeDevices: map[string][]string{"eth6": {"0000:03:10.2"}},
		}
	}
	c := good()
	if _, err := c.validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"host":                       func(c *Config) { c.Host = "a b" },
		"state file":                 func(c *Config) { c.StateFile = "" },
		"nothing to do":              func(c *Config) { c.PhysicalDeviceMappings, c.ExcludeDevices = nil, nil },
		"has no device":              func(c *Config) { c.PhysicalDeviceMappings["x"] = nil },
		"not a device name":          func(c *Config) { c.PhysicalDeviceMappings["x"] = []string{"../eth0"} },
		"not in physical_device":     func(c *Config) { c.ExcludeDevices["eth9"] = nil },
		"not a PCI address":          func(c *Config) { c.ExcludeDevices["eth6"] = []string{"3"} },
		"no controller":              func(c *Config) { c.Controllers = nil },
		"TLS needs this host's cert": func(c *Config) { c.Controllers = []string{"ctl:1"} },
	} {
		c = good()
		change(&c)
		if _, err := c.validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	c = good()
	c.DHCP = true
	if err := Run(t.Context(), c, oneNIC(1)); err == nil || !strings.Contains(err.Error(), "no DHCP server") {
		t.Errorf("DHCP without a server: %v", err)
	}
}

// dhcpFake remembers what it was set to.
type dhcpFake struct {
	mu   sync.Mutex
	sets []int
	err  error
}

func (d *dhcpFake) Set(_ context.Context, want []*model.DHCPNetwork) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sets = append(d.sets, len(want))
	return d.err
}

func (d *dhcpFake) calls() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.sets)
}

func TestDHCPWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s, err := openState(filepath.Join(t.TempDir(), "state.db"), "h", quiet)
		if err != nil {
			t.Fatal(err)
		}
		defer f.close()
		fake, tb, moved := &dhcpFake{}, newTable(s), make(chan struct{}, 1)
		w := &dhcpWorker{server: fake, table: tb, state: f, moved: moved, log: quiet, written: s.networks}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { w.run(ctx) })
		synctest.Wait()
		if got := fake.calls(); len(got) != 0 {
			t.Errorf("set to %v before anything was asked", got)
		}
		fake.err = errors.New("no")
		if err = tb.snapshot(&fabricv1.Snapshot{Epoch: "e", DhcpNetworks: []*fabricv1.DHCPNetwork{rpc.EncodeDHCPNetwork(network("n1", "port-00"))}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		tries := len(fake.calls())
		if tries < 4 || tries > 12 {
			t.Errorf("%d tries in ten seconds", tries)
		}
		fake.mu.Lock()
		fake.err = nil
		fake.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		n := len(fake.calls())
		time.Sleep(time.Hour)
		wake(tb.networks) // published again, unchanged
		synctest.Wait()
		if got := len(fake.calls()); got != n {
			t.Errorf("set %d times although nothing changed", got-n)
		}
		wake(moved) // a VF came: the server looks again
		synctest.Wait()
		if got := len(fake.calls()); got != n+1 {
			t.Errorf("set %d times after a VF came, want once", got-n)
		}
		cancel()
		wg.Wait()
		if got, lerr := f.load(); lerr != nil || len(got.networks) != 1 {
			t.Errorf("the file holds %v, %v", got.networks, lerr)
		}
	})
}

// Whatever a controller sends, the table takes it or leaves it, and what it took can be
// planned and kept.
func FuzzTable(f *testing.F) {
	for _, m := range []*fabricv1.FromController{
		{Message: &fabricv1.FromController_Snapshot{Snapshot: &fabricv1.Snapshot{Epoch: "e", Attachments: []*fabricv1.Attachment{rpc.EncodeAttachment(attachment(0))}}}},
		{Message: &fabricv1.FromController_Delta{Delta: &fabricv1.Delta{Revision: 1, RemovedPorts: []string{"port-00"}, DhcpHosts: []*fabricv1.DHCPHosts{{NetworkId: "n1"}}}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	start := &fabricv1.Snapshot{
		Epoch: "e", Attachments: []*fabricv1.Attachment{rpc.EncodeAttachment(attachment(0)), rpc.EncodeAttachment(attachment(1))},
		DhcpNetworks: []*fabricv1.DHCPNetwork{rpc.EncodeDHCPNetwork(network("n1", "port-00"))},
	}
	observed := oneNIC(2).State()
	f.Fuzz(func(t *testing.T, data []byte) {
		var m fabricv1.FromController
		if proto.Unmarshal(data, &m) != nil {
			return
		}
		tb := newTable(saved{})
		if err := tb.snapshot(start); err != nil {
			t.Fatal(err)
		}
		_ = tb.delta(m.GetDelta())
		_ = tb.snapshot(m.GetSnapshot())
		view := tb.get()
		for id, a := range view.Attachments {
			if err := rpc.CheckAttachment(a); err != nil || a.PortID != id {
				t.Fatalf("%s: %v", id, err)
			}
		}
		p := Compute(World{Desired: view.Attachments, Observed: observed, Assigned: Assignments{}, Mappings: mapping})
		if len(p.Verdicts) != len(view.Attachments) {
			t.Fatalf("%d verdicts for %d ports", len(p.Verdicts), len(view.Attachments))
		}
	})
}
