package tune

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"neutrino/internal/ethtool"
	"neutrino/internal/pci/pcitest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// files writes small files below a root.
func files(t testing.TB, root string, content map[string]string) {
	t.Helper()
	for name, text := range content {
		path := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text+"\n"), 0o644))
	}
}

// fakeNIC is a driver's settings in memory.
type fakeNIC map[string]ethtool.Settings

func (f fakeNIC) Read(name string) (ethtool.Settings, error) {
	out := ethtool.Settings{}
	for k, v := range f[name] {
		out[k] = v
	}
	return out, nil
}

func (f fakeNIC) Set(name string, want map[ethtool.Key]uint32) error {
	for k, v := range want {
		s, ok := f[name][k]
		if !ok || s.Fixed || s.Max != 0 && v > s.Max {
			return fmt.Errorf("set %s: %w", k, ethtool.ErrUnsupported)
		}
		s.Value = v
		if k == "coalesce rx-usecs" && v == 0 {
			s.Value = 1 // as igbvf does
		}
		f[name][k] = s
		if s.Value != v {
			return fmt.Errorf("set %s: %w", k, ethtool.ErrNotTaken)
		}
	}
	return nil
}

// small is a machine of two sockets with four threads each and an igb on the first.
func small(t testing.TB) *Host {
	t.Helper()
	card := pcitest.IGB()
	card.VFs, card.NUMA = 2, 1
	tree := pcitest.New(t, card)
	root := tree.Root
	content := map[string]string{
		"proc/sys/kernel/random/boot_id":               "boot-1",
		"sys/devices/system/cpu/online":                "0-7",
		"sys/devices/system/cpu/isolated":              "",
		"sys/kernel/mm/transparent_hugepage/enabled":   "[always] madvise never",
		"sys/kernel/mm/transparent_hugepage/defrag":    "always defer defer+madvise [madvise] never",
		"proc/sys/kernel/numa_balancing":               "1",
		"proc/sys/kernel/nmi_watchdog":                 "1",
		"proc/sys/vm/stat_interval":                    "1",
		"proc/sys/net/core/netdev_max_backlog":         "1000",
		"proc/sys/net/core/netdev_budget":              "300",
		"proc/sys/net/core/rmem_max":                   "212992",
		"proc/sys/net/core/wmem_max":                   "212992",
		"proc/sys/net/ipv4/tcp_rmem":                   "4096\t131072\t6291456",
		"proc/sys/net/ipv4/tcp_wmem":                   "4096\t16384\t4194304",
		"proc/sys/net/core/busy_poll":                  "0",
		"proc/sys/net/core/busy_read":                  "0",
		"proc/sys/net/ipv4/ip_forward":                 "0",
		"proc/sys/net/ipv4/conf/all/accept_redirects":  "1",
		"proc/sys/net/ipv4/conf/ens3f0/forwarding":     "0",
		"sys/class/net/ens3f0/ifindex":                 "3",
		"sys/class/net/ens3f0/flags":                   "0x1003",
		"sys/class/net/ens3f0/carrier_changes":         "2",
		"sys/class/net/ens3f0/queues/rx-0/rps_cpus":    "00",
		"sys/class/net/ens3f0/queues/rx-1/rps_cpus":    "00",
		"sys/class/net/ens3f0/queues/tx-0/xps_cpus":    "00",
		"sys/class/net/ens3f0/queues/tx-1/xps_cpus":    "00",
		"proc/interrupts":                              interrupts,
		"sys/bus/pci/devices/0000:03:00.0/msi_irqs/34": "msix",
		"sys/bus/pci/devices/0000:03:00.0/msi_irqs/35": "msix",
		"sys/bus/pci/devices/0000:03:00.0/msi_irqs/36": "msix",
		"sys/bus/pci/devices/0000:03:10.0/msi_irqs/40": "msix",
		"sys/bus/pci/devices/0000:03:00.0/numa_node":   "1",
	}
	for cpu := range 8 {
		dir := fmt.Sprintf("sys/devices/system/cpu/cpu%d/", cpu)
		content[fmt.Sprintf("%snode%d/online", dir, cpu/2%2)] = "1"
		content[dir+"topology/core_id"] = fmt.Sprint(cpu % 2)
		content[dir+"topology/physical_package_id"] = fmt.Sprint(cpu / 2 % 2)
		content[dir+"cpufreq/scaling_governor"] = "powersave"
		content[dir+"cpufreq/scaling_available_governors"] = "performance powersave"
		content[dir+"cpufreq/energy_performance_preference"] = "balance_performance"
		content[dir+"cpufreq/energy_performance_available_preferences"] = "default performance balance_performance balance_power power"
		content[dir+"power/pm_qos_resume_latency_us"] = "0"
	}
	for irq := 34; irq <= 40; irq++ {
		content[irqFile(irq)] = "0-7"
	}
	files(t, root, content)
	return &Host{Root: root, Sys: tree.Sys, Ethtool: fakeNIC{"ens3f0": {
		"channels combined": {Value: 2, Max: 8}, "rings rx": {Value: 256, Max: 4096}, "rings tx": {Value: 256, Max: 4096},
		"coalesce rx-usecs": {Value: 3}, "coalesce tx-usecs": {Value: 3}, "coalesce adaptive-rx": {Value: 0},
		"pause autoneg": {Value: 1}, "pause rx": {Value: 1}, "pause tx": {Value: 0},
		"feature rx-gro": {Value: 1}, "feature rx-lro": {Fixed: true}, "feature tx-nocache-copy": {Value: 0},
	}}}
}

const interrupts = `           CPU0       CPU1       CPU2       CPU3       CPU4       CPU5       CPU6       CPU7
  8:          0          0          0          0          0          0          0          0  IR-IO-APIC    8-edge      rtc0
 34:          1          0          0          0          0          0          0          0  IR-PCI-MSIX-0000:03:00.0    0-edge      ens3f0
 35:         10          0          0          0          0          0          0          0  IR-PCI-MSIX-0000:03:00.0    1-edge      ens3f0-TxRx-0
 36:         10          0          0          0          0          0          0          0  IR-PCI-MSIX-0000:03:00.0    2-edge      ens3f0-TxRx-1
 40:         10          0          0          0          0          0          0          0  IR-PCI-MSIX-0000:03:10.0    0-edge      vfio-msix[0](0000:03:10.0)
NMI:          0          0          0          0          0          0          0          0   Non-maskable interrupts
`

// state is every file below a root, and every setting of its devices.
func state(t testing.TB, h *Host) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(h.Root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(h.Root, path)
		if d.IsDir() {
			if !strings.HasPrefix(rel, "run") && !strings.HasPrefix(rel, "var") {
				out[rel] = "dir"
			}
			return nil
		}
		if strings.HasPrefix(rel, "run/") || strings.HasPrefix(rel, "var/") || d.Type()&os.ModeSymlink != 0 {
			return nil
		}
		b, rerr := os.ReadFile(path)
		out[rel] = strings.Join(strings.Fields(string(b)), " ")
		return rerr
	}))
	if f, ok := h.Ethtool.(fakeNIC); ok {
		for name, all := range f {
			for k, s := range all {
				out[name+" "+string(k)] = fmt.Sprint(s.Value)
			}
		}
	}
	return out
}
