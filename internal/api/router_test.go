package api_test

import (
	"fmt"
	"strings"
	"testing"

	"neutrino/internal/api"
	"neutrino/internal/model"
)

// outside makes an external network as admin and a network with a subnet as demo.
func (r *rig) outside() (ext, net, sub string) {
	r.t.Helper()
	id := func(x obj) string { return fmt.Sprint(x["id"]) }
	ext = id(r.make("admin", "networks", "network", obj{"name": "public", "router:external": true}))
	r.make("admin", "subnets", "subnet", obj{"network_id": ext, "ip_version": 4, "cidr": "203.0.113.0/24", "enable_dhcp": false})
	net = id(r.make("demo", "networks", "network", obj{"name": "inside"}))
	sub = id(r.make("demo", "subnets", "subnet", obj{"network_id": net, "ip_version": 4, "cidr": "10.0.0.0/24"}))
	return ext, net, sub
}

func (r *rig) refused(code int, typ, message string, a reply) {
	r.t.Helper()
	gotType, gotMessage := r.must(code, a).fault()
	if gotType != typ || message != "" && gotMessage != message {
		r.t.Errorf("got %s %q\nwant %s %q", gotType, gotMessage, typ, message)
	}
}

func TestRouters(t *testing.T) {
	r := newRig(t, api.Options{})
	ext, _, sub := r.outside()
	rt := r.make("demo", "routers", "router", obj{"name": "r", "tags": []string{"x"}})
	id := fmt.Sprint(rt["id"])
	path := "/v2.0/routers/" + id
	for _, name := range []string{"ha", "distributed", "status_reason"} {
		if _, shown := rt[name]; shown {
			t.Errorf("%s is shown to a member", name)
		}
	}
	if rt["status"] != "ACTIVE" || rt["external_gateway_info"] != nil || fmt.Sprint(rt["routes"], rt["availability_zones"], rt["availability_zone_hints"], rt["tags"]) != "[] [] [] [x]" {
		t.Errorf("new router: %v", rt)
	}
	if a := r.must(200, r.call("admin", "GET", path, nil)).object("router"); a["ha"] != false || a["distributed"] != false || a["status_reason"] != "" {
		t.Errorf("what an admin sees: %v", a)
	}
	put := func(user, body string) reply { return r.call(user, "PUT", path, `{"router":`+body+`}`) }

	// A member may use an external network of others, but not choose how.
	gw := fmt.Sprintf(`"network_id":%q`, ext)
	r.refused(403, "PolicyNotAuthorized", "", put("demo", `{"external_gateway_info":{`+gw+`,"enable_snat":false}}`))
	r.refused(403, "PolicyNotAuthorized", "", put("demo", `{"external_gateway_info":{`+gw+`,"external_fixed_ips":[{"ip_address":"203.0.113.9"}]}}`))
	r.refused(403, "PolicyNotAuthorized", "", put("demo", `{"distributed":false}`))
	info := r.must(200, put("demo", `{"external_gateway_info":{`+gw+`}}`)).object("router")["external_gateway_info"].(obj)
	if info["network_id"] != ext || info["enable_snat"] != true || len(info["external_fixed_ips"].([]any)) != 1 {
		t.Errorf("gateway: %v", info)
	}
	info = r.must(200, put("admin", `{"external_gateway_info":{`+gw+`,"enable_snat":"False","external_fixed_ips":[{"ip_address":"203.0.113.9"}]}}`)).object("router")["external_gateway_info"].(obj)
	if info["enable_snat"] != false || info["external_fixed_ips"].([]any)[0].(obj)["ip_address"] != "203.0.113.9" {
		t.Errorf("gateway of an admin's choice: %v", info)
	}
	for body, want := range map[string]string{
		`{"external_gateway_info":7}`:                    "HTTPBadRequest",
		`{"external_gateway_info":{"enable_snat":true}}`: "HTTPBadRequest",
		`{"external_gateway_info":{"network_id":"x"}}`:   "HTTPBadRequest",
		`{"external_gateway_info":{` + gw + `,"qos":1}}`: "HTTPBadRequest",
		`{"ha":true}`: "HTTPBadRequest",
		`{"routes":[{"destination":"x","nexthop":"y"}]}`:                  "HTTPBadRequest",
		`{"routes":[{"destination":"10.9.0.0/24","nexthop":"10.8.0.1"}]}`: "InvalidRoutes",
		`{"status":"DOWN"}`: "HTTPBadRequest",
		`{"external_gateway_info":{"network_id":"11111111-1111-4111-8111-111111111111"}}`: "NetworkNotFound",
	} {
		if typ, message := put("admin", body).fault(); typ != want {
			t.Errorf("%s: %s %q, want %s", body, typ, message, want)
		}
	}

	// Interfaces: bare objects in and out.
	add := func(user, verb, body string) reply {
		return r.call(user, "PUT", path+"/"+verb+"_router_interface", body)
	}
	r.refused(400, "BadRequest", "Bad router request: Either subnet_id or port_id must be specified.", add("demo", "add", `{}`))
	r.refused(400, "BadRequest", "Bad router request: Cannot specify both subnet-id and port-id.", add("demo", "add", fmt.Sprintf(`{"subnet_id":%q,"port_id":%q}`, sub, sub)))
	r.refused(400, "BadRequest", "Bad router request: 'x' is not a valid UUID.", add("demo", "add", `{"port_id":"x"}`))
	got := r.must(200, add("demo", "add", fmt.Sprintf(`{"subnet_id":%q}`, sub)))
	want := fmt.Sprintf(`{"id":%q,"tenant_id":%q,"project_id":%q,"port_id":%q,"network_id":%q,"subnet_id":%q,"subnet_ids":[%q]}`,
		id, r.ids["demo"], r.ids["demo"], got.body["port_id"], got.body["network_id"], sub, sub)
	if got.text != want {
		t.Errorf("add_router_interface:\n%s\nwant\n%s", got.text, want)
	}
	if p := r.must(200, r.call("demo", "GET", "/v2.0/ports?device_id="+id, nil)); len(p.body["ports"].([]any)) != 1 {
		t.Errorf("a member sees of the router's ports: %s", p.text)
	}

	// Routes, one by one and together, always sorted.
	r.must(200, put("demo", `{"routes":[{"destination":"10.9.0.0/24","nexthop":"10.0.0.9"}]}`))
	routes := r.must(200, r.call("demo", "PUT", path+"/add_extraroutes", `{"router":{"routes":[{"destination":"10.8.0.0/24","nexthop":"10.0.0.9"}]}}`)).object("router")["routes"].([]any)
	if len(routes) != 2 || routes[0].(obj)["destination"] != "10.8.0.0/24" {
		t.Errorf("routes: %v", routes)
	}
	r.must(400, r.call("demo", "PUT", path+"/add_extraroutes", `{"router":{}}`))
	r.refused(409, "RouterInterfaceInUseByRoute", "", add("demo", "remove", fmt.Sprintf(`{"subnet_id":%q}`, sub)))
	routes = r.must(200, r.call("demo", "PUT", path+"/remove_extraroutes", `{"router":{"routes":[{"destination":"10.8.0.0/24","nexthop":"10.0.0.9"},{"destination":"10.9.0.0/24","nexthop":"10.0.0.9"}]}}`)).object("router")["routes"].([]any)
	if len(routes) != 0 {
		t.Errorf("routes: %v", routes)
	}
	r.must(404, r.call("alt", "PUT", path+"/add_router_interface", `{}`))
	r.must(404, r.call("alt", "GET", path, nil))
	r.must(405, r.call("demo", "POST", path+"/add_router_interface", `{}`))
	r.must(200, add("demo", "remove", fmt.Sprintf(`{"subnet_id":%q}`, sub)))

	// Lists, tags, If-Match.
	if a := r.must(200, r.call("demo", "GET", "/v2.0/routers?name=r&tags=x&admin_state_up=True", nil)); a.names("routers") != "r" {
		t.Errorf("list: %s", a.text)
	}
	if a := r.must(200, r.call("demo", "GET", "/v2.0/networks?router:external=True", nil)); a.names("networks") != "public" {
		t.Errorf("external networks: %s", a.text)
	}
	r.must(200, r.call("demo", "PUT", path+"/tags", `{"tags":["y"]}`))
	r.must(412, r.call("demo", "PUT", path, `{"router":{"name":"z"}}`, "If-Match", "revision_number=1"))
	r.must(204, r.call("demo", "DELETE", path, nil))
	r.refused(404, "RouterNotFound", "Router "+id+" could not be found", r.call("demo", "GET", path, nil))
}

func TestFloatingIPs(t *testing.T) {
	r := newRig(t, api.Options{})
	ext, net, sub := r.outside()
	rt := r.make("demo", "routers", "router", obj{"external_gateway_info": obj{"network_id": ext}})
	r.must(200, r.call("demo", "PUT", fmt.Sprint("/v2.0/routers/", rt["id"], "/add_router_interface"), obj{"subnet_id": sub}))
	vm := r.make("demo", "ports", "port", obj{"network_id": net, "name": "vm", "device_id": "i", "device_owner": "compute:nova"})
	create := func(user string, attrs obj) reply {
		attrs["floating_network_id"] = ext
		return r.call(user, "POST", "/v2.0/floatingips", obj{"floatingip": attrs})
	}
	r.refused(403, "PolicyNotAuthorized", "", create("demo", obj{"floating_ip_address": "203.0.113.50"}))
	r.refused(400, "HTTPBadRequest", "", create("demo", obj{"router_id": rt["id"]}))
	f := r.must(201, create("demo", obj{"port_id": vm["id"], "description": "d"})).object("floatingip")
	path := fmt.Sprint("/v2.0/floatingips/", f["id"])
	details, _ := f["port_details"].(obj)
	if f["status"] != "DOWN" || f["router_id"] != rt["id"] || f["fixed_ip_address"] == nil || details["name"] != "vm" || details["device_owner"] != "compute:nova" || details["status"] != "DOWN" {
		t.Errorf("new floating IP: %v", f)
	}
	for _, name := range []string{"name", "subnet_id", "qos_policy_id", "dns_name"} {
		if _, shown := f[name]; shown {
			t.Errorf("%s is shown", name)
		}
	}
	for q, want := range map[string]int{
		"": 1, "?port_id=" + fmt.Sprint(vm["id"]): 1, "?router_id=" + fmt.Sprint(rt["id"]): 1, "?status=DOWN": 1, "?status=ACTIVE": 0,
		"?floating_ip_address=" + fmt.Sprint(f["floating_ip_address"]): 1, "?fixed_ip_address=10.9.9.9": 0, "?floating_network_id=" + ext: 1,
	} {
		if a := r.must(200, r.call("demo", "GET", "/v2.0/floatingips"+q, nil)); len(a.body["floatingips"].([]any)) != want {
			t.Errorf("%s: %s", q, a.text)
		}
	}
	if a := r.must(200, r.call("alt", "GET", "/v2.0/floatingips", nil)); a.text != `{"floatingips":[]}` {
		t.Errorf("others see %s", a.text)
	}
	put := func(body string) obj {
		return r.must(200, r.call("demo", "PUT", path, `{"floatingip":`+body+`}`)).object("floatingip")
	}
	if f = put(`{"description":"e"}`); f["port_id"] != vm["id"] {
		t.Errorf("described: %v", f)
	}
	if f = put(`{"port_id":null}`); f["port_id"] != nil || f["router_id"] != nil || f["port_details"] != nil || f["fixed_ip_address"] != nil {
		t.Errorf("let go: %v", f)
	}
	r.refused(400, "BadRequest", "Bad floatingip request: fixed_ip_address cannot be specified without a port_id.",
		r.call("demo", "PUT", path, `{"floatingip":{"fixed_ip_address":"10.0.0.9"}}`))
	r.refused(400, "HTTPBadRequest", "Cannot update read-only attribute floating_ip_address",
		r.call("demo", "PUT", path, `{"floatingip":{"floating_ip_address":"203.0.113.50"}}`))
	r.must(201, create("admin", obj{"floating_ip_address": "203.0.113.50"}))
	r.must(200, r.call("demo", "PUT", path+"/tags", `{"tags":["y"]}`))
	r.must(204, r.call("demo", "DELETE", path, nil))
	r.refused(404, "FloatingIPNotFound", "", r.call("demo", "DELETE", path, nil))
	if q := r.must(200, r.call("admin", "GET", "/v2.0/quotas/"+r.ids["demo"]+"/details", nil)).object("quota"); q["router"].(obj)["used"] != 1.0 || q["floatingip"].(obj)["used"] != 0.0 {
		t.Errorf("quota: %v %v", q["router"], q["floatingip"])
	}
}

func TestL3Agents(t *testing.T) {
	r := newRig(t, api.Options{})
	a := r.agent(model.Agent{Type: model.AgentL3, Binary: model.BinaryL3, Host: "net1", Topic: "l3_agent", Configurations: map[string]any{}})
	b := r.agent(model.Agent{Type: model.AgentL3, Binary: model.BinaryL3, Host: "net2", Topic: "l3_agent", Configurations: map[string]any{}})
	if z := r.must(200, r.call("", "GET", "/v2.0/availability_zones?resource=router", nil)); z.text != `{"availability_zones":[{"name":"nova","resource":"router","state":"available"}]}` {
		t.Errorf("zones: %s", z.text)
	}
	rt := r.make("", "routers", "router", obj{"name": "r", "availability_zone_hints": []string{"nova"}})
	id := fmt.Sprint(rt["id"])
	of := "/v2.0/agents/" + a.ID + "/l3-routers"
	r.refused(404, "AvailabilityZoneNotFound", "", r.call("", "POST", "/v2.0/routers", obj{"router": obj{"availability_zone_hints": []string{"x"}}}))
	r.must(400, r.call("", "POST", of, `{"router_id":7}`))
	if got := r.must(201, r.call("", "POST", of, obj{"router_id": id})); got.text != "null" {
		t.Errorf("scheduled: %s", got.text)
	}
	r.refused(409, "RouterHostedByL3Agent", "The router "+id+" has been already hosted by the L3 Agent "+a.ID+".",
		r.call("", "POST", "/v2.0/agents/"+b.ID+"/l3-routers", obj{"router_id": id}))
	if got := r.must(200, r.call("", "GET", of, nil)); got.names("routers") != "r" {
		t.Errorf("routers of the agent: %s", got.text)
	}
	if got := r.must(200, r.call("", "GET", "/v2.0/routers/"+id+"/l3-agents", nil)); !strings.Contains(got.text, `"host":"net1"`) {
		t.Errorf("agents of the router: %s", got.text)
	}
	if got := r.must(200, r.call("", "GET", "/v2.0/routers/"+id, nil)).object("router"); fmt.Sprint(got["availability_zones"]) != "[nova]" {
		t.Errorf("zones of the router: %v", got)
	}
	r.must(404, r.call("demo", "GET", of, nil))
	r.must(404, r.call("", "DELETE", of+"/"+id+"/x", nil))
	r.must(405, r.call("", "PUT", of, nil))
	r.refused(409, "RouterNotHostedByL3Agent", "", r.call("", "DELETE", "/v2.0/agents/"+b.ID+"/l3-routers/"+id, nil))
	r.must(204, r.call("", "DELETE", of+"/"+id, nil))
	if got := r.must(200, r.call("", "GET", of, nil)); got.text != `{"routers":[]}` {
		t.Errorf("after it left: %s", got.text)
	}
}
