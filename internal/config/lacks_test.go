package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestExtensionDrivers(t *testing.T) {
	c, _ := mustLoad(t, write(t, "[ml2]\nextension_drivers = port_security,uplink_status_propagation\n"))
	if u := c.Unacted(); len(u) != 0 {
		t.Errorf("extensions that are always on are reported: %v", u)
	}
	c, _ = mustLoad(t, write(t, "[ml2]\nextension_drivers = port_security, qos, dns\n"))
	u := c.Unacted()
	if len(u) != 1 || u[0].Name != (Name{"ml2", "extension_drivers"}) || u[0].Line != 2 {
		t.Fatalf("Unacted() = %v, want the option on line 2", u)
	}
	for _, part := range []string{"qos is not there: there are no QoS policies", "dns is not there: ports have no dns_name"} {
		if !strings.Contains(u[0].Reason, part) {
			t.Errorf("reason %q does not say %q", u[0].Reason, part)
		}
	}
	if strings.Contains(u[0].Reason, "port_security") {
		t.Errorf("reason %q names what is always on", u[0].Reason)
	}
	if d := cmp.Diff([]string{"port_security", "qos", "dns"}, c.ML2.ExtensionDrivers); d != "" {
		t.Error(d)
	}
	_, _, err := Load([]string{write(t, "[ml2]\nextension_drivers = port_securty\n")})
	if err == nil || !strings.Contains(err.Error(), "n.conf:2: [ml2] extension_drivers") || !strings.Contains(err.Error(), "did you mean port_security?") {
		t.Errorf("an unknown extension driver: %v", err)
	}
}

func TestReportInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30": 30 * time.Second, "7.5": 7500 * time.Millisecond, "": 0, "0": 0, "1e1": 10 * time.Second,
	} {
		c, _ := mustLoad(t, write(t, "[agent]\nreport_interval = "+text+"\n"))
		if c.Agent.ReportInterval != want {
			t.Errorf("report_interval = %s: %s, want %s", text, c.Agent.ReportInterval, want)
		}
	}
	for _, text := range []string{"-1", "soon", "NaN", "1e9", "inf"} {
		_, _, err := Load([]string{write(t, "[agent]\nreport_interval = "+text+"\n")})
		if err == nil || !strings.Contains(err.Error(), "0 to 86400") {
			t.Errorf("report_interval = %s: %v", text, err)
		}
	}
}

func TestServiceUserOfKeystone(t *testing.T) {
	c, warnings := mustLoad(t, write(t, `[keystone_authtoken]
auth_url = http://k:5000
user_id = u
user_domain_id = d1
project_domain_id = d2
tenant_id = p
default_domain_id = d3
default_domain_name = D3
region_name = RegionOne
`))
	got := []string{c.Keystone.UserID, c.Keystone.UserDomainID, c.Keystone.ProjectDomainID, c.Keystone.ProjectID, c.Keystone.DefaultDomainID, c.Keystone.DefaultDomainName}
	if d := cmp.Diff([]string{"u", "d1", "d2", "p", "d3", "D3"}, got); d != "" {
		t.Error(d)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0].Text, "old name") {
		t.Errorf("warnings: %v, want one of tenant_id", warnings)
	}
	if u := c.Unacted(); len(u) != 1 || u[0].Option != "region_name" || !strings.Contains(u[0].Reason, "auth_url") {
		t.Errorf("Unacted() = %v, want region_name, and why", u)
	}
}
