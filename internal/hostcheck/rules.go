package hostcheck

import "neutrino/internal/machine"

// rule is one thing that is looked at, of the host or of each PF. No verdict: it is of
// no matter here.
type rule struct {
	check, why string
	host       func(*Facts) []verdict
	pf         func(*Facts, machine.NIC) []verdict
}

// rules is every rule, in the order of the report.
var rules = []rule{
	{check: "cpu-virt", host: cpuVirt, why: "without virtualization by the CPU and /dev/kvm a guest is emulated, and cannot have a VF"},
	{check: "iommu-firmware", host: iommuFirmware, why: "VT-d or AMD-Vi that is off in the BIOS leaves the kernel without an IOMMU: no VF can be handed to a guest"},
	{check: "iommu-enabled", host: iommuEnabled, why: "without IOMMU groups VFIO does not hand a VF to a guest"},
	{check: "kernel-cmdline", host: commandLine, why: "without iommu=pt the host's own traffic goes through address translation too, which costs throughput"},
	{check: "vfio", host: vfio, why: "vfio-pci is the driver that hands a VF to a guest"},
	{check: "hugepages", host: hugepages, why: "guests that ask for huge pages do not start without free ones, on the node of their NIC"},
	{check: "libvirt", host: libvirt, why: "ports of type direct are attached to domains of libvirt"},
	{check: "openvswitch", host: openVSwitch, why: "the network node and ports of type normal need Open vSwitch; VFs do not"},
	{check: "networkmanager", host: networkManager, why: "NetworkManager and networkd take every network device that appears, also VFs: they set addresses, MACs and links on what is a guest's"},
	{check: "irqbalance", host: irqbalance, why: "irqbalance moves the interrupts of NICs away from where tuning has put them"},
	{check: "other-agents", host: otherAgents, why: "two agents that program the same embedded switch undo each other's work"},
	{check: "boot-scripts", host: bootScripts, why: "scripts that make VFs or move interrupts at boot race with neutrino's units"},

	{check: "driver", pf: driver, why: "the PF's driver and its options decide whether there are VFs and what they can do"},
	{check: "firmware", pf: firmware, why: "on Mellanox cards the firmware decides whether there is SR-IOV, and how many VFs at most"},
	{check: "sriov-memory", pf: sriovMemory, why: "firmware with SR-IOV off, or too little MMIO space, leaves VFs without memory: making them fails with ENOMEM"},
	{check: "vf-count", pf: vfCount, why: "each port of type direct or macvtap needs a VF of its own"},
	{check: "vf-boot", pf: vfBoot, why: "the kernel forgets the number of VFs at a reboot"},
	{check: "vf-driver", pf: vfDriver, why: "a VF without a driver is no network device, and macvtap needs one"},
	{check: "vf-leftover", pf: vfLeftover, why: "what an earlier guest left on a VF (driver, MAC, VLAN) is the next one's surprise"},
	{check: "iommu-group", pf: iommuGroup, why: "only a whole IOMMU group can be handed to a guest: a VF that shares its group cannot go alone"},
	{check: "pcie-link", pf: pcieLink, why: "a card in a slot that is too narrow or too slow never reaches its rate"},
	{check: "pcie-payload", pf: pciePayload, why: "small payloads and read requests waste the bus: it shows with small frames at high rates"},
	{check: "numa", pf: numaLocality, why: "traffic that crosses sockets loses throughput and gains latency"},
	{check: "link", pf: link, why: "the VFs' frames leave over the PF's port"},
	{check: "mtu", pf: mtu, why: "a VF's frames that are larger than the PF takes are dropped without a word"},
	{check: "management", pf: management, why: "while VFs are made the link may go down: the host is cut off, for good if it goes wrong"},
}

// Judge makes the report. It is pure.
func Judge(f Facts) Report {
	var all []Finding
	add := func(r rule, subject, slot string, vs []verdict) {
		for _, v := range vs {
			all = append(all, Finding{v.status, subject, slot, r.check, v.evidence, r.why, v.mend})
		}
	}
	for _, r := range rules {
		if r.host != nil {
			add(r, Host, "", r.host(&f))
		}
	}
	pfs := f.pfs()
	if len(pfs) == 0 {
		add(rule{check: "sriov", why: "VFs are made by a NIC with SR-IOV and a driver for it"}, Host, "",
			fail("put in a NIC with SR-IOV, or load its driver", "no NIC with SR-IOV: %s", nics(&f)))
	}
	for _, n := range pfs {
		for _, r := range rules {
			if r.pf != nil {
				add(r, n.Name(), n.Slot, r.pf(&f, n))
			}
		}
	}
	return NewReport(all)
}

// nics names what there is instead.
func nics(f *Facts) string {
	var out []string
	for _, n := range f.Machine.NICs {
		out = append(out, n.Name()+" ("+orNone(n.Driver)+")")
	}
	if len(out) == 0 {
		return "no network controller on PCI at all"
	}
	return list(out)
}
