package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// controllerFile is the controller's option file: what an operator would write.
func controllerFile(n Names, port int, identity bool) string {
	return fmt.Sprintf(`# The controller of lab %q, written by "neutrino lab up".
[DEFAULT]
bind_host = 127.0.0.1
bind_port = %d
auth_strategy = noauth
state_path = %s
agent_down_time = 10

[ml2]
type_drivers = local,flat,vlan,vxlan
tenant_network_types = vlan
mechanism_drivers = sriovnicswitch

[ml2_type_vlan]
network_vlan_ranges = %s:2:1000

[ml2_type_vxlan]
vni_ranges = 1:1000

[fabric]
listen = unix://%s

[identity]
enabled = %t
`, n.Lab, port, n.File("controller"), PhysicalNetwork, n.Socket(), identity)
}

// agentFile is the option file of one host's agent.
func agentFile(n Names, h Host) string {
	return fmt.Sprintf(`# The agent of host %s in lab %q, written by "neutrino lab up".
[DEFAULT]
host = %s
state_path = %s

[agent]
socket = %s

[sriov_nic]
physical_device_mappings = %s:%s

[fabric]
controllers = unix://%s

[veb]
pin_dir = %s

[dhcp]
enabled = %t

[l3]
enabled = %t
`, h.Name, n.Lab, h.Name, n.File(h.Name), n.AgentSocket(h.Name), PhysicalNetwork, NIC, n.Socket(), n.Pins(h.Name), h.DHCP, h.L3)
}

// cloudsFile lets the real openstack client find the lab.
func cloudsFile(api string, identity bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Use with: export OS_CLIENT_CONFIG_FILE=<this file>, then openstack --os-cloud lab ...
clouds:
  lab:
    auth_type: none
    auth:
      endpoint: %[1]s
    network_endpoint_override: %[1]s
    network_api_version: "2"
`, api)
	if !identity {
		return b.String()
	}
	for _, user := range []struct{ name, project string }{{"admin", "admin"}, {"demo", "demo"}, {"reader", "demo"}} {
		fmt.Fprintf(&b, `  %s:
    auth:
      auth_url: %s/identity/v3
      username: %s
      password: secret
      project_name: %s
      user_domain_id: default
      project_domain_id: default
    region_name: RegionOne
    identity_api_version: "3"
`, user.name, api, user.name, user.project)
	}
	return b.String()
}

func writeFile(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
