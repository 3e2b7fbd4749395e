package hostcheck

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"neutrino/internal/machine"
	"neutrino/internal/mstconfig"
)

const (
	mlx4     = "mlx4_core"
	mellanox = 0x15b3 // PCI vendor

	typeInfiniBand = 32 // ARPHRD_INFINIBAND
)

func driver(f *Facts, pf machine.NIC) []verdict {
	if pf.Driver == "" {
		return fail("echo "+pf.Slot+" > /sys/bus/pci/drivers_probe; and look into: dmesg", "no driver has it")
	}
	if pf.Driver != mlx4 {
		if !pf.PF.Settable {
			return fail("load the vendor's driver for "+pf.Slot, "driver %s does not make VFs", pf.Driver)
		}
		return ok("%s", pf.Driver)
	}
	return mlx4Options(f)
}

// mlx4Options looks at what mlx4_core was loaded with.
func mlx4Options(f *Facts) []verdict {
	m := &f.Machine
	var out []verdict
	for _, key := range []string{"num_vfs", "probe_vf", "port_type_array"} {
		o, set := f.option(mlx4, key)
		if now, known := m.Param(mlx4, key); set && known && now != o.Value {
			out = append(out, warn(strings.TrimPrefix(m.Boot.Initramfs+"; ", "; ")+"reboot", "%s=%s in %s, and %s=%s in the loaded driver", key, o.Value, o.File, key, now)...)
		}
	}
	num, _ := m.Param(mlx4, "num_vfs")
	probe, _ := m.Param(mlx4, "probe_vf")
	if sum(probe) > sum(num) {
		out = append(out, fail(f.prepareHost(), "probe_vf=%s is more than num_vfs=%s: the driver refuses both", probe, num)...)
	}
	if v, known := m.Param(mlx4, "log_num_mgm_entry_size"); known && !strings.HasPrefix(v, "-") {
		out = append(out, warn(f.prepareHost(), "log_num_mgm_entry_size=%s: no flow steering, which spoof checks and filters of VFs need (-1)", v)...)
	}
	if v, _ := m.Param(mlx4, "enable_4k_uar"); v == "Y" || v == "1" {
		out = append(out, warn("take enable_4k_uar out of /etc/modprobe.d", "enable_4k_uar is on: drivers of older guests do not start")...)
	}
	if len(out) == 0 {
		return ok("%s, num_vfs=%s probe_vf=%s", mlx4, orNone(num), orNone(probe))
	}
	return out
}

// sum adds the numbers of "2,1,3" or "0000:04:00.0-2;1;3".
func sum(list string) int {
	n := 0
	for _, device := range strings.Split(list, ",") {
		if i := strings.LastIndex(device, "-"); i >= 0 {
			device = device[i+1:]
		}
		for _, word := range strings.Split(device, ";") {
			if v, err := strconv.Atoi(strings.TrimSpace(word)); err == nil {
				n += v
			}
		}
	}
	return n
}

func firmware(f *Facts, pf machine.NIC) []verdict {
	if pf.Vendor != mellanox {
		return nil
	}
	fw, asked := f.Firmware[pf.Slot]
	switch {
	case !asked:
		return unknown("", "the card was not asked: this is not the running machine")
	case errors.Is(fw.Err, mstconfig.ErrNotInstalled):
		return unknown(f.install("mstflint", "mstflint"), "mstconfig is not installed")
	case fw.Err != nil && !f.Root:
		return unknown("run it as root", "mstconfig needs root")
	case fw.Err != nil:
		return unknown("", "%s", fw.Err)
	}
	return settings(f, pf, fw.Card)
}

func settings(f *Facts, pf machine.NIC, c mstconfig.Card) []verdict {
	set := "mstconfig -d " + pf.Slot + " set "
	var out []verdict
	en, hasEN := c.Settings["SRIOV_EN"]
	num := c.Settings["NUM_OF_VFS"]
	next, known := num.Next.Number()
	wanted := pf.PF.NumVFs
	if r, has := f.Records[pf.Slot]; has {
		wanted = r.Count
	}
	if on, told := en.Next.Number(); hasEN && told && on == 0 {
		out = append(out, fail(fmt.Sprintf("%sSRIOV_EN=1 NUM_OF_VFS=%d; then reboot", set, max(wanted, 8)), "SRIOV_EN is %s", en.Next)...)
	} else if known && next < max(wanted, 1) {
		out = append(out, fail(fmt.Sprintf("%sNUM_OF_VFS=%d; then reboot", set, max(wanted, 8)), "NUM_OF_VFS is %d, and %d are wanted", next, max(wanted, 1))...)
	}
	for port := 1; port <= 2; port++ {
		key := fmt.Sprintf("LINK_TYPE_P%d", port)
		s, has := c.Settings[key]
		if kind, told := s.Next.Number(); has && told && kind == 1 && len(pf.Interfaces) >= port {
			out = append(out, warn(set+key+"=2; then reboot", "%s is %s: VLANs and MACs of VFs need Ethernet", key, s.Next)...)
		}
	}
	for _, key := range []string{"SRIOV_EN", "NUM_OF_VFS", "LINK_TYPE_P1", "LINK_TYPE_P2"} {
		if s := c.Settings[key]; s.Pending() {
			out = append(out, warn("reboot, or: mstfwreset -d "+pf.Slot+" reset", "%s is %s now and %s after the next boot", key, s.Current, s.Next)...)
		}
	}
	if len(out) == 0 {
		return ok("%s: SRIOV_EN %s, NUM_OF_VFS %s", orNone(c.Type), en.Next, num.Next)
	}
	return out
}

func sriovMemory(f *Facts, pf machine.NIC) []verdict {
	b := pf.BARs
	switch {
	case pf.PF.NumVFs > 0 && len(pf.PF.VFs) > 0:
		return ok("there are VFs")
	case !b.Known:
		return unknown("", "the kernel does not show the memory of VFs (%s/resource)", pf.Slot)
	case b.Absent > 0 || b.VF == 0:
		return fail("switch SR-IOV on in the BIOS (and Above 4G Decoding); or "+f.prepare(pf)+", which adds pci=realloc", "no memory was assigned to its VFs")
	}
	return ok("%d memory regions for VFs", b.VF)
}

func pcieLink(f *Facts, pf machine.NIC) []verdict {
	p := pf.PCIe
	now := speed(p.Now)
	if f.Machine.CPU.Hypervisor {
		return ok("%s: emulated or passed through, not judged", now)
	}
	if p.Now.Speed == 0 || p.Now.Width == 0 || p.Max.Speed == 0 || p.Max.Width == 0 {
		return unknown("lspci -vv -s "+pf.Slot, "the kernel does not tell of its link")
	}
	can := p.Max
	if p.SlotMax.Speed > 0 && p.SlotMax.Width > 0 {
		can = machine.Link{Speed: min(can.Speed, p.SlotMax.Speed), Width: min(can.Width, p.SlotMax.Width)}
	}
	switch {
	case p.Now.Speed < can.Speed || p.Now.Width < can.Width:
		return warn("seat the card anew, and look at the slot's settings in the BIOS", "%s, and card and slot can do %s", now, speed(can))
	case can.Speed < p.Max.Speed || can.Width < p.Max.Width:
		return warn("move the card to a slot that has "+speed(p.Max), "%s: all that slot %s has; the card can do %s", now, p.Slot, speed(p.Max))
	}
	return ok("%s, all that the card can do", now)
}

func speed(l machine.Link) string {
	return fmt.Sprintf("x%d at %s GT/s", l.Width, strconv.FormatFloat(l.Speed, 'f', -1, 64))
}

func pciePayload(f *Facts, pf machine.NIC) []verdict {
	p := pf.PCIe
	switch {
	case p.MaxPayload == 0 && !f.Root:
		return unknown("run it as root", "the configuration space needs root")
	case p.MaxPayload == 0:
		return nil // no PCI Express
	}
	now := fmt.Sprintf("MaxPayload %d, MaxReadReq %d", p.MaxPayload, p.MaxReadReq)
	if f.Machine.CPU.Hypervisor {
		return ok("%s: emulated or passed through, not judged", now)
	}
	can := p.MaxPayloadCan
	if p.SlotPayloadCan > 0 {
		can = min(can, p.SlotPayloadCan)
	}
	var out []verdict
	if p.MaxPayload < can {
		out = append(out, warn("add pci=pcie_bus_safe to the kernel's command line, then reboot", "%s, and card and slot can do a payload of %d", now, can)...)
	}
	if p.MaxReadReq < 512 {
		out = append(out, warn("neutrino tune apply --profile throughput --pf "+pf.Name(), "%s: less than 512", now)...)
	}
	if len(out) == 0 {
		return ok("%s", now)
	}
	return out
}

func numaLocality(f *Facts, pf machine.NIC) []verdict {
	m := &f.Machine
	if len(m.Nodes) < 2 {
		return ok("one NUMA node")
	}
	node, has := m.Node(pf.NUMANode)
	if !has {
		return warn("switch on the reporting of PCI locality (_PXM) in the BIOS, or update it", "the firmware does not say on which of %d nodes it is", len(m.Nodes))
	}
	cpus := node.CPUs.And(m.CPU.Online)
	if len(m.CPU.Online) == 0 {
		cpus = node.CPUs
	}
	free := cpus.Without(m.CPU.Isolated)
	switch {
	case len(cpus) == 0:
		return warn("move the card to a slot of another socket", "node %d, which has no CPU that is online", node.ID)
	case node.Total == 0:
		return warn("put memory beside that socket, or move the card", "node %d, which has no memory", node.ID)
	case len(free) == 0:
		return warn("leave some CPUs of node "+strconv.Itoa(node.ID)+" out of isolcpus", "node %d: all its CPUs (%s) are isolated: none is left for interrupts", node.ID, cpus)
	}
	return ok("node %d, CPUs %s", node.ID, cpus)
}

func link(_ *Facts, pf machine.NIC) []verdict {
	var out []verdict
	if len(pf.Interfaces) == 0 {
		if pf.Driver == "" {
			return nil // said already
		}
		return fail("ip netns; the device may be in another namespace, or: modprobe the driver's Ethernet part", "no network device")
	}
	for _, i := range pf.Interfaces {
		switch {
		case i.Type == typeInfiniBand:
			out = append(out, ok("%s: InfiniBand", i.Name)...)
		case !i.Up:
			out = append(out, fail("ip link set "+i.Name+" up; and have it up at boot", "%s is down", i.Name)...)
		case !i.Carrier:
			out = append(out, warn("look at the cable, the module (ethtool -m "+i.Name+") and the switch's port", "%s has no carrier", i.Name)...)
		case i.Speed > 0 && i.Duplex == "half":
			out = append(out, warn("ethtool "+i.Name+", and the settings of the switch's port", "%s: %d Mbit/s, half duplex", i.Name, i.Speed)...)
		case i.Speed > 0:
			out = append(out, ok("%s: %d Mbit/s", i.Name, i.Speed)...)
		default:
			out = append(out, ok("%s: up", i.Name)...)
		}
	}
	return out
}

func mtu(f *Facts, pf machine.NIC) []verdict {
	if len(pf.Interfaces) == 0 {
		return nil
	}
	i := pf.Interfaces[0]
	if i.MTU < 1500 && i.Type != typeInfiniBand {
		return warn("ip link set "+i.Name+" mtu 1500; and at boot", "%s has %d", i.Name, i.MTU)
	}
	var larger []string
	for _, v := range f.vfs(pf) {
		for _, d := range v.Interfaces {
			if d.MTU > i.MTU {
				larger = append(larger, fmt.Sprintf("%s %d", d.Name, d.MTU))
			}
		}
	}
	if len(larger) > 0 {
		return warn(fmt.Sprintf("ip link set %s mtu N, with N as its VFs have, and the same on the switch", i.Name), "%s has %d, and more have its VFs: %s", i.Name, i.MTU, list(larger))
	}
	return ok("%d", i.MTU)
}

func management(f *Facts, pf machine.NIC) []verdict {
	if why := f.Reached[pf.Slot]; why != "" {
		return warn("reach the host over another NIC; neutrino changes this one only when it is told to in so many words", "%s", why)
	}
	return ok("the host is not reached over it")
}
