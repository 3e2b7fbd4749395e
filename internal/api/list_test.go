package api_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"neutrino/internal/api"
)

func TestFilters(t *testing.T) {
	r := newRig(t, api.Options{})
	net := r.make("", "networks", "network", obj{"name": "net1", "provider:network_type": "vlan", "provider:physical_network": "default", "provider:segmentation_id": 105})["id"].(string)
	r.make("", "networks", "network", obj{"name": "net2", "shared": true, "description": "two", "project_id": "other"})
	sub := r.make("", "subnets", "subnet", obj{"name": "s", "network_id": net, "ip_version": 4, "cidr": "10.0.1.7/24"})
	if sub["cidr"] != "10.0.1.0/24" || sub["gateway_ip"] != "10.0.1.1" {
		t.Fatalf("subnet: %v", sub)
	}
	subID := sub["id"].(string)
	group := r.make("", "security-groups", "security_group", obj{"name": "sg"})["id"].(string)
	port := func(name string, more obj) string {
		attrs := obj{"name": name, "network_id": net}
		for k, v := range more {
			attrs[k] = v
		}
		return r.make("", "ports", "port", attrs)["id"].(string)
	}
	a := port("a", obj{"device_id": "vm1", "device_owner": "compute:nova", "mac_address": "FA-16-3E-00-00-01", "fixed_ips": []obj{{"ip_address": "10.0.1.10"}}, "tags": []string{"red", "blue"}})
	b := port("b", obj{"device_id": "vm2", "fixed_ips": []obj{{"ip_address": "10.0.1.20"}}, "security_groups": []string{group}, "tags": []string{"red"}})
	port("c", obj{"admin_state_up": false, "fixed_ips": []obj{}, "binding:host_id": "h1"})
	for query, want := range map[string]string{
		"ports?name=a": "a",
		"ports?name=a&name=b&sort_key=name&sort_dir=asc":                                  "a b",
		"ports?id=" + a + "&id=" + b + "&name=b":                                          "b",
		"ports?device_id=vm1":                                                             "a",
		"ports?device_id=vm1&device_id=vm2&sort_key=name&sort_dir=desc":                   "b a",
		"ports?device_id=":                                                                "c",
		"ports?device_id=&name=a":                                                         "",
		"ports?device_owner=compute:nova":                                                 "a",
		"ports?mac_address=fa:16:3e:00:00:01":                                             "a",
		"ports?mac_address=Fa-16-3E-00-00-01":                                             "a",
		"ports?network_id=" + net + "&admin_state_up=False":                               "c",
		"ports?admin_state_up=0":                                                          "c",
		"ports?binding:host_id=h1":                                                        "c",
		"ports?security_groups=" + group:                                                  "b",
		"ports?fixed_ips=ip_address%3D10.0.1.10":                                          "a",
		"ports?fixed_ips=ip_address_substr%3D0.1.2":                                       "b",
		"ports?fixed_ips=ip_address_substr%3D.10&fixed_ips=subnet_id%3D" + subID:          "a",
		"ports?fixed_ips=subnet_id%3D" + subID + "&sort_key=name&sort_dir=asc":            "a b",
		"ports?tags=red&sort_key=name&sort_dir=asc":                                       "a b",
		"ports?tags=red,blue":                                                             "a",
		"ports?tags=red&tags=blue":                                                        "a",
		"ports?tags-any=blue,green":                                                       "a",
		"ports?not-tags=red,blue&sort_key=name&sort_dir=asc":                              "b c",
		"ports?not-tags-any=red":                                                          "c",
		"ports?project_id=fake_project_id&limit=0&name=a":                                 "a",
		"ports?tenant_id=nobody":                                                          "",
		"ports?fields=bogus&name=a":                                                       "<nil>",
		"networks?router:external=True":                                                   "",
		"networks?shared=true":                                                            "net2",
		"networks?description=two":                                                        "net2",
		"networks?provider:segmentation_id=105":                                           "net1",
		"networks?provider:physical_network=default&provider:network_type=vlan&name=net1": "net1",
		"networks?project_id=other&tenant_id=nobody":                                      "net2",
		"subnets?cidr=10.0.1.99/24":                                                       "s",
		"subnets?gateway_ip=10.0.1.1&ip_version=4":                                        "s",
		"subnets?ip_version=6":                                                            "",
		"subnets?ipv6_ra_mode=":                                                           "s",
		"subnets?shared=False":                                                            "s",
	} {
		path, _, _ := strings.Cut(query, "?")
		a := r.call("", "GET", "/v2.0/"+query, nil)
		if got := a.names(path); a.code != 200 || got != want {
			t.Errorf("%s: %d %q, want %q", query, a.code, got, want)
		}
	}
	for query, want := range map[string]string{
		"ports?bogus=1":                     "HTTPBadRequest ['bogus'] is invalid attribute for filtering",
		"ports?dns_name=x":                  "HTTPBadRequest ['dns_name'] is invalid attribute for filtering",
		"ports?binding:vif_type=x":          "HTTPBadRequest ['binding:vif_type'] is invalid attribute for filtering",
		"ports?admin_state_up=perhaps":      "InvalidInput Invalid input for operation: 'perhaps' cannot be converted to boolean.",
		"ports?fixed_ips=10.0.0.1":          "InvalidInput Invalid input for operation: '10.0.0.1' is not of the form <key>=[value].",
		"ports?sort_key=name":               "HTTPBadRequest The number of sort_keys and sort_dirs must be same",
		"ports?sort_key=bogus&sort_dir=asc": "HTTPBadRequest ['bogus'] is invalid attribute for sort_keys",
		"ports?sort_key=name&sort_dir=up":   "HTTPBadRequest ['up'] is invalid value for sort_dirs, valid value is 'asc' and 'desc'",
		"ports?limit=abc":                   "BadRequest Bad limit request: Limit must be an integer 0 or greater and not 'abc'.",
		"ports?limit=1&marker=x":            "PortNotFound Port x could not be found.",
		"networks?mtu=x":                    "InvalidInput Invalid input for operation: 'x' is not an integer.",
	} {
		typ, message := r.call("", "GET", "/v2.0/"+query, nil).fault()
		if got := typ + " " + message; got != want {
			t.Errorf("%s:\n got %s\nwant %s", query, got, want)
		}
	}
}

// TestPages walks a list forth and back by its links.
func TestPages(t *testing.T) {
	r := newRig(t, api.Options{})
	for _, name := range []string{"e", "b", "d", "a", "c"} {
		r.make("", "networks", "network", obj{"name": name})
	}
	link := func(a reply, rel string) string {
		links, _ := a.body["networks_links"].([]any)
		for _, l := range links {
			if m := l.(map[string]any); m["rel"] == rel {
				return m["href"].(string)
			}
		}
		return ""
	}
	at := r.url + "/v2.0/networks?limit=2&sort_key=name&sort_dir=asc&fields=name"
	var pages []string
	var last string
	for at != "" {
		a := r.must(200, r.call("", "GET", at, nil))
		pages = append(pages, a.names("networks"))
		if link(a, "previous") == "" {
			t.Errorf("no previous link on %s", at)
		}
		last, at = at, link(a, "next")
	}
	if got := strings.Join(pages, "|"); got != "a b|c d|e" {
		t.Errorf("pages forth: %s", got)
	}
	pages = nil
	at = link(r.call("", "GET", last, nil), "previous")
	for at != "" {
		a := r.must(200, r.call("", "GET", at, nil))
		if len(a.body["networks"].([]any)) == 0 {
			break
		}
		pages = append(pages, a.names("networks"))
		if link(a, "next") == "" {
			t.Errorf("no next link on the way back: %s", at)
		}
		if u, err := url.Parse(at); err != nil || u.Query().Get("page_reverse") != "True" || u.Query().Get("fields") != "name" {
			t.Errorf("link %s", at)
		}
		at = link(a, "previous")
	}
	if got := strings.Join(pages, "|"); got != "c d|a b" {
		t.Errorf("pages back: %s", got)
	}
	if a := r.call("", "GET", "/v2.0/networks", nil); link(a, "previous") != "" {
		t.Error("links without a limit")
	}
	a := r.must(200, r.call("", "GET", "/v2.0/networks?limit=3", nil))
	ids := []string{}
	for _, n := range a.body["networks"].([]any) {
		ids = append(ids, n.(map[string]any)["id"].(string))
	}
	if len(ids) != 3 || ids[0] > ids[1] || ids[1] > ids[2] {
		t.Errorf("with a limit the order is not by id: %v", ids)
	}
}

func TestPaginationMaxLimit(t *testing.T) {
	r := newRig(t, api.Options{PaginationMaxLimit: 2})
	for i := range 3 {
		r.make("", "networks", "network", obj{"name": fmt.Sprint(i)})
	}
	for _, q := range []string{"", "?limit=0", "?limit=50"} {
		a := r.must(200, r.call("", "GET", "/v2.0/networks"+q, nil))
		if n := len(a.body["networks"].([]any)); n != 2 || a.body["networks_links"] == nil {
			t.Errorf("%q: %d rows", q, n)
		}
	}
}

func TestDerivedLists(t *testing.T) {
	r := newRig(t, api.Options{})
	net := r.make("", "networks", "network", obj{"name": "n"})["id"].(string)
	r.make("", "subnets", "subnet", obj{"network_id": net, "ip_version": 4, "cidr": "10.0.0.0/24"})
	r.make("", "subnets", "subnet", obj{"network_id": net, "ip_version": 6, "cidr": "fd00::/64", "enable_dhcp": false})
	r.make("", "ports", "port", obj{"network_id": net})
	row := r.must(200, r.call("", "GET", "/v2.0/network-ip-availabilities/"+net+"?fields=used_ips", nil)).object("network_ip_availability")
	if row["used_ips"] != 2.0 || len(row) != 1 {
		t.Errorf("availability: %v", row)
	}
	for q, want := range map[string]int{"": 1, "?ip_version=4": 1, "?network_name=n": 1, "?network_id=x": 0, "?project_id=fake_project_id": 1} {
		if a := r.must(200, r.call("", "GET", "/v2.0/network-ip-availabilities"+q, nil)); len(a.body["network_ip_availabilities"].([]any)) != want {
			t.Errorf("%q: %s", q, a.text)
		}
	}
	a := r.must(200, r.call("", "GET", "/v2.0/network-ip-availabilities?ip_version=4", nil))
	if row = a.body["network_ip_availabilities"].([]any)[0].(map[string]any); row["total_ips"] != 253.0 || row["used_ips"] != 1.0 {
		t.Errorf("IPv4 only: %v", row)
	}
	if a = r.must(200, r.call("", "GET", "/v2.0/availability_zones?resource=network", nil)); a.text != `{"availability_zones":[]}` {
		t.Errorf("zones: %s", a.text)
	}
	if a = r.must(200, r.call("", "GET", "/v2.0/networks/"+net+"/dhcp-agents", nil)); a.text != `{"agents":[]}` {
		t.Errorf("agents of a network: %s", a.text)
	}
	r.must(404, r.call("", "GET", "/v2.0/agents/x/dhcp-networks", nil))
}

func TestQuotas(t *testing.T) {
	r := newRig(t, api.Options{})
	r.must(200, r.call("", "PUT", "/v2.0/quotas/p1", `{"quota":{"network":1,"port":"7"}}`))
	q := r.must(200, r.call("", "GET", "/v2.0/quotas/p1.json", nil)).object("quota")
	if q["network"] != 1.0 || q["port"] != 7.0 || q["router"] == nil {
		t.Errorf("quota: %v", q)
	}
	r.make("", "networks", "network", obj{"project_id": "p1"})
	typ, message := r.must(409, r.call("", "POST", "/v2.0/networks", `{"network":{"tenant_id":"p1"}}`)).fault()
	if typ != "OverQuota" || message != "Quota exceeded for resources: ['network']." {
		t.Errorf("%s %s", typ, message)
	}
	d := r.must(200, r.call("", "GET", "/v2.0/quotas/p1/details.json", nil)).object("quota")["network"].(map[string]any)
	if d["limit"] != 1.0 || d["used"] != 1.0 || d["reserved"] != 0.0 {
		t.Errorf("details: %v", d)
	}
	if _, message = r.must(400, r.call("", "PUT", "/v2.0/quotas/p1", `{"quota":{"network":0,"check_limit":true}}`)).fault(); message != "Quota limit 0 for network must be greater than or equal to already used 1" {
		t.Errorf("check_limit: %s", message)
	}
	r.must(200, r.call("", "PUT", "/v2.0/quotas/p1", `{"quota":{"network":0,"force":true}}`))
	if _, message = r.must(400, r.call("", "PUT", "/v2.0/quotas/p1", `{"quota":{"bogus":1}}`)).fault(); message != "Unrecognized attribute(s) 'bogus'" {
		t.Errorf("unknown: %s", message)
	}
	r.must(400, r.call("", "PUT", "/v2.0/quotas/p1", `{"quota":{"network":-2}}`))
	a := r.must(200, r.call("", "GET", "/v2.0/quotas", nil))
	if rows := a.body["quotas"].([]any); len(rows) != 1 || rows[0].(map[string]any)["project_id"] != "p1" {
		t.Errorf("list: %s", a.text)
	}
	r.must(204, r.call("", "DELETE", "/v2.0/quotas/p1", nil))
	r.must(404, r.call("", "DELETE", "/v2.0/quotas/p1", nil))
	r.must(200, r.call("", "GET", "/v2.0/quotas/p1/default", nil))
	r.must(200, r.call("demo", "GET", "/v2.0/quotas/project", nil))
	r.must(200, r.call("demo", "GET", "/v2.0/quotas/"+r.ids["demo"], nil))
	r.must(403, r.call("demo", "GET", "/v2.0/quotas/p1", nil))
	r.must(403, r.call("demo", "PUT", "/v2.0/quotas/"+r.ids["demo"], `{"quota":{"network":5}}`))
}
