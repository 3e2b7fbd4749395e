package vfnltest

import (
	"slices"

	"golang.org/x/sys/unix"

	"neutrino/internal/model"
	"neutrino/internal/vfnl"
)

// Driver says how a PF's driver differs from one that does everything at once.
type Driver struct {
	// Lacks are attributes, named as by vfnl.Attrs.Names, that cannot be set. Those that
	// the kernel presets to -1 (spoof_check, trust, rss_query) read as -1.
	Lacks []string
	Errno unix.Errno // for what is lacking; 0 = EOPNOTSUPP

	NoMinRate     bool // another minimum than 0 is EINVAL
	MinAtMost     int  // a higher minimum is EINVAL; 0 = no limit
	RateNeedsLink bool // any rate is EINVAL without carrier
	// MACAfter is how many readings still show the old MAC after it was set.
	MACAfter int
	// ZeroProto: the VLAN protocol reads as 0 (mlx5).
	ZeroProto bool
	// VGT: mlx4. No VLAN reads as 4095; a rate shows only with a VLAN, and while it does,
	// taking the VLAN away is EPERM; a VF with spoof check has a valid MAC or is refused
	// with EPERM; trust cannot be set.
	VGT bool
	// OwnMAC: while the administrative MAC is zero, the VF's own reads in its place
	// (VF.Own), as when the host's VF driver has announced it.
	OwnMAC bool
	GUIDs  bool // InfiniBand
}

// IGB is the driver of Intel 82576 and I350.
func IGB() Driver {
	return Driver{Lacks: []string{"link_state", "rss_query"}, NoMinRate: true, RateNeedsLink: true, OwnMAC: true}
}

// IXGBE is the driver of Intel 82599 and X5xx.
func IXGBE() Driver { return Driver{NoMinRate: true, RateNeedsLink: true, OwnMAC: true} }

// I40E is the driver of Intel X710, whose MAC comes into force later.
func I40E() Driver {
	return Driver{Lacks: []string{"rss_query"}, NoMinRate: true, MACAfter: 2, OwnMAC: true}
}

// ICE is the driver of Intel E8xx.
func ICE() Driver { return Driver{Lacks: []string{"rss_query"}, OwnMAC: true} }

// MLX4 is the driver of ConnectX-3.
func MLX4() Driver {
	return Driver{Lacks: []string{"trust", "rss_query"}, Errno: unix.EPROTONOSUPPORT, NoMinRate: true, VGT: true}
}

// MLX5 is the driver of ConnectX-4 and later.
func MLX5() Driver { return Driver{Lacks: []string{"rss_query"}, ZeroProto: true} }

func (d *Driver) lacks(attr string) bool { return slices.Contains(d.Lacks, attr) }

func (d *Driver) errno() unix.Errno {
	if d.Errno != 0 {
		return d.Errno
	}
	return unix.EOPNOTSUPP
}

// VF is a VF's state in the driver.
type VF struct {
	MAC       vfnl.MAC // administrative
	Own       vfnl.MAC // the VF driver's own
	VLAN      vfnl.VLAN
	Spoof     bool
	Trust     bool
	RSS       bool
	Link      model.LinkState
	Min, Max  int
	Node      vfnl.GUID
	Port      vfnl.GUID
	Stats     vfnl.Stats
	old       vfnl.MAC // shown while lag > 0
	lag       int
	hideTimes int
	hidden    bool
}

// rated is mlx4's VST: a VLAN that rates apply to.
func (v *VF) rated() bool { return v.VLAN.ID != 0 && v.VLAN.ID != 4095 }

// setMAC and the others are the driver's ndo_set_vf_*.
func (d *Driver) setMAC(v *VF, m vfnl.MAC) unix.Errno {
	switch {
	case d.lacks("mac"):
		return d.errno()
	case m[0]&1 != 0:
		return unix.EINVAL
	case d.VGT && v.Spoof && m == vfnl.MAC{}:
		return unix.EPERM
	}
	v.old, v.lag = d.shownMAC(v), d.MACAfter
	v.MAC = m
	return 0
}

func (d *Driver) shownMAC(v *VF) vfnl.MAC {
	switch {
	case v.lag > 0:
		return v.old
	case d.OwnMAC && v.MAC == vfnl.MAC{}:
		return v.Own
	}
	return v.MAC
}

func (d *Driver) setVLAN(v *VF, n vfnl.VLAN) unix.Errno {
	switch {
	case d.lacks("vlan"):
		return d.errno()
	case n.ID > 4095 || n.QoS > 7:
		return unix.EINVAL
	case d.VGT && v.rated() && v.Max != 0 && (n.ID == 0 || n.ID == 4095):
		return unix.EPERM
	}
	v.VLAN = n
	return 0
}

func (d *Driver) setRate(v *VF, low, high int, carrier bool) unix.Errno {
	switch {
	case d.lacks("max_tx_rate"):
		return d.errno()
	case high != 0 && low > high: // rtnl_set_vf_rate
		return unix.EINVAL
	case low != 0 && d.lacks("min_tx_rate"):
		return d.errno()
	case low != 0 && d.NoMinRate, d.MinAtMost > 0 && low > d.MinAtMost, d.RateNeedsLink && !carrier:
		return unix.EINVAL
	}
	v.Min, v.Max = low, high
	return 0
}

func (d *Driver) setSpoof(v *VF, on bool) unix.Errno {
	switch {
	case d.lacks("spoof_check"):
		return d.errno()
	case d.VGT && on && v.MAC == vfnl.MAC{}:
		return unix.EPERM
	}
	v.Spoof = on
	return 0
}
