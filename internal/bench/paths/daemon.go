package paths

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"neutrino/internal/netspace"
)

// daemon is a process of a site. It dies with us, however we end.
type daemon struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// start starts one in a namespace. A goroutine of its own stays on the thread that started it until it has ended: the
// kernel kills it when that thread is gone.
func (s *Site) start(namespace, log, name string, args ...string) error {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	defer out.Close()
	d := &daemon{name: name, cmd: exec.Command(name, args...), done: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr, d.cmd.Dir = out, out, "/"
	d.cmd.Env = append(os.Environ(), "OVS_RUNDIR="+filepath.Dir(log), "OVS_LOGDIR="+filepath.Dir(log), "OVS_DBDIR="+filepath.Dir(log))
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := make(chan error, 1)
	go func() {
		defer close(d.done)
		started := false
		failed := netspace.Do(namespace, func() error {
			if failed := d.cmd.Start(); failed != nil {
				return failed
			}
			started = true
			began <- nil
			_ = d.cmd.Wait() // what it has to say is in its log
			return nil
		})
		if !started {
			began <- failed
		}
	}()
	if err = <-began; err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	s.daemons = append(s.daemons, d)
	return nil
}

// stop kills it and waits for its end.
func (d *daemon) stop() {
	_ = d.cmd.Process.Kill()
	<-d.done
}

// ovsPrograms are what a path through Open vSwitch needs.
var ovsPrograms = []string{"ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl"}

// ovsSchema is where Debian, Ubuntu and RHEL have it.
const ovsSchema = "/usr/share/openvswitch/vswitch.ovsschema"

// instance is one Open vSwitch: on a database, in a directory and in a namespace of its own.
type instance struct {
	b        *builder
	side     string
	dir      string
	datapath string
}

// instance starts an Open vSwitch on a side.
func (b *builder) instance(side, datapath string) *instance {
	i := &instance{b: b, side: side, datapath: datapath, dir: filepath.Join(b.site.Dir, b.kind.Key+"-"+side)}
	if b.err != nil {
		return i
	}
	for _, p := range ovsPrograms {
		if _, err := exec.LookPath(p); err != nil {
			b.try("find Open vSwitch (on Debian: apt-get install openvswitch-switch)", fmt.Errorf("%s: %w", p, ErrMissing))
			return i
		}
	}
	if _, err := os.Stat("/sys/module/openvswitch"); datapath == "system" && err != nil {
		b.try("find the kernel's module (modprobe openvswitch)", fmt.Errorf("openvswitch: %w", ErrMissing))
		return i
	}
	b.try("make Open vSwitch's directory", os.MkdirAll(i.dir, 0o700))
	i.run("ovsdb-tool", "create", i.path("conf.db"), ovsSchema)
	i.start("ovsdb-server", i.path("conf.db"), "--remote=punix:"+i.path("db.sock"), "--unixctl="+i.path("ovsdb.ctl"))
	i.await("db.sock")
	i.vsctl("--no-wait", "init")
	args := []string{"unix:" + i.path("db.sock"), "--unixctl=" + i.path("vswitchd.ctl")}
	if datapath == "netdev" {
		args = append(args, "--disable-system")
	}
	i.start("ovs-vswitchd", args...)
	return i
}

func (i *instance) path(name string) string { return filepath.Join(i.dir, name) }

func (i *instance) start(name string, args ...string) {
	if i.b.err == nil {
		i.b.try("start Open vSwitch", i.b.site.start(i.b.ns(i.side), i.path(name+".log"), name, args...))
	}
}

func (i *instance) run(name string, args ...string) {
	if i.b.err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(i.b.ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+i.dir, "OVS_LOGDIR="+i.dir, "OVS_DBDIR="+i.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	i.b.try(name+" "+strings.Join(args, " "), err)
}

// vsctl changes the database, and waits until the switch has carried it out.
func (i *instance) vsctl(args ...string) {
	i.run("ovs-vsctl", append([]string{"--db=unix:" + i.path("db.sock"), "--timeout=20"}, args...)...)
}

// await waits until a socket answers.
func (i *instance) await(name string) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); i.b.err == nil; {
		c, err := net.Dial("unix", i.path(name))
		if err == nil {
			c.Close()
			return
		}
		select {
		case <-tick.C:
		case <-i.b.ctx.Done():
			err = i.b.ctx.Err()
		}
		if i.b.ctx.Err() != nil || time.Now().After(end) {
			i.b.try("wait for Open vSwitch's database", err)
		}
	}
}

// bridge makes a bridge with ports; its forwarding is as a switch does it.
func (i *instance) bridge(name string, ports ...string) {
	args := []string{"add-br", name, "--", "set", "bridge", name, "datapath_type=" + i.datapath}
	for _, p := range ports {
		args = append(args, "--", "add-port", name, p)
	}
	i.vsctl(args...)
}

// ovs joins two machines on one host.
func (b *builder) ovs(datapath string) {
	b.attach()
	b.plain(datapath, "a", "b")
	b.instance("h", datapath).bridge("br0", "pa", "pb")
}

// plain: the userspace datapath takes frames from packet sockets, where checksums have to be right.
func (b *builder) plain(datapath string, sides ...string) {
	for _, side := range sides {
		if datapath == "netdev" {
			b.noOffload(side, "eth0")
		}
	}
}

// ovsVXLAN joins two machines on two hosts through a tunnel. The userspace datapath has the underlay on a bridge of
// its own, by which it finds the way.
func (b *builder) ovsVXLAN(datapath string) {
	b.underlay()
	b.plain(datapath, "a", "b")
	for n, side := range []string{"h1", "h2"} {
		i := b.instance(side, datapath)
		carrier := "wire"
		if datapath == "netdev" {
			carrier = "br-wire"
			i.bridge(carrier, "wire")
			b.up(side, carrier)
		}
		b.address(side, carrier, b.kind.underlay(n+1)+"/24", mtu)
		i.bridge("br0", "port")
		i.vsctl("add-port", "br0", "vx0", "--", "set", "interface", "vx0", "type=vxlan",
			"options:remote_ip="+b.kind.underlay(2-n), fmt.Sprintf("options:key=%d", vni))
	}
}
