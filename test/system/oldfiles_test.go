package system

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"neutrino/internal/eswitch/veb"
	"neutrino/internal/netspace"
)

// The files of the old Mellanox set-up, as guides print them: with remarks behind the
// values, in the language of whoever wrote the guide.
const (
	oldML2 = `[ml2]
type_drivers = vlan,local   # 类型驱动，此处不用 GRE
tenant_network_types = vlan,local  #租户网络
mechanism_drivers = openvswitch,mlnx    # 机制驱动: Mellanox 网卡

[ml2_type_vlan]
network_vlan_ranges = default:2:1000  # 交换机上须放行这些 VLAN

[eswitch]
vnic_type = hostdev  # 直通 (SR-IOV); mlnx_direct 为半虚拟化
apply_profile_patch = True　＃旧版 Nova 需要
`
	oldAgent = `[eswitch]
physical_interface_mappings = default:eth6  # имя сетевой карты
vnic_type = hostdev   ; сквозной доступ

[agent]
rpc_support_old_agents = True  // для старых агентов

[securitygroup]
enable_security_group = False  # на VF фильтров нет
`
)

// machine is one whole machine: a network namespace with a NIC, and a view of the file
// system in which /run/neutrino and /var/lib/neutrino are its own. Daemons started on
// it need nothing but the operator's files: every other option is at its default.
type machine struct {
	ns  string
	dir string
}

func newMachine(t *testing.T, name string, vfs int) *machine {
	t.Helper()
	m := &machine{ns: fmt.Sprintf("nsys%d%s", os.Getpid(), name), dir: t.TempDir()}
	namespace(t, m.ns)
	if err := errors.Join(os.MkdirAll(m.pins(), 0o700), os.MkdirAll(filepath.Join(m.dir, "lib"), 0o700)); err != nil {
		t.Fatal(err)
	}
	m.in(t, func() error {
		return veb.Create(t.Context(), veb.Spec{Name: "eth6", VFs: vfs, PinDir: m.pins()})
	})
	t.Cleanup(func() {
		m.in(t, func() error { return veb.Destroy(context.Background(), "eth6", m.pins()) })
	})
	return m
}

// pins is /run/neutrino/nic on the machine.
func (m *machine) pins() string { return filepath.Join(m.dir, "run", "nic") }

// in does something in the machine's network namespace.
func (m *machine) in(t *testing.T, do func() error) {
	t.Helper()
	if err := netspace.Do(m.ns, do); err != nil {
		t.Fatal(err)
	}
}

// start is a launcher: the process lives on the machine.
func (m *machine) start(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread's namespaces go with it
		done <- errors.Join(m.enter(), cmd.Start())
	}()
	return <-done
}

// enter moves the calling thread to the machine.
func (m *machine) enter() error {
	ns, err := netspace.Open(m.ns)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err = unix.Setns(int(ns), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", m.ns, err)
	}
	if err = unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare the mounts: %w", err)
	}
	if err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	for _, own := range []struct{ dir, at string }{{"run", "/run"}, {"lib", "/var/lib"}} {
		if err = unix.Mount("tmpfs", own.at, "tmpfs", 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", own.at, err)
		}
		at := filepath.Join(own.at, "neutrino")
		if err = os.Mkdir(at, 0o755); err != nil {
			return err
		}
		if err = unix.Mount(filepath.Join(m.dir, own.dir), at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
	}
	return nil
}

// api is the one at Neutron's port on the machine's loopback.
func (m *machine) api(t *testing.T) *api {
	t.Helper()
	dial := func(ctx context.Context, network, address string) (c net.Conn, err error) {
		err = netspace.Do(m.ns, func() (err error) {
			var d net.Dialer
			c, err = d.DialContext(ctx, network, address)
			return err
		})
		return c, err
	}
	a := &api{base: "http://127.0.0.1:9696", client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: dial}}}
	t.Cleanup(a.client.CloseIdleConnections)
	return a
}

// TestOldFilesWork starts controller and agent with nothing but the old files, and gives
// two instances a VF each: one of a `normal` port, which those files mean to be passed
// through, one of a `direct` port.
func TestOldFilesWork(t *testing.T) {
	needRoot(t)
	t.Parallel()
	m := newMachine(t, "o", 4)
	ml2 := writeFile(t, filepath.Join(m.dir, "etc", "ml2_conf.ini"), oldML2)
	mlnx := writeFile(t, filepath.Join(m.dir, "etc", "mlnx_conf.ini"), oldAgent)
	said, agentSaid := newLog(t, "controller"), newLog(t, "agent")
	c := &controller{process: start(t, m.start, said, "controller", "--config-file", ml2), api: m.api(t)}
	c.serves(t)
	agent := start(t, m.start, agentSaid, "agent", "--config-file", mlnx)

	var host string
	until(t, "the agent being alive", 20*time.Second, func() bool {
		if agent.over() {
			t.Fatal("the agent has ended")
		}
		for _, a := range c.api.list(t, "agents") {
			if a["alive"] == true && a["agent_type"] == "NIC Switch agent" {
				host = str(a["host"])
			}
		}
		return host != ""
	})

	network := c.api.must(t, http.MethodPost, "/v2.0/networks", "network", object{"name": "old"})
	vlan, isNumber := network["provider:segmentation_id"].(float64)
	if network["provider:network_type"] != "vlan" || network["provider:physical_network"] != "default" || !isNumber || vlan < 2 || vlan > 1000 {
		t.Errorf("the network is not a VLAN of default:2:1000: %v", network)
	}
	c.api.must(t, http.MethodPost, "/v2.0/subnets", "subnet", object{"network_id": network["id"], "ip_version": 4, "cidr": "10.77.0.0/24"})
	create := func(body object) object {
		body["network_id"] = network["id"]
		return c.api.must(t, http.MethodPost, "/v2.0/ports", "port", body)
	}
	normal := create(object{"name": "normal", "binding:vnic_type": "normal", "device_owner": "compute:nova"})
	direct := create(object{"name": "direct", "binding:vnic_type": "direct", "device_owner": "compute:nova"})

	slot := veb.VFSlot(0, 3)
	bind := func(p object, profile object) object {
		body := object{"binding:host_id": host}
		if profile != nil {
			body["binding:profile"] = profile
		}
		p = c.api.must(t, http.MethodPut, "/v2.0/ports/"+str(p["id"]), "port", body)
		if p["binding:vif_type"] != "hw_veb" {
			t.Fatalf("port %s is bound as %v, want hw_veb\n%v", p["name"], p["binding:vif_type"], p)
		}
		return c.api.untilActive(t, str(p["id"]), 10*time.Second)
	}
	direct = bind(direct, object{"pci_slot": slot})
	normal = bind(normal, nil)
	for _, p := range []object{normal, direct} {
		profile, _ := p["binding:profile"].(map[string]any)
		if profile["physical_network"] != "default" {
			t.Errorf("port %s: apply_profile_patch did not put the physical network into the profile: %v", p["name"], profile)
		}
		if got := detail(p, "vlan"); got != fmt.Sprint(vlan) {
			t.Errorf("port %s: vif_details vlan is %q, the network's %v", p["name"], got, vlan)
		}
	}
	if got := detail(normal, "vnic_type"); got != "direct" {
		t.Errorf("vnic_type = hostdev makes the normal port %q, want direct", got)
	}
	chosen := detail(normal, "pci_slot")
	if chosen == "" || chosen == slot {
		t.Fatalf("the agent chose VF %q for the normal port; %s is the direct one's", chosen, slot)
	}
	m.carries(t, normal, chosen, int(vlan))
	m.carries(t, direct, slot, int(vlan))

	plug(t, m.ns, m.ns+"a", vfOf(t, chosen), str(normal["mac_address"]), addressOf(normal)+"/24")
	plug(t, m.ns, m.ns+"b", vfOf(t, slot), str(direct["mac_address"]), addressOf(direct)+"/24")
	wire := ping(t, m.ns+"a", netip.MustParseAddr(addressOf(direct)))
	until(t, "the two instances talking", 5*time.Second, wire.answers)

	for _, want := range []struct{ log, text string }{
		{said.String(), "此处不用 GRE"}, {agentSaid.String(), "имя сетевой карты"}, {agentSaid.String(), "rpc_support_old_agents"},
	} {
		if !strings.Contains(want.log, want.text) {
			t.Errorf("the log does not warn of %q", want.text)
		}
	}
	agent.stop()
	c.stop()
}

// vfOf is the netdev of a VF of eth6, by its slot.
func vfOf(t *testing.T, slot string) string {
	t.Helper()
	for i := range 4 {
		if veb.VFSlot(0, i) == slot {
			return fmt.Sprintf("eth6v%d", i)
		}
	}
	t.Fatalf("%s is no VF of eth6", slot)
	return ""
}

// carries looks at the NIC itself.
func (m *machine) carries(t *testing.T, p object, slot string, vlan int) {
	t.Helper()
	var sw *veb.Switch
	m.in(t, func() (err error) {
		sw, err = veb.Open("eth6", m.pins())
		return err
	})
	defer func() { _ = sw.Close() }()
	s, err := sw.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, pf := range s.PFs {
		for _, vf := range pf.VFs {
			if vf.PCISlot != slot {
				continue
			}
			mac, _ := vf.Attrs.MAC.Get()
			v, _ := vf.Attrs.VLAN.Get()
			if fmt.Sprint(mac) != str(p["mac_address"]) || v != vlan {
				t.Errorf("VF %s carries MAC %v and VLAN %v, port %s has %v and %d", slot, mac, v, p["name"], p["mac_address"], vlan)
			}
			return
		}
	}
	t.Errorf("the NIC has no VF %s", slot)
}
