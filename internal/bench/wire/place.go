package wire

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"neutrino/internal/machine"
)

// ErrNoNode: the NIC of an address is on no NUMA node that the machine tells of.
var ErrNoNode = errors.New("NUMA node not known")

// Link names the interface of this host that has an address.
func Link(local netip.Addr) (string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("list interfaces: %w", err)
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Unmap() == local.Unmap().WithZone("") {
				return i.Name, nil
			}
		}
	}
	return "", fmt.Errorf("find the interface with %s: no such address here", local)
}

// NodeCPUs are the processors of the node of the NIC that has an address. On a machine of one node they
// are all; a NIC that says no node (virtual ones do) is ErrNoNode.
func NodeCPUs(root string, local netip.Addr) (machine.CPUList, error) {
	name, err := Link(local)
	if err != nil {
		return nil, err
	}
	return nodeCPUs(machine.Tree(root), name)
}

func nodeCPUs(t machine.Tree, name string) (machine.CPUList, error) {
	nodes := "sys/devices/system/node"
	online := t.List("sys/devices/system/cpu", "online")
	node, ok := nodeOf(t, name)
	switch {
	case ok:
		cpus := t.List(nodes, fmt.Sprintf("node%d", node), "cpulist").And(online)
		if len(cpus) == 0 {
			return nil, fmt.Errorf("processors of node %d, where %s is: %w", node, name, ErrNoNode)
		}
		return cpus, nil
	case !t.Exists(nodes, "node1"):
		return online, nil
	}
	return nil, fmt.Errorf("%s does not say where it is, and there is more than one node: %w; choose processors with --cpu", name, ErrNoNode)
}

// nodeOf is the node of a NIC, or of what a VLAN, bond or bridge is on: its first port that has one.
func nodeOf(t machine.Tree, name string) (int, bool) {
	if node, ok := t.Number("sys/class/net", name, "device/numa_node"); ok {
		return node, node >= 0
	}
	for _, n := range t.Names("sys/class/net", name) {
		lower, is := strings.CutPrefix(n, "lower_")
		if !is {
			continue
		}
		if node, ok := t.Number("sys/class/net", lower, "device/numa_node"); ok && node >= 0 {
			return node, true
		}
	}
	return -1, false
}
