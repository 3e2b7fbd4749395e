package clients

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestOpenstackRouters is an operator's way to an address on the internet, scripted.
func TestOpenstackRouters(t *testing.T) {
	_, client := exec.LookPath("openstack")
	if err := errors.Join(client); err != nil {
		t.Skipf("the openstack client is not installed (apt install python3-openstackclient): %v", err)
	}
	lab := startLab(t)
	lab.joinL3(t)
	o := openstack{t: t, endpoint: lab.Endpoint}

	o.do("network", "create", "internet", "--external")
	o.do("subnet", "create", "internet4", "--network", "internet", "--subnet-range", "198.51.100.0/24", "--no-dhcp")
	o.do("network", "create", "inside")
	o.do("subnet", "create", "inside4", "--network", "inside", "--subnet-range", "10.60.0.0/24")
	port := o.object("port", "create", "inner", "--network", "inside", "--fixed-ip", "subnet=inside4,ip-address=10.60.0.9")

	router := o.object("router", "create", "way", "--description", "out")
	if router["status"] != "ACTIVE" || router["external_gateway_info"] != nil {
		t.Errorf("router create: %v", router)
	}
	o.do("router", "add", "subnet", "way", "inside4")
	o.do("router", "set", "way", "--external-gateway", "internet")
	o.do("router", "set", "way", "--route", "destination=172.16.0.0/12,gateway=10.60.0.9")
	shown := o.object("router", "show", "way")
	info, _ := shown["external_gateway_info"].(map[string]any)
	if len(info) == 0 || info["enable_snat"] != true || !strings.Contains(fmt.Sprint(info["external_fixed_ips"]), "198.51.100.") {
		t.Errorf("gateway: %v", shown["external_gateway_info"])
	}
	if got := fmt.Sprint(shown["interfaces_info"]); !strings.Contains(got, "10.60.0.1") {
		t.Errorf("interfaces: %v", got)
	}
	if !strings.Contains(fmt.Sprint(shown["routes"]), "172.16.0.0/12") {
		t.Errorf("routes: %v", shown["routes"])
	}
	for _, p := range o.rows("port", "list", "--router", "way") {
		o.untilActive(fmt.Sprint(p["ID"]))
	}
	if got := column(o.rows("router", "list", "--long"), "Name"); !strings.Contains(strings.Join(got, " "), "way") {
		t.Errorf("router list: %v", got)
	}
	if got := o.rows("network", "agent", "list", "--router", "way"); len(got) != 1 || got[0]["Host"] != "router1" {
		t.Errorf("the router's agents: %v", got)
	}

	f := o.object("floating", "ip", "create", "internet", "--floating-ip-address", "198.51.100.50", "--description", "web")
	address := fmt.Sprint(f["floating_ip_address"])
	if f["status"] != "DOWN" || address != "198.51.100.50" {
		t.Errorf("floating ip create: %v", f)
	}
	o.do("floating", "ip", "set", address, "--port", fmt.Sprint(port["id"]))
	o.floatingUntil(address, "ACTIVE")
	if got := o.object("floating", "ip", "show", address); got["fixed_ip_address"] != "10.60.0.9" || got["router_id"] != router["id"] {
		t.Errorf("floating ip show: %v", got)
	}
	if got := column(o.rows("floating", "ip", "list", "--port", "inner"), "Floating IP Address"); len(got) != 1 || got[0] != address {
		t.Errorf("floating ip list --port: %v", got)
	}
	o.refused("already has a floating IP", "floating", "ip", "create", "internet", "--port", "inner")
	o.refused("required by one or more floating IPs", "router", "unset", "way", "--external-gateway")
	o.refused("ports still attached", "router", "delete", "way")
	o.do("floating", "ip", "unset", address, "--port")
	o.floatingUntil(address, "DOWN")
	o.do("floating", "ip", "delete", address)
	o.do("router", "unset", "way", "--route", "destination=172.16.0.0/12,gateway=10.60.0.9")
	o.do("router", "remove", "subnet", "way", "inside4")
	o.do("router", "unset", "way", "--external-gateway")
	o.do("router", "delete", "way")
	o.refused("No Router found", "router", "show", "way")
	o.do("port", "delete", "inner")
	o.do("network", "delete", "inside", "internet")
}

// floatingUntil waits for a floating IP's status as an operator would, by asking again.
func (o openstack) floatingUntil(address, status string) {
	o.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		f := o.object("floating", "ip", "show", address)
		if f["status"] == status {
			return
		}
		if time.Now().After(deadline) {
			o.t.Fatalf("floating IP %s is %v, want %s", address, f["status"], status)
		}
	}
}
