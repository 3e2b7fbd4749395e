// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A top-of-rack switch: VLAN-transparent, learning {MAC, VLAN}. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL"; /* some helpers ask for it */

const volatile bool set_packet_type = false;

struct station {
	__u8 mac[6];
	__u16 vlan;
};

struct trunk_port {
	__u32 ifindex; /* 0 = none */
	__u32 peer;    /* its far end is in another namespace */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set when a trunk is made */
	__type(key, __u32);
	__type(value, struct trunk_port);
} trunk_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct station);
	__type(value, __u32); /* index of the port */
} stations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set when a trunk is made */
	__type(key, __u32); /* ifindex */
	__type(value, __u32); /* index of the port */
} trunk_index SEC(".maps");

struct copy {
	struct __sk_buff *skb;
	__u32 from;
};

static long copy_one(void *map, const void *key, void *value, void *ctx)
{
	struct copy *c = ctx;
	struct trunk_port *p = value;
	struct __sk_buff *skb = c->skb;

	if (p->ifindex && p->ifindex != c->from)
		bpf_clone_redirect(skb, p->ifindex, 0);
	return 0;
}

static __always_inline void copy_mac(__u8 *to, const __u8 *from)
{
	*(__u32 *)to = *(__u32 *)from;
	*(__u16 *)(to + 4) = *(__u16 *)(from + 4);
}

SEC("tc")
int trunk_in(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct station src = {}, dst = {};
	__u32 ifindex = skb->ifindex, *at, *index;
	struct trunk_port *p;

	if ((void *)(eth + 1) > end || (eth->h_source[0] & 1))
		return TC_ACT_SHOT;
	copy_mac(src.mac, eth->h_source);
	copy_mac(dst.mac, eth->h_dest);
	if (skb->vlan_present)
		src.vlan = skb->vlan_tci & 0x0fff;
	dst.vlan = src.vlan;

	/* Where the sender is, when it is not known to be here. */
	at = bpf_map_lookup_elem(&stations, &src);
	p = at ? bpf_map_lookup_elem(&trunk_ports, at) : NULL;
	if (!p || p->ifindex != ifindex) {
		index = bpf_map_lookup_elem(&trunk_index, &ifindex);
		if (!index)
			return TC_ACT_SHOT;
		bpf_map_update_elem(&stations, &src, index, BPF_ANY);
	}

	if (!(dst.mac[0] & 1)) {
		at = bpf_map_lookup_elem(&stations, &dst);
		p = at ? bpf_map_lookup_elem(&trunk_ports, at) : NULL;
		if (p && p->ifindex) {
			if (p->ifindex == ifindex)
				return TC_ACT_SHOT;
			if (!p->peer)
				return bpf_redirect(p->ifindex, 0);
			if (set_packet_type)
				bpf_skb_change_type(skb, 0 /* PACKET_HOST */);
			return bpf_redirect_peer(p->ifindex, 0);
		}
	} else if (dst.mac[0] == 0x01 && dst.mac[1] == 0x80 && dst.mac[2] == 0xc2 && !dst.mac[3] && !dst.mac[4] &&
		   !(dst.mac[5] & 0xf0)) {
		return TC_ACT_SHOT; /* reserved for the link itself */
	}

	struct copy c = {.skb = skb, .from = ifindex};

	bpf_for_each_map_elem(&trunk_ports, copy_one, &c, 0);
	return TC_ACT_SHOT;
}
