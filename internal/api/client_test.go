package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"neutrino/internal/api"
	"neutrino/internal/model"
)

// session is what an operator types, and what must be seen (a regular expression). A "!"
// in front means that the command must fail.
var session = []struct{ command, want string }{
	{"extension show binding -f value -c name", `^Port Binding$`},
	{"network create net1 --provider-network-type vlan --provider-physical-network default --provider-segment 105 --tag t1 -f value -c provider:segmentation_id -c status", `ACTIVE`},
	{"subnet create sub1 --network net1 --subnet-range 10.0.0.0/24 --dns-nameserver 1.1.1.1 --host-route destination=10.9.0.0/16,gateway=10.0.0.1 -f value -c allocation_pools", `10\.0\.0\.2.*10\.0\.0\.254`},
	{"port create p1 --network net1 --vnic-type direct --binding-profile pci_slot=0000:03:10.2 --host h1 --fixed-ip subnet=sub1,ip-address=10.0.0.9 --tag x -f value -c binding_vif_type", `^hw_veb$`},
	{"!port create p2 --network net1 --fixed-ip subnet=sub1,ip-address=10.0.0.9", `IP address 10\.0\.0\.9 already allocated in subnet`},
	{"port set p1 --name p2 --extra-dhcp-option name=mtu,value=9000", `^$`},
	{"port show p2 -f value -c extra_dhcp_opts -c binding_profile", `(?s)pci_slot.*0000:03:10\.2.*mtu`},
	{"port list --fixed-ip ip-address=10.0.0.9 --network net1 --host h1 --tags x -f value -c Name", `^p2$`},
	{"network agent list --host h1 -f value -c Alive -c Binary", `^True neutron-sriov-nic-agent$`},
	{"ip availability show net1 -f value -c used_ips -c total_ips", `^253\n1$`},
	{"security group rule create default --protocol tcp --dst-port 22 --remote-ip 10.0.0.0/8 -f value -c port_range_min", `^22$`},
	{"network set net1 --description hey --tag t2", `^$`},
	{"network list --long --any-tags t2 -f value -c Name -c Status", `^net1 ACTIVE$`},
	{"port unset p2 --binding-profile pci_slot", `^$`},
	{"!network delete net1", `one or more ports still in use on the network`},
	{"port delete p2", `^$`},
	{"network delete net1", `^$`},
	{"!network show net1", `No Network found for net1`},
}

// driver runs the client's own main once per line of its input, in one interpreter: loading
// the client takes a second, a command a tenth of one.
const driver = `
import contextlib, io, json, sys
from openstackclient import shell
for line in sys.stdin:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = shell.main(json.loads(line))
        except SystemExit as e:
            code = e.code
    print(json.dumps({"code": code or 0, "out": out.getvalue()}), flush=True)
`

// TestOpenStackClient runs the real client, unchanged, without an identity.
func TestOpenStackClient(t *testing.T) {
	_, client := exec.LookPath("openstack")
	_, python := exec.LookPath("/usr/bin/python3") // that which Debian's client is made for
	if err := errors.Join(client, python); err != nil {
		t.Skipf("the openstack client is not installed (apt install python3-openstackclient): %v", err)
	}
	r := newRig(t, api.Options{})
	r.agent(model.Agent{
		Type: model.AgentNICSwitch, Binary: model.BinaryNICSwitch, Host: "h1",
		Configurations: map[string]any{"device_mappings": map[string]any{"default": []any{"eth6"}}},
	})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var in bytes.Buffer
	lines := json.NewEncoder(&in)
	for _, s := range session {
		args := append([]string{"--os-auth-type", "none", "--os-endpoint", r.url}, strings.Fields(strings.TrimPrefix(s.command, "!"))...)
		if err := lines.Encode(args); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(ctx, "/usr/bin/python3", "-W", "ignore", "-c", driver)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	var words bytes.Buffer
	cmd.Stdin, cmd.Stderr = &in, &words
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("run the client: %v\n%s", err, words.String())
	}
	answers := json.NewDecoder(bytes.NewReader(out))
	for _, s := range session {
		var a struct {
			Code int
			Out  string
		}
		if err = answers.Decode(&a); err != nil {
			t.Fatalf("openstack %s: %v\n%s", s.command, err, words.String())
		}
		text := strings.TrimSpace(a.Out)
		if mustFail := strings.HasPrefix(s.command, "!"); mustFail != (a.Code != 0) || !regexp.MustCompile(s.want).MatchString(text) {
			t.Fatalf("openstack %s: exit %d\n%s\nwant %s", s.command, a.Code, text, s.want)
		}
	}
}
