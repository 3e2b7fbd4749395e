/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The receive filter of a VF: what its netdev asks for, as a NIC's driver is told it
 * (promiscuous, all multicast, a list of groups). It is read where the kernel keeps
 * it, when a frame needs it, so it is never out of date. Reads only; a pointer that
 * is not what it seems reads as zero. */
#ifndef NEUTRINO_RXFILTER_H
#define NEUTRINO_RXFILTER_H

#include "veb.h"

#include <bpf/bpf_core_read.h>

/* False where the kernel (before 6.2) cannot do it: then all multicast passes and
 * nobody is promiscuous. */
const volatile bool follow_filters = false;

#define IFF_PROMISC 0x100
#define IFF_ALLMULTI 0x200
#define DEV_HASH 256
#define MOST_CHAIN 64
#define MOST_GROUPS 512

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next;
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct netdev_hw_addr {
	struct list_head list;
	unsigned char addr[32];
};

struct netdev_hw_addr_list {
	struct list_head list;
};

struct net {
	struct hlist_head *dev_index_head;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	unsigned int flags;
	int ifindex;
	struct hlist_node index_hlist;
	struct netdev_hw_addr_list mc;
	possible_net_t nd_net;
};

/* Since 6.9 the driver's part is a member. */
struct net_device___priv {
	unsigned char priv[0];
};

struct sk_buff {
	struct net_device *dev;
};

#pragma clang attribute pop

/* The driver's part of a veth begins with this. */
struct veth_peer {
	struct net_device *peer;
};

extern void *bpf_cast_to_kern_ctx(void *obj) __ksym __weak;
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;

#define as(type, addr) ((type *)bpf_rdonly_cast((const void *)(addr), bpf_core_type_id_kernel(type)))

/* The namespace of the switch, as an address. */
static __always_inline __u64 net_of(struct __sk_buff *skb)
{
	struct sk_buff *s;

	if (!follow_filters)
		return 0;
	s = bpf_cast_to_kern_ctx(skb);
	return (__u64)s->dev->nd_net.net;
}

struct chain {
	__u64 node, found;
	__u32 ifindex;
};

static long chain_step(__u32 i, void *ctx)
{
	struct chain *c = ctx;
	__u64 dev = c->node - bpf_core_field_offset(struct net_device, index_hlist);

	if (!c->node)
		return 1;
	if (as(struct net_device, dev)->ifindex == c->ifindex) {
		c->found = dev;
		return 1;
	}
	c->node = (__u64)as(struct hlist_node, c->node)->next;
	return 0;
}

static __always_inline __u64 device_at(__u64 net, __u32 ifindex)
{
	__u64 at = (__u64)as(struct net, net)->dev_index_head + (ifindex & (DEV_HASH - 1)) * sizeof(void *);
	struct chain c = {.node = (__u64)as(struct hlist_head, at)->first, .ifindex = ifindex};

	bpf_loop(MOST_CHAIN, chain_step, &c, 0);
	return c.found;
}

/* The other end of a veth: the first thing in the driver's part. */
static __always_inline __u64 peer_of(__u64 dev)
{
	struct net_device___priv *p = (void *)dev;
	__u64 off;

	if (bpf_core_field_exists(p->priv))
		off = bpf_core_field_offset(p->priv);
	else
		off = (bpf_core_type_size(struct net_device) + 31) & ~31ULL;
	/* A pointer is read as the first member of something the kernel knows. */
	return (__u64)as(struct list_head, dev + off)->next;
}

struct list {
	__u64 head, pos;
	__u8 mac[8];
	bool found;
};

static long list_step(__u32 i, void *ctx)
{
	struct list *l = ctx;
	struct netdev_hw_addr *a;

	if (!l->pos || l->pos == l->head)
		return 1;
	a = as(struct netdev_hw_addr, l->pos - bpf_core_field_offset(struct netdev_hw_addr, list));
	if (*(__u32 *)a->addr == *(__u32 *)l->mac && *(__u16 *)(a->addr + 4) == *(__u16 *)(l->mac + 4)) {
		l->found = true;
		return 1;
	}
	l->pos = (__u64)as(struct list_head, l->pos)->next;
	return 0;
}

static __always_inline bool in_list(__u64 vf, const __u8 *mac)
{
	struct list l = {.head = vf + bpf_core_field_offset(struct net_device, mc.list)};

	l.pos = (__u64)as(struct list_head, l.head)->next;
	*(__u32 *)l.mac = *(__u32 *)mac;
	*(__u16 *)(l.mac + 4) = *(__u16 *)(mac + 4);
	bpf_loop(MOST_GROUPS, list_step, &l, 0);
	/* The end of a list longer than we read: rather too much than too little. */
	return l.found || (l.pos && l.pos != l.head);
}

/* Whether the VF behind a representor takes a group (its MAC), or, with mac NULL,
 * everything. */
static __always_inline bool filter_takes(__u64 net, __u32 ifindex, const __u8 *mac)
{
	__u32 flags;
	__u64 vf;

	if (!follow_filters)
		return mac != NULL;
	vf = device_at(net, ifindex);
	if (vf)
		vf = peer_of(vf);
	if (!vf)
		return false;
	flags = as(struct net_device, vf)->flags;
	if (!mac)
		return flags & IFF_PROMISC;
	return (flags & (IFF_PROMISC | IFF_ALLMULTI)) || in_list(vf, mac);
}

#endif
