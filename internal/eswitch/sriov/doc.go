// Package sriov is the embedded switch of real SR-IOV NICs: [eswitch.Switch] over
// rtnetlink (internal/vfnl) and sysfs.
//
// # Reading
//
// Observe is one RTM_GETLINK per PF, without statistics, and sysfs. A VF is what a
// virtfnN link of the PF's device points at; nothing is computed from PCI addresses.
// Reported is what is in force: where the VF's netdev is at hand and has another address
// than the PF gave the VF, whichever of the two was changed, none is, and the MAC is
// Unset, so that whoever compares puts it right. So is a VLAN with priority bits or
// 802.1ad, which eswitch cannot say.
//
// A VF of which the kernel tells nothing (a driver that is resetting it) is read again
// a few times, and then left out of the state: it is not free, and not dirty. A later
// event tells of its return.
//
// What a driver does not have shows as Unsupported only after it was tried: the kernel
// reports rate 0 and link state auto for drivers that have neither. What was learned is
// forgotten when the driver is reloaded.
//
// # Setting
//
// All attributes of a VF go in one RTM_SETLINK. When the driver refuses, they go one by
// one, to learn which it was and to get as far as possible; but nothing is opened (link,
// trust) on a VF whose MAC, VLAN or spoof check was refused. Both rates always go
// together, the one that is not asked as it was read.
//
// Some VF drivers keep the address they found when they were bound. After a new
// administrative MAC such a VF is given it as its netdev's address or, where the driver
// refuses that, is unbound and bound again: never one that has an upper device, or whose
// netdev is not at hand.
//
// # Baseline
//
// Where a VF driver bound on the host announces an address of its own, or the PF's
// driver takes no zero MAC, a VF that belongs to nobody carries a parking address: locally
// administered, made of the PF's permanent address and the VF's PCI slot.
//
// # Events
//
// RTNLGRP_LINK tells of every `ip link set PF vf N` while the PF is up, and of a PF or VF
// netdev that comes, goes or is renamed; kernel uevents tell of PCI functions and drivers.
// Nothing is sent while nothing happens. For a PF that is administratively down the
// kernel tells nothing of its VFs: such a PF that has VFs is read twice a second, and an
// event is raised if they changed.
//
// # Hanging drivers
//
// Each PF has a socket and a goroutine of its own. When a driver holds it, Observe leaves
// the PF out and Apply says [eswitch.ErrBusy] for it; the others go on.
//
// # What it never does
//
// It touches no PF but those named in [Options], writes no excluded VF, changes no number
// of VFs and no PF netdev, and never decides what a VF should carry.
package sriov
