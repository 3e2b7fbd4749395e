package machine

import (
	"fmt"
	"os"

	"neutrino/internal/pci"
)

// Machine is what was read.
type Machine struct {
	Tree    Tree
	OS      OS
	Kernel  Kernel
	CPU     CPU
	Nodes   []Node
	Memory  Memory
	IOMMU   IOMMU
	Modules map[string]Module
	NICs    []NIC // by PCI address
	Boot    Boot
	KVM     bool   // /dev/kvm is there
	Product string // what the firmware calls the machine: "QEMU Standard PC (Q35 + ICH9, 2009)"
}

// Read looks at the machine whose sys and proc are below root; "" = "/".
func Read(root string) (Machine, error) {
	t := Tree(root)
	if _, err := os.Stat(t.Path("sys")); err != nil {
		return Machine{}, fmt.Errorf("read the machine: is sysfs mounted? %w", err)
	}
	m := Machine{
		Tree: t, OS: t.os(), Kernel: t.kernel(), CPU: t.cpu(), Nodes: t.nodes(), Memory: t.memory(),
		IOMMU: t.iommu(), Modules: t.modules(), NICs: t.nics(&pci.Sys{Root: root}),
	}
	m.Boot, m.KVM = t.boot(m.OS), t.Exists("dev/kvm")
	vendor, _ := t.Text("sys/class/dmi/id/sys_vendor")
	product, _ := t.Text("sys/class/dmi/id/product_name")
	if m.Product = vendor; product != "" {
		m.Product += " " + product
	}
	return m, nil
}

// NIC finds a network controller by the name of one of its netdevs or by its PCI address.
func (m Machine) NIC(name string) (NIC, bool) {
	for _, n := range m.NICs {
		if n.Slot == name {
			return n, true
		}
		for _, i := range n.Interfaces {
			if i.Name == name {
				return n, true
			}
		}
	}
	return NIC{}, false
}

// Node finds a NUMA node.
func (m Machine) Node(id int) (Node, bool) {
	for _, n := range m.Nodes {
		if n.ID == id {
			return n, true
		}
	}
	return Node{}, false
}

// Param is a parameter of a module; ok is false where it is not loaded, has no such
// parameter, or it must not be read.
func (m Machine) Param(module, name string) (value string, ok bool) {
	value, ok = m.Modules[module].Params[name]
	return value, ok
}

// Loaded reports whether a module can be used: it is loaded, or built in with a
// directory of its own in sysfs.
func (m Machine) Loaded(module string) bool {
	_, ok := m.Modules[module]
	return ok
}
