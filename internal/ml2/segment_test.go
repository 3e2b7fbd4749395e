package ml2

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

func config() Config {
	c := Defaults()
	c.TenantNetworkTypes = []string{model.TypeVLAN, model.TypeVXLAN}
	c.VLANRanges = []string{"physnet1:100:110", "physnet2:200:201", "bare"}
	c.VNIRanges = []string{"1:1000"}
	c.MechanismDrivers = []string{DriverOpenVSwitch, DriverSRIOV}
	return c
}

func build(t testing.TB, c Config) *ML2 {
	t.Helper()
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

type claims map[Claim]bool

func (c claims) taken(k Claim) bool { return c[k] }

func (c claims) take(m *ML2, s model.Segment) {
	for _, k := range m.SegmentClaims(s) {
		c[k] = true
	}
}

func random() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// wantFault compares type, status and message.
func wantFault(t testing.TB, err error, status int, typ, message string) {
	t.Helper()
	f := fault.As(err)
	if f == nil {
		t.Fatalf("got %v, want %s %q", err, typ, message)
	}
	if f.Type != typ || f.Status != status || f.Message != message {
		t.Errorf("got  %d %s %q\nwant %d %s %q", f.Status, f.Type, f.Message, status, typ, message)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"type", func(c *Config) { c.TypeDrivers = []string{"gre"} }, "[ml2] type_drivers: network type \"gre\""},
		{"tenant type", func(c *Config) { c.TypeDrivers = []string{"local"} }, "[ml2] tenant_network_types: no type driver for tenant network type \"vlan\""},
		{"external type", func(c *Config) { c.ExternalNetworkType = "geneve" }, "[ml2] external_network_type"},
		{"three values", func(c *Config) { c.VLANRanges = []string{"p:1:2:3"} }, "[ml2_type_vlan] network_vlan_ranges: Invalid network VLAN range: 'p:1:2:3'"},
		{"one value", func(c *Config) { c.VLANRanges = []string{"p:1"} }, "exactly two values"},
		{"tag 0", func(c *Config) { c.VLANRanges = []string{"p:0:5"} }, "0 is not between 1 and 4094"},
		{"tag 4095", func(c *Config) { c.VLANRanges = []string{"p:1:4095"} }, "4095 is not between 1 and 4094"},
		{"backwards", func(c *Config) { c.VLANRanges = []string{"p:9:5"} }, "end of range is less than start"},
		{"no number", func(c *Config) { c.VLANRanges = []string{"p:a:5"} }, "\"a\" is not a number"},
		{"no name", func(c *Config) { c.VLANRanges = []string{":1:5"} }, "Empty physical network name."},
		{"empty name", func(c *Config) { c.VLANRanges = []string{""} }, "Empty physical network name."},
		{"empty flat", func(c *Config) { c.FlatNetworks = []string{""} }, "[ml2_type_flat] flat_networks"},
		{"vni", func(c *Config) { c.VNIRanges = []string{"0:5"} }, "[ml2_type_vxlan] vni_ranges: Invalid network tunnel range: '0:5'"},
		{"vni high", func(c *Config) { c.VNIRanges = []string{"1:16777216"} }, "16777216 is not between 1 and 16777215"},
		{"mechanism", func(c *Config) { c.MechanismDrivers = []string{"linuxbridge"} }, "[ml2] mechanism_drivers: \"linuxbridge\""},
		{"mechanism twice", func(c *Config) { c.MechanismDrivers = []string{"mlnx", "mlnx"} }, "named twice"},
		{"eswitch", func(c *Config) { c.EswitchVnicType = "direct" }, "[eswitch] vnic_type"},
		{"prohibit unknown", func(c *Config) {
			c.VnicTypeProhibit = map[string][]string{DriverSRIOV: {"vdpa"}}
		}, "[sriov_driver] vnic_type_prohibit_list: vnic_type \"vdpa\""},
		{"prohibit all", func(c *Config) {
			c.VnicTypeProhibit = map[string][]string{DriverOpenVSwitch: {"normal", "direct", "smart-nic", "vdpa"}}
		}, "[ovs_driver] vnic_type_prohibit_list: every vnic_type"},
		{"prohibit whom", func(c *Config) { c.VnicTypeProhibit = map[string][]string{"macvtap": {"normal"}} }, "unknown mechanism driver"},
		{"ip version", func(c *Config) { c.OverlayIPVersion = 5 }, "[ml2] overlay_ip_version"},
		{"mtu", func(c *Config) { c.GlobalPhysnetMTU = -1 }, "[ml2] global_physnet_mtu"},
		{"path mtu", func(c *Config) { c.PathMTU = -1 }, "[ml2] path_mtu"},
		{"physnet mtu", func(c *Config) { c.PhysicalNetworkMTUs = map[string]int{"p": -9} }, "[ml2] physical_network_mtus"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config()
			c.change(&cfg)
			_, err := New(cfg)
			if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("New: %v, want it to say %q", err, c.want)
			}
		})
	}
}

func TestOldMellanoxFile(t *testing.T) {
	c := Defaults()
	c.TypeDrivers = []string{"vlan", "local"}
	c.TenantNetworkTypes = []string{"vlan", "local"}
	c.MechanismDrivers = []string{"openvswitch", "mlnx"}
	c.VLANRanges = []string{"default:2:1000"}
	c.EswitchVnicType = "hostdev"
	c.ApplyProfilePatch = true
	c.SecurityGroups = false
	m := build(t, c)
	s, err := m.TenantSegment(false, claims{}.taken, random())
	if err != nil || s.NetworkType != "vlan" || s.PhysicalNetwork != "default" || s.SegmentationID < 2 || s.SegmentationID > 1000 {
		t.Fatalf("tenant segment %+v, %v", s, err)
	}
	// When the VLANs are used up, local is next.
	all := func(k Claim) bool { return k.Kind == ClaimVLAN }
	if s, err = m.TenantSegment(false, all, random()); err != nil || s != (model.Segment{NetworkType: "local"}) {
		t.Fatalf("after the VLANs: %+v, %v", s, err)
	}
	if got := m.MechanismDrivers(); !cmp.Equal(got, []string{"openvswitch", "mlnx"}) {
		t.Errorf("drivers %v", got)
	}
}

func TestParseVLANRanges(t *testing.T) {
	v, err := parseVLANRanges([]string{" a:10:20", "b", "a:15:30", "a:40:50", "b:7:9", "c:1:1"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]idRange{"a": {{10, 30}, {40, 50}}, "b": {{1, 4094}}, "c": {{1, 1}}}
	if !cmp.Equal(v.ranges, want, cmp.AllowUnexported(idRange{})) {
		t.Errorf("got %v", v.ranges)
	}
	if !cmp.Equal(v.names, []string{"a", "b", "c"}) {
		t.Errorf("order %v", v.names)
	}
}

func TestProviderSegment(t *testing.T) {
	const bad, input = http.StatusBadRequest, "InvalidInput"
	held := claims{
		{ClaimVLAN, "physnet1/105"}: true, {ClaimFlat, "physnet1"}: true, {ClaimVNI, "5"}: true,
	}
	id0 := map[string]bool{AttrSegmentationID: true}
	for _, c := range []struct {
		name    string
		asked   model.Segment
		given   map[string]bool
		change  func(*Config)
		status  int
		typ     string
		message string
	}{
		{
			"vlan in use",
			model.Segment{NetworkType: "vlan", PhysicalNetwork: "physnet1", SegmentationID: 105},
			nil, nil, http.StatusConflict, "VlanIdInUse",
			"Unable to create the network. The VLAN 105 on physical network physnet1 is in use.",
		},
		{"vlan outside the range", model.Segment{NetworkType: "vlan", PhysicalNetwork: "physnet1", SegmentationID: 3000}, nil, nil, 0, "", ""},
		{
			"vlan unknown physnet",
			model.Segment{NetworkType: "vlan", PhysicalNetwork: "physnetX"},
			nil, nil, bad, input,
			"Invalid input for operation: physical_network 'physnetX' unknown for VLAN provider network.",
		},
		{
			"vlan id alone",
			model.Segment{NetworkType: "vlan", SegmentationID: 5},
			nil, nil, bad, input,
			"Invalid input for operation: segmentation_id requires physical_network for VLAN provider network.",
		},
		{
			"vlan 0",
			model.Segment{NetworkType: "vlan", PhysicalNetwork: "physnet1"},
			id0, nil, bad, input,
			"Invalid input for operation: segmentation_id out of range (1 through 4094).",
		},
		{
			"vlan 4095",
			model.Segment{NetworkType: "vlan", PhysicalNetwork: "physnet1", SegmentationID: 4095},
			nil, nil, bad, input,
			"Invalid input for operation: segmentation_id out of range (1 through 4094).",
		},
		{"vlan alone", model.Segment{NetworkType: "vlan"}, nil, nil, 0, "", ""},
		{"vlan and physnet", model.Segment{NetworkType: "vlan", PhysicalNetwork: "physnet2"}, nil, nil, 0, "", ""},
		{
			"flat again",
			model.Segment{NetworkType: "flat", PhysicalNetwork: "physnet1"},
			nil, nil, http.StatusConflict, "FlatNetworkInUse",
			"Unable to create the flat network. Physical network physnet1 is in use.",
		},
		{"flat", model.Segment{NetworkType: "flat", PhysicalNetwork: "any"}, nil, nil, 0, "", ""},
		{
			"flat without physnet",
			model.Segment{NetworkType: "flat"},
			nil, nil, bad, input,
			"Invalid input for operation: physical_network required for flat provider network.",
		},
		{
			"flat with id",
			model.Segment{NetworkType: "flat", PhysicalNetwork: "any", SegmentationID: 4},
			nil, nil, bad, input,
			"Invalid input for operation: segmentation_id prohibited for flat provider network.",
		},
		{
			"flat disabled",
			model.Segment{NetworkType: "flat", PhysicalNetwork: "any"},
			nil, func(c *Config) { c.FlatNetworks = nil }, bad, input,
			"Invalid input for operation: Flat provider networks are disabled.",
		},
		{
			"flat not listed",
			model.Segment{NetworkType: "flat", PhysicalNetwork: "any"},
			nil, func(c *Config) { c.FlatNetworks = []string{"other"} }, bad, input,
			"Invalid input for operation: physical_network 'any' unknown for flat provider network.",
		},
		{
			"local with physnet",
			model.Segment{NetworkType: "local", PhysicalNetwork: "p"},
			nil, nil, bad, input,
			"Invalid input for operation: physical_network prohibited for local provider network.",
		},
		{
			"local with id",
			model.Segment{NetworkType: "local", SegmentationID: 4},
			nil, nil, bad, input,
			"Invalid input for operation: segmentation_id prohibited for local provider network.",
		},
		{
			"vxlan with physnet",
			model.Segment{NetworkType: "vxlan", PhysicalNetwork: "p"},
			nil, nil, bad, input,
			"Invalid input for operation: provider:physical_network specified for vxlan network.",
		},
		{"vxlan outside the range", model.Segment{NetworkType: "vxlan", SegmentationID: 70000}, nil, nil, 0, "", ""},
		{
			"vxlan in use",
			model.Segment{NetworkType: "vxlan", SegmentationID: 5},
			nil, nil, http.StatusConflict, "TunnelIdInUse",
			"Unable to create the network. The tunnel ID 5 is in use.",
		},
		{
			"vxlan beyond 24 bits",
			model.Segment{NetworkType: "vxlan", SegmentationID: 1 << 24},
			nil, nil, bad, input,
			"Invalid input for operation: segmentation_id out of range (1 through 16777215).",
		},
		{
			"unknown type",
			model.Segment{NetworkType: "geneve"},
			nil, nil, bad, input,
			"Invalid input for operation: network_type value 'geneve' not supported.",
		},
		{
			"no type",
			model.Segment{PhysicalNetwork: "physnet1"},
			nil, nil, bad, input,
			"Invalid input for operation: network_type required.",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config()
			if c.change != nil {
				c.change(&cfg)
			}
			m := build(t, cfg)
			got, err := m.ProviderSegment(c.asked, c.given, held.taken, random())
			if c.typ != "" {
				wantFault(t, err, c.status, c.typ, c.message)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range m.SegmentClaims(got) {
				if held[k] {
					t.Errorf("%+v is taken", got)
				}
			}
			if got.NetworkType == "vlan" && (got.PhysicalNetwork == "" || got.SegmentationID == 0) {
				t.Errorf("incomplete: %+v", got)
			}
		})
	}
}

func TestProviderSegments(t *testing.T) {
	m := build(t, config())
	vlan := model.Segment{NetworkType: "vlan", PhysicalNetwork: "physnet2"}
	got, err := m.ProviderSegments([]model.Segment{vlan, vlan, {NetworkType: "flat", PhysicalNetwork: "f"}}, nil, claims{}.taken, random())
	if err != nil {
		t.Fatal(err)
	}
	if got[0].SegmentationID == got[1].SegmentationID || got[2].NetworkType != "flat" {
		t.Errorf("segments %+v", got)
	}
	_, err = m.ProviderSegments([]model.Segment{vlan, vlan, vlan}, nil, claims{}.taken, random())
	wantFault(t, err, http.StatusServiceUnavailable, "NoNetworkAvailable",
		"Unable to create the network. No tenant network is available for allocation.")
	vlan.SegmentationID = 7
	_, err = m.ProviderSegments([]model.Segment{vlan, vlan}, nil, claims{}.taken, random())
	wantFault(t, err, http.StatusBadRequest, "SegmentsContainDuplicateEntry", "Duplicate segment entry in request.")
}

func TestTenantSegmentOrder(t *testing.T) {
	m := build(t, config())
	held := claims{}
	seen := map[string]int{}
	for range 11 + 2 + 4094 + 1000 {
		s, err := m.TenantSegment(false, held.taken, random())
		if err != nil {
			t.Fatalf("after %v: %v", seen, err)
		}
		held.take(m, s)
		seen[s.NetworkType+s.PhysicalNetwork]++
		if s.PhysicalNetwork == "physnet2" && seen["vlanphysnet1"] < 11 {
			t.Fatal("physnet2 before physnet1 is used up")
		}
	}
	if want := map[string]int{"vlanphysnet1": 11, "vlanphysnet2": 2, "vlanbare": 4094, "vxlan": 1000}; !cmp.Equal(seen, want) {
		t.Errorf("allocated %v, want %v", seen, want)
	}
	_, err := m.TenantSegment(false, held.taken, random())
	wantFault(t, err, http.StatusServiceUnavailable, "NoNetworkAvailable",
		"Unable to create the network. No tenant network is available for allocation.")
}

func TestExternalNetworkType(t *testing.T) {
	c := config()
	c.ExternalNetworkType = model.TypeVXLAN
	m := build(t, c)
	if s, err := m.TenantSegment(true, claims{}.taken, random()); err != nil || s.NetworkType != "vxlan" {
		t.Errorf("external: %+v, %v", s, err)
	}
	if s, err := m.TenantSegment(false, claims{}.taken, random()); err != nil || s.NetworkType != "vlan" {
		t.Errorf("tenant: %+v, %v", s, err)
	}
	c.ExternalNetworkType, c.TenantNetworkTypes = model.TypeFlat, []string{model.TypeFlat}
	m = build(t, c)
	for _, external := range []bool{true, false} {
		if s, err := m.TenantSegment(external, claims{}.taken, random()); err == nil {
			t.Errorf("flat was given to nobody's physical network: %+v", s)
		}
	}
}

func TestClaimOfOddPhysicalNetwork(t *testing.T) {
	m := build(t, config())
	for _, name := range []string{"a/b", "a", "ü 1", "%2f", "a b/105"} {
		k := m.SegmentClaims(model.Segment{NetworkType: "vlan", PhysicalNetwork: name, SegmentationID: 105})[0]
		if strings.Count(k.Key, "/") != 1 {
			t.Errorf("key %q", k.Key)
		}
		wantFault(t, m.InUse(k), http.StatusConflict, "VlanIdInUse",
			fmt.Sprintf("Unable to create the network. The VLAN 105 on physical network %s is in use.", name))
	}
	wantFault(t, m.InUse(Claim{"odd", "x"}), http.StatusConflict, "Conflict", "odd x is in use.")
}

func TestMTU(t *testing.T) {
	c := config()
	c.PhysicalNetworkMTUs = map[string]int{"physnet1": 1400, "physnet2": 9000}
	vlan1 := model.Segment{NetworkType: "vlan", PhysicalNetwork: "physnet1"}
	vlan2 := model.Segment{NetworkType: "vlan", PhysicalNetwork: "physnet2"}
	vxlan := model.Segment{NetworkType: "vxlan"}
	local := model.Segment{NetworkType: "local"}
	for _, k := range []struct {
		name     string
		change   func(*Config)
		segments []model.Segment
		want     int
	}{
		{"physnet", nil, []model.Segment{vlan1}, 1400},
		{"physnet above global", nil, []model.Segment{vlan2}, 1500},
		{"jumbo", func(c *Config) { c.GlobalPhysnetMTU = 9000 }, []model.Segment{vlan2}, 9000},
		{"vxlan", nil, []model.Segment{vxlan}, 1450},
		{"vxlan over IPv6", func(c *Config) { c.OverlayIPVersion = 6 }, []model.Segment{vxlan}, 1430},
		{"path", func(c *Config) { c.PathMTU = 1480 }, []model.Segment{vxlan}, 1430},
		{"path above global", func(c *Config) { c.PathMTU = 9000 }, []model.Segment{vxlan}, 1450},
		{"local", nil, []model.Segment{local}, 1500},
		{"least", nil, []model.Segment{vxlan, vlan1, local}, 1400},
		{"no limit", func(c *Config) { c.GlobalPhysnetMTU = 0 }, []model.Segment{vxlan}, 0},
	} {
		t.Run(k.name, func(t *testing.T) {
			cfg := c
			if k.change != nil {
				k.change(&cfg)
			}
			if got := build(t, cfg).MTU(k.segments); got != k.want {
				t.Errorf("MTU %d, want %d", got, k.want)
			}
		})
	}
	m := build(t, c)
	_, err := m.NetworkMTU([]model.Segment{vxlan}, 1451)
	wantFault(t, err, http.StatusBadRequest, "InvalidInput", "Invalid input for operation: Requested MTU is too big, maximum is 1450.")
	if got, err := m.NetworkMTU([]model.Segment{vxlan}, 1300); got != 1300 || err != nil {
		t.Errorf("asked 1300: %d, %v", got, err)
	}
	if got, err := m.NetworkMTU([]model.Segment{vxlan}, 0); got != 1450 || err != nil {
		t.Errorf("asked nothing: %d, %v", got, err)
	}
}

func TestUpdateSegment(t *testing.T) {
	c := config()
	c.MechanismDrivers = []string{DriverOpenVSwitch, DriverMlnx}
	m := build(t, c)
	vlan := model.Segment{ID: "s", NetworkType: "vlan", PhysicalNetwork: "physnet1", SegmentationID: 100}
	id := map[string]bool{AttrSegmentationID: true}
	held := claims{{ClaimVLAN, "physnet1/101"}: true, {ClaimVLAN, "physnet1/100"}: true}
	const input = "InvalidInput"
	for _, k := range []struct {
		name     string
		segments []model.Segment
		asked    model.Segment
		given    map[string]bool
		vifs     []string
		status   int
		typ      string
		message  string
	}{
		{
			"other physnet",
			[]model.Segment{vlan},
			model.Segment{PhysicalNetwork: "physnet2"},
			map[string]bool{AttrPhysicalNetwork: true},
			nil, 400, input,
			"Invalid input for operation: Plugin does not support updating the following provider network attributes: provider:physical_network.",
		},
		{
			"two at once",
			[]model.Segment{vlan},
			model.Segment{PhysicalNetwork: "x", NetworkType: "flat"},
			map[string]bool{AttrPhysicalNetwork: true, AttrNetworkType: true},
			nil, 400, input,
			"Invalid input for operation: Plugin does not support updating the following provider network attributes: provider:network_type, provider:physical_network.",
		},
		{
			"many segments",
			[]model.Segment{vlan, vlan},
			model.Segment{SegmentationID: 5},
			id, nil, 400, input,
			"Invalid input for operation: Provider network attributes can be updated only in provider networks with a single segment..",
		},
		{
			"bound VF",
			[]model.Segment{vlan},
			model.Segment{SegmentationID: 5},
			id,
			[]string{"ovs", "hw_veb"},
			400, input,
			"Invalid input for operation: Provider network attribute provider:segmentation_id cannot be updated if any port in the network has not the following binding:vif_type: unbound, binding_failed, ovs.",
		},
		{
			"vxlan",
			[]model.Segment{{NetworkType: "vxlan", SegmentationID: 9}},
			model.Segment{SegmentationID: 5},
			id, nil, 400, input,
			"Invalid input for operation: Only VLAN type networks can be updated..",
		},
		{
			"0",
			[]model.Segment{vlan},
			model.Segment{},
			id, nil, 400, input,
			"Invalid input for operation: segmentation_id out of range (1 through 4094).",
		},
		{
			"in use",
			[]model.Segment{vlan},
			model.Segment{SegmentationID: 101},
			id, nil, 409, "VlanIdInUse",
			"Unable to create the network. The VLAN 101 on physical network physnet1 is in use.",
		},
	} {
		t.Run(k.name, func(t *testing.T) {
			_, changed, err := m.UpdateSegment(&model.Network{Segments: k.segments}, k.asked, k.given, k.vifs, held.taken)
			wantFault(t, err, k.status, k.typ, k.message)
			if changed {
				t.Error("changed")
			}
		})
	}
	n := &model.Network{Segments: []model.Segment{vlan}}
	s, changed, err := m.UpdateSegment(n, model.Segment{SegmentationID: 102}, id, []string{"ovs", "unbound", "binding_failed", ""}, held.taken)
	if err != nil || !changed || s.SegmentationID != 102 || s.ID != "s" || s.PhysicalNetwork != "physnet1" {
		t.Errorf("102: %+v %v %v", s, changed, err)
	}
	same := map[string]bool{AttrSegmentationID: true, AttrNetworkType: true, AttrPhysicalNetwork: true}
	if s, changed, err = m.UpdateSegment(n, vlan, same, []string{"hw_veb"}, held.taken); err != nil || changed || s != vlan {
		t.Errorf("the same again: %+v %v %v", s, changed, err)
	}
}
