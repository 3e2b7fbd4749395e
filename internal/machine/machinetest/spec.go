package machinetest

import "neutrino/internal/pci/pcitest"

// Spec describes a machine.
type Spec struct {
	Name      string
	Product   [2]string // sys_vendor, product_name
	OSRelease string
	Kernel    string
	Line      string // kernel command line
	Loader    string // "grub", "grub-bls", "systemd-boot"

	Vendor, Model, Virt string // of the CPUs
	CPUFamily, CPUModel int
	Guest               bool
	Packages, Cores     int  // cores of one package
	SMT                 bool // two threads per core
	NodesPer            int  // NUMA nodes of one package
	Interleaved         bool // CPU numbers go round the packages
	MemoryGiB           int  // of one node
	IdleStates          []string
	FreqDriver          string

	Table    string // ACPI table of the IOMMU
	Units    []string
	Modules  []string
	Services []string // running
	Programs []string // files that are there
	Cards    []Card
	Port     Port // the NIC the host is reached over
}

// Card is a NIC with SR-IOV and the slot that it is in.
type Card struct {
	pcitest.Card
	Above   string // PCI address of the root port
	Speed   string // GT/s of card and slot
	Width   int
	Mbit    int
	Queues  int
	Payload int // bytes
	Subsys  string
	Type    int // of its netdevs: 1 Ethernet
}

// Port is a NIC without SR-IOV.
type Port struct{ Slot, Name, MAC, Driver string }

// All are the machines, by name.
func All() map[string]func() Spec {
	return map[string]func() Spec{
		"intel-2s-mlx5": Intel2SMLX5, "amd-epyc-mlx5": EPYCMLX5, "intel-2s-mlx4": Intel2SMLX4, "vm-igb": VMIGB,
	}
}

// Intel2SMLX5 is a Dell server with two Xeons whose CPU numbers alternate between the
// sockets, RHEL 9 and a ConnectX-5 at the second socket.
func Intel2SMLX5() Spec {
	c := pcitest.MLX5()
	c.Slot, c.Netdevs, c.OFED, c.VFs, c.Total = "0000:af:00.0", []string{"ens3f0np0"}, false, 8, 16
	return Spec{
		Name: "intel-2s-mlx5", Product: [2]string{"Dell Inc.", "PowerEdge R640"}, Kernel: "5.14.0-503.11.1.el9_5.x86_64", Loader: "grub-bls",
		OSRelease: "NAME=\"Red Hat Enterprise Linux\"\nVERSION=\"9.5 (Plow)\"\nID=\"rhel\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"9.5\"\nPRETTY_NAME=\"Red Hat Enterprise Linux 9.5 (Plow)\"\n",
		Line:      "BOOT_IMAGE=(hd0,gpt2)/vmlinuz-5.14.0-503.11.1.el9_5.x86_64 root=/dev/mapper/rhel-root ro crashkernel=1G-4G:192M,4G-64G:256M,64G-:512M rd.lvm.lv=rhel/root intel_iommu=on iommu=pt",
		Vendor:    "GenuineIntel", Model: "Intel(R) Xeon(R) Silver 4114 CPU @ 2.20GHz", Virt: "vmx", CPUFamily: 6, CPUModel: 85,
		Packages: 2, Cores: 10, SMT: true, NodesPer: 1, Interleaved: true, MemoryGiB: 96,
		IdleStates: []string{"POLL", "C1", "C1E", "C6"}, FreqDriver: "intel_pstate",
		Table: "DMAR", Units: []string{"dmar0", "dmar1", "dmar2", "dmar3"},
		Modules:  []string{"mlx5_core", "mlx5_ib", "vfio", "vfio_pci", "vfio_pci_core", "vfio_iommu_type1", "kvm", "kvm_intel", "tg3"},
		Services: []string{"NetworkManager.service", "libvirtd.service", "firewalld.service", "tuned.service"},
		Programs: []string{"usr/libexec/qemu-kvm", "usr/sbin/libvirtd"},
		Cards:    []Card{{Card: c, Above: "0000:ae:00.0", Speed: "8.0", Width: 16, Mbit: 100000, Queues: 20, Payload: 256, Subsys: "0x0007", Type: 1}},
		Port:     Port{"0000:18:00.0", "eno1", "e4:43:4b:00:00:01", "tg3"},
	}
}

// EPYCMLX5 is a server with one EPYC in four NUMA nodes, Debian 12 and a ConnectX-6 Dx.
func EPYCMLX5() Spec {
	c := pcitest.MLX5()
	c.Slot, c.Netdevs, c.OFED, c.VFs, c.Total, c.Device = "0000:41:00.0", []string{"enp65s0f0np0"}, false, 8, 8, 0x101d
	c.MAC, c.NUMA = "b8:ce:f6:00:00:01", 2
	return Spec{
		Name: "amd-epyc-mlx5", Product: [2]string{"Supermicro", "AS -1114S-WTRT"}, OSRelease: debian12, Kernel: "6.1.0-28-amd64", Loader: "grub",
		Line:   "BOOT_IMAGE=/boot/vmlinuz-6.1.0-28-amd64 root=UUID=6f1c1e0e-0000-4000-8000-000000000001 ro quiet iommu=pt",
		Vendor: "AuthenticAMD", Model: "AMD EPYC 7302P 16-Core Processor", Virt: "svm", CPUFamily: 23, CPUModel: 49,
		Packages: 1, Cores: 16, SMT: true, NodesPer: 4, MemoryGiB: 32,
		IdleStates: []string{"POLL", "C1", "C2"}, FreqDriver: "acpi-cpufreq",
		Table: "IVRS", Units: []string{"ivhd0", "ivhd1", "ivhd2", "ivhd3"},
		Modules:  []string{"mlx5_core", "mlx5_ib", "vfio", "vfio_pci", "vfio_pci_core", "vfio_iommu_type1", "kvm", "kvm_amd", "igb"},
		Services: []string{"libvirtd.service", "openvswitch-switch.service", "ssh.service"},
		Programs: []string{"usr/bin/qemu-system-x86_64", "usr/sbin/libvirtd", "usr/bin/ovs-vsctl"},
		Cards:    []Card{{Card: c, Above: "0000:40:01.1", Speed: "16.0", Width: 16, Mbit: 100000, Queues: 32, Payload: 512, Subsys: "0x0058", Type: 1}},
		Port:     Port{"0000:c5:00.0", "eno1np0", "3c:ec:ef:00:00:01", "bnxt_en"},
	}
}

// Intel2SMLX4 is a server with two Sandy Bridge Xeons, Debian 11 and a ConnectX-3 Pro of
// two ports, whose VFs have both.
func Intel2SMLX4() Spec {
	c := pcitest.MLX4(0, 0, 8)
	c.Slot, c.Netdevs, c.Device, c.Total = "0000:04:00.0", []string{"enp4s0", "enp4s0d1"}, 0x1007, 16
	return Spec{
		Name: "intel-2s-mlx4", Product: [2]string{"HP", "ProLiant DL360p Gen8"}, Kernel: "5.10.0-33-amd64", Loader: "grub",
		OSRelease: "PRETTY_NAME=\"Debian GNU/Linux 11 (bullseye)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"11\"\nVERSION=\"11 (bullseye)\"\nVERSION_CODENAME=bullseye\nID=debian\n",
		Line:      "BOOT_IMAGE=/boot/vmlinuz-5.10.0-33-amd64 root=/dev/sda1 ro quiet intel_iommu=on iommu=pt",
		Vendor:    "GenuineIntel", Model: "Intel(R) Xeon(R) CPU E5-2670 0 @ 2.60GHz", Virt: "vmx", CPUFamily: 6, CPUModel: 45,
		Packages: 2, Cores: 8, SMT: true, NodesPer: 1, MemoryGiB: 64,
		IdleStates: []string{"POLL", "C1", "C1E", "C3", "C6", "C7"}, FreqDriver: "intel_cpufreq",
		Table: "DMAR", Units: []string{"dmar0", "dmar1"},
		Modules:  []string{"mlx4_core", "mlx4_en", "mlx4_ib", "vfio", "vfio_pci", "vfio_iommu_type1", "kvm", "kvm_intel", "tg3"},
		Services: []string{"libvirtd.service", "ssh.service"},
		Programs: []string{"usr/bin/qemu-system-x86_64", "usr/sbin/libvirtd"},
		Cards:    []Card{{Card: c, Above: "0000:00:02.0", Speed: "8.0", Width: 8, Mbit: 40000, Queues: 8, Payload: 256, Subsys: "0x0079", Type: 1}},
		Port:     Port{"0000:03:00.0", "eno1", "2c:44:fd:00:00:01", "tg3"},
	}
}

// VMIGB is a virtual machine of QEMU (q35) with Debian 12 and an emulated 82576.
func VMIGB() Spec {
	c := pcitest.IGB()
	c.Slot, c.Netdevs, c.NUMA = "0000:01:00.0", []string{"enp1s0"}, -1
	return Spec{
		Name: "vm-igb", Product: [2]string{"QEMU", "Standard PC (Q35 + ICH9, 2009)"}, OSRelease: debian12, Kernel: "6.1.0-28-amd64", Loader: "grub",
		Line:   "BOOT_IMAGE=/boot/vmlinuz-6.1.0-28-amd64 root=/dev/vda1 ro console=ttyS0 intel_iommu=on iommu=pt",
		Vendor: "GenuineIntel", Model: "Intel(R) Xeon(R) CPU E5-2690 v3 @ 2.60GHz", Virt: "vmx", CPUFamily: 6, CPUModel: 63, Guest: true,
		Packages: 2, Cores: 1, NodesPer: 0, MemoryGiB: 2,
		Table: "DMAR", Units: []string{"dmar0"},
		Modules:  []string{"igb", "igbvf", "vfio", "vfio_pci", "vfio_pci_core", "vfio_iommu_type1", "kvm", "kvm_intel", "virtio_net"},
		Services: []string{"libvirtd.service", "ssh.service"},
		Programs: []string{"usr/bin/qemu-system-x86_64", "usr/sbin/libvirtd"},
		Cards:    []Card{{Card: c, Above: "0000:00:03.0", Speed: "2.5", Width: 1, Mbit: 1000, Queues: 2, Payload: 128, Subsys: "0xa01f", Type: 1}},
		Port:     Port{"0000:00:02.0", "enp0s2", "52:54:00:00:00:02", "virtio-pci"},
	}
}

const debian12 = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n" +
	"VERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\nHOME_URL=\"https://www.debian.org/\"\n"
