package wire

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"neutrino/internal/machine"
)

// tree is a sysfs of two nodes.
func tree(t *testing.T, files map[string]string) machine.Tree {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, "sys", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return machine.Tree(root)
}

func TestNodeOfTheNIC(t *testing.T) {
	two := tree(t, map[string]string{
		"devices/system/cpu/online":         "0-6",
		"devices/system/node/node0/cpulist": "0-3",
		"devices/system/node/node1/cpulist": "4-7",
		"class/net/eth0/device/numa_node":   "1",
		"class/net/eth1/device/numa_node":   "-1",
		"class/net/eth2/mtu":                "1500",
		"class/net/bond0/lower_eth0/mtu":    "1500",
		"class/net/bond1/lower_eth2/mtu":    "1500",
	})
	for name, want := range map[string]string{"eth0": "4-6", "bond0": "4-6", "eth1": "", "eth2": "", "bond1": ""} {
		got, err := nodeCPUs(two, name)
		if got.String() != want || (want == "") != errors.Is(err, ErrNoNode) {
			t.Errorf("%s: processors %s, %v; want %q", name, got, err, want)
		}
	}
	one := tree(t, map[string]string{
		"devices/system/cpu/online":         "0-1",
		"devices/system/node/node0/cpulist": "0-1",
		"class/net/veth0/mtu":               "1500",
	})
	if got, err := nodeCPUs(one, "veth0"); err != nil || got.String() != "0-1" {
		t.Errorf("one node: processors %s, %v", got, err)
	}
}

func TestLinkOfAnAddress(t *testing.T) {
	if name, err := Link(netip.MustParseAddr("127.0.0.1")); err != nil || name != "lo" {
		t.Errorf("127.0.0.1 is on %q, %v", name, err)
	}
	if name, err := Link(netip.MustParseAddr("203.0.113.9")); err == nil {
		t.Errorf("an address of nobody is on %q", name)
	}
}
