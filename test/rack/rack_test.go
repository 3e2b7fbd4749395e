package rack

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"neutrino/test/rig"
)

const (
	controllerAddr = "192.0.2.1"
	outsideAddr    = "203.0.113.1" // beyond the external network
)

// rack is the whole of it, and the product in it.
type rack struct {
	dir                          string
	bin                          string
	compute1, compute2, network1 *machine
	controller                   *exec.Cmd
}

// assemble builds the rack, boots its machines and starts the product.
func assemble(t *testing.T) *rack {
	t.Helper()
	if os.Getenv(inside) == "" {
		t.Skip("NEUTRINO_RACK is not set: run it by make test-rack")
	}
	if err := rig.Check(t.Context()); err != nil {
		if os.Getenv("RIG_STRICT") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	r := &rack{dir: t.TempDir()}
	r.bin = filepath.Join(r.dir, "neutrino")
	build(t, r.bin, "neutrino/cmd/neutrino")
	build(t, filepath.Join(r.dir, "hand"), "neutrino/test/rack/hand")
	r.wire(t)
	r.boot(t)
	r.startController(t)
	for _, m := range r.machines() {
		m.ready(t)
	}
	t.Logf("three machines are up after %s", time.Since(r.begun()).Round(time.Second))
	r.network1.sh(t, "/usr/share/openvswitch/scripts/ovs-ctl --system-id=network1 start")
	for _, m := range r.machines() {
		m.startAgent(t)
	}
	r.eventually(t, "every agent is alive", func() bool {
		out, err := r.try("agent", "list", "--alive", "-o", "id")
		return err == nil && len(strings.Fields(out)) == 5 // two of VFs, Open vSwitch, DHCP, L3
	})
	return r
}

func (r *rack) begun() time.Time {
	st, err := os.Stat(r.bin)
	if err != nil {
		return time.Now()
	}
	return st.ModTime()
}

func (r *rack) machines() []*machine { return []*machine{r.compute1, r.compute2, r.network1} }

func build(t *testing.T, to, pkg string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-trimpath", "-o", to, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v: %s", pkg, err, out)
	}
}

// wire makes the trunk between the machines' NICs, the management network, and what is
// outside: a namespace on the trunk's untagged network.
func (r *rack) wire(t *testing.T) {
	t.Helper()
	must(t, `set -e
ip link set lo up
for b in trunk mgmt; do ip link add $b type bridge; ip link set $b up; done
ip addr add `+controllerAddr+`/24 dev mgmt
ip netns add outside
ip link add uplink type veth peer name eth0 netns outside
ip link set uplink master trunk up
ip -n outside addr add `+outsideAddr+`/24 dev eth0
ip -n outside link set lo up
ip -n outside link set eth0 up`)
}

// boot starts the machines. They go with the test.
func (r *rack) boot(t *testing.T) {
	t.Helper()
	ca := newAuthority(t, r.dir)
	ca.sign(t, r.dir, "controller", net.ParseIP(controllerAddr))
	ctx, cancel := context.WithCancel(context.Background())
	start := func(name, addr string, vfs int, conf string) *machine {
		share := filepath.Join(r.dir, "share-"+name)
		if err := os.Mkdir(share, 0o700); err != nil {
			t.Fatal(err)
		}
		ca.sign(t, share, name, nil)
		for _, f := range []string{"neutrino", "hand", "ca.pem"} {
			if err := os.Link(filepath.Join(r.dir, f), filepath.Join(share, f)); err != nil {
				t.Fatal(err)
			}
		}
		m := boot(ctx, name, addr, share, vfs)
		m.write(t, "agent.conf", fmt.Sprintf(agentConf, name)+conf)
		return m
	}
	const onVFs = "[sriov_nic]\nphysical_device_mappings = default:eth6\n"
	r.compute1 = start("compute1", "192.0.2.11", 7, onVFs)
	r.compute2 = start("compute2", "192.0.2.12", 7, onVFs)
	r.network1 = start("network1", "192.0.2.13", 0, `[ovs]
bridge_mappings = default:br-eth6
bridge_uplinks = br-eth6:eth6
[dhcp]
enabled = true
[l3]
enabled = true
`)
	t.Cleanup(func() {
		if t.Failed() {
			r.tell(t)
		}
		cancel()
		for _, m := range r.machines() {
			<-m.down
		}
	})
}

const agentConf = `[DEFAULT]
host = %[1]s
state_path = /var/lib/neutrino
[agent]
socket = /run/neutrino/agent.sock
[fabric]
controllers = https://` + controllerAddr + `:9695
tls_cert_file = /vm/%[1]s.pem
tls_key_file = /vm/%[1]s.key
tls_ca_file = /vm/ca.pem
[metrics]
listen = 127.0.0.1:9698
`

const controllerConf = `[DEFAULT]
auth_strategy = noauth
state_path = %[1]s/controller
agent_down_time = 20
[ml2]
type_drivers = vlan,flat
tenant_network_types = vlan
mechanism_drivers = openvswitch,sriovnicswitch
[ml2_type_vlan]
network_vlan_ranges = default:100:119
[ml2_type_flat]
flat_networks = default
[securitygroup]
enable_security_group = true
[fabric]
listen = ` + controllerAddr + `:9695
tls_cert_file = %[1]s/controller.pem
tls_key_file = %[1]s/controller.key
tls_ca_file = %[1]s/ca.pem
`

func (r *rack) startController(t *testing.T) {
	t.Helper()
	conf := filepath.Join(r.dir, "controller.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, controllerConf, r.dir), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(r.dir, "controller.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r.controller = exec.Command(r.bin, "controller", "--config-file", conf)
	r.controller.Stdout, r.controller.Stderr = log, log
	if err = r.controller.Start(); err != nil {
		t.Fatal(err)
	}
	cmd := r.controller
	t.Cleanup(func() { kill(cmd) })
	r.eventually(t, "the API answers", func() bool { _, err := r.try("network", "list"); return err == nil })
}

func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()
}

func (m *machine) startAgent(t *testing.T) {
	t.Helper()
	m.start(t, "agent", "/run/neutrino-bin agent --config-file /vm/agent.conf")
}

// try runs the client against the rack's controller.
func (r *rack) try(args ...string) (string, error) {
	out, err := exec.Command(r.bin, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("neutrino %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

func (r *rack) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := r.try(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (r *rack) eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	eventually(t, what, 2*time.Minute, f)
}

// port as the API shows it.
type port struct {
	ID      string `json:"id"`
	MAC     string `json:"mac_address"`
	Status  string `json:"status"`
	Host    string `json:"binding:host_id"`
	VIFType string `json:"binding:vif_type"`
	Fixed   []struct {
		IP     string `json:"ip_address"`
		Subnet string `json:"subnet_id"`
	} `json:"fixed_ips"`
}

func (r *rack) show(t *testing.T, id string) (p port) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.run(t, "port", "show", id, "-o", "json")), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// network makes a network on a VLAN with a subnet.
func (r *rack) network(t *testing.T, name string, vlan int, cidr string) {
	t.Helper()
	r.run(t, "network", "create", name, "--type", "vlan", "--physical-network", "default", "--segment", fmt.Sprint(vlan), "-o", "id")
	r.run(t, "subnet", "create", name+"-4", "--network", name, "--cidr", cidr, "-o", "id")
}

// instance is a namespace with a port.
type instance struct {
	port
	on *machine
	ns string
}

// launch makes a port, plugs it into a new namespace of a host, and takes its address by
// DHCP.
func (r *rack) launch(t *testing.T, on *machine, name, network, vnic string, more ...string) *instance {
	t.Helper()
	id := r.run(t, append([]string{"port", "create", name, "--network", network, "--vnic-type", vnic, "--host", on.name, "-o", "id"}, more...)...)
	i := &instance{port: r.show(t, id), on: on, ns: name}
	on.sh(t, "ip netns add "+name+" && ip -n "+name+" link set lo up")
	r.eventually(t, name+" can be plugged", func() bool {
		_, err := on.try("/run/neutrino-bin vif plug " + id + " --netns " + name + " --ifname eth0")
		if err != nil {
			t.Log(err)
		}
		return err == nil
	})
	return i
}

// lease takes the instance's address by DHCP with a client.
func (i *instance) lease(t *testing.T) {
	t.Helper()
	out := i.on.sh(t, "ip netns exec "+i.ns+" /bin/busybox udhcpc -i eth0 -O staticroutes -n -q -f -t 20 -T 1 -s /vm/lease")
	if !strings.Contains(out, "address "+i.Fixed[0].IP) {
		t.Fatalf("%s: DHCP gives %q, its address is %s", i.ns, out, i.Fixed[0].IP)
	}
}

// leaseScript is udhcpc's; see busybox's examples/udhcp.
const leaseScript = `#!/bin/sh
[ $1 = bound ] || exit 0
ip addr flush dev $interface scope global
ip addr add $ip/$mask dev $interface
[ -z "$router" ] || ip route replace default via $router
set -- $staticroutes
while [ $# -ge 2 ]; do
	if [ $2 = 0.0.0.0 ]; then ip route replace $1 dev $interface; else ip route replace $1 via $2 onlink dev $interface; fi
	shift 2
done
echo "address $ip"
`

func (i *instance) sh(t *testing.T, script string) string {
	t.Helper()
	return i.on.sh(t, "ip netns exec "+i.ns+" bash -c '"+script+"'")
}

func (i *instance) pings(addr string) bool {
	_, err := i.on.try("ip netns exec " + i.ns + " /bin/busybox ping -c 3 -W 2 " + addr)
	return err == nil
}

// reaches waits for an answer.
func (i *instance) reaches(t *testing.T, what, addr string) {
	t.Helper()
	eventually(t, i.ns+" reaches "+what+" at "+addr, time.Minute, func() bool { return i.pings(addr) })
}

func (r *rack) tell(t *testing.T) {
	t.Helper()
	if log, err := os.ReadFile(filepath.Join(r.dir, "controller.log")); err == nil {
		t.Logf("--- controller\n%s", log[max(0, len(log)-8000):])
	}
	ports, _ := r.try("port", "list")
	t.Logf("--- ports\n%s", ports)
	for _, m := range r.machines() {
		m.tell(t)
	}
}
