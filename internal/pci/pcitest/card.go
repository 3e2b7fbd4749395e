package pcitest

import "fmt"

// Card describes one physical function and what it has.
type Card struct {
	Slot     string   // PCI address of the PF
	Netdevs  []string // of the PF, by dev_port
	MAC      string   // of its first netdev; others count on from it
	Driver   string   // "" = none
	VFDriver string   // what the kernel has for its VFs; "" = nothing
	Device   int      // PCI id of the PF
	Vendor   int
	Total    int // sriov_totalvfs
	VFs      int // when the tree is made
	Offset   int // first VF's routing id, counted from the PF's (PCIe 9.3.3.9)
	Stride   int
	NUMA     int
	Missing  []int  // indexes of VFs that somebody has removed by hand
	OFED     bool   // device/sriov/N of the vendor's own driver is there
	Triplet  [3]int // mlx4: VFs on port 1, on port 2, on both (num_vfs of the module)
	Group    string // IOMMU groups: "" = one per function, "shared" = one for the card, "none"
	Reset    string // reset_method of the VFs; "" = flr, "none" = no reset at all

	NoAutoprobe bool // the kernel is older than sriov_drivers_autoprobe
	Refuses     int  // errno of every write to sriov_numvfs that is no 0; 0 = none
	Loses       bool // one VF of those made comes without a driver
}

// The cards of the tests. They are functions: each caller changes its own.

// IGB is an Intel 82576, which QEMU emulates as well.
func IGB() Card {
	return Card{
		Slot: "0000:03:00.0", Netdevs: []string{"ens3f0"}, MAC: "52:54:00:05:ea:00", Driver: "igb", VFDriver: "igbvf",
		Vendor: 0x8086, Device: 0x10c9, Total: 7, VFs: 7, Offset: 0x80, Stride: 2,
	}
}

// IXGBE is an Intel 82599.
func IXGBE() Card {
	return Card{
		Slot: "0000:04:00.1", Netdevs: []string{"ens4f1"}, MAC: "90:e2:ba:00:00:01", Driver: "ixgbe", VFDriver: "ixgbevf",
		Vendor: 0x8086, Device: 0x10fb, Total: 63, VFs: 4, Offset: 0x80, Stride: 2, NUMA: 1,
	}
}

// I40E is an Intel XL710.
func I40E() Card {
	return Card{
		Slot: "0000:05:00.0", Netdevs: []string{"ens5f0"}, MAC: "3c:fd:fe:00:00:01", Driver: "i40e", VFDriver: "iavf",
		Vendor: 0x8086, Device: 0x1583, Total: 64, VFs: 8, Offset: 0x10, Stride: 1,
	}
}

// ICE is an Intel E810.
func ICE() Card {
	return Card{
		Slot: "0000:06:00.0", Netdevs: []string{"ens6f0"}, MAC: "b4:96:91:00:00:01", Driver: "ice", VFDriver: "iavf",
		Vendor: 0x8086, Device: 0x1592, Total: 128, VFs: 16, Offset: 0x08, Stride: 1,
	}
}

// MLX5 is a ConnectX-5 with the vendor's driver.
func MLX5() Card {
	return Card{
		Slot: "0000:07:00.0", Netdevs: []string{"ens7f0np0"}, MAC: "b8:59:9f:00:00:01", Driver: "mlx5_core", VFDriver: "mlx5_core",
		Vendor: 0x15b3, Device: 0x1017, Total: 8, VFs: 4, Offset: 2, Stride: 1, NUMA: 1, OFED: true,
	}
}

// MLX4 is a ConnectX-3 with two ports; num_vfs=port1,port2,both.
func MLX4(port1, port2, both int) Card {
	return Card{
		Slot: "0000:08:00.0", Netdevs: []string{"ens8", "ens8d1"}, MAC: "f4:52:14:00:00:01", Driver: "mlx4_core", VFDriver: "mlx4_core",
		Vendor: 0x15b3, Device: 0x1003, Total: 16, VFs: port1 + port2 + both, Offset: 1, Stride: 1, Triplet: [3]int{port1, port2, both},
	}
}

// Many is a PF whose 255 VFs go over the end of its bus.
func Many() Card {
	c := ICE()
	c.Slot, c.Netdevs = "0000:10:00.0", []string{"ens16f0"}
	c.Total, c.VFs, c.Offset = 255, 255, 0x80
	return c
}

// VFSlot is the PCI address of a VF: the PF's routing id plus offset and stride, which
// may carry into the bus number.
func (c Card) VFSlot(i int) string {
	var domain, bus, dev, fn int
	if _, err := fmt.Sscanf(c.Slot, "%x:%x:%x.%x", &domain, &bus, &dev, &fn); err != nil {
		return ""
	}
	id := bus<<8 | dev<<3 | fn
	id += c.Offset + c.Stride*i
	return fmt.Sprintf("%04x:%02x:%02x.%x", domain, id>>8, id>>3&0x1f, id&7)
}

// VFNetdevs are the names of a VF's netdevs, by dev_port. mlx4 lists VFs of port 1
// first, then of port 2, then of both; one of a single port sees that as its first.
func (c Card) VFNetdevs(i int) []string {
	if len(c.Netdevs) == 0 {
		return nil
	}
	name := fmt.Sprintf("%sv%d", c.Netdevs[0], i)
	if len(c.Netdevs) > 1 && i >= c.Triplet[0]+c.Triplet[1] {
		return []string{name, name + "d1"}
	}
	return []string{name}
}
