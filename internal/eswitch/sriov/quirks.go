package sriov

// quirks are what is particular about a PF's driver and cannot be found out by asking
// it. What a driver is able to do is not here: that is learned.
type quirks struct {
	// parks: the PF shows the VF's own address while none is set, or takes no zero address;
	// so a VF of nobody carries a parking address.
	//
	// igb, ixgbe: a VF driver without an address takes a random one and announces it by
	// mailbox, which then reads as the VF's (igb_set_vf_mac_addr, ixgbe_set_vf_mac_addr).
	// i40e, ice: the first address that the VF adds becomes its default one
	// (i40e_vc_add_mac_addr_msg, ice_vfhw_mac_add). mlx4: a zero address is EPERM with
	// spoof check, and spoof check is EPERM with a zero address (mlx4_set_vf_mac,
	// mlx4_set_vf_spoofchk).
	parks bool
	// lateMAC: a new address comes into force after a reset of the VF that the driver does
	// not wait for.
	lateMAC bool
	// rateNeedsVLAN: a rate is kept but not in force, and reads as 0, without a VLAN
	// (mlx4_get_vf_config); and while it is in force the VLAN cannot be taken away
	// (mlx4_valid_vf_state_change).
	rateNeedsVLAN bool
}

// pfQuirks by the name of the PF's driver, as of Linux 6.12.
var pfQuirks = map[string]quirks{
	"igb":       {parks: true},
	"ixgbe":     {parks: true},
	"i40e":      {parks: true, lateMAC: true},
	"ice":       {parks: true, lateMAC: true},
	"mlx4_core": {parks: true, rateNeedsVLAN: true},
	"mlx5_core": {},
}

// vfQuirks are what is particular about a VF's driver on the host: that it is in the
// table at all says that its netdev keeps an address of its own.
type vfQuirks struct {
	// rebind: the PF refuses the VF's wish for an address once it has set one, even the
	// same (igb_set_vf_mac_addr), so only a new probe takes it over.
	rebind bool
}

// vfDrivers by the name of the VF's driver.
var vfDrivers = map[string]vfQuirks{
	"igbvf":     {rebind: true},
	"ixgbevf":   {},
	"iavf":      {},
	"i40evf":    {},
	"mlx4_core": {},
	"mlx5_core": {},
}

// vlanVGT is how mlx4 (MLX4_VGT) and some firmwares say "no VLAN".
const vlanVGT = 4095
