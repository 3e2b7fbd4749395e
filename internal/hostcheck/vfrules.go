package hostcheck

import (
	"fmt"
	"slices"
	"strings"

	"neutrino/internal/eswitch"
	"neutrino/internal/machine"
	"neutrino/internal/pci"
	"neutrino/internal/vfnl"
)

func vfCount(f *Facts, pf machine.NIC) []verdict {
	p := pf.PF
	r, recorded := f.Records[pf.Slot]
	option, _ := f.option(mlx4, "num_vfs")
	switch {
	case p.TotalVFs == 0:
		return fail("switch SR-IOV on in the BIOS and in the card's firmware", "it can have none (sriov_totalvfs is 0)")
	case recorded && r.Count > p.TotalVFs:
		return fail(fmt.Sprintf("neutrino host vfs set %s %d; or have the card's firmware allow more", pf.Name(), p.TotalVFs), "%s of %d, and %d are written down for boot", count(p.NumVFs), p.TotalVFs, r.Count)
	case recorded && r.Count != p.NumVFs:
		return fail("neutrino host vfs apply; and: systemctl status neutrino-vfs", "%s of %d, and %d are written down for boot", count(p.NumVFs), p.TotalVFs, r.Count)
	case p.NumVFs == 0 && pf.Driver == mlx4 && sum(option.Value) > 0:
		return fail("reboot: "+option.File+" has num_vfs="+option.Value+" already", "none of %d", p.TotalVFs)
	case p.NumVFs == 0 && f.wanted(pf):
		return fail(f.prepare(pf), "none of %d", p.TotalVFs)
	case p.NumVFs == 0:
		return ok("none of %d: none were asked for", p.TotalVFs)
	case len(p.VFs) < p.NumVFs:
		return warn(fmt.Sprintf("echo 1 > /sys/bus/pci/rescan; or make them anew: neutrino host vfs set %s %d", pf.Name(), p.NumVFs), "%s of %d, %d of which somebody has removed", count(p.NumVFs), p.TotalVFs, p.NumVFs-len(p.VFs))
	}
	return ok("%s of %d", count(p.NumVFs), p.TotalVFs)
}

func vfBoot(f *Facts, pf machine.NIC) []verdict {
	if pf.Driver == mlx4 {
		o, set := f.option(mlx4, "num_vfs")
		switch {
		case set:
			return ok("num_vfs=%s in %s", o.Value, o.File)
		case pf.PF.NumVFs > 0:
			return warn(f.prepare(pf), "no file gives mlx4_core num_vfs")
		}
		return nil
	}
	_, recorded := f.Records[pf.Slot]
	s, there := f.Services["neutrino-vfs.service"]
	switch {
	case recorded && !there:
		return warn("install contrib/systemd/neutrino-vfs.service, then: systemctl enable neutrino-vfs", "it is written down, and there is no neutrino-vfs.service that makes them")
	case recorded && !s.Enabled:
		return warn("systemctl enable neutrino-vfs", "it is written down, and neutrino-vfs.service is not enabled")
	case recorded:
		return ok("neutrino-vfs.service makes them")
	case pf.PF.NumVFs == 0:
		return nil
	case len(f.scripts(wordVFs, wordOFEDVFs, wordNetplan)) > 0:
		return ok("%s makes them", list(f.scripts(wordVFs, wordOFEDVFs, wordNetplan)))
	}
	return warn(fmt.Sprintf("neutrino host vfs set %s %d", pf.Name(), pf.PF.NumVFs), "nothing makes its %s again", count(pf.PF.NumVFs))
}

func vfDriver(f *Facts, pf machine.NIC) []verdict {
	if pf.PF.NumVFs == 0 {
		return nil
	}
	r, recorded := f.Records[pf.Slot]
	var bare []int
	have := map[string]int{}
	for _, v := range f.vfs(pf) {
		if v.Driver == "" {
			bare = append(bare, index(pf, v.Slot))
		} else {
			have[v.Driver]++
		}
	}
	var drivers []string
	for d, n := range have {
		drivers = append(drivers, fmt.Sprintf("%d %s", n, d))
	}
	slices.Sort(drivers)
	meant := !pf.PF.Autoprobe || recorded && !r.Autoprobe || pf.Driver == mlx4 // probe_vf
	if len(bare) > 0 && !meant {
		return warn("load their driver (dmesg says why there is none), then: echo SLOT > /sys/bus/pci/drivers_probe", "VFs %s have none", spans(bare))
	}
	if len(bare) > 0 {
		drivers = append(drivers, fmt.Sprintf("%d without one, as asked", len(bare)))
	}
	return ok("%s", strings.Join(drivers, ", "))
}

func iommuGroup(f *Facts, pf machine.NIC) []verdict {
	if f.Machine.IOMMU.Groups == 0 {
		return nil // said already
	}
	if pf.Group == "" {
		return fail("first see iommu-enabled", "%s is in no IOMMU group", pf.Slot)
	}
	var shared []string
	vfs := f.vfs(pf)
	for _, v := range vfs {
		if len(v.GroupWith) > 0 {
			shared = append(shared, fmt.Sprintf("VF %d with %s", index(pf, v.Slot), list(v.GroupWith)))
		}
	}
	switch {
	case len(shared) > 0:
		return fail("switch ACS on in the BIOS, or move the card to a slot right at the CPU", "groups are shared: %s", list(shared))
	case len(vfs) == 0:
		return ok("the PF is in group %s", pf.Group)
	}
	return ok("a group for each VF")
}

// vfLeftover looks for what a guest left. VFs that somebody uses, or that the agent has
// given to a port, carry what they are to carry.
func vfLeftover(f *Facts, pf machine.NIC) []verdict {
	if pf.PF.NumVFs == 0 {
		return nil
	}
	var out []verdict
	var free []machine.NIC
	for _, v := range f.vfs(pf) {
		if len(f.Held[v.Slot]) == 0 && f.Ports[v.Slot] == "" {
			free = append(free, v)
		}
	}
	out = append(out, overrides(pf, free)...)
	out = append(out, carried(f, pf, free)...)
	if f.Unseen != "" && slices.ContainsFunc(free, func(v machine.NIC) bool { return pci.IsVFIO(v.Driver) }) {
		out = append(out, unknown("run it as root", "who uses VFs: %s", f.Unseen)...)
	} else {
		out = append(out, abandoned(f, pf, free)...)
	}
	if len(out) == 0 {
		used := len(f.vfs(pf)) - len(free)
		return ok("none; %d used, %d free", used, len(free))
	}
	return out
}

// overrides finds driver_override that was never cleared: the VF gets that driver, or
// none, whenever it is probed.
func overrides(pf machine.NIC, free []machine.NIC) []verdict {
	var which []string
	var slot string
	for _, v := range free {
		if v.Override != "" {
			which = append(which, fmt.Sprintf("VF %d %s", index(pf, v.Slot), v.Override))
			slot = v.Slot
		}
	}
	if len(which) == 0 {
		return nil
	}
	return warn(fmt.Sprintf("echo > /sys/bus/pci/devices/%s/driver_override", slot), "driver_override is still set: %s", list(which))
}

// abandoned finds VFs on vfio-pci that nobody has open, where VFs are not meant to be on
// it.
func abandoned(f *Facts, pf machine.NIC, free []machine.NIC) []verdict {
	if r, recorded := f.Records[pf.Slot]; recorded && pci.IsVFIO(r.Driver) || f.Agent {
		return nil
	}
	var which []int
	var slot string
	for _, v := range free {
		if pci.IsVFIO(v.Driver) {
			which = append(which, index(pf, v.Slot))
			slot = v.Slot
		}
	}
	// All of them: that is how they were made.
	if len(which) == 0 || len(which) == len(pf.PF.VFs) {
		return nil
	}
	return warn(fmt.Sprintf("echo %s > /sys/bus/pci/drivers/vfio-pci/unbind; echo %s > /sys/bus/pci/drivers_probe", slot, slot), "VFs %s are on vfio-pci, and no guest has them", spans(which))
}

// carried finds attributes that are not those of a VF that belongs to nobody. Where an
// agent runs they are its business.
func carried(f *Facts, pf machine.NIC, free []machine.NIC) []verdict {
	got, known := f.Carried[pf.Slot]
	if !known || f.Agent {
		return nil
	}
	var which []string
	vf := -1
	for _, v := range got.VFs {
		if !slices.ContainsFunc(free, func(n machine.NIC) bool { return index(pf, n.Slot) == v.Index }) {
			continue
		}
		if left := leftover(v.Attrs, pf.Driver == "mlx5_core"); len(left) > 0 {
			which = append(which, fmt.Sprintf("VF %d %s", v.Index, strings.Join(left, " ")))
			vf = v.Index
		}
	}
	if len(which) == 0 {
		return nil
	}
	return warn(fmt.Sprintf("ip link set %s vf %d vlan 0 mac 00:00:00:00:00:00; the agent does it for all of its VFs", pf.Name(), vf), "%s", list(which))
}

// untagged is what some drivers show in place of no VLAN.
const untagged = 4095

// leftover is what of a VF's attributes somebody has set. A MAC counts where only the
// host can set it: with other drivers it may be the VF's own.
func leftover(a vfnl.Attrs, macs bool) []string {
	var out []string
	if v, set := a.VLAN.Get(); set && v.ID != 0 && v.ID != untagged {
		out = append(out, fmt.Sprintf("vlan %d", v.ID))
	}
	for _, rate := range []struct {
		name string
		a    eswitch.Attr[int]
	}{{"max_tx_rate", a.MaxTxRate}, {"min_tx_rate", a.MinTxRate}} {
		if n, set := rate.a.Get(); set && n > 0 {
			out = append(out, fmt.Sprintf("%s %d", rate.name, n))
		}
	}
	if on, set := a.Trust.Get(); set && on {
		out = append(out, "trust on")
	}
	if m, set := a.MAC.Get(); set && m != (vfnl.MAC{}) && (macs || len(out) > 0) {
		out = append(out, "mac "+m.String())
	}
	return out
}
