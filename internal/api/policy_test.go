package api_test

import (
	"strings"
	"testing"

	"neutrino/internal/api"
)

// world is a few networks of two projects.
type world struct {
	*rig
	own, foreign, shared, external string // networks; own is demo's, the others alt's or admin's
	port                           string // demo's, on own
}

func newWorld(t *testing.T) *world {
	r := newRig(t, api.Options{})
	for _, user := range []string{"admin", "demo", "alt", "reader", "nova"} {
		r.token(user)
	}
	w := &world{rig: r}
	id := func(m map[string]any) string { s, _ := m["id"].(string); return s }
	w.own = id(r.make("demo", "networks", "network", obj{"name": "own"}))
	w.foreign = id(r.make("alt", "networks", "network", obj{"name": "foreign"}))
	w.shared = id(r.make("admin", "networks", "network", obj{"name": "shared", "shared": true, "project_id": r.ids["alt"]}))
	w.external = id(r.make("admin", "networks", "network", obj{"name": "external", "router:external": true}))
	w.port = id(r.make("demo", "ports", "port", obj{"name": "p", "network_id": w.own}))
	for name, net := range map[string]string{"10.1.0.0/24": w.own, "10.2.0.0/24": w.foreign, "10.3.0.0/24": w.shared, "10.4.0.0/24": w.external} {
		r.make("admin", "subnets", "subnet", obj{"name": name, "network_id": net, "ip_version": 4, "cidr": name})
	}
	return w
}

// TestVisibility: what the lists show to whom.
func TestVisibility(t *testing.T) {
	w := newWorld(t)
	const byName = "&sort_key=name&sort_dir=asc"
	for _, c := range []struct{ user, query, want string }{
		{"admin", "networks?fields=name", "external foreign own shared"},
		{"demo", "networks?fields=name", "external own shared"},
		{"reader", "networks?fields=name", "external own shared"},
		{"alt", "networks?fields=name", "external foreign shared"},
		{"nova", "networks?fields=name", "external foreign own shared"},
		{"demo", "networks?shared=True", "shared"},
		{"demo", "subnets?fields=name", "10.1.0.0/24 10.3.0.0/24 10.4.0.0/24"},
		{"demo", "ports?fields=name", "p"},
		{"alt", "ports?fields=name", ""},
		{"nova", "ports?fields=name", "p"},
		{"demo", "agents?fields=id", ""},
	} {
		collection, _, _ := strings.Cut(c.query, "?")
		query := c.query + byName
		if collection == "agents" {
			query = c.query
		}
		a := w.call(c.user, "GET", "/v2.0/"+query, nil)
		if got := a.names(collection); a.code != 200 || got != c.want {
			t.Errorf("%s %s: %d %q, want %q", c.user, c.query, a.code, got, c.want)
		}
	}
	if a := w.must(200, w.call("demo", "GET", "/v2.0/network-ip-availabilities", nil)); a.text != `{"network_ip_availabilities":[]}` {
		t.Errorf("availabilities of a member: %s", a.text)
	}
	for user, shows := range map[string]bool{"admin": true, "demo": false, "reader": false} {
		n := w.must(200, w.call(user, "GET", "/v2.0/networks/"+w.own, nil)).object("network")
		p := w.must(200, w.call(user, "GET", "/v2.0/ports/"+w.port, nil)).object("port")
		for attr, row := range map[string]obj{"provider:network_type": n, "binding:host_id": p, "binding:vif_type": p, "binding:profile": p, "trusted": p, "binding:status_reason": p} {
			if _, ok := row[attr]; ok != shows {
				t.Errorf("%s sees %s: %v", user, attr, ok)
			}
		}
		if p["binding:vnic_type"] != "normal" {
			t.Errorf("%s sees vnic_type %v", user, p["binding:vnic_type"])
		}
	}
	// A filter may use what the caller cannot see.
	if a := w.must(200, w.call("demo", "GET", "/v2.0/networks?provider:network_type=vlan&name=own", nil)); a.names("networks") != "own" {
		t.Errorf("filter by a hidden attribute: %s", a.text)
	}
}

// TestPolicy: who may do what, and what the refusal says.
func TestPolicy(t *testing.T) {
	w := newWorld(t)
	ids := strings.NewReplacer("$own", w.own, "$foreign", w.foreign, "$shared", w.shared, "$external", w.external, "$port", w.port,
		"$demo", w.ids["demo"], "$alt", w.ids["alt"])
	const forbidden = " is disallowed by policy"
	for _, c := range []struct {
		user, method, path, body string
		code                     int
		message                  string // "" = any
	}{
		{"reader", "POST", "networks", `{"network":{}}`, 403, "rule:create_network" + forbidden},
		{"demo", "POST", "networks", `{"network":{"shared":true}}`, 403, "(rule:create_network and rule:create_network:shared)" + forbidden},
		{"demo", "POST", "networks", `{"network":{"shared":false,"router:external":false}}`, 201, ""},
		{"demo", "POST", "networks", `{"network":{"shared":true,"router:external":true}}`, 403, "((rule:create_network and rule:create_network:shared) and rule:create_network:router:external)" + forbidden},
		{"demo", "POST", "networks", `{"network":{"provider:network_type":"vlan"}}`, 403, "(rule:create_network and rule:create_network:provider:network_type)" + forbidden},
		{"demo", "POST", "networks", `{"network":{"project_id":"$alt"}}`, 400, "Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin or advsvc privileges"},
		{"demo", "POST", "networks", `{"network":{"tenant_id":"$demo"}}`, 201, ""},
		{"admin", "POST", "networks", `{"network":{"project_id":"$alt"}}`, 201, ""},
		{"demo", "PUT", "networks/$foreign", `{"network":{"name":"x"}}`, 404, "Network $foreign could not be found."},
		{"demo", "DELETE", "networks/$foreign", "", 404, "Network $foreign could not be found."},
		{"demo", "GET", "networks/$foreign", "", 404, "Network $foreign could not be found."},
		{"demo", "PUT", "networks/$shared", `{"network":{"name":"x"}}`, 403, "rule:update_network" + forbidden},
		{"demo", "DELETE", "networks/$external", "", 403, "rule:delete_network" + forbidden},
		{"reader", "PUT", "networks/$own", `{"network":{"name":"x"}}`, 403, "rule:update_network" + forbidden},
		{"demo", "PUT", "networks/$own", `{"network":{"shared":false}}`, 403, "(rule:update_network and rule:update_network:shared)" + forbidden},
		{"demo", "PUT", "networks/$own/tags", `{"tags":["a"]}`, 200, ""},
		{"reader", "PUT", "networks/$own/tags", `{"tags":["a"]}`, 403, ""},
		{"demo", "PUT", "networks/$foreign/tags", `{"tags":["a"]}`, 404, ""},
		{"demo", "POST", "subnets", `{"subnet":{"network_id":"$own","ip_version":4,"cidr":"10.9.0.0/24"}}`, 201, ""},
		{"demo", "POST", "subnets", `{"subnet":{"network_id":"$shared","ip_version":4,"cidr":"10.9.0.0/24"}}`, 403, "rule:create_subnet" + forbidden},
		{"demo", "POST", "subnets", `{"subnet":{"network_id":"$foreign","ip_version":4,"cidr":"10.9.0.0/24"}}`, 404, "Network $foreign could not be found."},
		{"demo", "POST", "ports", `{"port":{"network_id":"$foreign"}}`, 404, "Network $foreign could not be found."},
		{"demo", "POST", "ports", `{"port":{"network_id":"$shared"}}`, 201, ""},
		{"reader", "POST", "ports", `{"port":{"network_id":"$shared"}}`, 403, "rule:create_port" + forbidden},
		{"demo", "POST", "ports", `{"port":{"network_id":"$external"}}`, 403, "Tenant $demo not allowed to create port on this network"},
		{"demo", "POST", "ports", `{"port":{"network_id":"$shared","mac_address":"fa:16:3e:11:22:33"}}`, 403, "(rule:create_port and rule:create_port:mac_address)" + forbidden},
		{"demo", "POST", "ports", `{"port":{"network_id":"$own","mac_address":"fa:16:3e:11:22:33"}}`, 201, ""},
		{"demo", "POST", "ports", `{"port":{"network_id":"$shared","fixed_ips":[{"ip_address":"10.3.0.9"}]}}`, 403, "(rule:create_port and (rule:create_port:fixed_ips and rule:create_port:fixed_ips:ip_address))" + forbidden},
		{"demo", "POST", "ports", `{"port":{"network_id":"$own","fixed_ips":[{"ip_address":"10.1.0.9"}]}}`, 201, ""},
		{"demo", "POST", "ports", `{"port":{"network_id":"$shared","port_security_enabled":false}}`, 403, ""},
		{"demo", "POST", "ports", `{"port":{"network_id":"$shared","device_owner":"network:dhcp"}}`, 403, ""},
		{"demo", "POST", "ports", `{"port":{"network_id":"$shared","device_owner":"compute:nova"}}`, 201, ""},
		{"demo", "POST", "ports", `{"port":{"network_id":"$shared","allowed_address_pairs":[{"ip_address":"10.3.0.9"}]}}`, 403, ""},
		{"demo", "POST", "ports", `{"port":{"network_id":"$own","binding:host_id":"h"}}`, 403, "(rule:create_port and rule:create_port:binding:host_id)" + forbidden},
		{"demo", "POST", "ports", `{"port":{"network_id":"$own","binding:profile":{}}}`, 403, ""},
		{"demo", "POST", "ports", `{"port":{"network_id":"$own","binding:vnic_type":"direct"}}`, 201, ""},
		{"demo", "POST", "ports", `{"port":{"network_id":"$own","trusted":true}}`, 403, ""},
		{"admin", "PUT", "ports/$port", `{"port":{"binding:profile":{"pci_slot":"0000:03:10.2"}}}`, 200, ""},
		{"nova", "PUT", "ports/$port", `{"port":{"binding:profile":{},"device_owner":"compute:nova","device_id":"vm"}}`, 200, ""},
		{"demo", "PUT", "ports/$port", `{"port":{"mac_address":"fa:16:3e:11:22:44"}}`, 403, "(rule:update_port and rule:update_port:mac_address)" + forbidden},
		{"demo", "PUT", "ports/$port", `{"port":{"name":"q"}}`, 200, ""},
		{"alt", "PUT", "ports/$port", `{"port":{"name":"q"}}`, 404, "Port $port could not be found."},
		{"reader", "DELETE", "ports/$port", "", 403, "rule:delete_port" + forbidden},
		{"demo", "POST", "subnetpools", `{"subnetpool":{"name":"x","prefixes":["10.0.0.0/8"],"shared":true}}`, 403, ""},
		{"demo", "GET", "agents/x", "", 404, "Agent x could not be found."},
		{"demo", "GET", "networks/$own/dhcp-agents", "", 403, ""},
		{"nova", "GET", "ports/$port", "", 200, ""},
	} {
		var in any
		if c.body != "" {
			in = ids.Replace(c.body)
		}
		a := w.call(c.user, c.method, "/v2.0/"+ids.Replace(c.path), in)
		_, message := a.fault()
		if a.code != c.code || c.message != "" && message != ids.Replace(c.message) {
			t.Errorf("%s %s %s %s:\n got %d %s\nwant %d %s", c.user, c.method, c.path, c.body, a.code, a.text, c.code, c.message)
		}
	}
}

// TestDefaultGroup: it is there when somebody first looks.
func TestDefaultGroup(t *testing.T) {
	r := newRig(t, api.Options{})
	for _, user := range []string{"demo", "reader", "alt"} {
		a := r.must(200, r.call(user, "GET", "/v2.0/security-groups", nil))
		if got := a.names("security_groups"); got != "default" {
			t.Errorf("%s sees groups %q", user, got)
		}
		rules := a.body["security_groups"].([]any)[0].(map[string]any)["security_group_rules"].([]any)
		if len(rules) != 4 || rules[0].(map[string]any)["belongs_to_default_sg"] != true {
			t.Errorf("rules of the default group: %v", rules)
		}
	}
	typ, _ := r.must(409, r.call("demo", "POST", "/v2.0/security-groups", `{"security_group":{"name":"Default"}}`)).fault()
	if typ != "SecurityGroupDefaultAlreadyExists" {
		t.Errorf("a second default group: %s", typ)
	}
	group := r.make("demo", "security-groups", "security_group", obj{"name": "g"})["id"].(string)
	rule := r.make("demo", "security-group-rules", "security_group_rule", obj{"security_group_id": group, "direction": "ingress", "protocol": "TCP", "port_range_min": 80, "port_range_max": "81", "remote_ip_prefix": "10.2.0.5/24", "ethertype": "ipv4"})
	if rule["protocol"] != "tcp" || rule["remote_ip_prefix"] != "10.2.0.5/24" || rule["normalized_cidr"] != "10.2.0.0/24" || rule["ethertype"] != "IPv4" || rule["port_range_max"] != 81.0 {
		t.Errorf("rule: %v", rule)
	}
	if typ, _ = r.must(404, r.call("alt", "POST", "/v2.0/security-group-rules", obj{"security_group_rule": obj{"security_group_id": group, "direction": "ingress"}})).fault(); typ != "SecurityGroupNotFound" {
		t.Errorf("a rule in a foreign group: %s", typ)
	}
	a := r.must(200, r.call("demo", "GET", "/v2.0/security-group-rules?security_group_id="+group+"&direction=ingress", nil))
	if len(a.body["security_group_rules"].([]any)) != 1 {
		t.Errorf("rules: %s", a.text)
	}
}
