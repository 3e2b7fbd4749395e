package bench

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"neutrino/internal/machine"
)

// Environment is the machine that something was measured on. What is not known is left empty.
type Environment struct {
	Host        string `json:"host,omitempty"`
	OS          string `json:"os,omitempty"`
	Kernel      string `json:"kernel,omitempty"`
	CommandLine string `json:"command_line,omitempty"` // the kernel's
	CPU         string `json:"cpu,omitempty"`
	CPUs        int    `json:"cpus,omitempty"`
	Nodes       int    `json:"numa_nodes,omitempty"`
	Governor    string `json:"governor,omitempty"`
	Virtual     bool   `json:"virtual,omitempty"` // a guest of some hypervisor
	Product     string `json:"product,omitempty"` // what the firmware calls the machine
	// The tuning profile in force (`neutrino tune`).
	Profile    string `json:"tuning_profile,omitempty"`
	Congestion string `json:"congestion_control,omitempty"` // of TCP
	Neutrino   string `json:"neutrino,omitempty"`           // version
	NIC        *NIC   `json:"nic,omitempty"`
}

// NIC is the interface that was measured through.
type NIC struct {
	Name     string `json:"name"`
	Driver   string `json:"driver,omitempty"`
	Version  string `json:"driver_version,omitempty"`
	Firmware string `json:"firmware,omitempty"`
	Slot     string `json:"pci_slot,omitempty"`
	VF       bool   `json:"vf,omitempty"`
	Node     *int   `json:"numa_node,omitempty"`
	MTU      int    `json:"mtu,omitempty"`
	Speed    int    `json:"speed_mbit,omitempty"`
	Queues   int    `json:"queues,omitempty"` // receive queues
}

// Look reads the machine below root ("" = this one) and, unless it is "", the interface. The tuning profile and our
// version are the caller's to say.
func Look(root, link string) Environment {
	m, err := machine.Read(root)
	if err != nil {
		return Environment{}
	}
	e := Environment{
		OS: m.OS.Name, Kernel: m.Kernel.Release, CommandLine: m.Kernel.Line, CPU: m.CPU.Model, CPUs: len(m.CPU.Online),
		Nodes: len(m.Nodes), Virtual: m.CPU.Hypervisor, Product: strings.TrimSpace(m.Product),
	}
	if m.Tree.Live() {
		e.Host, _ = os.Hostname()
	}
	e.Governor, _ = m.Tree.Text("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
	e.Congestion, _ = m.Tree.Text("proc/sys/net/ipv4/tcp_congestion_control")
	if link != "" {
		e.NIC = look(m, link)
	}
	return e
}

func look(m machine.Machine, link string) *NIC {
	i := m.Tree.Interface(link)
	n := &NIC{Name: link, MTU: i.MTU, Speed: i.Speed, Queues: i.RX}
	if card, ok := m.NIC(link); ok {
		n.Slot, n.VF = card.Slot, card.VF()
	}
	if node, ok := m.Tree.Number("sys/class/net", link, "device/numa_node"); ok && node >= 0 {
		n.Node = &node
	}
	if m.Tree.Live() {
		n.ask()
	}
	return n
}

// ask lets the driver say who it is.
func (n *NIC) ask() {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }()
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, n.Name)
	if err != nil {
		return
	}
	said := func(b []byte) string {
		s := strings.TrimSpace(unix.ByteSliceToString(b))
		if s == "N/A" {
			return ""
		}
		return s
	}
	n.Driver, n.Version, n.Firmware = said(info.Driver[:]), said(info.Version[:]), said(info.Fw_version[:])
}

// Clock is the mean clock of processors in MHz, now; 0 = not known.
func Clock(root string) float64 {
	t := machine.Tree(root)
	var sum float64
	n := 0
	for _, cpu := range t.List("sys/devices/system/cpu", "online") {
		if khz, ok := t.Number("sys/devices/system/cpu/cpu"+strconv.Itoa(cpu), "cpufreq/scaling_cur_freq"); ok && khz > 0 {
			sum, n = sum+float64(khz)/1000, n+1
		}
	}
	if n > 0 {
		return sum / float64(n)
	}
	info, _ := t.Text("proc/cpuinfo") // a guest has no cpufreq
	for line := range strings.Lines(info) {
		key, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(key) != "cpu MHz" {
			continue
		}
		if f, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil && sound(f) {
			sum, n = sum+f, n+1
		}
	}
	if n == 0 {
		return 0
	}
	return sum / float64(n)
}
