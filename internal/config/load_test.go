package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files and etc/ again")

// golden compares text with a file of testdata, or writes it with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s is not current; go test ./internal/config -update writes it again (-file +now):\n%s", file, d)
	}
}

func mustLoad(t *testing.T, paths ...string) (*Config, []Warning) {
	t.Helper()
	c, warnings, err := Load(paths)
	if err != nil {
		t.Fatalf("Load(%v): %v", paths, err)
	}
	return c, warnings
}

// write makes a file of one test.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "n.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func wantOldController(t *testing.T, c *Config) {
	t.Helper()
	want := ML2{
		TypeDrivers:        []string{"vlan", "local"},
		TenantNetworkTypes: []string{"vlan", "local"},
		MechanismDrivers:   []string{"openvswitch", "mlnx"},
		OverlayIPVersion:   4, PhysicalNetworkMTUs: map[string]int{},
	}
	if d := cmp.Diff(want, c.ML2); d != "" {
		t.Errorf("[ml2] (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"default:2:1000"}, c.VLAN.NetworkVLANRanges); d != "" {
		t.Errorf("network_vlan_ranges:\n%s", d)
	}
	if c.Eswitch.VnicType != "hostdev" || !c.Eswitch.ApplyProfilePatch {
		t.Errorf("[eswitch] = %+v", c.Eswitch)
	}
	if c.Default.AuthStrategy != AuthNone || c.APIAddress() != "127.0.0.1:9696" {
		t.Errorf("listens on %s with %s", c.APIAddress(), c.Default.AuthStrategy)
	}
	if err := c.Check(Controller); err != nil {
		t.Errorf("Check: %v", err)
	}
}

func wantOldAgent(t *testing.T, c *Config) {
	t.Helper()
	if d := cmp.Diff(map[string][]string{"default": {"eth6"}}, c.DeviceMappings()); d != "" {
		t.Errorf("device mappings:\n%s", d)
	}
	if c.Eswitch.VnicType != "hostdev" || c.SecurityGroup.Enable {
		t.Errorf("[eswitch] = %+v, [securitygroup] = %+v", c.Eswitch, c.SecurityGroup)
	}
	u := c.Unacted()
	if len(u) != 1 || u[0].Name != (Name{"agent", "rpc_support_old_agents"}) || u[0].Reason == "" {
		t.Errorf("Unacted() = %v", u)
	}
	if err := c.Check(Agents); err != nil {
		t.Errorf("Check: %v", err)
	}
}

func TestOldFilesAsTheyAre(t *testing.T) {
	c, warnings := mustLoad(t, "testdata/icehouse/ml2_conf.ini")
	wantOldController(t, c)
	a, more := mustLoad(t, "testdata/icehouse/mlnx_conf.ini")
	wantOldAgent(t, a)
	if len(warnings)+len(more) > 0 {
		t.Errorf("warnings: %v %v", warnings, more)
	}
}

func TestOldFilesAsGuidesPrintThem(t *testing.T) {
	c, warnings := mustLoad(t, "testdata/guide/ml2_conf.ini")
	wantOldController(t, c)
	a, more := mustLoad(t, "testdata/guide/mlnx_conf.ini")
	wantOldAgent(t, a)
	var b strings.Builder
	for _, w := range append(warnings, more...) {
		fmt.Fprintln(&b, w)
	}
	golden(t, "testdata/guide/warnings.golden", b.String())
}

func TestInstallGuideFiles(t *testing.T) {
	c, warnings := mustLoad(t, "testdata/zed/neutron.conf", "testdata/zed/ml2_conf.ini", "testdata/zed/sriov_agent.ini")
	if len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
	if err := c.Check(Both); err != nil {
		t.Errorf("Check: %v", err)
	}
	check := func(what string, got, want any) {
		t.Helper()
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	check("bind", c.APIAddress(), "10.0.0.11:9696")
	check("password", c.Keystone.Password, "NEUTRON #1 $PASS")
	check("token cache", c.Keystone.TokenCacheTime, 300*time.Second)
	check("state file", c.Agent.StateFile, "/var/lib/neutron/agent.db")
	check("data dir", c.Store.DataDir, "/var/lib/neutron/store")
	check("tenant types", c.ML2.TenantNetworkTypes, []string{"vlan"})
	check("mtus", c.ML2.PhysicalNetworkMTUs, map[string]int{"physnet1": 1500, "physnet2": 9000})
	check("vlan ranges", c.VLAN.NetworkVLANRanges, []string{"physnet1:100:199", "physnet1:300:399", "physnet2"})
	check("mappings", c.DeviceMappings(), map[string][]string{"physnet1": {"ens1f0", "ens1f1"}, "physnet2": {"ens2f0"}})
	check("excluded", c.SRIOVNIC.ExcludeDevices, map[string][]string{
		"ens1f0": {"0000:07:00.2", "0000:07:00.3"}, "ens1f1": {"0000:08:00.2"},
	})
	check("quotas", c.Quotas.Limits(), map[string]int{
		"network": 100, "subnet": 100, "port": -1,
		"security_group": 10, "security_group_rule": 100, "router": 10, "floatingip": 50, "subnetpool": -1,
	})
	var b strings.Builder
	for _, u := range c.Unacted() {
		fmt.Fprintf(&b, "%s: %s\n", u, u.Reason)
	}
	golden(t, "testdata/zed/unacted.golden", b.String())
}

func TestErrorsNameThePlaceAndWhatIsAllowed(t *testing.T) {
	for _, name := range []string{"names", "values"} {
		t.Run(name, func(t *testing.T) {
			c, _, err := Load([]string{"testdata/wrong/" + name + ".ini"})
			if err == nil || c != nil {
				t.Fatalf("Load = %v, %v", c, err)
			}
			var e *Error
			if !errors.As(err, &e) || e.File == "" || e.Line == 0 {
				t.Errorf("no *Error with a place in %v", err)
			}
			golden(t, "testdata/wrong/"+name+".golden", err.Error()+"\n")
		})
	}
}

func TestErrorsOfAllFilesTogether(t *testing.T) {
	_, _, err := Load([]string{"testdata/none.ini", "testdata/wrong/names.ini", "testdata/wrong/values.ini"})
	for _, part := range []string{"testdata/none.ini: cannot open the file", "names.ini:3", "values.ini:3"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
}

func TestPrecedence(t *testing.T) {
	first := write(t, "[DEFAULT]\nbind_port = 1\nhost = a\n[ml2]\nproject_network_types = vlan\n")
	second := write(t, "[DEFAULT]\nbind_port = 2\nbind-port = 3\n[ML2]\ntenant_network_types = flat\nproject_network_types = local\n")
	c, warnings := mustLoad(t, first, second)
	if c.Default.BindPort != 3 || c.Default.Host != "a" || c.ML2.TenantNetworkTypes[0] != "flat" {
		t.Errorf("got %d %s %v", c.Default.BindPort, c.Default.Host, c.ML2.TenantNetworkTypes)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0].String(), "overrides the value on line 2") {
		t.Errorf("warnings: %v", warnings)
	}
	if s, ok := c.Where("DEFAULT", "bind_port"); !ok || s.File != second || s.Line != 3 || s.Value != "3" {
		t.Errorf("Where = %+v, %v", s, ok)
	}
}

func TestValues(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		got        func(*Config) any
		want       any
	}{
		{"yes", "[DEFAULT]\ndebug = YES", func(c *Config) any { return c.Default.Debug }, true},
		{"remark alone", "[ml2]\nmechanism_drivers =  # none", func(c *Config) any { return len(c.ML2.MechanismDrivers) }, 0},
		{"glued remark", "[eswitch]\nvnic_type = hostdev#直通", func(c *Config) any { return c.Eswitch.VnicType }, "hostdev"},
		{"quoted remark sign", "[DEFAULT]\nstate_path = \"/a # b\"", func(c *Config) any { return c.Default.StatePath }, "/a # b"},
		{"quotes, then a remark", "[DEFAULT]\nstate_path = '/a # b' # c", func(c *Config) any { return c.Default.StatePath }, "/a # b"},
		{"url with #", "[DEFAULT]\nstate_path = /a#b", func(c *Config) any { return c.Default.StatePath }, "/a#b"},
		{"dollar", `[DEFAULT]` + "\n" + `state_path = /\$a/$$b/$`, func(c *Config) any { return c.Default.StatePath }, "/$a/$b/$"},
		{"reference", "[DEFAULT]\nhost = h1\n[agent]\nstate_file = /x/${host}-$agent.availability_zone", func(c *Config) any { return c.Agent.StateFile }, "/x/h1-nova"},
		{"infinite", "[DEFAULT]\npagination_max_limit = infinite", func(c *Config) any { return c.Default.PaginationMaxLimit }, 0},
		{"for ever", "[DEFAULT]\ndhcp_lease_duration = -1", func(c *Config) any { return c.LeaseTime() }, time.Duration(0)},
		{"lease", "[dhcp]\nlease_time = 60", func(c *Config) any { return c.LeaseTime() }, time.Minute},
		{"byte order mark", "\ufeff[DEFAULT]\r\nbind_port = 80\r\n", func(c *Config) any { return c.Default.BindPort }, 80},
		{"remark inside a long value", "[ml2_type_vlan]\nnetwork_vlan_ranges = a:1:2, # one\n  # none\n  b", func(c *Config) any { return strings.Join(c.VLAN.NetworkVLANRanges, " ") }, "a:1:2 b"},
		{"indented options", "[DEFAULT]\n  bind_port = 80\n  host = x\nstate_path = /y", func(c *Config) any { return c.Default.Host + c.Default.StatePath }, "x/y"},
		{"both mappings", "[sriov_nic]\nphysical_device_mappings = a:e1\n[eswitch]\nphysical_interface_mappings = a:e1,a:e2", func(c *Config) any { return strings.Join(c.DeviceMappings()["a"], " ") }, "e1 e2"},
		{"empty number", "[ml2]\npath_mtu =", func(c *Config) any { return c.ML2.PathMTU }, 0},
		{"v6", "[DEFAULT]\nbind_host = ::1", func(c *Config) any { return c.APIAddress() }, "[::1]:9696"},
		{"keystone by address", "[keystone_authtoken]\nauth_url = http://k:5000", func(c *Config) any { return c.Default.AuthStrategy + c.Default.BindHost }, "keystone0.0.0.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := mustLoad(t, write(t, tt.text))
			if d := cmp.Diff(tt.want, tt.got(c)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"loop", "[DEFAULT]\nstate_path = $log_dir\nlog_dir = $state_path", "refers back to itself"},
		{"secret is not shown", "[store]\npassword = $hush", "[store] password: a $name in the value"},
		{"UTF-16", "\xff\xfe[\x00", "UTF-16"},
		{"binary", "[DEFAULT]\n\x00", "NUL"},
		{"GBK value", "[DEFAULT]\nhost = \xd6\xd0\xce\xc4", "not UTF-8"},
		{"nothing to continue", "[DEFAULT]\n\n# x\nhost = a\n\n  b", "continues no option"},
		{"empty item", "[ml2]\ntype_drivers = vlan,,local", "an empty item"},
		{"no comma", "[ml2]\ntype_drivers = vlan,\n local\n flat", "a comma is missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Load([]string{write(t, tt.text)})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		role       Role
		want       string // "" = fine
	}{
		{"open noauth", "[DEFAULT]\nauth_strategy = noauth\nbind_host = 0.0.0.0", Controller, "n.conf:3: [DEFAULT] bind_host"},
		{"open noauth, meant", "[DEFAULT]\nauth_strategy = noauth\nbind_host = 0.0.0.0\n[api]\nnoauth_anywhere = 1", Controller, ""},
		{"an agent does not listen", "[DEFAULT]\nauth_strategy = noauth\nbind_host = 0.0.0.0", Agents, ""},
		{"keystone without one", "[DEFAULT]\nauth_strategy = keystone", Controller, "needs [keystone_authtoken] auth_url"},
		{"identity", "[identity]\nenabled = true\nfile = /x", Controller, ""},
		{"identity for all", "[identity]\nenabled = true\nfile = /x\n[DEFAULT]\nbind_host = ::", Controller, "development identity"},
		{"tls without files", "[DEFAULT]\nuse_ssl = true", Controller, "[ssl] cert_file"},
		{"type without driver", "[ml2]\ntype_drivers = vlan", Controller, `"local" is not among`},
		{"external type", "[ml2]\nexternal_network_type = gre", Controller, "not among"},
		{"fabric without TLS", "[fabric]\nlisten = 127.0.0.1:1,0.0.0.0:2", Controller, "0.0.0.0:2 is not on this machine"},
		{"fabric over unix", "[fabric]\ncontrollers = unix:///run/n.sock", Agents, ""},
		{"fabric by URL", "[fabric]\ncontrollers = https://c:9695\ntls_cert_file = /c\ntls_key_file = /k\ntls_ca_file = /a", Agents, ""},
		{"fabric by URL without TLS", "[fabric]\ncontrollers = https://c:9695", Agents, "tls_cert_file"},
		{"fabric to nobody", "[fabric]\ncontrollers =", Agents, "must not be empty"},
		{"two bridges of one network", "[ovs]\nbridge_mappings = default:br-a,default:br-b", Agents, "default has 2 bridges"},
		{"one bridge of two networks", "[ovs]\nbridge_mappings = a:br-a,b:br-a", Agents, "whose VLANs would be one"},
		{"uplink of no bridge", "[ovs]\nbridge_uplinks = br-a:eth6", Agents, "br-a is not in bridge_mappings"},
		{"uplink of two bridges", "[ovs]\nbridge_mappings = a:br-a,b:br-b\nbridge_uplinks = br-a:eth6,br-b:eth6", Agents, "uplink of br-a and of br-b"},
		{"ovsdb by TLS without files", "[ovs]\novsdb_connection = ssl:db:6640", Agents, "ssl_cert_file"},
		{"bridge and uplink", "[ovs]\nbridge_mappings = default:br-eth6\nbridge_uplinks = br-eth6:eth6", Agents, ""},
		{"excluded but not mapped", "[sriov_nic]\nexclude_devices = e1:0000:01:00.1", Agents, "e1 is not in physical_device_mappings"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := mustLoad(t, write(t, tt.text))
			err := c.Check(tt.role)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Check = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestInDir(t *testing.T) {
	files, err := InDir("testdata/zed")
	want := []string{"testdata/zed/ml2_conf.ini", "testdata/zed/neutron.conf", "testdata/zed/sriov_agent.ini"}
	if d := cmp.Diff(want, files); err != nil || d != "" {
		t.Errorf("InDir: %v\n%s", err, d)
	}
	if _, err := InDir("testdata/none"); err == nil {
		t.Error("InDir of nothing: no error")
	}
}
