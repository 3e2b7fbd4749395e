// Package vfnl speaks the part of rtnetlink by which Linux shows and sets the virtual
// functions of an SR-IOV NIC: IFLA_VFINFO_LIST in RTM_GETLINK and RTM_SETLINK
// (include/uapi/linux/if_link.h, net/core/rtnetlink.c).
//
// It owns the codec ([Decode], [Encode]: pure), one kept socket ([Conn]) and the
// subscription to link changes ([Monitor]).
//
// # Reading
//
// [Conn.PF] is one request by interface index, with VF information and, unless asked
// for, without VF statistics: several drivers ask their firmware for these, VF by VF.
// Attributes are three-valued ([eswitch.Attr]): what the kernel leaves out or answers
// with -1 is Unsupported, never "off". A VF's index is the attribute's, never its place
// in the list, for the kernel leaves out VFs whose driver gives an error.
//
// What reads as the default may still be unsupported: the kernel reports rate 0 and link
// state auto also for drivers that have neither. Only an attempt to set tells.
//
// IFLA_VFINFO_LIST has a length of 16 bits. Without statistics a VF takes 196 bytes (236
// with InfiniBand GUIDs), so 255 VFs fit. With them it takes 296, and from 222 VFs on
// the length wraps around while all the data is there; Decode finds the end then, and
// answers [ErrTruncated] where that is not possible.
//
// # Setting
//
// [Conn.Set] is one request, whatever is set in it. Within one [Change] the kernel goes
// through the attributes in an order of its own (do_setvfinfo): MAC, VLAN, rates, spoof
// check, link state, RSS query, trust, GUID. Several Changes in one Set are carried out
// in their order, in the same request. The kernel stops at the first that fails.
//
// # What it never does
//
// It knows no driver, keeps no state of a NIC, retries nothing and touches no sysfs.
package vfnl
