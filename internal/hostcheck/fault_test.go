package hostcheck

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"neutrino/internal/eswitch"
	"neutrino/internal/hostprep"
	"neutrino/internal/machine/machinetest"
	"neutrino/internal/mstconfig"
	"neutrino/internal/vfnl"
)

// fault is what is done to a machine that is fit, and the findings that must come of it,
// and no others: "status check: part of the evidence".
type fault struct {
	name  string
	spec  func() machinetest.Spec
	tree  func(*machinetest.Tree)
	facts func(*Facts)
	want  []string
}

const (
	igb  = "0000:01:00.0"
	mlx5 = "0000:af:00.0"
	cx6  = "0000:41:00.0"
	cx3  = "0000:04:00.0"
	dir  = "sys/bus/pci/devices/"
)

// of changes the specification.
func of(spec func() machinetest.Spec, change func(*machinetest.Spec)) func() machinetest.Spec {
	return func() machinetest.Spec {
		s := spec()
		change(&s)
		return s
	}
}

func line(from, to string) func(*machinetest.Spec) {
	return func(s *machinetest.Spec) { s.Line = strings.Replace(s.Line, from, to, 1) }
}

func drop(modules ...string) func(*machinetest.Spec) {
	return func(s *machinetest.Spec) {
		s.Modules = slices.DeleteFunc(s.Modules, func(m string) bool { return slices.Contains(modules, m) })
	}
}

func setting(key, current, next string) func(*Facts) {
	return func(f *Facts) {
		c := goodCard()
		c.Settings[key] = mstconfig.Setting{Current: mstconfig.Value(current), Next: mstconfig.Value(next)}
		for slot := range f.Firmware {
			f.Firmware[slot] = Firmware{Card: c}
		}
	}
}

func noFirmware(err error, root bool) func(*Facts) {
	return func(f *Facts) {
		f.Firmware[mlx5], f.Root = Firmware{Err: err}, root
	}
}

var hostFaults = []fault{
	{name: "virtualization is off", spec: of(machinetest.Intel2SMLX4, func(s *machinetest.Spec) { s.Virt = "" }), tree: func(t *machinetest.Tree) { t.Remove("dev/kvm") }, want: []string{"fail cpu-virt: neither vmx nor svm"}},
	{name: "no nested virtualization", spec: of(machinetest.VMIGB, func(s *machinetest.Spec) { s.Virt = "" }), tree: func(t *machinetest.Tree) { t.Remove("dev/kvm") }, want: []string{"fail cpu-virt: without nested"}},
	{name: "no kvm", spec: machinetest.EPYCMLX5, tree: func(t *machinetest.Tree) { t.Remove("dev/kvm") }, want: []string{"fail cpu-virt: svm, but no /dev/kvm"}},
	{name: "VT-d is off", spec: of(machinetest.Intel2SMLX5, func(s *machinetest.Spec) { s.Table, s.Units, s.Cards[0].Group = "", nil, "none" }), want: []string{"fail iommu-firmware: none of the ACPI tables", "fail iommu-enabled: no IOMMU groups"}},
	{name: "tables cannot be listed", spec: of(machinetest.Intel2SMLX5, func(s *machinetest.Spec) { s.Units = nil }), tree: func(t *machinetest.Tree) { t.Remove("sys/firmware/acpi/tables") }, want: []string{"unknown iommu-firmware: cannot be listed"}},
	{name: "not on the command line", spec: of(of(machinetest.VMIGB, line("intel_iommu=on ", "")), func(s *machinetest.Spec) { s.Units, s.Cards[0].Group = nil, "none" }), want: []string{"fail iommu-enabled: no intel_iommu=on"}},
	{name: "switched off", spec: of(of(machinetest.VMIGB, line("intel_iommu=on", "intel_iommu=off")), func(s *machinetest.Spec) { s.Units, s.Cards[0].Group = nil, "none" }), want: []string{"fail iommu-enabled: started with intel_iommu=off", "fail kernel-cmdline: intel_iommu=off"}},
	{name: "another vendor's is switched off", spec: of(machinetest.EPYCMLX5, line("quiet", "intel_iommu=off"))},
	{name: "not passed through", spec: of(machinetest.VMIGB, line(" iommu=pt", "")), tree: func(t *machinetest.Tree) { t.Write(dir+igb+"/iommu_group/type", "DMA-FQ\n") }, want: []string{"warn kernel-cmdline: no iommu=pt"}},
	{name: "vfio-pci is not loaded", spec: of(machinetest.VMIGB, drop("vfio_pci", "vfio_pci_core")), want: []string{"warn vfio: not loaded"}},
	{name: "no IOMMU mode", spec: machinetest.VMIGB, tree: func(t *machinetest.Tree) {
		t.Write("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n")
	}, want: []string{"warn vfio: without protection"}},
	{name: "unsafe interrupts", spec: machinetest.VMIGB, tree: func(t *machinetest.Tree) {
		t.Write("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n")
	}, want: []string{"warn vfio: inject interrupts"}},
	{name: "huge pages that did not come", spec: of(machinetest.VMIGB, line("iommu=pt", "iommu=pt hugepages=512")), want: []string{"warn hugepages: hugepages=512 and has 0"}},
	{name: "huge pages all used", spec: machinetest.VMIGB, tree: func(t *machinetest.Tree) {
		t.Write("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "64\n")
	}, want: []string{"warn hugepages: 64 of 2 MiB (0 free)"}},
	{name: "huge pages on the other node", spec: machinetest.Intel2SMLX5, tree: func(t *machinetest.Tree) {
		for _, d := range []string{"sys/kernel/mm", "sys/devices/system/node/node0"} {
			t.Write(d+"/hugepages/hugepages-1048576kB/nr_hugepages", "16\n")
			t.Write(d+"/hugepages/hugepages-1048576kB/free_hugepages", "16\n")
		}
	}, want: []string{"warn hugepages: none of them on node 1"}},
	{name: "libvirt does not run", spec: machinetest.VMIGB, tree: func(t *machinetest.Tree) { t.Service("libvirtd.service", true, false) }, want: []string{"warn libvirt: does not run"}},
	{name: "libvirt without QEMU", spec: machinetest.VMIGB, tree: func(t *machinetest.Tree) { t.Remove("usr/bin/qemu-system-x86_64") }, want: []string{"warn libvirt: no QEMU"}},
	{name: "Open vSwitch does not run", spec: machinetest.EPYCMLX5, tree: func(t *machinetest.Tree) { t.Service("openvswitch-switch.service", false, false) }, want: []string{"warn openvswitch: does not run"}},
	{name: "NetworkManager takes VFs", spec: machinetest.Intel2SMLX5, tree: func(t *machinetest.Tree) { t.Remove("etc/NetworkManager/conf.d") }, want: []string{"warn networkmanager: nothing keeps it off"}},
	{name: "only in a remark", spec: machinetest.Intel2SMLX5, tree: func(t *machinetest.Tree) {
		t.Write("etc/NetworkManager/conf.d/90-vfs.conf", "# unmanaged-devices=*\n[main]\n")
	}, want: []string{"warn networkmanager: nothing keeps it off"}},
	{name: "networkd takes VFs", spec: machinetest.EPYCMLX5, tree: func(t *machinetest.Tree) {
		t.Service("systemd-networkd.service", true, true)
		t.Write("etc/systemd/network/lan.network", "[Match]\nName=en*\n[Network]\nDHCP=yes\n")
		t.Remove("etc/NetworkManager/conf.d")
	}, want: []string{"warn networkmanager: systemd-networkd runs"}},
	{name: "irqbalance", spec: machinetest.EPYCMLX5, tree: func(t *machinetest.Tree) { t.Service("irqbalance.service", true, true) }, want: []string{"warn irqbalance: may move every interrupt"}},
	{name: "irqbalance at boot", spec: machinetest.EPYCMLX5, tree: func(t *machinetest.Tree) { t.Service("irqbalance.service", true, false) }, want: []string{"warn irqbalance: started at boot"}},
	{name: "irqbalance that tune tells", spec: machinetest.EPYCMLX5, tree: func(t *machinetest.Tree) {
		t.Service("irqbalance.service", true, true)
		t.Service("neutrino-tune.service", true, true)
	}},
	{name: "another agent", spec: machinetest.EPYCMLX5, tree: func(t *machinetest.Tree) { t.Service("neutron-sriov-nic-agent.service", true, true) }, want: []string{"warn other-agents: neutron-sriov-nic-agent.service runs"}},
	{name: "another agent beside ours", spec: machinetest.EPYCMLX5, tree: func(t *machinetest.Tree) {
		t.Service("eswitchd.service", true, true)
		t.Service("neutrino-agent.service", true, true)
	}, want: []string{"fail other-agents: eswitchd.service runs beside neutrino-agent"}},
	{name: "another agent at boot", spec: machinetest.EPYCMLX5, tree: func(t *machinetest.Tree) { t.Service("eswitchd.service", true, false) }, want: []string{"warn other-agents: started at boot"}},
	{name: "scripts", spec: machinetest.EPYCMLX5, tree: func(t *machinetest.Tree) {
		t.Write("etc/rc.local", "#!/bin/sh\necho 8 > /sys/class/net/eth2/device/sriov_numvfs\nset_irq_affinity_bynode.sh 1 eth2\n")
	}, want: []string{"warn boot-scripts: /etc/rc.local (sriov_numvfs), /etc/rc.local (set_irq_affinity)"}},
}

var cardFaults = []fault{
	{name: "no driver", spec: of(machinetest.VMIGB, func(s *machinetest.Spec) { s.Cards[0].Driver, s.Cards[0].VFs = "", 0 }), want: []string{"fail driver: no driver", "fail vf-count: 0 VFs of 7, and 7"}, tree: func(t *machinetest.Tree) {
		r := hostprep.Record{Slot: igb, Count: 7, Autoprobe: true}
		t.Write("etc/neutrino/vfs.d/"+igb+".conf", r.Text())
	}},
	{name: "driver without SR-IOV", spec: machinetest.VMIGB, facts: func(f *Facts) {
		n, _ := f.Machine.NIC(igb)
		n.PF.Settable = false
	}, want: []string{"fail driver: does not make VFs"}},
	{name: "options not in force", spec: machinetest.Intel2SMLX4, tree: func(t *machinetest.Tree) {
		t.Replace("etc/modprobe.d/mlx4_core.conf", "num_vfs=0,0,8", "num_vfs=8,0,0")
	}, want: []string{"warn driver: num_vfs=8,0,0 in /etc/modprobe.d/mlx4_core.conf, and num_vfs=0,0,8"}},
	{name: "probe_vf too large", spec: machinetest.Intel2SMLX4, tree: func(t *machinetest.Tree) {
		t.Write("sys/module/mlx4_core/parameters/probe_vf", "0,0,9\n")
		t.Replace("etc/modprobe.d/mlx4_core.conf", "probe_vf=0,0,8", "probe_vf=0,0,9")
	}, want: []string{"fail driver: more than num_vfs"}},
	{name: "no flow steering", spec: machinetest.Intel2SMLX4, tree: func(t *machinetest.Tree) {
		t.Write("sys/module/mlx4_core/parameters/log_num_mgm_entry_size", "10\n")
	}, want: []string{"warn driver: no flow steering"}},
	{name: "4k UAR", spec: machinetest.Intel2SMLX4, tree: func(t *machinetest.Tree) {
		t.Write("sys/module/mlx4_core/parameters/enable_4k_uar", "Y\n")
	}, want: []string{"warn driver: older guests"}},
	{name: "SR-IOV off in firmware", spec: machinetest.Intel2SMLX5, facts: setting("SRIOV_EN", "False(0)", "False(0)"), want: []string{"fail firmware: SRIOV_EN is False(0)"}},
	{name: "firmware allows too few", spec: machinetest.Intel2SMLX5, facts: setting("NUM_OF_VFS", "4", "4"), want: []string{"fail firmware: NUM_OF_VFS is 4, and 8 are wanted"}},
	{name: "firmware is pending", spec: machinetest.Intel2SMLX5, facts: setting("NUM_OF_VFS", "8", "32"), want: []string{"warn firmware: 8 now and 32 after the next boot"}},
	{name: "InfiniBand in firmware", spec: machinetest.Intel2SMLX5, facts: setting("LINK_TYPE_P1", "IB(1)", "IB(1)"), want: []string{"warn firmware: LINK_TYPE_P1 is IB(1)"}},
	{name: "no mstconfig", spec: machinetest.Intel2SMLX5, facts: noFirmware(mstconfig.ErrNotInstalled, true), want: []string{"unknown firmware: not installed"}},
	{name: "mstconfig fails", spec: machinetest.Intel2SMLX5, facts: noFirmware(errors.New("-E- no answer"), true), want: []string{"unknown firmware: -E- no answer"}},
	{name: "not root", spec: machinetest.Intel2SMLX5, facts: func(f *Facts) {
		noFirmware(errors.New("-E- no answer"), false)(f)
		for i := range f.Machine.NICs {
			f.Machine.NICs[i].PCIe.MaxPayload = 0
		}
	}, want: []string{"unknown firmware: needs root", "unknown pcie-payload: needs root"}},
	{name: "SR-IOV off in the BIOS", spec: of(machinetest.VMIGB, func(s *machinetest.Spec) { s.Cards[0].VFs = 0 }), tree: func(t *machinetest.Tree) { t.NoRoom(igb); t.Remove("etc/neutrino/vfs.d") }, want: []string{"fail sriov-memory: no memory", "fail vf-count: none of 7"}},
	{name: "memory is not shown", spec: of(machinetest.VMIGB, func(s *machinetest.Spec) { s.Cards[0].VFs = 0 }), tree: func(t *machinetest.Tree) { t.Remove(dir + igb + "/resource"); t.Remove("etc/neutrino/vfs.d") }, want: []string{"unknown sriov-memory: does not show", "fail vf-count: none of 7"}},
	{name: "narrow link", spec: machinetest.Intel2SMLX5, tree: func(t *machinetest.Tree) { t.Write(dir+mlx5+"/current_link_width", "8\n") }, want: []string{"warn pcie-link: x8 at 8 GT/s, and card and slot can do x16 at 8 GT/s"}},
	{name: "slow link", spec: machinetest.EPYCMLX5, tree: func(t *machinetest.Tree) { t.Write(dir+cx6+"/current_link_speed", "8.0 GT/s PCIe\n") }, want: []string{"warn pcie-link: x16 at 8 GT/s, and card and slot can do x16 at 16 GT/s"}},
	{name: "narrow slot", spec: machinetest.Intel2SMLX5, tree: func(t *machinetest.Tree) {
		t.Write(dir+"0000:ae:00.0/max_link_width", "8\n")
		t.Write(dir+mlx5+"/current_link_width", "8\n")
	}, want: []string{"warn pcie-link: all that slot 0000:ae:00.0 has"}},
	{name: "link is not told", spec: machinetest.Intel2SMLX5, tree: func(t *machinetest.Tree) { t.Write(dir+mlx5+"/current_link_speed", "Unknown\n") }, want: []string{"unknown pcie-link: does not tell"}},
	{name: "small payload", spec: machinetest.EPYCMLX5, tree: func(t *machinetest.Tree) { t.Config(dir+cx6, 128, 512, 512) }, want: []string{"warn pcie-payload: payload of 512"}},
	{name: "small read requests", spec: machinetest.EPYCMLX5, tree: func(t *machinetest.Tree) { t.Config(dir+cx6, 512, 512, 128) }, want: []string{"warn pcie-payload: less than 512"}},
	{name: "node is not told", spec: machinetest.Intel2SMLX5, tree: func(t *machinetest.Tree) { t.Write(dir+mlx5+"/numa_node", "-1\n") }, want: []string{"warn numa: does not say"}},
	{name: "node without memory", spec: machinetest.Intel2SMLX5, tree: func(t *machinetest.Tree) {
		t.Write("sys/devices/system/node/node1/meminfo", "Node 1 MemTotal: 0 kB\n")
	}, want: []string{"warn numa: no memory"}},
	{name: "node without CPUs", spec: machinetest.Intel2SMLX5, tree: func(t *machinetest.Tree) { t.Write("sys/devices/system/node/node1/cpulist", "\n") }, want: []string{"warn numa: no CPU that is online"}},
	{name: "all CPUs isolated", spec: machinetest.EPYCMLX5, tree: func(t *machinetest.Tree) { t.Write("sys/devices/system/cpu/isolated", "8-11,24-27\n") }, want: []string{"warn numa: are isolated"}},
	{name: "down", spec: machinetest.VMIGB, tree: func(t *machinetest.Tree) { t.Write("sys/class/net/enp1s0/flags", "0x1002\n") }, want: []string{"fail link: enp1s0 is down"}},
	{name: "no cable", spec: machinetest.Intel2SMLX4, tree: func(t *machinetest.Tree) { t.Write("sys/class/net/enp4s0d1/carrier", "0\n") }, want: []string{"warn link: enp4s0d1 has no carrier"}},
	{name: "half duplex", spec: machinetest.VMIGB, tree: func(t *machinetest.Tree) { t.Write("sys/class/net/enp1s0/duplex", "half\n") }, want: []string{"warn link: half duplex"}},
	{name: "small MTU", spec: machinetest.VMIGB, tree: func(t *machinetest.Tree) { t.Write("sys/class/net/enp1s0/mtu", "1400\n") }, want: []string{"warn mtu: 1400"}},
	{name: "VF with a larger MTU", spec: machinetest.VMIGB, tree: func(t *machinetest.Tree) { t.Write("sys/class/net/enp1s0v3/mtu", "9000\n") }, want: []string{"warn mtu: enp1s0v3 9000"}},
	{name: "default route", spec: machinetest.VMIGB, tree: func(t *machinetest.Tree) { _ = t.Route("enp1s0", "default") }, want: []string{"warn management: default route goes over enp1s0"}},
	{name: "default route of IPv6", spec: machinetest.VMIGB, tree: func(t *machinetest.Tree) {
		zero := strings.Repeat("0", 32)
		t.Write("proc/net/ipv6_route", zero+" 00 "+zero+" 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003   enp1s0\n")
	}, want: []string{"warn management: default route goes over enp1s0"}},
}

func trust() eswitch.Attr[bool] { return eswitch.Set(true) }

func carries(vf int, a vfnl.Attrs) func(*Facts) {
	return func(f *Facts) {
		for _, n := range f.pfs() {
			f.Carried[n.Slot] = vfnl.PF{VFs: []vfnl.VF{{Index: vf, Attrs: a}}}
		}
	}
}

var vfFaults = []fault{
	{name: "not all VFs", spec: of(machinetest.VMIGB, func(s *machinetest.Spec) { s.Cards[0].VFs = 3 }), tree: func(t *machinetest.Tree) {
		r := hostprep.Record{Slot: igb, Count: 7, Autoprobe: true}
		t.Write("etc/neutrino/vfs.d/"+igb+".conf", r.Text())
	}, want: []string{"fail vf-count: 3 VFs of 7, and 7 are written down"}},
	{name: "more than there can be", spec: machinetest.VMIGB, tree: func(t *machinetest.Tree) {
		r := hostprep.Record{Slot: igb, Count: 16, Autoprobe: true}
		t.Write("etc/neutrino/vfs.d/"+igb+".conf", r.Text())
	}, want: []string{"fail vf-count: 16 are written down"}},
	{name: "a VF was removed", spec: of(machinetest.VMIGB, func(s *machinetest.Spec) { s.Cards[0].Missing = []int{2} }), want: []string{"warn vf-count: somebody has removed"}},
	{name: "not at boot", spec: machinetest.VMIGB, tree: func(t *machinetest.Tree) { t.Remove("etc/neutrino/vfs.d") }, want: []string{"warn vf-boot: nothing makes its 7 VFs again"}},
	{name: "unit is not enabled", spec: machinetest.VMIGB, tree: func(t *machinetest.Tree) { t.Remove("etc/systemd/system/multi-user.target.wants/neutrino-vfs.service") }, want: []string{"warn vf-boot: not enabled"}},
	{name: "no unit", spec: machinetest.VMIGB, tree: func(t *machinetest.Tree) {
		t.Remove("etc/systemd/system/multi-user.target.wants/neutrino-vfs.service")
		t.Remove("usr/lib/systemd/system/neutrino-vfs.service")
	}, want: []string{"warn vf-boot: no neutrino-vfs.service"}},
	{name: "no file for mlx4", spec: machinetest.Intel2SMLX4, tree: func(t *machinetest.Tree) { t.Remove("etc/modprobe.d") }, want: []string{"warn vf-boot: no file gives"}},
	{name: "VF without a driver", spec: machinetest.VMIGB, tree: func(t *machinetest.Tree) { _ = t.Sys.Bind(noTimeout, vf(3), "") }, want: []string{"warn vf-driver: VFs 3 have none"}},
	{name: "VF left on vfio-pci", spec: machinetest.VMIGB, tree: func(t *machinetest.Tree) { _ = t.Sys.Bind(noTimeout, vf(2), "vfio-pci") }, want: []string{"warn vf-leftover: VFs 2 are on vfio-pci"}},
	{name: "who uses VFs is not seen", spec: machinetest.VMIGB, tree: func(t *machinetest.Tree) { _ = t.Sys.Bind(noTimeout, vf(2), "vfio-pci") }, facts: func(f *Facts) { f.Unseen = "it needs root" }, want: []string{"unknown vf-leftover: needs root"}},
	{name: "override", spec: machinetest.VMIGB, tree: func(t *machinetest.Tree) { t.Write(dir+vf(5)+"/driver_override", "vfio-pci\n") }, want: []string{"warn vf-leftover: VF 5 vfio-pci"}},
	{name: "VLAN left", spec: machinetest.VMIGB, facts: carries(4, vfnl.Attrs{VLAN: eswitch.Set(vfnl.VLAN{ID: 100}), MAC: eswitch.Set(vfnl.MAC{2, 0, 0, 0, 0, 9})}), want: []string{"warn vf-leftover: VF 4 vlan 100 mac 02:00:00:00:00:09"}},
	{name: "MAC left", spec: machinetest.Intel2SMLX5, facts: carries(1, vfnl.Attrs{MAC: eswitch.Set(vfnl.MAC{2, 0, 0, 0, 0, 9})}), want: []string{"warn vf-leftover: VF 1 mac"}},
	{name: "rate and trust left", spec: machinetest.Intel2SMLX5, facts: carries(1, vfnl.Attrs{MaxTxRate: eswitch.Set(50), Trust: trust()}), want: []string{"warn vf-leftover: VF 1 max_tx_rate 50 trust on"}},
	{name: "shared group", spec: of(machinetest.VMIGB, func(s *machinetest.Spec) { s.Cards[0].Group = "shared" }), want: []string{"fail iommu-group: VF 0 with 0000:01:00.0"}},
}

func vf(i int) string { return machinetest.VMIGB().Cards[0].VFSlot(i) }

func TestEachFaultIsFoundAndNothingElse(t *testing.T) {
	for _, tt := range slices.Concat(hostFaults, cardFaults, vfFaults) {
		t.Run(tt.name, func(t *testing.T) {
			tree := fit(t, tt.spec())
			if tt.tree != nil {
				tt.tree(tree)
			}
			f := look(t, tree)
			if tt.facts != nil {
				tt.facts(&f)
			}
			wantFindings(t, Judge(f), tt.want)
		})
	}
}

// wantFindings holds what is not ok against "status check: part of the evidence".
func wantFindings(t *testing.T, r Report, want []string) {
	t.Helper()
	var have []Finding
	for _, x := range r.Findings {
		if x.Why == "" || x.Evidence == "" || x.Check == "" || x.Subject == "" {
			t.Errorf("incomplete: %+v", x)
		}
		if x.Status == OK {
			continue
		}
		have = append(have, x)
		if x.Status.Worse(Unknown) && x.Mend == "" {
			t.Errorf("%s says no way to mend it", x.Check)
		}
	}
	if len(have) != len(want) {
		t.Fatalf("want %q:\n%s", want, text(r))
	}
	for i, w := range want {
		head, part, _ := strings.Cut(w, ": ")
		x := have[i]
		if string(x.Status)+" "+x.Check != head || !strings.Contains(x.Evidence, part) {
			t.Errorf("%s %s: %s\nwant %s", x.Status, x.Check, x.Evidence, w)
		}
	}
}

// What belongs to somebody is no leftover.
func TestVFsInUseAreNoLeftover(t *testing.T) {
	attrs := vfnl.Attrs{VLAN: eswitch.Set(vfnl.VLAN{ID: 100}), MAC: eswitch.Set(vfnl.MAC{2, 0, 0, 0, 0, 9})}
	for name, change := range map[string]func(*machinetest.Tree, *Facts){
		"a guest":   func(*machinetest.Tree, *Facts) {},
		"a port":    func(_ *machinetest.Tree, f *Facts) { f.Held, f.Ports = nil, map[string]string{vf(2): "port"} },
		"the agent": func(_ *machinetest.Tree, f *Facts) { f.Held, f.Agent = nil, true },
		"as prepare": func(_ *machinetest.Tree, f *Facts) {
			f.Held, f.Carried = nil, nil
			f.Records[igb] = hostprep.Record{Slot: igb, Count: 7, Driver: "vfio-pci"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			tree := fit(t, machinetest.VMIGB())
			if err := errors.Join(tree.Sys.Bind(noTimeout, vf(2), "vfio-pci"), tree.Hold(77, "vm1", vf(2))); err != nil {
				t.Fatal(err)
			}
			f := look(t, tree)
			if len(f.Held[vf(2)]) != 1 || !strings.Contains(f.Held[vf(2)][0], "vm1") {
				t.Fatalf("held by %v", f.Held)
			}
			carries(2, attrs)(&f)
			change(tree, &f)
			wantFindings(t, Judge(f), nil)
		})
	}
}

func TestUntaggedIsNoVLAN(t *testing.T) {
	f := look(t, fit(t, machinetest.Intel2SMLX4()))
	carries(0, vfnl.Attrs{VLAN: eswitch.Set(vfnl.VLAN{ID: 4095}), MAC: eswitch.Set(vfnl.MAC{2, 0, 0, 0, 0, 9})})(&f)
	wantFindings(t, Judge(f), nil)
}

// VFs that only guests have are nobody's network devices.
func TestNetworkManagerBesideVFsOfGuests(t *testing.T) {
	tree := fit(t, machinetest.VMIGB())
	tree.Remove("etc/NetworkManager")
	tree.Service("NetworkManager.service", true, true)
	r := hostprep.Record{Slot: igb, Count: 7, Driver: "vfio-pci", Autoprobe: true}
	tree.Write("etc/neutrino/vfs.d/"+igb+".conf", r.Text())
	wantFindings(t, Judge(look(t, tree)), []string{"warn networkmanager: nothing keeps it off"}) // they still have netdevs
	for i := range 7 {
		if err := tree.Sys.Bind(noTimeout, vf(i), "vfio-pci"); err != nil {
			t.Fatal(err)
		}
	}
	wantFindings(t, Judge(look(t, tree)), nil)
}

func TestOptionOfMLX4ThatWaitsForAReboot(t *testing.T) {
	spec := machinetest.Intel2SMLX4()
	spec.Cards[0].VFs, spec.Cards[0].Triplet = 0, [3]int{}
	tree := fit(t, spec)
	tree.Write("etc/modprobe.d/mlx4_core.conf", "options mlx4_core num_vfs=8,0,0\n")
	r := Judge(look(t, tree))
	wantFindings(t, r, []string{"warn driver: num_vfs=8,0,0 in", "fail vf-count: none of 16"})
	if i := slices.IndexFunc(r.Findings, func(x Finding) bool { return x.Check == "vf-count" }); !strings.HasPrefix(r.Findings[i].Mend, "reboot: ") {
		t.Errorf("%+v", r.Findings[i])
	}
}

// A second PF that nobody wants VFs of is no fault; named, it is one.
func TestPFsThatNobodyWantsVFsOf(t *testing.T) {
	spec := machinetest.VMIGB()
	other := spec.Cards[0]
	other.Slot, other.Netdevs, other.MAC, other.VFs, other.Above = "0000:02:00.0", []string{"enp2s0"}, "52:54:00:05:eb:00", 0, "0000:00:04.0"
	spec.Cards = append(spec.Cards, other)
	tree := fit(t, spec)
	tree.Remove("etc/neutrino/vfs.d/" + other.Slot + ".conf")
	wantFindings(t, Judge(look(t, tree)), nil)
	f, err := Look(t.Context(), Options{Root: tree.Root, PFs: []string{"enp2s0"}})
	if err != nil {
		t.Fatal(err)
	}
	r := Judge(f)
	wantFindings(t, r, []string{"fail vf-count: none of 7"})
	for _, x := range r.Findings {
		if x.Slot != "" && x.Slot != other.Slot {
			t.Errorf("%+v is about another PF", x)
		}
	}
	if mend := r.Findings[slices.IndexFunc(r.Findings, func(x Finding) bool { return x.Check == "vf-count" })].Mend; mend != "neutrino host prepare --pf enp2s0 --vfs 7" {
		t.Errorf("mend %q", mend)
	}
}

func TestRebootIsSaidWhereTheBootLoaderHasItAlready(t *testing.T) {
	for _, all := range machinetest.All() {
		tree := machinetest.New(t, all())
		tree.Replace("proc/cmdline", " iommu=pt", "")
		for _, n := range tree.Spec.Cards {
			tree.Write(dir+n.Slot+"/iommu_group/type", "DMA\n")
		}
		f := look(t, tree)
		if v := commandLine(&f); len(v) != 1 || v[0].status != Warn || !strings.HasPrefix(v[0].mend, "reboot: ") {
			t.Errorf("%s: %+v", tree.Spec.Name, v)
		}
	}
}

func TestMachineWithoutSRIOV(t *testing.T) {
	spec := machinetest.VMIGB()
	spec.Cards = nil
	tree := machinetest.New(t, spec)
	f := look(t, tree)
	f.Machine.IOMMU.Groups = 1
	wantFindings(t, Judge(f), []string{"fail sriov: enp0s2 (virtio-pci)"})
	if _, err := Look(t.Context(), Options{Root: tree.Root, PFs: []string{"enp0s2"}}); err == nil || !strings.Contains(err.Error(), "enp0s2") {
		t.Error(err)
	}
	if _, err := Look(t.Context(), Options{Root: t.TempDir()}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
