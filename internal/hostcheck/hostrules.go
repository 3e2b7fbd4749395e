package hostcheck

import (
	"fmt"
	"strconv"
	"strings"
)

func cpuVirt(f *Facts) []verdict {
	m := &f.Machine
	// Only x86 has a flag for it.
	x86 := m.CPU.Vendor == "" || strings.HasPrefix(m.CPU.Vendor, "Genuine") || strings.HasPrefix(m.CPU.Vendor, "Authentic") || strings.HasPrefix(m.CPU.Vendor, "Hygon")
	what := "this CPU"
	if m.CPU.Model != "" {
		what = m.CPU.Model
	}
	switch {
	case m.CPU.Virt == "" && x86 && !m.KVM && m.CPU.Hypervisor:
		return fail("let the hypervisor pass virtualization on: cpu host-passthrough, and nested=1 of its kvm_intel or kvm_amd",
			"%s shows neither vmx nor svm: this machine is a guest without nested virtualization", what)
	case m.CPU.Virt == "" && x86 && !m.KVM:
		return fail("switch VT-x or SVM on in the BIOS", "%s shows neither vmx nor svm", what)
	case !m.KVM:
		return fail("modprobe "+map[string]string{"svm": "kvm_amd"}[m.CPU.Virt]+map[string]string{"vmx": "kvm_intel"}[m.CPU.Virt],
			"%s, but no /dev/kvm", orNone(m.CPU.Virt))
	case m.CPU.Virt == "":
		return ok("/dev/kvm")
	}
	return ok("%s, /dev/kvm", m.CPU.Virt)
}

func iommuFirmware(f *Facts) []verdict {
	i := &f.Machine.IOMMU
	name := map[string]string{"GenuineIntel": "VT-d", "AuthenticAMD": "AMD-Vi (IOMMU)"}[f.Machine.CPU.Vendor]
	if name == "" {
		name = "the IOMMU"
	}
	switch {
	case i.Table != "":
		return ok("ACPI table %s", i.Table)
	case len(i.Units) > 0:
		return ok("%s, without an ACPI table", list(i.Units))
	case !i.ACPI:
		return unknown("look for DMAR or AMD-Vi in: dmesg", "the firmware's tables cannot be listed (/sys/firmware/acpi/tables)")
	case f.Machine.CPU.Hypervisor:
		return fail("give this virtual machine an IOMMU (libvirt: <iommu model='intel'/>)", "none of the ACPI tables DMAR, IVRS, IORT")
	}
	return fail("switch "+name+" on in the BIOS", "none of the ACPI tables DMAR, IVRS, IORT")
}

// commandOff is a word that switches the IOMMU off.
func commandOff(f *Facts) string {
	// By the table, not by the CPU: virtual machines have any pair.
	others := map[string]string{"DMAR": "amd_iommu", "IVRS": "intel_iommu"}[f.Machine.IOMMU.Table]
	for _, key := range []string{"intel_iommu", "amd_iommu", "iommu"} {
		if key != others && f.Machine.Kernel.Has(key, "off") {
			return key + "=off"
		}
	}
	return ""
}

// offMend takes a word off the kernel's command line that somebody has put there:
// preparing the host does not, and says in which file it is.
func (f *Facts) offMend(off string) string {
	return f.prepareHost() + " --dry-run says which file has " + off + ": take it out there, then prepare and reboot"
}

func iommuEnabled(f *Facts) []verdict {
	i := &f.Machine.IOMMU
	if i.Groups > 0 {
		if len(i.Units) == 0 {
			return ok("%d groups", i.Groups)
		}
		return ok("%d groups, units %s", i.Groups, list(i.Units))
	}
	if off := commandOff(f); off != "" {
		return fail(f.offMend(off), "no IOMMU groups: the kernel was started with %s", off)
	}
	if i.Table == "" && i.ACPI {
		return fail("first see iommu-firmware", "no IOMMU groups")
	}
	if i.Table == "DMAR" {
		return fail(f.bootMend("intel_iommu=on"), "no IOMMU groups, and no intel_iommu=on on the kernel's command line")
	}
	return fail("look for AMD-Vi or SMMU in: dmesg", "no IOMMU groups")
}

func commandLine(f *Facts) []verdict {
	k := &f.Machine.Kernel
	if k.Line == "" {
		return unknown("", "/proc/cmdline cannot be read")
	}
	if off := commandOff(f); off != "" {
		return fail(f.offMend(off), "%s", off)
	}
	if v, _ := k.Arg("iommu.passthrough"); k.Has("iommu", "pt") || v == "1" {
		return ok("iommu=pt")
	}
	if i := &f.Machine.IOMMU; i.ACPI && i.Table == "" && i.Groups == 0 {
		return ok("nothing switches the IOMMU off") // said already: there is none
	}
	for _, n := range f.pfs() {
		if n.GroupType == "identity" {
			return ok("the NICs' groups are passed through (%s: identity)", n.Name())
		}
	}
	return warn(f.bootMend("iommu=pt"), "no iommu=pt")
}

func vfio(f *Facts) []verdict {
	m := &f.Machine
	if !m.Loaded("vfio_pci") {
		return warn(f.prepareHost()+"; or until the next boot: modprobe vfio-pci", "vfio-pci is not loaded")
	}
	if v, _ := m.Param("vfio", "enable_unsafe_noiommu_mode"); v == "Y" {
		return warn("echo N > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "vfio-pci, with enable_unsafe_noiommu_mode: devices are handed out without protection")
	}
	if v, _ := m.Param("vfio_iommu_type1", "allow_unsafe_interrupts"); v == "Y" {
		return warn("switch interrupt remapping (x2APIC, VT-d) on in the BIOS, and take the option away", "vfio-pci, with allow_unsafe_interrupts: a guest can inject interrupts into the host")
	}
	return ok("vfio-pci")
}

func hugepages(f *Facts) []verdict {
	m := &f.Machine
	total, free := 0, 0
	var sizes []string
	for _, h := range m.Memory.Huge {
		total, free = total+h.Total, free+h.Free
		if h.Total > 0 {
			sizes = append(sizes, fmt.Sprintf("%d of %s (%d free)", h.Total, size(h.Size), h.Free))
		}
	}
	if v, _ := m.Kernel.Arg("hugepages"); v != "" {
		if want, err := strconv.Atoi(v); err == nil && want > total {
			return warn("free memory, then: sysctl vm.nr_hugepages="+v+"; or reboot", "the kernel was asked for hugepages=%s and has %d", v, total)
		}
	}
	if total == 0 {
		return ok("none are reserved: guests get ordinary memory (transparent huge pages: %s)", orNone(m.Memory.THP))
	}
	if free == 0 {
		return warn("sysctl vm.nr_hugepages=N with a larger N", "%s", strings.Join(sizes, ", "))
	}
	for _, pf := range f.pfs() {
		node, has := m.Node(pf.NUMANode)
		if !has || !f.wanted(pf) {
			continue
		}
		local := 0
		for _, h := range node.Huge {
			local += h.Total
		}
		if local == 0 {
			return warn(fmt.Sprintf("echo N > /sys/devices/system/node/node%d/hugepages/hugepages-2048kB/nr_hugepages", node.ID),
				"%s, none of them on node %d, where %s is", strings.Join(sizes, ", "), node.ID, pf.Name())
		}
	}
	return ok("%s", strings.Join(sizes, ", "))
}

// size is that of a page, in KiB.
func size(kib int) string {
	if kib >= 1<<20 {
		return fmt.Sprintf("%d GiB", kib>>20)
	}
	return fmt.Sprintf("%d MiB", kib>>10)
}

func libvirt(f *Facts) []verdict {
	l, q := f.Programs["libvirt"], f.Programs["qemu"]
	qemu := "no QEMU"
	if q.Path != "" {
		qemu = strings.TrimSpace("QEMU " + q.Version)
	}
	switch _, runs := f.running("libvirtd.service", "libvirtd.socket", "virtqemud.service", "virtqemud.socket"); {
	case l.Path == "" && q.Path == "":
		return ok("not installed: this host runs no guests of libvirt")
	case l.Path == "":
		return ok("%s, without libvirt", qemu)
	case q.Path == "":
		return warn(f.install("qemu-system-x86", "qemu-kvm"), "libvirt %s, no QEMU", l.Version)
	case !runs:
		return warn("systemctl enable --now libvirtd", "libvirt %s and %s, but libvirtd does not run", l.Version, qemu)
	}
	return ok("%s, %s", strings.TrimSpace("libvirt "+l.Version), qemu)
}

func openVSwitch(f *Facts) []verdict {
	p := f.Programs["openvswitch"]
	if p.Path == "" {
		return ok("not installed")
	}
	s, runs := f.running("openvswitch-switch.service", "openvswitch.service", "ovs-vswitchd.service")
	if !runs {
		unit := "openvswitch-switch"
		if _, has := f.Services["openvswitch.service"]; has {
			unit = "openvswitch"
		}
		return warn("systemctl enable --now "+unit, "Open vSwitch %s is installed and does not run", p.Version)
	}
	return ok("%s, %s", strings.TrimSpace("Open vSwitch "+p.Version), s.Name)
}
