package tune

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/ethtool"
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

// text reads a small file, its words one blank apart.
func (h *Host) text(parts ...string) (string, bool) {
	b, err := os.ReadFile(h.path(parts...))
	if err != nil {
		return "", false
	}
	return strings.Join(strings.Fields(string(b)), " "), true
}

func (h *Host) number(parts ...string) (int, bool) {
	t, ok := h.text(parts...)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(t)
	return n, err == nil
}

func (h *Host) names(parts ...string) []string {
	entries, err := os.ReadDir(h.path(parts...))
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
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
		for _, name := range h.names("proc/sys/net/ipv4/conf") {
			if v, _ := h.text("proc/sys/net/ipv4/conf", name, "forwarding"); v == "1" && name != "all" {
				f.Forwarders = append(f.Forwarders, name)
			}
		}
	}
	devices, err := h.devices(names)
	if err != nil {
		return nil, err
	}
	interrupts, err := os.ReadFile(h.path("proc/interrupts"))
	if err != nil {
		return nil, fmt.Errorf("read the interrupts: %w", err)
	}
	handlers := parseInterrupts(string(interrupts))
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

// cpus reads which CPUs there are and where.
func (h *Host) cpus(f *Facts) error {
	const dir = "sys/devices/system/cpu"
	text, ok := h.text(dir, "online")
	if !ok {
		return fmt.Errorf("read which CPUs are online: %s is not there", h.path(dir, "online"))
	}
	online, err := parseCPUs(text)
	if err != nil {
		return fmt.Errorf("read %s: %w", h.path(dir, "online"), err)
	}
	isolated := h.cpuList(dir, "isolated")
	node := map[int]int{}
	for _, name := range h.names("sys/devices/system/node") {
		digits, isNode := strings.CutPrefix(name, "node")
		n, aerr := strconv.Atoi(digits)
		if !isNode || aerr != nil {
			continue
		}
		for _, c := range h.cpuList("sys/devices/system/node", name, "cpulist") {
			node[c] = n
		}
	}
	for _, c := range online {
		x := CPU{Number: c, Node: node[c], Core: c, Isolated: slices.Contains(isolated, c)}
		at := fmt.Sprintf("cpu%d/topology", c)
		if n, has := h.number(dir, at, "core_id"); has {
			x.Core = n
		}
		x.Package, _ = h.number(dir, at, "physical_package_id")
		f.CPUs = append(f.CPUs, x)
	}
	return nil
}

func (h *Host) cpuList(parts ...string) []int {
	t, _ := h.text(parts...)
	out, err := parseCPUs(t)
	if err != nil {
		return nil
	}
	return out
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
