package machine_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"neutrino/internal/machine"
	"neutrino/internal/machine/machinetest"
)

func read(t testing.TB, tree *machinetest.Tree) machine.Machine {
	t.Helper()
	if err := tree.Err(); err != nil {
		t.Fatal(err)
	}
	m, err := machine.Read(tree.Root)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// want is what the fixtures say of themselves in other words.
type want struct {
	family, loader, rebuild string
	packages, physical      int
	nodes                   []string // cpulists
	siblings                string   // of CPU 1
	memory                  int      // GiB
	pf, local, above        string
	irqs                    int // of the PF
	width, payload          int
	interfaces              int
	guest                   bool
}

func TestMachinesAreReadAsTheyAre(t *testing.T) {
	for name, w := range map[string]want{
		"intel-2s-mlx5": {
			"rhel", machine.GRUBBLS, "grubby --update-kernel=ALL --args=", 2, 20,
			[]string{"0,2,4,6,8,10,12,14,16,18,20,22,24,26,28,30,32,34,36,38", "1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37,39"},
			"1,21", 192,
			"ens3f0np0", "1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37,39", "0000:ae:00.0", 21, 16, 256, 1, false,
		},
		"amd-epyc-mlx5": {
			"debian", machine.GRUB, "update-grub", 1, 16,
			[]string{"0-3,16-19", "4-7,20-23", "8-11,24-27", "12-15,28-31"},
			"1,17", 128,
			"enp65s0f0np0", "8-11,24-27", "0000:40:01.1", 33, 16, 512, 1, false,
		},
		"intel-2s-mlx4": {
			"debian", machine.GRUB, "update-grub", 2, 16,
			[]string{"0-7,16-23", "8-15,24-31"},
			"1,17", 128,
			"enp4s0", "0-7,16-23", "0000:00:02.0", 9, 8, 256, 2, false,
		},
		"vm-igb": {
			"debian", machine.GRUB, "update-grub", 2, 2,
			[]string{"0-1"},
			"1", 2,
			"enp1s0", "0-1", "0000:00:03.0", 3, 1, 128, 1, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := machinetest.All()[name]()
			m := read(t, machinetest.New(t, spec))
			if m.OS.Family != w.family || m.Boot.Loader != w.loader || m.Boot.Rebuild != w.rebuild || m.Kernel.Release != spec.Kernel {
				t.Errorf("OS %+v, boot %+v, kernel %q", m.OS, m.Boot, m.Kernel.Release)
			}
			if v, ok := m.Kernel.Arg("iommu"); !ok || v != "pt" {
				t.Errorf("iommu=%q in %v", v, m.Kernel.Args)
			}
			var nodes []string
			memory := 0
			for _, n := range m.Nodes {
				nodes = append(nodes, n.CPUs.String())
				memory += n.Total >> 20
				if len(n.Huge) != 2 || len(n.Distances) != len(m.Nodes) {
					t.Errorf("node %+v", n)
				}
			}
			if m.CPU.Packages() != w.packages || m.CPU.Physical() != w.physical || !slices.Equal(nodes, w.nodes) || memory != w.memory || m.Memory.Total>>20 != w.memory {
				t.Errorf("%d packages, %d cores, nodes %q, %d GiB", m.CPU.Packages(), m.CPU.Physical(), nodes, memory)
			}
			if m.CPU.Virt != spec.Virt || m.CPU.Hypervisor != w.guest || m.CPU.Cores[1].Siblings.String() != w.siblings || m.CPU.Family != spec.CPUFamily {
				t.Errorf("CPU %+v", m.CPU)
			}
			if m.IOMMU.Table != spec.Table || !slices.Equal(m.IOMMU.Units, spec.Units) || m.IOMMU.Groups == 0 || !m.IOMMU.ACPI {
				t.Errorf("IOMMU %+v", m.IOMMU)
			}
			if m.Memory.THP != "madvise" || !m.KVM || !strings.HasPrefix(m.Product, spec.Product[0]+" ") {
				t.Errorf("THP %q, KVM %v, %q", m.Memory.THP, m.KVM, m.Product)
			}
			pf(t, m, spec, w)
		})
	}
}

func pf(t *testing.T, m machine.Machine, spec machinetest.Spec, w want) {
	t.Helper()
	n, ok := m.NIC(w.pf)
	c := spec.Cards[0]
	if !ok || n.PF == nil || n.Slot != c.Slot || n.Driver != c.Driver || n.PF.NumVFs != c.VFs || n.VF() || n.Name() != w.pf {
		t.Fatalf("PF %+v", n)
	}
	p := n.PCIe
	if p.Slot != w.above || p.Now != p.Max || p.SlotMax != p.Max || p.Max.Width != w.width || p.Max.Speed == 0 ||
		p.MaxPayload != w.payload || p.MaxPayloadCan != w.payload || p.MaxReadReq != 512 || p.SlotPayload != w.payload || p.SlotPayloadCan != w.payload {
		t.Errorf("PCIe %+v", p)
	}
	if n.LocalCPUs.String() != w.local || len(n.IRQs) != w.irqs || len(n.Interfaces) != w.interfaces || n.BARs != (machine.BARs{Known: true, VF: 1}) || n.GroupType != "identity" {
		t.Errorf("local CPUs %s, %d IRQs, %d netdevs, %+v, group %q", n.LocalCPUs, len(n.IRQs), len(n.Interfaces), n.BARs, n.GroupType)
	}
	i := n.Interfaces[0]
	if !i.Up || !i.Carrier || i.Speed != c.Mbit || i.MTU != 1500 || i.Type != 1 || i.RX != c.Queues || i.TX != c.Queues || i.MAC != c.MAC {
		t.Errorf("netdev %+v", i)
	}
	if port, found := m.NIC(spec.Port.Name); !found || port.Slot != spec.Port.Slot || port.PF != nil || len(port.Interfaces) != 1 || port.Interfaces[0].MAC != spec.Port.MAC {
		t.Errorf("port %+v", port)
	}
	vfs := 0
	for _, x := range m.NICs {
		if x.VF() && x.PhysFn == n.Slot && x.Driver == c.VFDriver {
			vfs++
		}
	}
	if vfs != c.VFs {
		t.Errorf("%d VFs, want %d", vfs, c.VFs)
	}
	lines, cpus := m.Tree.Interrupts()
	if !slices.Equal(cpus, m.CPU.Online) {
		t.Errorf("columns %v, online %v", cpus, m.CPU.Online)
	}
	for _, irq := range n.IRQs {
		at := slices.IndexFunc(lines, func(l machine.Interrupt) bool { return l.IRQ == irq })
		if at < 0 {
			t.Fatalf("IRQ %d is not in /proc/interrupts", irq)
		}
		l, a := lines[at], m.Tree.Affinity(irq)
		if len(l.Counts) != len(cpus) || l.Total() != 4711 || l.Name == "" || l.Chip != "IR-PCI-MSIX-"+n.Slot || len(a.Allowed) != 1 || !slices.Equal(a.Allowed, a.Effective) || !slices.Equal(a.Hint, a.Allowed) {
			t.Errorf("IRQ %d: %+v %+v", irq, l, a)
		}
	}
}

func TestServicesAreSeenWhereverTheyAre(t *testing.T) {
	tree := machinetest.New(t, machinetest.VMIGB())
	tree.Service("irqbalance.service", true, false)
	tree.Service("NetworkManager.service", false, true)
	tree.Link("etc/systemd/system/openibd.service", "/dev/null")
	tree.Write("run/systemd/system/made.service", "[Service]\n")
	m := read(t, tree)
	for name, want := range map[string]machine.Service{
		"irqbalance.service":     {Enabled: true},
		"NetworkManager.service": {Running: true},
		"libvirtd.service":       {Enabled: true, Running: true},
		"openibd.service":        {Masked: true},
		"made.service":           {},
	} {
		want.Name = name
		if s, ok := m.Tree.Service(name); !ok || s != want {
			t.Errorf("%s: %+v %v, want %+v", name, s, ok, want)
		}
	}
	if s, ok := m.Tree.Service("no-such.service"); ok {
		t.Errorf("found %+v", s)
	}
	tree.Remove("sys/fs/cgroup")
	tree.Write("proc/77/comm", "neutron-sriov-n\n")
	if s, ok := m.Tree.Service("neutron-sriov-nic-agent.service"); !ok || !s.Running {
		t.Errorf("a process without a unit: %+v", s)
	}
}

func TestBootLoaders(t *testing.T) {
	for _, tt := range []struct {
		loader string
		spec   func() machinetest.Spec
		want   machine.Boot
	}{
		{"grub", machinetest.VMIGB, machine.Boot{Loader: machine.GRUB, File: "/etc/default/grub", Rebuild: "update-grub", Initramfs: "update-initramfs -u"}},
		{"systemd-boot", machinetest.VMIGB, machine.Boot{Loader: machine.SystemdBoot, EFI: true, File: "/etc/kernel/cmdline", Rebuild: "kernel-install add $(uname -r) /boot/vmlinuz-$(uname -r)", Initramfs: "update-initramfs -u"}},
		{"grub", machinetest.Intel2SMLX5, machine.Boot{Loader: machine.GRUB, File: "/etc/default/grub", Rebuild: "grub2-mkconfig -o /boot/grub2/grub.cfg", Initramfs: "dracut --force"}},
		{"none", machinetest.VMIGB, machine.Boot{Initramfs: "update-initramfs -u"}},
	} {
		s := tt.spec()
		s.Loader = tt.loader
		if m := read(t, machinetest.New(t, s)); m.Boot != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.loader, m.Boot, tt.want)
		}
	}
}

func TestRoomForVFs(t *testing.T) {
	tree := machinetest.New(t, machinetest.VMIGB())
	slot := tree.Spec.Cards[0].Slot
	tree.NoRoom(slot)
	m := read(t, tree)
	if n, _ := m.NIC(slot); n.BARs != (machine.BARs{Known: true}) {
		t.Errorf("without room: %+v", n.BARs)
	}
	tree.Replace("sys/bus/pci/devices/"+slot+"/resource", "0x0000000000000000 0x0000000000000000 0x0000000000000000", "0x0000000000000000 0x0000000000003fff 0x000000002014220c")
	m = read(t, tree)
	if n, _ := m.NIC(slot); n.BARs != (machine.BARs{Known: true, Absent: 6}) {
		t.Errorf("marked as not assigned: %+v", n.BARs)
	}
}

func TestThisMachine(t *testing.T) {
	m, err := machine.Read("")
	if err != nil {
		t.Fatal(err)
	}
	if m.CPU.Count() == 0 || m.Kernel.Release == "" || m.Memory.Total == 0 || !m.Tree.Live() || m.OS.Name == "" {
		t.Errorf("%+v", m)
	}
	if _, cpus := m.Tree.Interrupts(); len(cpus) == 0 {
		t.Error("no CPU in /proc/interrupts")
	}
}

func TestNoTree(t *testing.T) {
	if _, err := machine.Read(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "sysfs") {
		t.Error(err)
	}
}

// Whatever is in the files, reading ends without a panic.
func TestBrokenTreesAreRead(t *testing.T) {
	tree := machinetest.New(t, machinetest.VMIGB())
	files := tree.Files()
	if err := tree.Err(); err != nil || len(files) == 0 {
		t.Fatal(err, len(files))
	}
	rapid.Check(t, func(r *rapid.T) {
		for range rapid.IntRange(1, 8).Draw(r, "files") {
			path := rapid.SampledFrom(files).Draw(r, "file")
			if err := os.WriteFile(path, rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(r, "text"), 0o600); err != nil {
				r.Fatal(err)
			}
		}
		if _, err := machine.Read(tree.Root); err != nil {
			r.Fatal(err)
		}
	})
}
