package machine

import (
	"slices"
	"strings"
)

// IOMMU is what hands devices to guests safely.
type IOMMU struct {
	Table  string   // the firmware's ACPI table of it: "DMAR" (Intel), "IVRS" (AMD), "IORT" (ARM); "" = none
	ACPI   bool     // the firmware's tables could be listed
	Units  []string // in use by the kernel: "dmar0", "ivhd0", "smmu3.0x..."
	Groups int
}

func (t Tree) iommu() IOMMU {
	m := IOMMU{Units: t.Names("sys/class/iommu"), Groups: len(t.Names("sys/kernel/iommu_groups"))}
	tables := t.Names("sys/firmware/acpi/tables")
	m.ACPI = len(tables) > 0
	for _, name := range []string{"DMAR", "IVRS", "IORT"} {
		if slices.Contains(tables, name) {
			m.Table = name
			break
		}
	}
	return m
}

// Module is a part of the kernel that is loaded, or built in and has parameters.
type Module struct {
	Loaded  bool // by modprobe: it is in /proc/modules
	Version string
	Params  map[string]string // those that could be read
}

func (t Tree) modules() map[string]Module {
	out := map[string]Module{}
	list, _ := t.Text("proc/modules")
	for line := range strings.Lines(list) {
		if words := strings.Fields(line); len(words) > 0 {
			out[words[0]] = Module{Loaded: true}
		}
	}
	for _, name := range t.Names("sys/module") {
		m := out[name]
		m.Version, _ = t.Text("sys/module", name, "version")
		for _, p := range t.Names("sys/module", name, "parameters") {
			if v, ok := t.Text("sys/module", name, "parameters", p); ok {
				if m.Params == nil {
					m.Params = map[string]string{}
				}
				m.Params[p] = v
			}
		}
		if m.Loaded || t.Exists("sys/module", name, "initstate") {
			m.Loaded = true
		}
		out[name] = m
	}
	return out
}
