package vfnl

import "unsafe"

// Of include/uapi/linux/rtnetlink.h and if_link.h.
const (
	rtmNewLink = 16
	rtmDelLink = 17
	rtmGetLink = 18
	rtmSetLink = 19

	groupLink = 1 // RTNLGRP_LINK

	filterVF        = 1 << 0 // RTEXT_FILTER_VF
	filterSkipStats = 1 << 3 // RTEXT_FILTER_SKIP_STATS; of VFs since Linux 6.5

	iflaAddress    = 1
	iflaIfname     = 3
	iflaMTU        = 4
	iflaNumVF      = 21
	iflaVFInfoList = 22
	iflaExtMask    = 29
	iflaCarrier    = 33
	iflaPermAddr   = 54

	vfInfo = 1 // IFLA_VF_INFO

	vfMAC       = 1
	vfVLAN      = 2
	vfTxRate    = 3
	vfSpoofChk  = 4
	vfLinkState = 5
	vfRate      = 6
	vfRSSQuery  = 7
	vfStats     = 8
	vfTrust     = 9
	vfNodeGUID  = 10
	vfPortGUID  = 11
	vfVLANList  = 12

	vlanInfo = 1 // IFLA_VF_VLAN_INFO

	statsRxPackets = 0
	statsTxPackets = 1
	statsRxBytes   = 2
	statsTxBytes   = 3
	statsBroadcast = 4
	statsMulticast = 5
	statsPad       = 6
	statsRxDropped = 7
	statsTxDropped = 8

	attrHeader = 4  // struct nlattr
	linkHeader = 16 // struct ifinfomsg
	typeMask   = 0x3fff

	// The kernel says "the driver told nothing" in a __u32.
	nothing = 0xffffffff

	flagUp      = 0x1     // IFF_UP
	flagLowerUp = 0x10000 // IFF_LOWER_UP

	maxVF = 1<<31 - 2 // do_setvfinfo refuses INT_MAX and more
)

// guidOffset is where struct ifla_vf_guid has its __u64: 8, or 4 where the machine
// aligns it so.
const guidOffset = unsafe.Offsetof(struct {
	vf   uint32
	guid uint64
}{}.guid)

func align(n int) int { return (n + 3) &^ 3 }
