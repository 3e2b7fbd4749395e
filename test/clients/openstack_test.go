package clients

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// openstack is Debian's python3-openstackclient without a Keystone, as an operator
// would run it on a lab.
type openstack struct {
	t        *testing.T
	endpoint string
}

func (o openstack) run(args ...string) (stdout []byte, err error) {
	o.t.Helper()
	full := append([]string{"--os-auth-type", "none", "--os-endpoint", o.endpoint}, args...)
	cmd := exec.CommandContext(o.t.Context(), "openstack", full...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err = cmd.Run(); err != nil {
		return nil, fmt.Errorf("openstack %s: %w\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.Bytes(), nil
}

// do runs a command that must succeed.
func (o openstack) do(args ...string) string {
	o.t.Helper()
	out, err := o.run(args...)
	if err != nil {
		o.t.Fatal(err)
	}
	return string(out)
}

// object runs a command and decodes its JSON object.
func (o openstack) object(args ...string) map[string]any {
	o.t.Helper()
	return decode[map[string]any](o, args)
}

// rows runs a list command and decodes its JSON rows.
func (o openstack) rows(args ...string) []map[string]any {
	o.t.Helper()
	return decode[[]map[string]any](o, args)
}

func decode[T any](o openstack, args []string) (v T) {
	o.t.Helper()
	out := o.do(append(args, "-f", "json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		o.t.Fatalf("openstack %s printed no JSON: %v\n%s", strings.Join(args, " "), err, out)
	}
	return v
}

// refused runs a command that must fail with the text on its standard error.
func (o openstack) refused(text string, args ...string) {
	o.t.Helper()
	_, err := o.run(args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		o.t.Errorf("openstack %s: no error, want %q", strings.Join(args, " "), text)
		return
	}
	if !strings.Contains(err.Error(), text) {
		o.t.Errorf("openstack %s: %v, want %q", strings.Join(args, " "), err, text)
	}
}

func column(rows []map[string]any, name string) (out []string) {
	for _, r := range rows {
		out = append(out, fmt.Sprint(r[name]))
	}
	return out
}

// TestOpenstackSession is the five-minute tour of the README, scripted: the stock
// client against controller, hosts and NICs.
func TestOpenstackSession(t *testing.T) {
	_, client := exec.LookPath("openstack")
	_, python := exec.LookPath("/usr/bin/python3") // that which Debian's client is made for
	if err := errors.Join(client, python); err != nil {
		t.Skipf("the openstack client is not installed (apt install python3-openstackclient): %v", err)
	}
	lab := startLab(t)
	o := openstack{t: t, endpoint: lab.Endpoint}

	agents := o.rows("network", "agent", "list")
	if got := strings.Join(column(agents, "Agent Type"), ","); strings.Count(got, "NIC Switch agent") < 2 {
		t.Fatalf("the lab's hosts are not in the agent list: %s", got)
	}
	for _, a := range agents {
		if a["Alive"] != true {
			t.Errorf("agent %v of %v is not alive", a["Agent Type"], a["Host"])
		}
	}

	net := o.object("network", "create", "tour", "--description", "the README's tour")
	if net["status"] != "ACTIVE" || net["provider:network_type"] != "vlan" {
		t.Errorf("network create: status %v, type %v, want an ACTIVE vlan network", net["status"], net["provider:network_type"])
	}
	o.do("network", "set", "tour", "--tag", "blue", "--description", "changed")
	if got := o.object("network", "show", "tour"); got["description"] != "changed" {
		t.Errorf("network set did not change the description: %v", got["description"])
	}
	if got := column(o.rows("network", "list", "--tags", "blue"), "Name"); len(got) != 1 || got[0] != "tour" {
		t.Errorf("network list --tags blue: %v", got)
	}

	sub := o.object("subnet", "create", "tour4", "--network", "tour", "--subnet-range", "10.20.0.0/24", "--dns-nameserver", "10.20.0.53")
	if sub["gateway_ip"] != "10.20.0.1" {
		t.Errorf("subnet create: gateway %v", sub["gateway_ip"])
	}
	o.do("subnet", "set", "tour4", "--name", "tour-v4")
	if got := column(o.rows("subnet", "list", "--network", "tour"), "Name"); len(got) != 1 || got[0] != "tour-v4" {
		t.Errorf("subnet list --network: %v", got)
	}
	o.refused("overlaps", "subnet", "create", "again", "--network", "tour", "--subnet-range", "10.20.0.0/25")

	slot := lab.freeVF(t, "compute1")
	port := o.object("port", "create", "vm1", "--network", "tour", "--vnic-type", "direct", "--host", lab.host("compute1"),
		"--binding-profile", "pci_slot="+slot, "--fixed-ip", "subnet=tour-v4,ip-address=10.20.0.10")
	if port["binding_vif_type"] != "hw_veb" {
		t.Fatalf("port create --vnic-type direct --host: vif_type %v (%v)", port["binding_vif_type"], port["binding_vif_details"])
	}
	id := fmt.Sprint(port["id"])
	o.untilActive(id)
	shown := o.object("port", "show", id)
	if details, ok := shown["binding_vif_details"].(map[string]any); !ok || details["vlan"] != fmt.Sprint(net["provider:segmentation_id"]) {
		t.Errorf("vif_details.vlan is %v, the network's VLAN %v", shown["binding_vif_details"], net["provider:segmentation_id"])
	}
	o.refused("in use", "network", "delete", "tour")
	o.refused("already allocated", "port", "create", "dup", "--network", "tour", "--fixed-ip", "subnet=tour-v4,ip-address=10.20.0.10")

	o.do("port", "set", id, "--name", "renamed", "--description", "mine")
	if got := column(o.rows("port", "list", "--network", "tour", "--name", "renamed"), "ID"); len(got) != 1 || got[0] != id {
		t.Errorf("port list --name: %v", got)
	}
	if got := column(o.rows("port", "list", "--fixed-ip", "ip-address=10.20.0.10"), "ID"); len(got) != 1 || got[0] != id {
		t.Errorf("port list --fixed-ip: %v", got)
	}
	if got := column(o.rows("port", "list", "--host", lab.host("compute1"), "--network", "tour"), "ID"); len(got) != 1 {
		t.Errorf("port list --host: %v", got)
	}

	for i := range 5 {
		o.do("port", "create", fmt.Sprintf("page%d", i), "--network", "tour")
	}
	o.sdkPages(t)

	o.do("port", "unset", id, "--host")
	if got := o.object("port", "show", id); got["binding_vif_type"] != "unbound" {
		t.Errorf("port unset --host leaves vif_type %v", got["binding_vif_type"])
	}
	for _, r := range o.rows("port", "list", "--network", "tour", "--long") {
		if !strings.HasPrefix(fmt.Sprint(r["Device Owner"]), "network:") {
			o.do("port", "delete", fmt.Sprint(r["ID"]))
		}
	}
	o.do("subnet", "delete", "tour-v4")
	o.do("network", "delete", "tour")
	o.refused("No Network found", "network", "show", "tour")
}

// untilActive waits for a port's status as an operator would, by asking again.
func (o openstack) untilActive(id string) {
	o.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		p := o.object("port", "show", id)
		if p["status"] == "ACTIVE" {
			return
		}
		if time.Now().After(deadline) {
			o.t.Fatalf("port %s is %v: %v", id, p["status"], p["binding_vif_details"])
		}
	}
}

// sdkPages lists the tour's ports two at a time with openstacksdk, the library under
// the client, which follows the "next" links.
func (o openstack) sdkPages(t *testing.T) {
	t.Helper()
	script := `
import sys
import openstack
net = openstack.connection.Connection(auth_type="none", endpoint_override=None, auth=dict(endpoint=sys.argv[1])).network
wanted = net.find_network("tour").id
print(len({p.id for p in net.ports(network_id=wanted, limit=2)}), len(list(net.ports(network_id=wanted))))
`
	out, err := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", script, o.endpoint).CombinedOutput()
	if err != nil {
		t.Fatalf("openstacksdk: %v\n%s", err, out)
	}
	var paged, all int
	if _, err = fmt.Sscan(string(out), &paged, &all); err != nil || paged != all || all < 6 {
		t.Errorf("openstacksdk saw %d ports page by page and %d at once, want the same and at least 6 (%v)\n%s", paged, all, err, out)
	}
}
