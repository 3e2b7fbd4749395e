package ml2

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"neutrino/internal/model"
)

const host = "compute1"

func nicAgent(alive bool, physnets ...string) AgentView {
	mappings := map[string]any{}
	for _, p := range physnets {
		mappings[p] = []any{"eth6"}
	}
	return AgentView{&model.Agent{
		ID: "nic", Type: model.AgentNICSwitch, Host: host,
		Configurations: map[string]any{"device_mappings": mappings},
	}, alive}
}

func ovsAgent(alive bool, change ...func(map[string]any)) AgentView {
	c := map[string]any{
		"bridge_mappings": map[string]any{"physnet1": "br-eth1"},
		"tunnel_types":    []any{"vxlan"},
	}
	for _, f := range change {
		f(c)
	}
	return AgentView{&model.Agent{ID: "ovs", Type: model.AgentOpenVSwitch, Host: host, Configurations: c}, alive}
}

func vlanNet() *model.Network {
	return &model.Network{Segments: []model.Segment{{ID: "seg", NetworkType: "vlan", PhysicalNetwork: "physnet1", SegmentationID: 105}}}
}

func portOn(host, vnic string, profile map[string]any) *model.Port {
	return &model.Port{Meta: model.Meta{ID: "0123456789abcdef"}, Binding: model.Binding{Host: host, VnicType: vnic, Profile: profile}}
}

// The matrix observed on a host with both agents.
func TestBindMatrix(t *testing.T) {
	m := build(t, config())
	agents := []AgentView{ovsAgent(true), nicAgent(true, "physnet1")}
	switchdevProfile := map[string]any{"capabilities": []any{"switchdev"}}
	for _, c := range []struct {
		vnic    string
		profile map[string]any
		want    string
		driver  string
		status  string
	}{
		{"normal", nil, "ovs", "openvswitch", "DOWN"},
		{"", nil, "ovs", "openvswitch", "DOWN"},
		{"direct", nil, "hw_veb", "sriovnicswitch", "DOWN"},
		{"direct", switchdevProfile, "ovs", "openvswitch", "DOWN"},
		{"macvtap", nil, "hw_veb", "sriovnicswitch", "DOWN"},
		{"direct-physical", nil, "hostdev_physical", "sriovnicswitch", "ACTIVE"},
		{"vdpa", nil, "ovs", "openvswitch", "DOWN"},
		{"accelerator-direct", nil, "hw_veb", "sriovnicswitch", "DOWN"},
		{"baremetal", nil, "binding_failed", "", "DOWN"},
		{"virtio-forwarder", nil, "binding_failed", "", "DOWN"},
		{"remote-managed", nil, "binding_failed", "", "DOWN"},
		{"smart-nic", nil, "binding_failed", "", "DOWN"},
		{"accelerator-direct-physical", nil, "binding_failed", "", "DOWN"},
	} {
		t.Run(c.vnic, func(t *testing.T) {
			r := m.Bind(portOn(host, c.vnic, c.profile), vlanNet(), agents)
			if r.Binding.VIFType != c.want || r.Binding.Driver != c.driver || r.Status != c.status {
				t.Errorf("%s %s %s (%v)", r.Binding.VIFType, r.Binding.Driver, r.Status, r.Tried)
			}
			if c.driver != "" && r.Binding.SegmentID != "seg" {
				t.Errorf("segment %q", r.Binding.SegmentID)
			}
			if c.driver == "" && (len(r.Tried) != 2 || r.Binding.VIFDetails != nil || r.Binding.SegmentID != "") {
				t.Errorf("failed with %+v", r)
			}
		})
	}
}

func TestBindDetails(t *testing.T) {
	flat := &model.Network{Segments: []model.Segment{{ID: "f", NetworkType: "flat", PhysicalNetwork: "physnet1"}}}
	netdev := ovsAgent(true, func(c map[string]any) {
		c["datapath_type"] = "netdev"
		c["ovs_capabilities"] = map[string]any{"iface_types": []any{"dpdkvhostuserclient"}}
	})
	for _, c := range []struct {
		name    string
		drivers []string
		agent   AgentView
		net     *model.Network
		vnic    string
		vif     string
		want    map[string]any
	}{
		{"sriov vlan", []string{"sriovnicswitch"}, nicAgent(true, "physnet1"), vlanNet(), "direct", "hw_veb", map[string]any{
			"port_filter": false, "connectivity": "l2", "vlan": "105", "bound_drivers": map[string]any{"0": "sriovnicswitch"},
		}},
		{"sriov flat", []string{"sriovnicswitch"}, nicAgent(true, "physnet1"), flat, "macvtap", "hw_veb", map[string]any{
			"port_filter": false, "connectivity": "l2", "vlan": "0", "bound_drivers": map[string]any{"0": "sriovnicswitch"},
		}},
		{"mlnx", []string{"mlnx"}, nicAgent(true, "physnet1"), vlanNet(), "direct", "hw_veb", map[string]any{
			"port_filter": false, "connectivity": "l2", "vlan": "105", "physical_network": "physnet1", "bound_drivers": map[string]any{"0": "mlnx"},
		}},
		{"physical", []string{"sriovnicswitch"}, ovsAgent(false), vlanNet(), "direct-physical", "hostdev_physical", map[string]any{
			"port_filter": false, "connectivity": "l2", "vlan": "105", "bound_drivers": map[string]any{"0": "sriovnicswitch"},
		}},
		{
			"ovs",
			[]string{"openvswitch"},
			ovsAgent(true, func(c map[string]any) { c["ovs_hybrid_plug"] = true; c["integration_bridge"] = "br-x" }),
			vlanNet(), "normal", "ovs",
			map[string]any{
				"port_filter": true, "connectivity": "l2", "ovs_hybrid_plug": true,
				"datapath_type": "system", "bridge_name": "br-x", "bound_drivers": map[string]any{"0": "openvswitch"},
			},
		},
		{"vhostuser", []string{"openvswitch"}, netdev, vlanNet(), "normal", "vhostuser", map[string]any{
			"port_filter": true, "connectivity": "l2",
			"datapath_type": "netdev", "bridge_name": "br-int", "vhostuser_mode": "server", "vhostuser_ovs_plug": true,
			"vhostuser_socket": "/var/run/openvswitch/vhu0123456789a", "bound_drivers": map[string]any{"0": "openvswitch"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config()
			cfg.MechanismDrivers = c.drivers
			r := build(t, cfg).Bind(portOn(host, c.vnic, nil), c.net, []AgentView{c.agent})
			if r.Binding.VIFType != c.vif {
				t.Errorf("vif_type %s (%v)", r.Binding.VIFType, r.Tried)
			}
			if d := cmp.Diff(c.want, r.Binding.VIFDetails); d != "" {
				t.Errorf("vif_details (-want +got):\n%s", d)
			}
			// What was stored and read back is what was decided.
			text, err := json.Marshal(r.Binding)
			if err != nil {
				t.Fatal(err)
			}
			var back model.Binding
			if err = json.Unmarshal(text, &back); err != nil || !cmp.Equal(back, r.Binding) {
				t.Errorf("after JSON: %+v, %v", back, err)
			}
		})
	}
}

func TestBindReasons(t *testing.T) {
	vxlan := &model.Network{Segments: []model.Segment{{NetworkType: "vxlan", SegmentationID: 7}}}
	gre := &model.Network{Segments: []model.Segment{{NetworkType: "gre", SegmentationID: 7}}}
	for _, c := range []struct {
		name   string
		agents []AgentView
		net    *model.Network
		vnic   string
		want   []string
	}{
		{"no agent", nil, vlanNet(), "direct", []string{
			"openvswitch: vnic_type direct needs a NIC in switchdev mode (binding:profile capabilities)",
			"sriovnicswitch: host compute1 has no NIC Switch agent",
		}},
		{"dead agent", []AgentView{nicAgent(false, "physnet1")}, vlanNet(), "macvtap", []string{
			"openvswitch: vnic_type macvtap is not one it binds",
			"sriovnicswitch: the NIC Switch agent on host compute1 is not alive",
		}},
		{"elsewhere", []AgentView{{&model.Agent{Type: model.AgentNICSwitch, Host: "compute2"}, true}}, vlanNet(), "macvtap", []string{
			"openvswitch: vnic_type macvtap is not one it binds",
			"sriovnicswitch: host compute1 has no NIC Switch agent",
		}},
		{"physnet", []AgentView{nicAgent(true, "default")}, vlanNet(), "macvtap", []string{
			"openvswitch: vnic_type macvtap is not one it binds",
			"sriovnicswitch: physical network physnet1 is not in the device_mappings of the NIC Switch agent on compute1",
		}},
		{"vxlan", []AgentView{nicAgent(true, "physnet1")}, vxlan, "macvtap", []string{
			"openvswitch: vnic_type macvtap is not one it binds",
			"sriovnicswitch: network type vxlan is not one of flat, vlan",
		}},
		{"normal", []AgentView{nicAgent(true, "physnet1")}, vlanNet(), "normal", []string{
			"openvswitch: host compute1 has no Open vSwitch agent",
			"sriovnicswitch: a normal port goes on a VF only where [eswitch] vnic_type says so",
		}},
		{"gre", []AgentView{ovsAgent(true)}, gre, "normal", []string{
			"openvswitch: network type gre is not one of the agent's (local, flat, vlan and tunnel_types [vxlan])",
			"sriovnicswitch: a normal port goes on a VF only where [eswitch] vnic_type says so",
		}},
		{"no segment", []AgentView{ovsAgent(true)}, &model.Network{}, "normal", []string{
			"openvswitch: the network has no segment",
			"sriovnicswitch: a normal port goes on a VF only where [eswitch] vnic_type says so",
		}},
		{"smart nic", []AgentView{ovsAgent(true)}, vlanNet(), "smart-nic", []string{
			"openvswitch: the Open vSwitch agent is not on a smart NIC (baremetal_smartnic)",
			"sriovnicswitch: vnic_type smart-nic is not one of direct, macvtap, direct-physical, accelerator-direct",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := build(t, config()).Bind(portOn(host, c.vnic, nil), c.net, c.agents)
			if d := cmp.Diff(c.want, r.Tried); d != "" || r.Binding.VIFType != model.VIFBindingFailed {
				t.Errorf("%s (-want +got):\n%s", r.Binding.VIFType, d)
			}
		})
	}
	cfg := config()
	cfg.MechanismDrivers = nil
	r := build(t, cfg).Bind(portOn(host, "direct", nil), vlanNet(), nil)
	if len(r.Tried) != 1 || r.Binding.VIFType != model.VIFBindingFailed {
		t.Errorf("without drivers %+v", r)
	}
	r = build(t, config()).Bind(portOn("", "direct", nil), vlanNet(), nil)
	if r.Binding.VIFType != model.VIFUnbound || len(r.Tried) != 0 || r.Status != model.StatusDown {
		t.Errorf("without host %+v", r)
	}
}

func TestBindChoosesSegmentOfHost(t *testing.T) {
	n := vlanNet()
	n.Segments = append(n.Segments, model.Segment{ID: "two", NetworkType: "vlan", PhysicalNetwork: "physnet2", SegmentationID: 9})
	r := build(t, config()).Bind(portOn(host, "direct", nil), n, []AgentView{nicAgent(true, "physnet2")})
	if r.Binding.SegmentID != "two" || r.Binding.VIFDetails["vlan"] != "9" {
		t.Errorf("%+v", r)
	}
}

func TestDirectPhysicalIgnoresNonsenseMAC(t *testing.T) {
	for _, mac := range []any{"aa:bb", 3, nil} {
		r := build(t, config()).Bind(portOn("anywhere", "direct-physical", map[string]any{"device_mac_address": mac}), vlanNet(), nil)
		if r.MAC != "" {
			t.Errorf("%v became %q", mac, r.MAC)
		}
	}
}

// What [eswitch] vnic_type makes of a normal port.
func TestBindNormalOnSRIOVOnlyHost(t *testing.T) {
	for _, c := range []struct {
		name     string
		eswitch  string
		drivers  []string
		agents   []AgentView
		vif      string
		driver   string
		becomes  string
		mentions string
	}{
		{"hostdev", "hostdev", []string{"openvswitch", "mlnx"}, []AgentView{nicAgent(true, "physnet1")}, "hw_veb", "mlnx", "direct", ""},
		{"mlnx_direct", "mlnx_direct", []string{"openvswitch", "mlnx"}, []AgentView{nicAgent(true, "physnet1")}, "hw_veb", "mlnx", "macvtap", ""},
		{"by the other name", "hostdev", []string{"sriovnicswitch"}, []AgentView{nicAgent(true, "physnet1")}, "hw_veb", "sriovnicswitch", "direct", ""},
		{"both agents", "hostdev", []string{"mlnx", "openvswitch"}, []AgentView{nicAgent(true, "physnet1"), ovsAgent(true)}, "ovs", "openvswitch", "normal", "which normal ports are for"},
		{"dead OVS", "hostdev", []string{"openvswitch", "mlnx"}, []AgentView{nicAgent(true, "physnet1"), ovsAgent(false)}, "binding_failed", "", "normal", "which normal ports are for"},
		{"OVS not configured", "hostdev", []string{"mlnx"}, []AgentView{nicAgent(true, "physnet1"), ovsAgent(true)}, "hw_veb", "mlnx", "direct", ""},
		{"not set", "", []string{"openvswitch", "mlnx"}, []AgentView{nicAgent(true, "physnet1")}, "binding_failed", "", "normal", "[eswitch] vnic_type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config()
			cfg.MechanismDrivers, cfg.EswitchVnicType = c.drivers, c.eswitch
			r := build(t, cfg).Bind(portOn(host, "normal", nil), vlanNet(), c.agents)
			if r.Binding.VIFType != c.vif || r.Binding.Driver != c.driver || r.Binding.VnicType != "normal" {
				t.Errorf("%+v", r)
			}
			if got := EffectiveVnicType(&r.Binding); got != c.becomes {
				t.Errorf("becomes %s, want %s", got, c.becomes)
			}
			if !strings.Contains(strings.Join(r.Tried, "\n"), c.mentions) {
				t.Errorf("reasons %v", r.Tried)
			}
		})
	}
}

func TestApplyProfilePatch(t *testing.T) {
	cfg := config()
	cfg.MechanismDrivers, cfg.ApplyProfilePatch = []string{DriverOpenVSwitch, DriverMlnx}, true
	m := build(t, cfg)
	p := portOn(host, "direct", map[string]any{"pci_slot": "0000:03:10.2"})
	r := m.Bind(p, vlanNet(), []AgentView{nicAgent(true, "physnet1")})
	if want := map[string]any{"pci_slot": "0000:03:10.2", "physical_network": "physnet1"}; !cmp.Equal(r.Binding.Profile, want) {
		t.Errorf("profile %v", r.Binding.Profile)
	}
	if len(p.Binding.Profile) != 1 {
		t.Error("the port's own profile was changed")
	}
	p.Binding.Profile = map[string]any{"physical_network": "theirs"}
	if r = m.Bind(p, vlanNet(), []AgentView{nicAgent(true, "physnet1")}); r.Binding.Profile["physical_network"] != "theirs" {
		t.Errorf("profile %v", r.Binding.Profile)
	}
	if r = m.Bind(portOn(host, "normal", nil), vlanNet(), []AgentView{ovsAgent(true)}); len(r.Binding.Profile) != 0 {
		t.Errorf("an ovs port's profile %v", r.Binding.Profile)
	}
	if r = m.Bind(portOn(host, "direct", nil), vlanNet(), []AgentView{nicAgent(true, "physnet1")}); r.Binding.Profile["physical_network"] != "physnet1" {
		t.Errorf("profile %v", r.Binding.Profile)
	}
}

func TestDirectPhysicalTakesDeviceMAC(t *testing.T) {
	r := build(t, config()).Bind(portOn("anywhere", "direct-physical", map[string]any{"device_mac_address": "aa:bb:cc:00:00:01"}), vlanNet(), nil)
	if r.MAC != "aa:bb:cc:00:00:01" || r.Status != model.StatusActive {
		t.Errorf("%+v", r)
	}
}

func TestVnicTypeProhibitList(t *testing.T) {
	cfg := config()
	cfg.VnicTypeProhibit = map[string][]string{DriverSRIOV: {"macvtap"}}
	m := build(t, cfg)
	agents := []AgentView{nicAgent(true, "physnet1")}
	r := m.Bind(portOn(host, "macvtap", nil), vlanNet(), agents)
	if r.Binding.VIFType != model.VIFBindingFailed || !slices.Contains(r.Tried, "sriovnicswitch: vnic_type macvtap is in its vnic_type_prohibit_list") {
		t.Errorf("%+v", r)
	}
	if r = m.Bind(portOn(host, "direct", nil), vlanNet(), agents); r.Binding.VIFType != model.VIFHWVEB {
		t.Errorf("%+v", r)
	}
}

// Bind is a function of its arguments: the same again, whatever the agents' order,
// and it leaves them alone.
func TestBindPureProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := config()
		cfg.MechanismDrivers = rapid.SampledFrom([][]string{
			{"openvswitch", "mlnx"}, {"mlnx", "openvswitch"}, {"sriovnicswitch"}, {"sriovnicswitch", "mlnx"}, nil,
		}).Draw(t, "drivers")
		cfg.EswitchVnicType = rapid.SampledFrom([]string{"", "hostdev", "mlnx_direct"}).Draw(t, "eswitch")
		cfg.ApplyProfilePatch = rapid.Bool().Draw(t, "patch")
		m, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		var agents []AgentView
		for i := range rapid.IntRange(0, 5).Draw(t, "agents") {
			a := nicAgent(true, "physnet1")
			if rapid.Bool().Draw(t, "ovs") {
				a = ovsAgent(true)
			}
			a.ID = string(rune('a' + i))
			a.Alive = rapid.Bool().Draw(t, "alive")
			a.Host = rapid.SampledFrom([]string{host, "other"}).Draw(t, "host")
			agents = append(agents, a)
		}
		p := portOn(rapid.SampledFrom([]string{host, host, ""}).Draw(t, "where"),
			rapid.SampledFrom([]string{"normal", "direct", "macvtap", "direct-physical", "vdpa", "odd"}).Draw(t, "vnic"),
			rapid.SampledFrom([]map[string]any{nil, {"capabilities": []any{"switchdev"}}, {"pci_slot": "0000:03:10.2"}}).Draw(t, "profile"))
		n := vlanNet()
		if rapid.Bool().Draw(t, "vxlan") {
			n.Segments[0].NetworkType = "vxlan"
		}
		profile := maps.Clone(p.Binding.Profile)
		first := m.Bind(p, n, agents)
		checkBinding(t, p, first, agents)
		shuffled := slices.Clone(agents)
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "shuffle"), 0))
		rnd.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if d := cmp.Diff(first, m.Bind(p, n, shuffled)); d != "" {
			t.Fatalf("another order, another result:\n%s", d)
		}
		if !cmp.Equal(profile, p.Binding.Profile) || p.Binding.VIFType != "" {
			t.Fatal("the port was changed")
		}
	})
}

func checkBinding(t *rapid.T, p *model.Port, r BindResult, agents []AgentView) {
	b := &r.Binding
	switch {
	case p.Binding.Host == "":
		if b.VIFType != model.VIFUnbound {
			t.Fatalf("unbound port is %s", b.VIFType)
		}
	case b.Bound():
		alive := slices.ContainsFunc(agents, func(a AgentView) bool { return a.Alive && a.Host == p.Binding.Host })
		if !alive && b.VIFType != model.VIFHostdevPhysical {
			t.Fatalf("bound as %s on a host without a live agent", b.VIFType)
		}
		if b.Driver == "" || b.SegmentID == "" || b.VIFDetails["connectivity"] != "l2" {
			t.Fatalf("incomplete: %+v", b)
		}
	default:
		if b.VIFType != model.VIFBindingFailed || len(r.Tried) == 0 {
			t.Fatalf("no reason: %+v", r)
		}
	}
	if (r.Status == model.StatusActive) != (b.VIFType == model.VIFHostdevPhysical) {
		t.Fatalf("status %s for %s", r.Status, b.VIFType)
	}
}

func TestRebind(t *testing.T) {
	m := build(t, config())
	bound := func(host, vnic string, profile map[string]any) *model.Port {
		p := portOn(host, vnic, profile)
		p.Binding.VIFType = model.VIFHWVEB
		return p
	}
	failed := portOn(host, "direct", nil)
	failed.Binding.VIFType = model.VIFBindingFailed
	three := map[string]any{"vf_num": 3}
	for _, c := range []struct {
		name     string
		old, new *model.Port
		want     Rebinding
		why      string
	}{
		{"new without host", nil, portOn("", "direct", nil), KeepBinding, ""},
		{"new on a host", nil, portOn(host, "direct", nil), BindNow, "the port is new on host compute1"},
		{"host given", portOn("", "direct", nil), portOn(host, "direct", nil), BindNow, "it was given host compute1"},
		{"nothing", bound(host, "direct", nil), bound(host, "direct", nil), KeepBinding, ""},
		{"default vnic", bound(host, "", nil), bound(host, "normal", nil), KeepBinding, ""},
		{"empty profile", bound(host, "direct", nil), bound(host, "direct", map[string]any{}), KeepBinding, ""},
		{"the number read back", bound(host, "direct", three), bound(host, "direct", map[string]any{"vf_num": 3.0}), KeepBinding, ""},
		{"moved", bound(host, "direct", nil), bound("compute2", "direct", nil), BindAnew, "it moved from host compute1 to compute2"},
		{"vnic", bound(host, "direct", nil), bound(host, "macvtap", nil), BindAnew, "vnic_type changed from direct to macvtap"},
		{"profile", bound(host, "direct", nil), bound(host, "direct", three), BindAnew, "binding:profile changed"},
		{"host taken", bound(host, "direct", nil), bound("", "direct", nil), Unbind, "it left host compute1"},
		{"failed", failed, failed, BindNow, "it is not bound yet"},
		{"failed, profile", failed, portOn(host, "direct", three), BindNow, "binding:profile changed"},
		{"no host, profile", portOn("", "direct", nil), portOn("", "direct", three), KeepBinding, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, why := m.Rebind(c.old, c.new); got != c.want || why != c.why {
				t.Errorf("%v %q, want %v %q", got, why, c.want, c.why)
			}
		})
	}
}

func TestParseProfile(t *testing.T) {
	yes := true
	got, err := ParseProfile(map[string]any{
		"pci_slot": "0000:03:10.2", "physical_network": "p", "capabilities": []any{"switchdev", 3}, "trusted": "Yes",
		"min_tx_rate": 5.0, "max_tx_rate": "100", "device_mac_address": "AA-bb-cc-00-00-01", "vf_num": 3, "pci_vendor_info": "15b3:1004",
	})
	want := Profile{
		PCISlot: "0000:03:10.2", PhysicalNetwork: "p", Capabilities: []string{"switchdev"}, Trusted: &yes,
		MinTxRate: 5, MaxTxRate: 100, DeviceMAC: "AA-bb-cc-00-00-01",
	}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = ParseProfile(map[string]any{"trusted": false, "pci_slot": nil, "max_tx_rate": nil, "numa_node": nil}); err != nil || *got.Trusted || got.NUMANode != nil {
		t.Errorf("%+v, %v", got, err)
	}
	for _, node := range []any{0, 1023.0, "7"} {
		if got, err = ParseProfile(map[string]any{"numa_node": node}); err != nil || got.NUMANode == nil || fmt.Sprint(*got.NUMANode) != fmt.Sprint(node) {
			t.Errorf("numa_node %v: %+v, %v", node, got, err)
		}
	}
	for message, p := range map[string]map[string]any{
		"binding:profile pci_slot '3' is not a string":                              {"pci_slot": 3},
		"binding:profile pci_slot 'eth0' is not a PCI address such as 0000:03:10.2": {"pci_slot": "eth0"},
		"binding:profile max_tx_rate '-1' is not a rate in whole Mbit/s":            {"max_tx_rate": -1},
		"binding:profile max_tx_rate '1.5' is not a rate in whole Mbit/s":           {"max_tx_rate": 1.5},
		"binding:profile max_tx_rate 'true' is not a rate in whole Mbit/s":          {"max_tx_rate": true},
		"binding:profile min_tx_rate '9' is not at most max_tx_rate, 8":             {"min_tx_rate": 9, "max_tx_rate": 8},
		"binding:profile trusted 'maybe' is not a boolean":                          {"trusted": "maybe"},
		"binding:profile numa_node '-1' is not a NUMA node, 0 to 1023":              {"numa_node": -1},
		"binding:profile numa_node '1024' is not a NUMA node, 0 to 1023":            {"numa_node": "1024"},
		"binding:profile numa_node '0.5' is not a NUMA node, 0 to 1023":             {"numa_node": 0.5},
		"binding:profile numa_node '' is not a NUMA node, 0 to 1023":                {"numa_node": ""},
		"binding:profile numa_node '[0]' is not a NUMA node, 0 to 1023":             {"numa_node": []any{0}},
		"binding:profile device_mac_address 'aa' is not a MAC address":              {"device_mac_address": "aa"},
		"binding:profile value too large":                                           {"x": strings.Repeat("y", 4095)},
		"binding:profile is not JSON: json: unsupported type: chan int":             {"x": make(chan int)},
		"binding:profile physical_network '[a]' is not a string":                    {"physical_network": []any{"a"}},
		"binding:profile min_tx_rate '1e+20' is not a rate in whole Mbit/s":         {"min_tx_rate": 1e20},
	} {
		_, err = ParseProfile(p)
		wantFault(t, err, 400, "InvalidInput", "Invalid input for operation: "+message+".")
	}
}

func TestReadInstance(t *testing.T) {
	key := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@here"
	got, err := ParseProfile(map[string]any{"instance": map[string]any{
		"hostname": "web.example", "public_keys": []any{" " + key + "\n"}, "user_data": strings.Repeat("x", MaxUserData),
	}})
	if err != nil || got.Instance.HostName != "web.example" || len(got.Instance.PublicKeys) != 1 || got.Instance.PublicKeys[0] != key {
		t.Errorf("%+v, %v", got.Instance, err)
	}
	if got, err = ParseProfile(map[string]any{"instance": nil}); err != nil || got.Instance != nil {
		t.Errorf("%+v, %v", got.Instance, err)
	}
	many := make([]any, MaxPublicKeys+1)
	for _, bad := range []any{
		"x",
		map[string]any{"userdata": "x"},
		map[string]any{"hostname": "a b"},
		map[string]any{"hostname": 3},
		map[string]any{"hostname": "a..b"},
		map[string]any{"user_data": strings.Repeat("x", MaxUserData+1)},
		map[string]any{"user_data": "a\x00b"},
		map[string]any{"public_keys": many},
		map[string]any{"public_keys": key},
		map[string]any{"public_keys": []any{"ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIA== x"}},
		map[string]any{"public_keys": []any{key + "\nssh-rsa x"}},
		map[string]any{"public_keys": []any{"command=\"x\" " + key}},
		map[string]any{"public_keys": []any{3}},
	} {
		if _, err := ParseProfile(map[string]any{"instance": bad}); err == nil || !strings.Contains(err.Error(), "binding:profile instance") {
			t.Errorf("%.60v: %v", bad, err)
		}
	}
}

func FuzzParseProfile(f *testing.F) {
	for _, s := range []string{`{"pci_slot":"0000:03:10.2"}`, `{"max_tx_rate":1e9}`, `{"capabilities":["switchdev",null]}`, `{"trusted":[1]}`, `{"numa_node":"1"}`, `{"instance":{"hostname":"a","public_keys":["ssh-rsa AAAA"],"user_data":"x"}}`, `null`} {
		f.Add(s)
	}
	m, err := New(Config{MechanismDrivers: []string{DriverOpenVSwitch, DriverMlnx}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var profile map[string]any
		if json.Unmarshal([]byte(s), &profile) != nil {
			return
		}
		got, err := ParseProfile(profile)
		if err == nil && (got.MinTxRate < 0 || got.MaxTxRate < 0 || got.MaxTxRate > 0 && got.MinTxRate > got.MaxTxRate) {
			t.Errorf("%s: %+v", s, got)
		}
		if n := got.NUMANode; n != nil && (*n < 0 || *n > maxNUMANode) {
			t.Errorf("%s: node %d", s, *n)
		}
		m.Bind(portOn(host, "direct", profile), vlanNet(), []AgentView{nicAgent(true, "physnet1"), ovsAgent(true)})
		if !sameProfile(profile, maps.Clone(profile)) {
			t.Errorf("%s is not itself", s)
		}
	})
}

// Agents' configurations come from other hosts: nothing in them may upset Bind.
func FuzzAgentConfigurations(f *testing.F) {
	f.Add(`{"device_mappings":{"physnet1":["eth6"]},"bridge_mappings":{"physnet1":"br"},"tunnel_types":["vxlan"]}`)
	f.Add(`{"device_mappings":[],"bridge_mappings":3,"tunnel_types":{},"ovs_capabilities":"x","datapath_type":"netdev"}`)
	m, err := New(Config{MechanismDrivers: []string{DriverOpenVSwitch, DriverSRIOV}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		nic, ovs := nicAgent(true), ovsAgent(true)
		if json.Unmarshal([]byte(s), &nic.Configurations) != nil {
			return
		}
		ovs.Configurations = nic.Configurations
		for _, vnic := range []string{"normal", "direct"} {
			m.Bind(portOn(host, vnic, nil), vlanNet(), []AgentView{nic, ovs})
		}
	})
}
