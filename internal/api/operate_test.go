package api_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"neutrino/internal/api"
	"neutrino/internal/model"
)

func (r *rig) agent(a model.Agent) *model.Agent {
	r.t.Helper()
	lease, err := r.db.NewLease(context.Background(), time.Minute)
	if err != nil {
		r.t.Fatal(err)
	}
	up, err := r.svc.AgentUp(context.Background(), a, lease)
	if err != nil {
		r.t.Fatal(err)
	}
	return up
}

func TestAgents(t *testing.T) {
	r := newRig(t, api.Options{})
	nic := r.agent(model.Agent{
		Type: model.AgentNICSwitch, Binary: model.BinaryNICSwitch, Host: "h1", Topic: "N/A",
		Configurations: map[string]any{"device_mappings": map[string]any{"default": []any{"eth6"}}, "extensions": []any{}},
	})
	dhcp := r.agent(model.Agent{Type: model.AgentDHCP, Binary: model.BinaryDHCP, Host: "net", Topic: "dhcp_agent", AvailabilityZone: "nova", Configurations: map[string]any{}})
	for q, want := range map[string]int{"": 2, "?host=h1": 1, "?agent_type=DHCP%20agent": 1, "?alive=True": 2, "?alive=False": 0, "?binary=" + model.BinaryNICSwitch: 1, "?admin_state_up=True": 2} {
		if a := r.must(200, r.call("", "GET", "/v2.0/agents"+q, nil)); len(a.body["agents"].([]any)) != want {
			t.Errorf("%q: %s", q, a.text)
		}
	}
	a := r.must(200, r.call("", "GET", "/v2.0/agents/"+nic.ID, nil)).object("agent")
	mappings := a["configurations"].(map[string]any)["device_mappings"]
	if a["alive"] != true || len(a["heartbeat_timestamp"].(string)) != len("2006-01-02 15:04:05") || mappings == nil {
		t.Errorf("agent: %v", a)
	}
	a = r.must(200, r.call("", "PUT", "/v2.0/agents/"+nic.ID, `{"agent":{"admin_state_up":"False","description":"resting"}}`)).object("agent")
	if a["admin_state_up"] != false || a["description"] != "resting" {
		t.Errorf("changed: %v", a)
	}
	r.must(404, r.call("demo", "PUT", "/v2.0/agents/"+nic.ID, `{"agent":{"admin_state_up":true}}`))
	if _, message := r.must(400, r.call("", "PUT", "/v2.0/agents/"+nic.ID, `{"agent":{"host":"x"}}`)).fault(); message != "Cannot update read-only attribute host" {
		t.Errorf("host: %s", message)
	}
	z := r.must(200, r.call("", "GET", "/v2.0/availability_zones?resource=network&name=nova", nil))
	if z.text != `{"availability_zones":[{"name":"nova","resource":"network","state":"available"}]}` {
		t.Errorf("zones: %s", z.text)
	}
	if n := r.must(200, r.call("", "GET", "/v2.0/agents/"+dhcp.ID+"/dhcp-networks", nil)); n.text != `{"networks":[]}` {
		t.Errorf("networks of a DHCP agent: %s", n.text)
	}
	r.must(204, r.call("", "DELETE", "/v2.0/agents/"+nic.ID, nil))
	r.must(404, r.call("", "GET", "/v2.0/agents/"+nic.ID, nil))
}

// TestPortLife goes the way of openstackclient and Nova with one port.
func TestPortLife(t *testing.T) {
	r := newRig(t, api.Options{})
	r.agent(model.Agent{
		Type: model.AgentNICSwitch, Binary: model.BinaryNICSwitch, Host: "h1",
		Configurations: map[string]any{"device_mappings": map[string]any{"default": []any{"eth6"}}},
	})
	net := r.make("", "networks", "network", obj{"provider:network_type": "vlan", "provider:physical_network": "default", "provider:segmentation_id": 105})["id"].(string)
	r.make("", "subnets", "subnet", obj{"network_id": net, "ip_version": 4, "cidr": "10.0.0.0/24"})
	port := r.make("", "ports", "port", obj{
		"network_id": net, "binding:vnic_type": "direct", "binding:profile": obj{"pci_slot": "0000:03:10.2", "max_tx_rate": 100}, "tags": []string{"x"},
		"extra_dhcp_opts": []obj{{"opt_name": "mtu", "opt_value": "9000"}, {"opt_name": "bootfile-name", "opt_value": "x"}},
	})
	id := "/v2.0/ports/" + port["id"].(string)
	if port["binding:vif_type"] != "unbound" || port["status"] != "DOWN" || port["binding:status_reason"] != "" {
		t.Errorf("new port: %v", port)
	}
	put := func(body string) obj { return r.must(200, r.call("", "PUT", id, `{"port":`+body+`}`)).object("port") }
	port = put(`{"binding:host_id":"h1","device_id":"vm","device_owner":"compute:nova"}`)
	if port["binding:vif_type"] != "hw_veb" || port["binding:vif_details"].(map[string]any)["vlan"] != "105" {
		t.Errorf("bound port: %v", port)
	}
	port = put(`{"extra_dhcp_opts":[{"opt_name":"mtu","opt_value":null}]}`)
	if opts := port["extra_dhcp_opts"].([]any); len(opts) != 1 || opts[0].(map[string]any)["opt_name"] != "bootfile-name" {
		t.Errorf("options: %v", opts)
	}
	if typ, _ := r.must(409, r.call("", "PUT", id, `{"port":{"mac_address":null}}`)).fault(); typ != "PortBound" {
		t.Errorf("MAC of a bound port: %s", typ)
	}
	port = put(`{"binding:host_id":"","device_id":"","device_owner":"","binding:profile":null}`)
	if port["binding:vif_type"] != "unbound" || len(port["binding:profile"].(map[string]any)) != 0 {
		t.Errorf("unbound port: %v", port)
	}
	before := port["mac_address"]
	if port = put(`{"mac_address":null}`); port["mac_address"] == before || port["mac_address"] == "" {
		t.Errorf("a new MAC was not made: %v", port["mac_address"])
	}
	r.must(204, r.call("", "DELETE", id, nil))
}

// syncBuffer is a log that may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestStoreGone: 503, nothing of the inside in the answer, all of it in the log.
func TestStoreGone(t *testing.T) {
	var log syncBuffer
	reg := prometheus.NewRegistry()
	r := newRig(t, api.Options{
		Log:     slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Ready:   func(context.Context) error { return errors.New("store: gone") },
		Metrics: reg, Gatherer: reg,
	})
	r.make("", "networks", "network", obj{"name": "kept"})
	if err := r.db.Close(); err != nil {
		t.Fatal(err)
	}
	a := r.must(http.StatusServiceUnavailable, r.call("", "POST", "/v2.0/networks", `{"network":{}}`))
	if typ, message := a.fault(); typ != "ServiceUnavailable" || strings.Contains(message, "etcd") {
		t.Errorf("%s", a.text)
	}
	if id := a.header.Get("X-Openstack-Request-Id"); !strings.Contains(log.String(), id) || !strings.Contains(log.String(), `"level":"ERROR"`) {
		t.Errorf("log: %s", log.String())
	}
	if a = r.must(200, r.call("", "GET", "/v2.0/networks?fields=name", nil)); a.names("networks") != "kept" {
		t.Errorf("reads without a store: %s", a.text)
	}
	r.must(http.StatusServiceUnavailable, r.call("", "GET", "/readyz", nil))
	r.must(200, r.call("", "GET", "/healthz", nil))
	text := r.must(200, r.call("", "GET", "/metrics", nil)).text
	for _, want := range []string{
		`neutrino_api_request_duration_seconds_count{code="201",collection="networks",method="POST"} 1`,
		`neutrino_api_request_duration_seconds_count{code="503",collection="networks",method="POST"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics have no %s", want)
		}
	}
}

// TestConcurrentRequests writes and lists at once; -race watches.
func TestConcurrentRequests(t *testing.T) {
	r := newRig(t, api.Options{})
	net := r.make("", "networks", "network", obj{})["id"].(string)
	r.make("", "subnets", "subnet", obj{"network_id": net, "ip_version": 4, "cidr": "10.0.0.0/24"})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 5 {
				if a := r.call("", "POST", "/v2.0/ports", obj{"port": obj{"network_id": net}}); a.code != 201 {
					t.Errorf("create: %d %s", a.code, a.text)
				}
				if a := r.call("", "GET", "/v2.0/ports?limit=5&sort_key=mac_address&sort_dir=asc", nil); a.code != 200 {
					t.Errorf("list: %d", a.code)
				}
			}
		})
	}
	all.Wait()
	seen := map[any]bool{}
	for _, p := range r.call("", "GET", "/v2.0/ports", nil).body["ports"].([]any) {
		ip := p.(map[string]any)["fixed_ips"].([]any)[0].(map[string]any)["ip_address"]
		if seen[ip] {
			t.Errorf("address %v is given twice", ip)
		}
		seen[ip] = true
	}
	if len(seen) != 20 {
		t.Errorf("%d ports, want 20", len(seen))
	}
}
