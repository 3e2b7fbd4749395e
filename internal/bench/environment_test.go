package bench

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLookReadsATree(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"proc/cpuinfo":                                         "processor : 0\nmodel name : A CPU\ncpu MHz : 1000.0\n\nprocessor : 1\nmodel name : A CPU\ncpu MHz : 3000.0\n",
		"proc/sys/kernel/osrelease":                            "6.1.0\n",
		"proc/cmdline":                                         "quiet intel_iommu=on\n",
		"etc/os-release":                                       "ID=debian\nPRETTY_NAME=\"Debian 13\"\n",
		"sys/devices/system/cpu/online":                        "0-1\n",
		"sys/class/net/eth6/mtu":                               "9000\n",
		"sys/class/net/eth6/speed":                             "10000\n",
		"sys/class/net/eth6/queues/rx-0/x":                     "",
		"sys/class/net/eth6/device/numa_node":                  "1\n",
		"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
		"proc/sys/net/ipv4/tcp_congestion_control":             "bbr\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := Look(root, "eth6")
	node := 1
	want := Environment{
		OS: "Debian 13", Kernel: "6.1.0", CommandLine: "quiet intel_iommu=on", CPU: "A CPU", CPUs: 2, Governor: "performance", Congestion: "bbr",
		NIC: &NIC{Name: "eth6", MTU: 9000, Speed: 10000, Queues: 1, Node: &node},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if mhz := Clock(root); mhz != 2000 {
		t.Error(mhz)
	}
}

func TestLookReadsThisMachine(t *testing.T) {
	e := Look("", "lo")
	if e.Kernel == "" || e.CPUs == 0 || e.Host == "" || e.NIC == nil || e.NIC.MTU == 0 {
		t.Errorf("%+v %+v", e, e.NIC)
	}
	if Look(t.TempDir(), "lo") != (Environment{}) {
		t.Error("something of nothing")
	}
}
