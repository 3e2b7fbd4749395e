package api_test

import (
	"net/http"
	"strings"
	"testing"

	"neutrino/internal/api"
)

func TestDiscovery(t *testing.T) {
	r := newRig(t, api.Options{})
	a := r.must(200, r.call("", "GET", "/", nil))
	if want := `{"versions":[{"id":"v2.0","status":"CURRENT","links":[{"rel":"self","href":"` + r.url + `/v2.0/"}]}]}`; a.text != want {
		t.Errorf("GET / = %s, want %s", a.text, want)
	}
	if id := a.header.Get("X-Openstack-Request-Id"); !strings.HasPrefix(id, "req-") {
		t.Errorf("request id %q", id)
	}
	a = r.must(200, r.call("", "GET", "/v2.0/", nil))
	if n := len(a.body["resources"].([]any)); n != 4 {
		t.Errorf("%d resources, want 4", n)
	}
	a = r.must(200, r.call("", "GET", "/v2.0/extensions", nil))
	if n := len(a.body["extensions"].([]any)); n < 40 {
		t.Errorf("%d extensions", n)
	}
	if got := r.must(200, r.call("", "GET", "/v2.0/extensions/availability_zone", nil)).object("extension")["name"]; got != "Availability Zone" {
		t.Errorf("extension's name %q", got)
	}
	a = r.must(404, r.call("", "GET", "/v2.0/extensions/nope", nil))
	if a.body["code"] != "404 Not Found" || !strings.Contains(a.body["message"].(string), "Extension with alias nope does not exist") {
		t.Errorf("unknown extension: %s", a.text)
	}
}

func TestURLForms(t *testing.T) {
	r := newRig(t, api.Options{})
	for path, code := range map[string]int{
		"/v2.0": 404, "/v2.0/nope": 404, "/v3/networks": 404, "/v2.0/networks/": 200, "/v2.0/networks.json": 200,
		"/v2.0/security_groups": 200, "/v2.0/security-groups.json": 200, "/v2.0/networks//": 404, "/v2.0/networks/x/y": 404,
		"/v2.0/availability_zones": 200, "/v2.0/network-ip-availabilities": 200, "/v2.0/network_ip_availabilities": 200,
		"/v2.0/networks/a%zz": 404, "/healthz": 200, "/readyz": 200,
	} {
		if strings.Contains(path, "%zz") {
			continue // Go's client refuses to send it
		}
		if a := r.call("", "GET", path, nil); a.code != code {
			t.Errorf("GET %s = %d, want %d: %s", path, a.code, code, a.text)
		}
	}
	typ, message := r.call("", "GET", "/v2.0/nope", nil).fault()
	if typ != "HTTPNotFound" || message != "The resource could not be found." {
		t.Errorf("unknown collection: %s %s", typ, message)
	}
	if a := r.call("", "HEAD", "/v2.0/networks", nil); a.code != 405 {
		t.Errorf("HEAD = %d", a.code)
	}
	if a := r.call("", "PATCH", "/v2.0/networks", nil); a.code != 405 {
		t.Errorf("PATCH = %d", a.code)
	}
	if a := r.call("", "POST", "/v2.0/agents", "{}"); a.code != 405 {
		t.Errorf("POST agents = %d", a.code)
	}
	if a := r.call("", "GET", "/v2.0/networks", nil, "Accept", "application/xml"); a.code != 406 {
		t.Errorf("Accept XML = %d", a.code)
	}
	if a := r.call("", "GET", "/v2.0/networks", nil, "Accept", "text/html, */*;q=0.1"); a.code != 200 {
		t.Errorf("Accept anything = %d", a.code)
	}
}

// TestBodies holds the answers of Neutron to bodies that it does not take.
func TestBodies(t *testing.T) {
	r := newRig(t, api.Options{MaxBody: 4096})
	net := r.make("", "networks", "network", obj{"name": "n"})["id"].(string)
	for _, c := range []struct {
		name, method, path, body string
		code                     int
		typ, message             string
	}{
		{"malformed", "POST", "networks", `{"network":`, 400, "HTTPBadRequest", "Body contains invalid data"},
		{"empty", "POST", "networks", ``, 400, "HTTPBadRequest", "Body contains invalid data"},
		{"list", "POST", "networks", `[]`, 400, "HTTPBadRequest", "Body contains invalid data"},
		{"text", "POST", "networks", `hello`, 400, "HTTPBadRequest", "Body contains invalid data"},
		{"garbage behind", "POST", "networks", `{"network":{}} {}`, 400, "HTTPBadRequest", "Body contains invalid data"},
		{"twice", "POST", "networks", `{"network":{"name":"a","name":"b"}}`, 400, "HTTPBadRequest", "Body contains invalid data: 'name' is given twice"},
		{"not UTF-8", "POST", "networks", "{\"network\":{\"name\":\"\xff\"}}", 400, "HTTPBadRequest", "Body contains invalid data"},
		{"deep", "POST", "ports", `{"port":{"binding:profile":` + strings.Repeat(`{"a":`, 60) + "1" + strings.Repeat("}", 60) + "}}", 400, "HTTPBadRequest", "Body contains invalid data"},
		{"too big", "POST", "networks", `{"network":{"name":"` + strings.Repeat("x", 5000) + `"}}`, 413, "HTTPRequestEntityTooLarge", "Request is too large."},
		{"no wrapper", "POST", "networks", `{"name":"a"}`, 400, "HTTPBadRequest", "Unable to find 'network' in request body"},
		{"wrapper's value", "POST", "networks", `{"network":[]}`, 400, "HTTPBadRequest", "Object 'network' contains invalid data"},
		{"empty bulk", "POST", "networks", `{"networks":[]}`, 400, "HTTPBadRequest", "Resources required"},
		{"beside the wrapper", "POST", "networks", `{"network":{},"bogus":1}`, 400, "HTTPBadRequest", "Unrecognized attribute(s) 'bogus'"},
		{"required", "POST", "ports", `{"port":{}}`, 400, "HTTPBadRequest", "Failed to parse request. Required attribute 'network_id' not specified"},
		{"unknown", "POST", "networks", `{"network":{"bogus":1}}`, 400, "HTTPBadRequest", "Unrecognized attribute(s) 'bogus'"},
		{"unknown of another", "POST", "networks", `{"network":{"cidr":"10.0.0.0/8","zzz":1}}`, 400, "HTTPBadRequest", "Unrecognized attribute(s) 'cidr, zzz'"},
		{"read-only in POST", "POST", "networks", `{"network":{"id":"x"}}`, 400, "HTTPBadRequest", "Attribute 'id' not allowed in POST"},
		{"read-only in PUT", "PUT", "networks/" + net, `{"network":{"tenant_id":"x"}}`, 400, "HTTPBadRequest", "Cannot update read-only attribute tenant_id"},
		{"bulk PUT", "PUT", "networks/" + net, `{"networks":[{}]}`, 400, "HTTPBadRequest", "Unable to find 'network' in request body"},
		{"string", "POST", "networks", `{"network":{"name":5}}`, 400, "HTTPBadRequest", "Invalid input for name. Reason: '5' is not a valid string."},
		{"null string", "POST", "networks", `{"network":{"name":null}}`, 400, "HTTPBadRequest", "Invalid input for name. Reason: 'None' is not a valid string."},
		{"long", "POST", "networks", `{"network":{"name":"` + strings.Repeat("x", 256) + `"}}`, 400, "HTTPBadRequest", "Invalid input for name. Reason: '" + strings.Repeat("x", 256) + "' exceeds maximum length of 255."},
		{"negative", "POST", "networks", `{"network":{"mtu":-1}}`, 400, "HTTPBadRequest", "Invalid input for mtu. Reason: '-1' should be non-negative."},
		{"boolean", "POST", "networks", `{"network":{"admin_state_up":"maybe"}}`, 400, "InvalidInput", "Invalid input for operation: 'maybe' cannot be converted to boolean."},
		{"integer", "POST", "networks", `{"network":{"mtu":"x"}}`, 400, "InvalidInput", "Invalid input for operation: 'x' is not an integer."},
		{"one of", "POST", "subnets", `{"subnet":{"network_id":"` + net + `","ip_version":5}}`, 400, "HTTPBadRequest", "Invalid input for ip_version. Reason: 5 is not in [4, 6]."},
		{"vnic type", "POST", "ports", `{"port":{"network_id":"` + net + `","binding:vnic_type":"x"}}`, 400, "HTTPBadRequest", "Invalid input for binding:vnic_type. Reason: x is not in ['normal', 'direct', 'macvtap', 'baremetal', 'direct-physical', 'virtio-forwarder', 'smart-nic', 'vdpa', 'accelerator-direct', 'accelerator-direct-physical', 'remote-managed']."},
		{"uuid", "POST", "ports", `{"port":{"network_id":"x"}}`, 400, "HTTPBadRequest", "Invalid input for network_id. Reason: 'x' is not a valid UUID."},
		{"list", "POST", "ports", `{"port":{"network_id":"` + net + `","security_groups":"x"}}`, 400, "HTTPBadRequest", "Invalid input for security_groups. Reason: 'x' is not a list."},
		{"address", "POST", "ports", `{"port":{"network_id":"` + net + `","fixed_ips":[{"ip_address":"bad"}]}}`, 400, "HTTPBadRequest", "Invalid input for fixed_ips. Reason: 'bad' is not a valid IP address."},
		{"address twice", "POST", "ports", `{"port":{"network_id":"` + net + `","fixed_ips":[{"ip_address":"10.0.0.1"},{"ip_address":"10.0.0.1"}]}}`, 400, "HTTPBadRequest", "Invalid input for fixed_ips. Reason: Duplicate IP address '10.0.0.1'."},
		{"null addresses", "POST", "ports", `{"port":{"network_id":"` + net + `","fixed_ips":null}}`, 400, "HTTPBadRequest", "Invalid input for fixed_ips. Reason: Invalid data format for fixed IP: 'None'."},
		{"MAC", "POST", "ports", `{"port":{"network_id":"` + net + `","mac_address":"bad"}}`, 400, "HTTPBadRequest", "Invalid input for mac_address. Reason: 'bad' is not a valid MAC address."},
		{"zero MAC", "POST", "ports", `{"port":{"network_id":"` + net + `","mac_address":"00:00:00:00:00:00"}}`, 400, "HTTPBadRequest", "Invalid input for mac_address. Reason: '00:00:00:00:00:00' is not a valid MAC address."},
		{"nameserver twice", "POST", "subnets", `{"subnet":{"network_id":"` + net + `","ip_version":4,"cidr":"10.0.0.0/24","dns_nameservers":["1.1.1.1","1.1.1.1"]}}`, 400, "HTTPBadRequest", "Invalid input for dns_nameservers. Reason: Duplicate nameserver '1.1.1.1'."},
		{"pool's keys", "POST", "subnets", `{"subnet":{"network_id":"` + net + `","ip_version":4,"cidr":"10.0.0.0/24","allocation_pools":[{"start":"10.0.0.2"}]}}`, 400, "HTTPBadRequest", "Invalid input for allocation_pools. Reason: Validation of dictionary's keys failed. Expected keys: {'end', 'start'} Provided keys: {'start'}."},
		{"profile", "POST", "ports", `{"port":{"network_id":"` + net + `","binding:profile":"x"}}`, 400, "HTTPBadRequest", "Invalid input for binding:profile. Reason: 'x' is not a dictionary."},
		{"projects differ", "POST", "networks", `{"network":{"tenant_id":"a","project_id":"b"}}`, 400, "HTTPBadRequest", "'project_id' and 'tenant_id' do not match"},
		{"no such network", "POST", "ports", `{"port":{"network_id":"00000000-0000-0000-0000-000000000000"}}`, 404, "NetworkNotFound", "Network 00000000-0000-0000-0000-000000000000 could not be found."},
		{"no such port", "GET", "ports/x", ``, 404, "PortNotFound", "Port x could not be found."},
		{"no such rule", "DELETE", "security-group-rules/x", ``, 404, "SecurityGroupRuleNotFound", "Security group rule x does not exist"},
		{"change of a rule", "PUT", "security-group-rules/x", `{"security_group_rule":{}}`, 405, "HTTPMethodNotAllowed", "The method PUT is not allowed for this resource."},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := r.call("", c.method, "/v2.0/"+c.path, c.body)
			typ, message := a.fault()
			if a.code != c.code || typ != c.typ || message != c.message {
				t.Errorf("got %d %s %q,\nwant %d %s %q", a.code, typ, message, c.code, c.typ, c.message)
			}
		})
	}
	if a := r.call("", "POST", "/v2.0/networks", `{"network":{}}`, "Content-Type", "text/plain"); a.code != 400 {
		t.Errorf("a body that a web page could send: %d", a.code)
	}
	if got := len(r.call("", "GET", "/v2.0/networks", nil).body["networks"].([]any)); got != 1 {
		t.Errorf("%d networks after refused requests, want 1", got)
	}
}

func TestStandardAttributes(t *testing.T) {
	r := newRig(t, api.Options{})
	n := r.make("", "networks", "network", obj{"name": "n", "tenant_id": "p1", "admin_state_up": "yes", "tags": []string{"a"}})
	if n["tenant_id"] != "p1" || n["project_id"] != "p1" || n["status"] != "ACTIVE" || n["mtu"] == 0 {
		t.Errorf("network: %v", n)
	}
	if _, ok := n["segments"]; ok {
		t.Errorf("a network of one segment shows segments: %v", n)
	}
	id := n["id"].(string)
	before := n["revision_number"]
	a := r.must(200, r.call("", "PUT", "/v2.0/networks/"+id, `{"network":{}}`))
	if a.object("network")["revision_number"] != before {
		t.Error("a change of nothing changes the revision")
	}
	r.must(412, r.call("", "PUT", "/v2.0/networks/"+id, `{"network":{"name":"m"}}`, "If-Match", "revision_number=99"))
	typ, message := r.must(400, r.call("", "PUT", "/v2.0/networks/"+id, `{"network":{"name":"m"}}`, "If-Match", "revision_number=abc")).fault()
	if typ != "BadRequest" || message != "Bad if-match request: Revision number etag must be in the format of revision_number=<int>." {
		t.Errorf("bad If-Match: %s %s", typ, message)
	}
	r.must(200, r.call("", "PUT", "/v2.0/networks/"+id, `{"network":{"name":"m"}}`, "If-Match", `"something else"`))
	r.must(412, r.call("", "DELETE", "/v2.0/networks/"+id, nil, "If-Match", "revision_number=1"))
	a = r.must(200, r.call("", "GET", "/v2.0/networks/"+id+"?fields=name&fields=bogus", nil))
	if a.text != `{"network":{"name":"m"}}` {
		t.Errorf("fields: %s", a.text)
	}
	r.must(204, r.call("", "DELETE", "/v2.0/networks/"+id, nil))
}

func TestBulkIsAtomic(t *testing.T) {
	r := newRig(t, api.Options{})
	a := r.must(201, r.call("", "POST", "/v2.0/networks", `{"networks":[{"name":"a"},{"name":"b"}]}`))
	if got := a.names("networks"); got != "a b" {
		t.Errorf("order: %s", got)
	}
	r.must(400, r.call("", "POST", "/v2.0/networks", `{"networks":[{"name":"c"},{"name":"d","provider:network_type":"vlan","provider:physical_network":"x"}]}`))
	if got := len(r.call("", "GET", "/v2.0/networks", nil).body["networks"].([]any)); got != 2 {
		t.Errorf("%d networks, want 2", got)
	}
}

func TestTags(t *testing.T) {
	r := newRig(t, api.Options{})
	id := r.make("", "networks", "network", obj{})["id"].(string)
	base := "/v2.0/networks/" + id + "/tags"
	step := func(method, path, body string, code int, want string) {
		t.Helper()
		var in any
		if body != "" {
			in = body
		}
		if a := r.call("", method, path, in); a.code != code || a.text != want {
			t.Errorf("%s %s: %d %s, want %d %s", method, path, a.code, a.text, code, want)
		}
	}
	step("GET", base, "", 200, `{"tags":[]}`)
	step("PUT", base, `{"tags":["a","b"]}`, 200, `{"tags":["a","b"]}`)
	step("PUT", base+"/c", "", 201, `null`)
	step("PUT", base+"/c", "", 201, `null`)
	step("PUT", base+"/sla%2Fsh.json", "", 201, `null`)
	step("GET", base+"/sla%2Fsh.json", "", 204, "")
	step("DELETE", base+"/sla%2Fsh.json", "", 204, "")
	step("POST", base, `{"tags":["c","d"]}`, 201, `{"tags":["a","b","c","d"]}`)
	step("DELETE", base+"/d", "", 204, "")
	if typ, message := r.call("", "DELETE", base+"/d", nil).fault(); typ != "TagNotFound" || message != "Tag d could not be found." {
		t.Errorf("missing tag: %s %s", typ, message)
	}
	if typ, _ := r.call("", "GET", "/v2.0/networks/x/tags", nil).fault(); typ != "TagResourceNotFound" {
		t.Errorf("missing parent: %s", typ)
	}
	for _, bad := range []string{`{}`, `{"tags":"x"}`, `{"tags":["a","a"]}`, `{"tags":[1]}`, `{"tags":null}`, `{"tags":["` + strings.Repeat("x", 256) + `"]}`} {
		if a := r.call("", "PUT", base, bad); a.code != 400 {
			t.Errorf("PUT %s = %d", bad, a.code)
		}
	}
	step("DELETE", base, "", 204, "")
	step("GET", base, "", 200, `{"tags":[]}`)
	if a := r.call("", "GET", "/v2.0/agents/x/tags", nil); a.code != 404 {
		t.Errorf("tags of agents: %d", a.code)
	}
}

func TestUnauthorized(t *testing.T) {
	r := newRig(t, api.Options{})
	r.tokens["nobody"] = "nonsense"
	a := r.must(http.StatusUnauthorized, r.call("nobody", "GET", "/v2.0/networks", nil))
	if a.text != `{"error":{"code":401,"title":"Unauthorized","message":"The request you have made requires authentication."}}` {
		t.Errorf("body: %s", a.text)
	}
	if got := a.header.Get("WWW-Authenticate"); got != `Keystone uri="`+r.url+`/identity"` {
		t.Errorf("challenge: %s", got)
	}
}
