package libvirt_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"neutrino/internal/libvirt"
)

const (
	// initEnv makes the test binary the first process of namespaces of its own.
	initEnv = "NEUTRINO_LIBVIRT_TEST_INIT"
	// linksEnv has it make netdevs there.
	linksEnv = "NEUTRINO_LIBVIRT_TEST_LINKS"
)

// hidden are the directories of the machine's own libvirt.
var hidden = []string{"/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/run/libvirt"}

const qemuConf = `user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
`

const daemonConf = `unix_sock_dir = "%[1]s"
auth_unix_rw = "none"
auth_unix_ro = "none"
log_outputs = "3:file:%[1]s/libvirtd.log"
`

// daemon is a real libvirtd in mount, PID and network namespaces of its own: when its
// first process ends, so do libvirtd and all its QEMUs.
type daemon struct {
	dir string
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// shared is started by the first test that needs it.
var shared sharedDaemon

type sharedDaemon struct {
	once sync.Once
	d    *daemon
	err  error
}

func (s *sharedDaemon) stop() {
	if s.d != nil {
		s.d.stop()
	}
}

// needs skips where the machine lacks something.
func needs(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: libvirtd runs in namespaces of its own")
	}
	for _, p := range []string{"libvirtd", "qemu-system-x86_64"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%v: apt-get install libvirt-daemon-system libvirt-daemon-driver-qemu qemu-system-x86", err)
		}
	}
}

// system returns the shared daemon.
func system(t testing.TB) *daemon {
	t.Helper()
	needs(t)
	shared.once.Do(func() {
		dir, err := os.MkdirTemp("", "nlv")
		if err != nil {
			shared.err = err
			return
		}
		shared.d, shared.err = start(dir, unix.CLONE_NEWNET)
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.d
}

// start starts a daemon with its files below dir. Without CLONE_NEWNET among the
// namespaces it sees the machine's NICs.
func start(dir string, namespaces uintptr) (*daemon, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	d := &daemon{dir: dir, cmd: exec.Command(self)}
	d.cmd.Env = append(os.Environ(), initEnv+"="+dir)
	if namespaces&unix.CLONE_NEWNET != 0 {
		d.cmd.Env = append(d.cmd.Env, linksEnv+"=4")
	}
	d.cmd.Stderr = os.Stderr
	d.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | namespaces,
	}
	if d.in, err = d.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	d.out = bufio.NewScanner(out)
	if err = d.cmd.Start(); err != nil {
		return nil, err
	}
	return d, d.do("start")
}

// do has the first process do something, and waits for it.
func (d *daemon) do(what string) error {
	if _, err := fmt.Fprintln(d.in, what); err != nil {
		return err
	}
	if !d.out.Scan() {
		return fmt.Errorf("%s: the namespaces' first process has ended", what)
	}
	if s := d.out.Text(); s != "ok" {
		return errors.New(s)
	}
	return nil
}

func (d *daemon) stop() {
	_ = d.in.Close()
	_ = d.cmd.Wait()
	_ = os.RemoveAll(d.dir)
}

func (d *daemon) uri() string {
	return "qemu+unix:///system?socket=" + filepath.Join(d.dir, "libvirt-sock")
}

// log is what libvirtd has written of late.
func (d *daemon) log() string {
	b, _ := os.ReadFile(filepath.Join(d.dir, "libvirtd.log"))
	return string(b[max(0, len(b)-4000):])
}

func client(t testing.TB, d *daemon) *libvirt.Client {
	t.Helper()
	c, err := libvirt.Dial(within(t, patient), d.uri())
	if err != nil {
		t.Fatalf("%v\n%s", err, d.log())
	}
	return c
}

// patient is how long is waited for what has to come: nothing is judged by how long it takes
// on a busy machine.
const patient = 3 * time.Minute

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// nsinit is the first process of the namespaces.
type nsinit struct {
	dir    string
	daemon int           // its PID
	gone   chan struct{} // closed when it has ended
}

func runInit(dir string) error {
	n := &nsinit{dir: dir}
	if err := n.mounts(); err != nil {
		return err
	}
	if os.Getenv(linksEnv) != "" {
		if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil { // of this network namespace
			return err
		}
		if err := links(); err != nil {
			return err
		}
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if err := n.do(in.Text()); err != nil {
			fmt.Println(strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		fmt.Println("ok")
	}
	return nil // the test has ended or died, and the kernel ends everything else here
}

func (n *nsinit) mounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	for _, h := range hidden {
		own := filepath.Join(n.dir, h)
		if err := os.MkdirAll(own, 0o755); err != nil {
			return err
		}
		if err := os.MkdirAll(h, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(own, h, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s over %s: %w", own, h, err)
		}
	}
	if err := os.WriteFile("/etc/libvirt/qemu.conf", []byte(qemuConf), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(n.dir, "conf"), fmt.Appendf(nil, daemonConf, n.dir), 0o644)
}

// links makes netdevs that stand for VFs: ends of veths.
func links() error {
	for i := range 4 {
		v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("vf%d", i)}, PeerName: fmt.Sprintf("sw%d", i)}
		if err := netlink.LinkAdd(v); err != nil {
			return fmt.Errorf("make veth vf%d: %w", i, err)
		}
		for _, name := range []string{v.Name, v.PeerName} {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			if err = netlink.LinkSetUp(l); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *nsinit) do(what string) error {
	verb, arg, _ := strings.Cut(what, " ")
	switch verb {
	case "start":
		return n.start()
	case "kill": // libvirtd, not its QEMUs
		if err := syscall.Kill(n.daemon, syscall.SIGKILL); err != nil {
			return err
		}
		<-n.gone
		return nil
	case "crash": // the QEMU of a domain
		b, err := os.ReadFile("/run/libvirt/qemu/" + arg + ".pid")
		if err != nil {
			return err
		}
		var pid int
		if _, err = fmt.Sscan(string(b), &pid); err != nil {
			return err
		}
		return syscall.Kill(pid, syscall.SIGKILL)
	case "macvtaps": // whether there are none
		all, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range all {
			if l.Type() == "macvtap" {
				return fmt.Errorf("there is %s", l.Attrs().Name)
			}
		}
		return nil
	default:
		return fmt.Errorf("%q is not known", what)
	}
}

// start starts libvirtd and waits until it listens; every orphan is reaped, as QEMUs
// are.
func (n *nsinit) start() error {
	sock := filepath.Join(n.dir, "libvirt-sock")
	_ = os.Remove(sock)
	path, err := exec.LookPath("libvirtd")
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	p, err := os.StartProcess(path, []string{"libvirtd", "-f", filepath.Join(n.dir, "conf"), "-p", filepath.Join(n.dir, "pid")},
		&os.ProcAttr{Files: []*os.File{null, null, os.Stderr}, Env: append(os.Environ(), initEnv+"=")})
	if err != nil {
		return err
	}
	n.daemon, n.gone = p.Pid, make(chan struct{})
	go n.reaper(p.Pid, n.gone)
	for end := time.Now().Add(patient); time.Now().Before(end); {
		if _, err = os.Stat(sock); err == nil {
			return nil
		}
		select {
		case <-n.gone:
			return errors.New("libvirtd ended at once")
		case <-time.After(50 * time.Millisecond): // for its socket: another process's doing
		}
	}
	return errors.New("libvirtd does not listen")
}

// reaper waits for every child until libvirtd has ended.
func (n *nsinit) reaper(daemon int, gone chan<- struct{}) {
	for {
		pid, err := syscall.Wait4(-1, nil, 0, nil)
		if pid == daemon || errors.Is(err, syscall.ECHILD) {
			close(gone)
			return
		}
	}
}
