/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Maps and records of the embedded switch, shared with the Go side (maps.go). */
#ifndef NEUTRINO_VEB_H
#define NEUTRINO_VEB_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define VLAN_VID_MASK 0x0fff

/* struct vf.flags */
enum {
	VF_ACTIVE = 1 << 0,  /* link up: frames pass */
	VF_SPOOF = 1 << 1,   /* check the source MAC */
	VF_IPCHECK = 1 << 2, /* and the source addresses */
	VF_EXTRA = 1 << 3,   /* has allowed MACs beside its own */
	VF_TRUST = 1 << 4,
	VF_PEER = 1 << 5,  /* its netdev is in another namespace: redirect_peer */
	VF_SHAPE = 1 << 6, /* has a maximum rate: through the shaper */
	VF_LEARN = 1 << 7, /* other source MACs of it are learned */
	VF_TRUNK = 1 << 8, /* may tag */
	VF_PRIO = 1 << 9,  /* has a class on the uplink */
};

/* struct nic.flags */
enum {
	NIC_PEER = 1 << 0,   /* the uplink's far end is in another namespace */
	NIC_LEARN = 1 << 1,  /* some VF has VF_LEARN */
	NIC_TRUST = 1 << 2,  /* some VF has VF_TRUST */
	NIC_TRUNKS = 1 << 3, /* some VF has VF_TRUNK */
};

struct nic {
	__u32 uplink; /* ifindex */
	__u32 shaper; /* ifindex of the shaper's entry */
	__u32 netns;  /* inode of the namespace of the representors */
	__u16 flags;
	__u8 mac[6];    /* of the PF */
	__u8 build[16]; /* of the programs */
	__u32 layout;   /* of the maps */
};

struct vf {
	__u32 ifindex; /* of the representor */
	__u16 flags;
	__u16 vlan;
	__u8 mac[6];
	__u16 link;    /* link state asked for */
	__u32 maxlen;  /* longest frame that needs no look at the MTU */
	__u32 netdev;  /* ifindex of the VF netdev when it was made */
	__be32 ip4[2]; /* the first allowed host addresses of mac; 0 = none */
	__u8 ip6[16];
};

struct fdb_key {
	__u8 mac[6];
	__u16 vlan;
};

struct mac_key {
	__u32 slot;
	__u8 mac[6];
	__u16 pad;
};

struct source_key {
	__u32 prefixlen;
	__u32 slot;
	__u8 mac[6];
	__u16 family; /* 4 or 6 */
	__u8 addr[16];
};

#define SOURCE_FIXED_BITS 96 /* slot, mac, family */

struct counters {
	__u64 rx_packets, rx_bytes, rx_broadcast, rx_multicast, rx_dropped;
	__u64 tx_packets, tx_bytes, tx_broadcast, tx_multicast, tx_dropped;
	__u64 tx_spoofed;
};

/* Sizes marked 1 are set when a NIC is made. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nic);
} nics SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32); /* ifindex of a representor */
	__type(value, __u32); /* slot */
} ports SEC(".maps");

/* The same for small indexes, which most are: saves the hash. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16384);
	__type(key, __u32); /* ifindex */
	__type(value, __u32); /* slot + 1, 0 = none */
} near_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32); /* slot = index of the VF */
	__type(value, struct vf);
} vfs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct fdb_key);
	__type(value, __u32); /* slot */
} fdb SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct fdb_key);
	__type(value, __u32); /* slot */
} learned SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct mac_key);
	__type(value, __u32);
} macs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct source_key);
	__type(value, __u32);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} stats SEC(".maps");

#endif
