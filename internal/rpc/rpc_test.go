package rpc

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"neutrino/internal/model"
	"neutrino/internal/rpc/fabricv1"
)

var addresses = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func drawMAC(t *rapid.T) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	b.WriteString("02")
	for range 5 {
		b.WriteByte(':')
		b.WriteByte(hex[rapid.IntRange(0, 15).Draw(t, "hex")])
		b.WriteByte(hex[rapid.IntRange(0, 15).Draw(t, "hex")])
	}
	return b.String()
}

func drawAttachment(t *rapid.T) *model.Attachment {
	id := rapid.StringMatching(`[0-9a-f]{8}-[0-9a-f]{4}`)
	a := &model.Attachment{
		PortID: id.Draw(t, "port"), Revision: rapid.Int64().Draw(t, "revision"), NetworkID: id.Draw(t, "network"),
		ProjectID: rapid.StringN(0, 20, 40).Filter(func(s string) bool { return !strings.ContainsRune(s, 0) }).Draw(t, "project"),
		Device:    id.Draw(t, "device"), Owner: "compute:nova", VnicType: rapid.SampledFrom([]string{"direct", "macvtap", "normal"}).Draw(t, "vnic"),
		PCISlot:         rapid.SampledFrom([]string{"", "0000:03:10.2", "fffe:01:00.7"}).Draw(t, "slot"),
		PhysicalNetwork: "default", VLAN: rapid.IntRange(0, 4094).Draw(t, "vlan"), MAC: drawMAC(t),
		MTU: rapid.SampledFrom([]int{0, 68, 1500, 65535}).Draw(t, "mtu"), SpoofCheck: rapid.Bool().Draw(t, "spoof"),
		LinkState: model.LinkState(rapid.IntRange(0, 2).Draw(t, "link")),
	}
	if rapid.Bool().Draw(t, "has trust") {
		v := rapid.Bool().Draw(t, "trust")
		a.Trust = &v
	}
	if rapid.Bool().Draw(t, "has node") {
		v := rapid.IntRange(0, maxNUMANode).Draw(t, "node")
		a.NUMANode = &v
	}
	a.MinTxRate = rapid.IntRange(0, 100).Draw(t, "min")
	a.MaxTxRate = rapid.SampledFrom([]int{0, 100, maxRate}).Draw(t, "max")
	for range rapid.IntRange(0, 3).Draw(t, "allowed") {
		p := rapid.SampledFrom([]string{"10.0.0.3/32", "10.0.0.0/24", "fe80::1/128", "0.0.0.0/0", "::/0"}).Draw(t, "prefix")
		a.Allowed = append(a.Allowed, model.AllowedSource{MAC: drawMAC(t), Prefix: netip.MustParsePrefix(p)})
	}
	return a
}

func TestAttachmentRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawAttachment(t)
		wire, err := proto.Marshal(EncodeAttachment(a))
		if err != nil {
			t.Fatal(err)
		}
		var m fabricv1.Attachment
		if err = proto.Unmarshal(wire, &m); err != nil {
			t.Fatal(err)
		}
		got, err := DecodeAttachment(&m, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(a, got, addresses); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestAttachmentRefused(t *testing.T) {
	good := &model.Attachment{
		PortID: "p", NetworkID: "n", VnicType: "direct", PhysicalNetwork: "default", MAC: "fa:16:3e:00:00:01", VLAN: 1, LinkState: model.LinkEnable,
	}
	if err := CheckAttachment(good); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*model.Attachment){
		"port_id":             func(a *model.Attachment) { a.PortID = "../p" },
		"network_id":          func(a *model.Attachment) { a.NetworkID = "" },
		"project_id":          func(a *model.Attachment) { a.ProjectID = strings.Repeat("x", 256) },
		"device_id: not UTF":  func(a *model.Attachment) { a.Device = "\xff" },
		"device_owner":        func(a *model.Attachment) { a.Owner = "a\x00b" },
		"vnic_type":           func(a *model.Attachment) { a.VnicType = "Direct!" },
		"pci_slot":            func(a *model.Attachment) { a.PCISlot = "03:10.2" },
		"physical_network":    func(a *model.Attachment) { a.PhysicalNetwork = "" },
		"vlan: 4095":          func(a *model.Attachment) { a.VLAN = 4095 },
		"negative":            func(a *model.Attachment) { a.VLAN = -1 },
		"mac":                 func(a *model.Attachment) { a.MAC = "fa:16:3e:00:00" },
		"canonical":           func(a *model.Attachment) { a.MAC = "FA:16:3E:00:00:01" },
		"group address":       func(a *model.Attachment) { a.MAC = "01:00:5e:00:00:01" },
		"zero address":        func(a *model.Attachment) { a.MAC = "00:00:00:00:00:00" },
		"mtu":                 func(a *model.Attachment) { a.MTU = 67 },
		"link_state: unknown": func(a *model.Attachment) { a.LinkState = 3 },
		"min_tx_rate":         func(a *model.Attachment) { a.MinTxRate, a.MaxTxRate = 2, 1 },
		"max_tx_rate":         func(a *model.Attachment) { a.MaxTxRate = maxRate + 1 },
		"numa_node":           func(a *model.Attachment) { n := maxNUMANode + 1; a.NUMANode = &n },
		"numa_node: 4294":     func(a *model.Attachment) { n := -1; a.NUMANode = &n },
		"allowed.prefix":      func(a *model.Attachment) { a.Allowed = []model.AllowedSource{{MAC: a.MAC}} },
		"allowed: 1025":       func(a *model.Attachment) { a.Allowed = make([]model.AllowedSource, 1025) },
	} {
		a := *good
		change(&a)
		if err := CheckAttachment(&a); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	wire := EncodeAttachment(good)
	wire.LinkState = 77
	if _, err := DecodeAttachment(wire, nil); err == nil || !strings.Contains(err.Error(), "unknown value 77") {
		t.Errorf("unknown enum value: %v", err)
	}
}

func TestDHCPNetworkRoundTrip(t *testing.T) {
	a := netip.MustParseAddr
	n := &model.DHCPNetwork{
		NetworkID: "n", PortID: "p", MAC: "fa:16:3e:00:00:01", MTU: 1450,
		Addresses: []model.FixedIP{{SubnetID: "s4", IP: a("10.0.0.2")}, {SubnetID: "s6", IP: a("fd00::2")}},
		Subnets: []*model.Subnet{
			{
				Meta: model.Meta{ID: "s4"}, NetworkID: "n", IPVersion: 4, CIDR: netip.MustParsePrefix("10.0.0.0/24"), GatewayIP: a("10.0.0.1"),
				AllocationPools: []model.IPRange{{Start: a("10.0.0.2"), End: a("10.0.0.254")}}, DNSNameservers: []netip.Addr{a("9.9.9.9")},
				HostRoutes: []model.Route{{Destination: netip.MustParsePrefix("192.168.0.0/16"), NextHop: a("10.0.0.9")}}, EnableDHCP: true,
			},
			{Meta: model.Meta{ID: "s6"}, NetworkID: "n", IPVersion: 6, CIDR: netip.MustParsePrefix("fd00::/64"), EnableDHCP: true, IPv6RAMode: model.ModeSLAAC, IPv6AddressMode: model.ModeSLAAC},
		},
		Hosts: []model.DHCPHost{{
			PortID: "q", MAC: "fa:16:3e:00:00:02", HostName: "host-10-0-0-3", Addresses: []model.FixedIP{{SubnetID: "s4", IP: a("10.0.0.3")}},
			Options: []model.DHCPOpt{{Name: "tftp-server", Value: "10.0.0.5", IPVersion: 4}},
		}},
		RoutedSubnets: []string{"s4"},
	}
	got, err := DecodeDHCPNetwork(EncodeDHCPNetwork(n))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(n, got, addresses); diff != "" {
		t.Error(diff)
	}
	for field, change := range map[string]func(*fabricv1.DHCPNetwork){
		"mac":                          func(m *fabricv1.DHCPNetwork) { m.Mac = "x" },
		"addresses.ip":                 func(m *fabricv1.DHCPNetwork) { m.Addresses[0].Ip = "10.0.0.256" },
		"routed_subnets":               func(m *fabricv1.DHCPNetwork) { m.RoutedSubnets[0] = "" },
		"subnets.cidr":                 func(m *fabricv1.DHCPNetwork) { m.Subnets[0].Cidr = "fd00::/64" },
		"subnets.ip_version":           func(m *fabricv1.DHCPNetwork) { m.Subnets[0].IpVersion = 5 },
		"subnets.ipv6_ra_mode":         func(m *fabricv1.DHCPNetwork) { m.Subnets[0].Ipv6RaMode = "x" },
		"subnets.gateway_ip":           func(m *fabricv1.DHCPNetwork) { m.Subnets[0].GatewayIp = "fe80::1%eth0" },
		"hosts.mac":                    func(m *fabricv1.DHCPNetwork) { m.Hosts[0].Mac = "" },
		"hosts.options.ip_version":     func(m *fabricv1.DHCPNetwork) { m.Hosts[0].Options[0].IpVersion = 0 },
		"hosts.options.value":          func(m *fabricv1.DHCPNetwork) { m.Hosts[0].Options[0].Value = strings.Repeat("x", maxText+1) },
		"subnets.host_routes.nexthop":  func(m *fabricv1.DHCPNetwork) { m.Subnets[0].HostRoutes[0].Nexthop = "" },
		"subnets.allocation_pools.end": func(m *fabricv1.DHCPNetwork) { m.Subnets[0].AllocationPools[0].End = "" },
	} {
		m := EncodeDHCPNetwork(n)
		change(m)
		if _, err = DecodeDHCPNetwork(m); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), field+":") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestHello(t *testing.T) {
	h := Hello{
		Host: "compute-1.example", Instance: "abc", Version: "1.0", Epoch: "e", Revision: 3, SharedFilters: true,
		Roles: []model.Agent{{
			Type: model.AgentNICSwitch, Binary: model.BinaryNICSwitch, Topic: "N/A", Host: "compute-1.example", AdminStateUp: true,
			Configurations: map[string]any{"device_mappings": map[string]any{"default": []any{"eth6"}}, "devices": 3.0},
		}},
	}
	m, err := EncodeHello(h)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeHello(m)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(h, got); diff != "" {
		t.Error(diff)
	}
	for want, change := range map[string]func(*fabricv1.Hello){
		"host":                 func(m *fabricv1.Hello) { m.Host = "a/b" },
		"instance":             func(m *fabricv1.Hello) { m.Instance = "" },
		"roles: missing":       func(m *fabricv1.Hello) { m.Roles = nil },
		"unknown type":         func(m *fabricv1.Hello) { m.Roles[0].AgentType = "Linux bridge agent" },
		"twice":                func(m *fabricv1.Hello) { m.Roles = append(m.Roles, m.Roles[0]) },
		"roles.binary":         func(m *fabricv1.Hello) { m.Roles[0].Binary = "" },
		"not a JSON object":    func(m *fabricv1.Hello) { m.Roles[0].Configurations = "[]" },
		"roles.configurations": func(m *fabricv1.Hello) { m.Roles[0].Configurations = strings.Repeat("x", maxJSON+1) },
		"resume.epoch":         func(m *fabricv1.Hello) { m.Resume.Epoch = "\n" },
	} {
		c, ok := proto.Clone(m).(*fabricv1.Hello)
		if !ok {
			t.Fatal("clone")
		}
		change(c)
		if _, err = DecodeHello(c); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err = DecodeHello(nil); err == nil {
		t.Error("no hello is accepted")
	}
	if _, err = EncodeRoles([]model.Agent{{Configurations: map[string]any{"x": make(chan int)}}}); err == nil {
		t.Error("a channel is JSON")
	}
}

func TestReports(t *testing.T) {
	in := []model.PortReport{
		{PortID: "a", Revision: 5, Up: true, PF: "eth6", VF: 3, PCISlot: "0000:03:10.2"},
		{PortID: "b", Revision: -5, Reason: "vlan reads 0"},
		{PortID: "c", Up: true, Moments: model.Moments{Received: 1, Recorded: 2, Programmed: 3, ReadBack: model.LastMoment}},
		{PortID: "d", Up: true, Moments: model.Moments{ReadBack: 4}},
	}
	m := &fabricv1.Reports{Seq: 1}
	for i := range in {
		m.Reports = append(m.Reports, EncodeReport(&in[i]))
	}
	got, err := DecodeReports(m)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, got); diff != "" {
		t.Error(diff)
	}
	// What the controller notes stays with it.
	noted := model.PortReport{PortID: "a", Moments: model.Moments{Told: 1, Heard: 2}}
	if EncodeReport(&noted).GetMoments() != nil {
		t.Error("the controller's moments are sent")
	}
	wild := model.PortReport{
		PortID: "a", Reason: "\x00\xff" + strings.Repeat("é", maxText), VF: 1 << 40,
		Moments: model.Moments{Received: -1, ReadBack: model.LastMoment + 1},
	}
	if _, err = DecodeReports(&fabricv1.Reports{Seq: 1, Reports: []*fabricv1.PortReport{EncodeReport(&wild)}}); err != nil {
		t.Errorf("what EncodeReport makes is refused: %v", err)
	}
	for want, bad := range map[string]*fabricv1.Reports{
		"seq":          {},
		"port_id":      {Seq: 1, Reports: []*fabricv1.PortReport{{}}},
		"reports.pf":   {Seq: 1, Reports: []*fabricv1.PortReport{{PortId: "a", Pf: "a/b"}}},
		"reports.vf":   {Seq: 1, Reports: []*fabricv1.PortReport{{PortId: "a", Vf: -2}}},
		"reports.pci":  {Seq: 1, Reports: []*fabricv1.PortReport{{PortId: "a", PciSlot: "x"}}},
		"4097":         {Seq: 1, Reports: make([]*fabricv1.PortReport, 4097)},
		"received_us":  {Seq: 1, Reports: []*fabricv1.PortReport{{PortId: "a", Moments: &fabricv1.Moments{ReceivedUs: proto.Int64(-1)}}}},
		"read_back_us": {Seq: 1, Reports: []*fabricv1.PortReport{{PortId: "a", Moments: &fabricv1.Moments{ReadBackUs: proto.Int64(1 << 62)}}}},
	} {
		if _, err = DecodeReports(bad); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// What is accepted can be sent on and is accepted again, unchanged; nothing panics.
func FuzzFromController(f *testing.F) {
	add := func(m *fabricv1.FromController) {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	att := EncodeAttachment(&model.Attachment{
		PortID: "p", NetworkID: "n", VnicType: "direct", PhysicalNetwork: "x", MAC: "02:00:00:00:00:01", LinkState: 1,
		Allowed: []model.AllowedSource{{MAC: "02:00:00:00:00:01", Prefix: netip.MustParsePrefix("10.0.0.0/8")}},
	})
	net := EncodeDHCPNetwork(&model.DHCPNetwork{
		NetworkID: "n", PortID: "p", MAC: "02:00:00:00:00:01",
		Subnets: []*model.Subnet{{Meta: model.Meta{ID: "s"}, IPVersion: 4, CIDR: netip.MustParsePrefix("10.0.0.0/8")}},
		Hosts:   []model.DHCPHost{{PortID: "q", MAC: "02:00:00:00:00:02", Options: []model.DHCPOpt{{Name: "6", Value: "1.1.1.1", IPVersion: 4}}}},
	})
	add(&fabricv1.FromController{Message: &fabricv1.FromController_Snapshot{Snapshot: &fabricv1.Snapshot{
		Epoch: "e", Attachments: []*fabricv1.Attachment{att}, DhcpNetworks: []*fabricv1.DHCPNetwork{net},
	}}})
	add(&fabricv1.FromController{Message: &fabricv1.FromController_Delta{Delta: &fabricv1.Delta{Attachments: []*fabricv1.Attachment{att}}}})
	f.Fuzz(func(t *testing.T, data []byte) {
		var m fabricv1.FromController
		if proto.Unmarshal(data, &m) != nil {
			return
		}
		for _, in := range append(m.GetSnapshot().GetAttachments(), m.GetDelta().GetAttachments()...) {
			a, err := DecodeAttachment(in, nil)
			if err != nil {
				continue
			}
			if b, rerr := DecodeAttachment(EncodeAttachment(a), nil); rerr != nil || cmp.Diff(a, b, addresses) != "" {
				t.Fatalf("%v: %s", rerr, cmp.Diff(a, b, addresses))
			}
		}
		for _, in := range append(m.GetSnapshot().GetDhcpNetworks(), m.GetDelta().GetDhcpNetworks()...) {
			a, err := DecodeDHCPNetwork(in)
			if err != nil {
				continue
			}
			if b, rerr := DecodeDHCPNetwork(EncodeDHCPNetwork(a)); rerr != nil || cmp.Diff(a, b, addresses) != "" {
				t.Fatalf("%v: %s", rerr, cmp.Diff(a, b, addresses))
			}
		}
	})
}

func FuzzFromAgent(f *testing.F) {
	hello, err := EncodeHello(Hello{Host: "h", Instance: "i", Roles: []model.Agent{{Type: model.AgentDHCP, Binary: "b"}}})
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range []*fabricv1.FromAgent{
		{Message: &fabricv1.FromAgent_Hello{Hello: hello}},
		{Message: &fabricv1.FromAgent_Reports{Reports: &fabricv1.Reports{Seq: 1, Reports: []*fabricv1.PortReport{{PortId: "p", Up: true, Moments: &fabricv1.Moments{ReceivedUs: proto.Int64(7)}}}}}},
		{Message: &fabricv1.FromAgent_Heartbeat{Heartbeat: &fabricv1.Heartbeat{Roles: hello.GetRoles()}}},
	} {
		b, merr := proto.Marshal(m)
		if merr != nil {
			f.Fatal(merr)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var m fabricv1.FromAgent
		if proto.Unmarshal(data, &m) != nil {
			return
		}
		if h, herr := DecodeHello(m.GetHello()); herr == nil {
			if _, eerr := EncodeHello(h); eerr != nil {
				t.Fatal(eerr)
			}
		}
		reports, derr := DecodeReports(m.GetReports())
		again := &fabricv1.Reports{Seq: m.GetReports().GetSeq()}
		for i := range reports {
			again.Reports = append(again.Reports, EncodeReport(&reports[i]))
		}
		if derr == nil {
			if same, aerr := DecodeReports(again); aerr != nil || cmp.Diff(reports, same) != "" {
				t.Fatalf("%v: %s", aerr, cmp.Diff(reports, same))
			}
		}
		_, _ = DecodeRoles("h", m.GetHeartbeat().GetRoles())
	})
}
