package ovstest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var count atomic.Int32

// Instance is one Open vSwitch. Its methods end the test when they fail.
type Instance struct {
	t      testing.TB
	given  bool   // the namespace is the caller's
	Netns  string // name of its network namespace
	Dir    string // of its database, sockets and logs
	db, sw *exec.Cmd
}

// Start starts one. It ends with the test, which is skipped where Open vSwitch is not installed.
func Start(t testing.TB) *Instance { t.Helper(); return start(t, "") }

// StartIn starts one whose netdevs are in a namespace that is there.
func StartIn(t testing.TB, netns string) *Instance { t.Helper(); return start(t, netns) }

func start(t testing.TB, netns string) *Instance {
	t.Helper()
	for _, program := range []string{"ovsdb-server", "ovs-vswitchd", "ovsdb-tool", "ovs-vsctl", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs Open vSwitch: apt-get install openvswitch-switch (%v)", err)
		}
	}
	dir, err := os.MkdirTemp("", "ovs") // a short path: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	i := &Instance{t: t, Dir: dir, Netns: netns, given: netns != ""}
	if !i.given {
		i.Netns = fmt.Sprintf("ovs%d-%d", os.Getpid(), count.Add(1))
		i.Run("ip", "netns", "add", i.Netns)
	}
	t.Cleanup(func() {
		i.StopSwitch()
		i.StopDatabase()
		if !i.given {
			i.Run("ip", "netns", "del", i.Netns)
		}
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "vswitchd.log"))
			t.Logf("--- ovs-vswitchd\n%s", log[max(0, len(log)-3000):])
		}
		_ = os.RemoveAll(dir)
	})
	i.Run("ip", "-n", i.Netns, "link", "set", "lo", "up")
	i.Run("ovsdb-tool", "create", i.path("conf.db"), "/usr/share/openvswitch/vswitch.ovsschema")
	i.StartDatabase()
	i.Vsctl("--no-wait", "init")
	i.StartSwitch()
	return i
}

func (i *Instance) path(name string) string { return filepath.Join(i.Dir, name) }

// Endpoint is the database's address.
func (i *Instance) Endpoint() string { return "unix:" + i.path("db.sock") }

// Management is the socket on which a bridge speaks OpenFlow.
func (i *Instance) Management(bridge string) string { return i.path(bridge + ".mgmt") }

// Run runs a program and returns its output.
func (i *Instance) Run(name string, args ...string) string {
	i.t.Helper()
	out, err := i.command(name, args...).CombinedOutput()
	if err != nil {
		i.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// Try runs a program and says whether it failed.
func (i *Instance) Try(name string, args ...string) error { return i.command(name, args...).Run() }

func (i *Instance) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+i.Dir, "OVS_LOGDIR="+i.Dir, "OVS_DBDIR="+i.Dir)
	return cmd
}

// In runs a program in the instance's namespace.
func (i *Instance) In(name string, args ...string) string {
	i.t.Helper()
	return i.Run("ip", append([]string{"netns", "exec", i.Netns, name}, args...)...)
}

// Vsctl runs ovs-vsctl: tests look and disturb with Open vSwitch's own tool.
func (i *Instance) Vsctl(args ...string) string {
	i.t.Helper()
	return i.Run("ovs-vsctl", append([]string{"--db=" + i.Endpoint(), "--timeout=30"}, args...)...)
}

func (i *Instance) start(log, name string, args ...string) *exec.Cmd {
	i.t.Helper()
	cmd := i.command(name, args...)
	f, err := os.OpenFile(i.path(log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		i.t.Fatal(err)
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err = cmd.Start(); err != nil {
		i.t.Fatal(err)
	}
	return cmd
}

func (i *Instance) wait(what string, f func() bool) {
	i.t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			i.t.Fatalf("%s: not within a minute", what)
		}
	}
}

// StartDatabase starts the database server.
func (i *Instance) StartDatabase() {
	i.t.Helper()
	i.db = i.start("ovsdb.log", "ovsdb-server", i.path("conf.db"), "--remote=punix:"+i.path("db.sock"),
		"--remote=db:Open_vSwitch,Open_vSwitch,manager_options", "--private-key=db:Open_vSwitch,SSL,private_key",
		"--certificate=db:Open_vSwitch,SSL,certificate", "--ca-cert=db:Open_vSwitch,SSL,ca_cert", "--unixctl="+i.path("ovsdb.ctl"))
	i.wait("the database answers", func() bool {
		return i.command("ovs-vsctl", "--db="+i.Endpoint(), "--timeout=5", "--no-wait", "show").Run() == nil
	})
}

// StartSwitch starts the switch.
func (i *Instance) StartSwitch() {
	i.t.Helper()
	i.sw = i.start("vswitchd.log", "ip", "netns", "exec", i.Netns, "ovs-vswitchd", i.Endpoint(), "--disable-system", "--unixctl="+i.path("vswitchd.ctl"))
	i.wait("the switch answers", func() bool {
		return i.command("ovs-appctl", "-t", i.path("vswitchd.ctl"), "version").Run() == nil
	})
}

// StopDatabase kills the database server.
func (i *Instance) StopDatabase() { stop(&i.db) }

// StopSwitch kills the switch.
func (i *Instance) StopSwitch() {
	stop(&i.sw)
	_ = os.Remove(i.path("vswitchd.ctl"))
}

func stop(cmd **exec.Cmd) {
	if *cmd != nil {
		_ = (*cmd).Process.Kill()
		_ = (*cmd).Wait()
		*cmd = nil
	}
}

// Dump is what the database says of bridges, ports and interfaces, in a stable order, without
// what counts and what is drawn by lot.
func (i *Instance) Dump() string {
	i.t.Helper()
	var out []string
	for _, args := range [][]string{
		{"--columns=name,datapath_type,external_ids", "list", "Bridge"},
		{"--columns=name,tag,vlan_mode,trunks,protected,external_ids,other_config", "list", "Port"},
		{"--columns=name,type,external_ids,mtu_request", "list", "Interface"},
	} {
		lines := strings.Split(i.Vsctl(append([]string{"-f", "csv"}, args...)...), "\n")
		slices.Sort(lines[1:])
		out = append(out, lines...)
	}
	return strings.Join(out, "\n")
}
