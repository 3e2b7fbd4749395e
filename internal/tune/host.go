package tune

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"neutrino/internal/ethtool"
	"neutrino/internal/machine"
	"neutrino/internal/pci"
)

// Ethtool reads and sets settings of network devices; ethtool.Conn does.
type Ethtool interface {
	Read(name string) (ethtool.Settings, error)
	Set(name string, want map[ethtool.Key]uint32) error
}

// Host is the machine that is tuned.
type Host struct {
	Root string // where sys, proc and the records are; "" = "/"
	Sys  *pci.Sys
	// Dir is where the record is; "" = DefaultDir below Root.
	Dir string
	// Ethtool is nil where there are no real devices: then there are no such settings.
	Ethtool Ethtool
	// EvenManagement lets the link of the NIC be cut over which the host is reached.
	EvenManagement bool

	patience time.Duration // how long another that tunes is waited for; 0 = 3 s

	lenient bool // NICs that are named and not there are left out
}

// New is the machine below root; with root "" or "/" the running one. Close ends it.
func New(root string) (*Host, error) {
	h := &Host{Root: root, Sys: &pci.Sys{Root: root}}
	if h.live() {
		c, err := ethtool.Dial()
		if err != nil {
			return nil, err
		}
		h.Ethtool = c
	}
	return h, nil
}

// Close ends what New opened.
func (h *Host) Close() error {
	if c, ok := h.Ethtool.(*ethtool.Conn); ok {
		return c.Close()
	}
	return nil
}

func (h *Host) live() bool { return filepath.Clean("/"+h.Root) == "/" }

// path of a file below the root.
func (h *Host) path(parts ...string) string {
	root := h.Root
	if root == "" {
		root = "/"
	}
	return filepath.Join(append([]string{root}, parts...)...)
}

// tree is where it is read.
func (h *Host) tree() machine.Tree { return machine.Tree(h.Root) }

// text reads a small file, its words one blank apart.
func (h *Host) text(parts ...string) (string, bool) {
	t, ok := h.tree().Text(parts...)
	return strings.Join(strings.Fields(t), " "), ok
}

// hostFiles are those that rules for the whole machine read.
var hostFiles = []string{
	power + "enabled", power + "defrag", forwardFile, redirectFile,
	sysctl + "kernel/numa_balancing", sysctl + "kernel/nmi_watchdog", sysctl + "vm/stat_interval",
	sysctl + "net/core/netdev_max_backlog", sysctl + "net/core/netdev_budget", sysctl + "net/core/rmem_max", sysctl + "net/core/wmem_max",
	sysctl + "net/ipv4/tcp_rmem", sysctl + "net/ipv4/tcp_wmem", sysctl + "net/core/busy_poll", sysctl + "net/core/busy_read",
}

// cpuFiles are those of each CPU.
var cpuFiles = []string{
	"cpufreq/scaling_governor", "cpufreq/scaling_available_governors", "cpufreq/energy_performance_preference",
	"cpufreq/energy_performance_available_preferences", "power/pm_qos_resume_latency_us",
}

// Facts reads the machine. names are the NICs to tune, by the name of a network device
// or by PCI slot; none = all that have a device behind them, VFs with their PF.
//
// Errors: ErrNoNIC, and what cannot be read at all.
func (h *Host) Facts(names []string) (*Facts, error) {
	f := &Facts{Container: h.container(), Files: map[string]string{}}
	if err := h.cpus(f); err != nil {
		return nil, err
	}
	for _, p := range hostFiles {
		h.file(f, p)
	}
	for _, c := range f.CPUs {
		for _, name := range cpuFiles {
			h.file(f, cpuFile(c.Number, name))
		}
	}
	if f.Files[forwardFile] == "0" {
		for _, name := range h.tree().Names("proc/sys/net/ipv4/conf") {
			if v, _ := h.text("proc/sys/net/ipv4/conf", name, "forwarding"); v == "1" && name != "all" {
				f.Forwarders = append(f.Forwarders, name)
			}
		}
	}
	devices, err := h.devices(names)
	if err != nil {
		return nil, err
	}
	handlers := h.handlers()
	for _, name := range devices {
		n, nerr := h.nic(f, name, handlers)
		if nerr != nil {
			return nil, nerr
		}
		f.NICs = append(f.NICs, n)
	}
	f.Irqbalance = h.irqbalance()
	return f, nil
}

func (h *Host) file(f *Facts, path string) {
	if t, ok := h.text(path); ok {
		f.Files[path] = t
	}
}

// handlers are the names of the handlers of each interrupt.
func (h *Host) handlers() map[int]string {
	out := map[int]string{}
	all, _ := h.tree().Interrupts()
	for _, i := range all {
		if i.Name != "" {
			out[i.IRQ] = i.Name
		}
	}
	return out
}

// cpus reads which CPUs there are and where.
func (h *Host) cpus(f *Facts) error {
	m, err := machine.Read(h.Root)
	if err != nil {
		return err
	}
	if len(m.CPU.Online) == 0 {
		return fmt.Errorf("read which CPUs are online: %s names none", h.path("sys/devices/system/cpu/online"))
	}
	for _, n := range m.CPU.Online {
		f.CPUs = append(f.CPUs, CPU{Number: n, Core: n, Isolated: m.CPU.Isolated.Has(n)})
	}
	for i := range f.CPUs {
		for _, c := range m.CPU.Cores {
			if c.CPU == f.CPUs[i].Number {
				f.CPUs[i].Node, f.CPUs[i].Package, f.CPUs[i].Core = max(c.Node, 0), c.Package, c.Core
			}
		}
	}
	return nil
}

// The initial namespaces have fixed numbers (include/uapi/linux/nsfs.h).
const (
	initialPID  = "pid:[4026531836]"
	initialUser = "user:[4026531837]"
)

// container says in which kind of container this process runs; "" = in none. A file left
// behind in an image does not make one: who is in the initial namespaces is on the
// machine itself. Where the namespaces do not tell, the container's manager does, as
// systemd-detect-virt(1) asks.
func (h *Host) container() string {
	pid, err := os.Readlink(h.path("proc/self/ns/pid"))
	user, uerr := os.Readlink(h.path("proc/self/ns/user"))
	known := err == nil && uerr == nil
	if known && pid == initialPID && user == initialUser {
		return ""
	}
	if kind := h.containerKind(); kind != "" || !known {
		return kind
	}
	return "other namespaces than the machine's"
}

func (h *Host) containerKind() string {
	if t, ok := h.text("run/systemd/container"); ok && t != "" {
		return t
	}
	for file, kind := range map[string]string{".dockerenv": "docker", "run/.containerenv": "podman"} {
		if _, err := os.Stat(h.path(file)); err == nil {
			return kind
		}
	}
	env, err := os.ReadFile(h.path("proc/1/environ"))
	if err != nil {
		return ""
	}
	for v := range strings.SplitSeq(string(env), "\x00") {
		if kind, ok := strings.CutPrefix(v, "container="); ok && kind != "" {
			return kind
		}
	}
	return ""
}
