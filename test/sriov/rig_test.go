package sriov

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	endpoint = "http://127.0.0.1:9696"
	metrics  = "127.0.0.1:9697"
)

// system is the product on this machine.
type system struct {
	dir        string
	bin        string
	pfs        []string
	controller *exec.Cmd
	agent      *exec.Cmd
}

var (
	once   sync.Once
	shared *system
	failed error
)

func TestMain(m *testing.M) {
	code := m.Run()
	if shared != nil {
		if code != 0 {
			shared.tell()
		}
		shared.stop()
	}
	os.Exit(code)
}

// rig starts the product once.
func rig(t testing.TB) *system {
	t.Helper()
	pfs, bin := os.Getenv("NEUTRINO_SRIOV_PFS"), os.Getenv("NEUTRINO_BIN")
	if pfs == "" || bin == "" {
		t.Skip("NEUTRINO_SRIOV_PFS names no SR-IOV NIC: run it by make test-sriov")
	}
	once.Do(func() { shared, failed = start(bin, strings.Split(pfs, ",")) })
	if failed != nil {
		t.Fatal(failed)
	}
	return shared
}

func start(bin string, pfs []string) (*system, error) {
	dir, err := os.MkdirTemp("", "sriov")
	if err != nil {
		return nil, err
	}
	s := &system{dir: dir, bin: bin, pfs: pfs}
	var mapping []string
	for _, pf := range pfs {
		mapping = append(mapping, "default:"+pf)
	}
	files := map[string]string{
		"controller.conf": `[DEFAULT]
auth_strategy = noauth
state_path = ` + dir + `/controller
[ml2]
type_drivers = vlan
tenant_network_types = vlan
mechanism_drivers = sriovnicswitch
[ml2_type_vlan]
network_vlan_ranges = default:100:200
[fabric]
listen = unix://` + dir + `/fabric.sock
`,
		"agent.conf": `[DEFAULT]
host = compute1
state_path = ` + dir + `/agent
[agent]
socket = ` + dir + `/agent.sock
[sriov_nic]
physical_device_mappings = ` + strings.Join(mapping, ",") + `
[fabric]
controllers = unix://` + dir + `/fabric.sock
[dhcp]
enabled = true
[metrics]
listen = ` + metrics + `
`,
	}
	for name, text := range files {
		if err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	if s.controller, err = s.daemon("controller"); err != nil {
		return s, err
	}
	if err = s.startAgent(); err != nil {
		return s, err
	}
	return s, s.until("the agent is alive", time.Minute, func() bool {
		out, cerr := s.try("agent", "list", "--alive", "-o", "id")
		return cerr == nil && len(strings.Fields(out)) == 2
	})
}

func (s *system) daemon(role string) (*exec.Cmd, error) {
	log, err := os.OpenFile(filepath.Join(s.dir, role+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(s.bin, role, "--config-file", filepath.Join(s.dir, role+".conf"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, cmd.Start()
}

func (s *system) startAgent() (err error) {
	s.agent, err = s.daemon("agent")
	return err
}

func (s *system) kill(cmd *exec.Cmd) {
	if cmd != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

func (s *system) stop() {
	s.kill(s.agent)
	s.kill(s.controller)
	_ = os.RemoveAll(s.dir)
}

// tell prints the ends of the logs.
func (s *system) tell() {
	for _, name := range []string{"controller.log", "agent.log"} {
		b, _ := os.ReadFile(filepath.Join(s.dir, name))
		fmt.Printf("--- %s\n%s\n", name, b[max(0, len(b)-6000):])
	}
	vfs, _ := s.try("vf", "list")
	fmt.Println(vfs)
}

// active waits until the API shows the port ACTIVE, and tells its way where it is not.
func (s *system) active(t testing.TB, id string) {
	t.Helper()
	err := s.until("port is ACTIVE", time.Minute, func() bool { return s.show(t, id).Status == "ACTIVE" })
	if err != nil {
		trace, _ := s.try("trace", "port", id)
		b, _ := os.ReadFile(filepath.Join(s.dir, "agent.log"))
		t.Fatalf("%v\n%s\n%s", err, trace, b[max(0, len(b)-3000):])
	}
}

// try runs the command line.
func (s *system) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.bin, args...)
	cmd.Env = append(os.Environ(), "NEUTRINO_ENDPOINT="+endpoint, "NEUTRINO_AGENT_SOCKET="+filepath.Join(s.dir, "agent.sock"))
	var words strings.Builder
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("neutrino %s: %w: %s", strings.Join(args, " "), err, words.String())
	}
	return strings.TrimSpace(string(out)), err
}

func (s *system) run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := s.try(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// read runs the command line and decodes what it prints as JSON.
func read[T any](t testing.TB, s *system, args ...string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(s.run(t, append(args, "-o", "json")...)), &v); err != nil {
		t.Fatalf("neutrino %s: %v", strings.Join(args, " "), err)
	}
	return v
}

func (s *system) until(what string, limit time.Duration, f func() bool) error {
	end := time.Now().Add(limit)
	for !f() {
		if time.Now().After(end) {
			return fmt.Errorf("%s: not within %s", what, limit)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

func (s *system) eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	if err := s.until(what, time.Minute, f); err != nil {
		t.Fatal(err)
	}
}

// network makes a VLAN network with a subnet, and takes it away with the test.
func (s *system) network(t testing.TB, name string, vlan int, cidr string, more ...string) {
	t.Helper()
	s.run(t, "network", "create", name, "--type", "vlan", "--physical-network", "default", "--segment", strconv.Itoa(vlan), "-o", "id")
	s.run(t, append([]string{"subnet", "create", name + "-4", "--network", name, "--cidr", cidr, "-o", "id"}, more...)...)
	t.Cleanup(func() { s.run(t, "network", "delete", name) })
}

type port struct {
	ID       string         `json:"id"`
	MAC      string         `json:"mac_address"`
	Status   string         `json:"status"`
	Revision int            `json:"revision_number"`
	Details  map[string]any `json:"binding:vif_details"`
	Fixed    []struct {
		IP string `json:"ip_address"`
	} `json:"fixed_ips"`
}

func (s *system) show(t testing.TB, id string) port {
	t.Helper()
	return read[port](t, s, "port", "show", id)
}

// port makes one on this host and waits until its VF was read back as asked.
func (s *system) port(t testing.TB, network string, more ...string) port {
	t.Helper()
	args := []string{"port", "create", fmt.Sprint("p", time.Now().UnixNano()), "--network", network, "--host", "compute1", "-o", "id"}
	id := s.run(t, append(args, more...)...)
	t.Cleanup(func() { s.run(t, "port", "delete", id) })
	s.active(t, id)
	return s.show(t, id)
}

type vf struct {
	PF      string `json:"pf"`
	Index   int    `json:"vf"`
	Slot    string `json:"pci_slot"`
	Driver  string `json:"driver"`
	Netdev  string `json:"netdev"`
	Port    string `json:"port_id"`
	Plugged string `json:"plugged"`
	Hangs   string `json:"hangs"`
	Reason  string `json:"reason"`
	Up      bool   `json:"up"`
}

func (s *system) vfs(t testing.TB) []vf {
	t.Helper()
	return read[[]vf](t, s, "vf", "list")
}

// vf is the VF of a port.
func (s *system) vf(t testing.TB, id string) vf {
	t.Helper()
	for _, v := range s.vfs(t) {
		if v.Port == id {
			return v
		}
	}
	t.Fatalf("port %s has no VF", id)
	return vf{}
}

// kernelVF is what the kernel shows of a VF, as ip(8) reads it.
type kernelVF struct {
	VF    int    `json:"vf"`
	MAC   string `json:"address"`
	Spoof bool   `json:"spoofchk"`
	Trust bool   `json:"trust"`
	VLANs []struct {
		VLAN int `json:"vlan"`
	} `json:"vlan_list"`
	Rate struct {
		Max int `json:"max_tx"`
	} `json:"rate"`
}

func (k kernelVF) vlan() int {
	if len(k.VLANs) == 0 {
		return 0
	}
	return k.VLANs[0].VLAN
}

func kernel(t testing.TB, pf string, n int) kernelVF {
	t.Helper()
	var links []struct {
		VFs []kernelVF `json:"vfinfo_list"`
	}
	if err := json.Unmarshal([]byte(ip(t, "-j", "-d", "link", "show", "dev", pf)), &links); err != nil || len(links) != 1 {
		t.Fatalf("ip link: %v", err)
	}
	for _, v := range links[0].VFs {
		if v.VF == n {
			return v
		}
	}
	t.Fatalf("%s has no VF %d", pf, n)
	return kernelVF{}
}

func ip(t testing.TB, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("needs iproute2: apt-get install iproute2")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// netns makes a namespace for an instance.
func netns(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("i%d", time.Now().UnixNano()%1e12)
	ip(t, "netns", "add", name)
	t.Cleanup(func() { ip(t, "netns", "del", name) })
	return name
}

// in runs a program in a namespace.
func in(name string, args ...string) (string, error) {
	path, err := exec.LookPath("ip")
	if err != nil {
		return "", err
	}
	out, err := exec.Command(path, append([]string{"netns", "exec", name}, args...)...).CombinedOutput()
	return string(out), err
}

// lease takes an address by DHCP, and returns it.
func lease(t testing.TB, name string) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "lease")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ $1 = bound ] && ip addr add $ip/$mask dev $interface && echo \"address $ip\"\nexit 0\n"), 0o755); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	out, err := in(name, "/bin/busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-t", "20", "-T", "1", "-s", script)
	_, after, ok := strings.Cut(out, "address ")
	if err != nil || !ok {
		t.Fatalf("no address by DHCP: %v: %s", err, out)
	}
	return strings.Fields(after)[0]
}

// ping reports whether an address answers.
func ping(name, to string) bool {
	_, err := in(name, "/bin/busybox", "ping", "-c", "3", "-W", "1", to)
	return err == nil
}

// drift is how many attributes the agent has put back.
func drift(t testing.TB) float64 {
	t.Helper()
	resp, err := http.Get("http://" + metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "neutrino_agent_drift_total{") {
			n, perr := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndex(line, " ")+1:]), 64)
			if perr != nil {
				t.Fatal(perr)
			}
			sum += n
		}
	}
	return sum
}
