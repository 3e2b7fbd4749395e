/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The spoof check beyond the source MAC: IPv4, ARP, IPv6, neighbour discovery. */
#ifndef NEUTRINO_SOURCES_H
#define NEUTRINO_SOURCES_H

#include "veb.h"

#define ND_RS 133
#define ND_RA 134
#define ND_NS 135
#define ND_NA 136
#define MLD_REPORT 131
#define MLD_DONE 132
#define MLD2_REPORT 143

#define OPT_SOURCE_LLA 1
#define OPT_TARGET_LLA 2

#define L3 ETH_HLEN

struct ip4_head {
	__u8 ver_ihl, tos;
	__be16 len, id, frag;
	__u8 ttl, proto;
	__be16 csum;
	__be32 saddr, daddr;
} __attribute__((packed));

struct ip6_head {
	__u8 flow[4];
	__be16 len;
	__u8 next, hops;
	__u8 saddr[16], daddr[16];
} __attribute__((packed));

struct arp4 {
	__be16 htype, ptype;
	__u8 hlen, plen;
	__be16 op;
	__u8 sha[6];
	__be32 spa;
	__u8 tha[6];
	__be32 tpa;
} __attribute__((packed));

static __always_inline bool same_mac(const __u8 *a, const __u8 *b)
{
	return *(__u32 *)a == *(__u32 *)b && *(__u16 *)(a + 4) == *(__u16 *)(b + 4);
}

static __always_inline void copy_mac(__u8 *to, const __u8 *from)
{
	*(__u32 *)to = *(__u32 *)from;
	*(__u16 *)(to + 4) = *(__u16 *)(from + 4);
}

/* The MAC is the VF's own or one of its allowed ones. */
static __always_inline bool mac_allowed(const struct vf *v, __u32 slot, const __u8 *mac)
{
	struct mac_key k = {.slot = slot};

	if (likely(same_mac(mac, v->mac)))
		return true;
	if (!(v->flags & VF_EXTRA))
		return false;
	copy_mac(k.mac, mac);
	return bpf_map_lookup_elem(&macs, &k) != NULL;
}

static __always_inline bool v4_allowed(const struct vf *v, __u32 slot, const __u8 *mac, __be32 a)
{
	struct source_key k = {.prefixlen = SOURCE_FIXED_BITS + 32, .slot = slot, .family = 4};

	if (likely((a == v->ip4[0] || a == v->ip4[1]) && a && same_mac(mac, v->mac)))
		return true;
	copy_mac(k.mac, mac);
	*(__be32 *)k.addr = a;
	return bpf_map_lookup_elem(&sources, &k) != NULL;
}

/* a lies on the stack or is aligned by the caller. */
static __always_inline bool same_ip6(const __u64 *a, const __u8 *b)
{
	return a[0] == *(__u64 *)b && a[1] == *(__u64 *)(b + 8);
}

static __noinline bool v6_allowed(const struct vf *v, __u32 slot, const __u8 *mac, const __u64 *a)
{
	struct source_key k = {.prefixlen = SOURCE_FIXED_BITS + 128, .slot = slot, .family = 6};
	__u8 lla[16] = {0xfe, 0x80};

	if (!v || !mac || !a)
		return false;
	copy_mac(k.mac, mac);
	*(__u64 *)k.addr = a[0];
	*(__u64 *)(k.addr + 8) = a[1];
	if (bpf_map_lookup_elem(&sources, &k))
		return true;

	/* The link-local address that the MAC makes (EUI-64) needs no leave. */
	lla[8] = mac[0] ^ 2;
	lla[9] = mac[1];
	lla[10] = mac[2];
	lla[11] = 0xff;
	lla[12] = 0xfe;
	lla[13] = mac[3];
	lla[14] = mac[4];
	lla[15] = mac[5];
	return a[0] == *(__u64 *)lla && a[1] == *(__u64 *)(lla + 8);
}

static __always_inline bool is_dhcp4(struct __sk_buff *skb, const struct ip4_head *ip)
{
	__be16 p[2];

	if (ip->proto != IPPROTO_UDP || ip->daddr != 0xffffffff || (ip->frag & bpf_htons(0x3fff)))
		return false;
	if (bpf_skb_load_bytes(skb, L3 + (ip->ver_ihl & 15) * 4, p, sizeof(p)))
		return false;
	return p[0] == bpf_htons(68) && p[1] == bpf_htons(67);
}

static __noinline bool arp_source_ok(struct __sk_buff *skb, const struct vf *v, __u32 slot)
{
	struct arp4 a;

	if (!v || bpf_skb_load_bytes(skb, L3, &a, sizeof(a)))
		return false;
	if (a.htype != bpf_htons(1) || a.ptype != bpf_htons(ETH_P_IP) || a.hlen != 6 || a.plen != 4)
		return false;
	__u8 sha[8] __attribute__((aligned(8)));
	__builtin_memcpy(sha, a.sha, 6);
	if (!a.spa) /* a probe claims nothing but its MAC */
		return mac_allowed(v, slot, sha);
	return v4_allowed(v, slot, sha, a.spa);
}

static __noinline bool v4_source_ok_slow(struct __sk_buff *skb, const struct vf *v, __u32 slot, const __u8 *mac)
{
	struct ip4_head ip;

	if (!v || !mac || bpf_skb_load_bytes(skb, L3, &ip, sizeof(ip)))
		return false;
	if (!ip.saddr && is_dhcp4(skb, &ip))
		return true;
	return v4_allowed(v, slot, mac, ip.saddr);
}

/* Link-layer addresses in options must be the frame's own source. */
static __always_inline bool nd_options_ok(struct __sk_buff *skb, __u32 off, __u8 kind, const __u8 *mac)
{
	struct {
		__u8 type, len;
		__u8 lla[6];
	} __attribute__((aligned(4))) o;

#pragma unroll
	for (int i = 0; i < 6; i++) {
		if (off >= skb->len)
			return true;
		if (bpf_skb_load_bytes(skb, off, &o, sizeof(o)) || !o.len)
			return false;
		if (o.type == kind) {
			if (o.len != 1)
				return false;
			for (int j = 0; j < 6; j++)
				if (o.lla[j] != mac[j])
					return false;
		}
		off += o.len * 8;
	}
	return off >= skb->len;
}

/* unspecified: the IPv6 source is ::. */
static __noinline bool nd_ok(struct __sk_buff *skb, const struct vf *v, __u32 slot, const __u8 *mac, bool unspecified)
{
	__u32 at = L3 + sizeof(struct ip6_head);
	__u64 target[2];
	__u8 type;

	if (!v || !mac || bpf_skb_load_bytes(skb, at, &type, 1))
		return false;
	switch (type) {
	case ND_RS:
		return nd_options_ok(skb, at + 8, OPT_SOURCE_LLA, mac);
	case ND_NS:
		if (unspecified) { /* duplicate address detection: only of what is its own */
			if (bpf_skb_load_bytes(skb, at + 8, target, sizeof(target)) || !v6_allowed(v, slot, mac, target))
				return false;
		}
		return nd_options_ok(skb, at + 24, OPT_SOURCE_LLA, mac);
	case ND_NA:
		if (unspecified || bpf_skb_load_bytes(skb, at + 8, target, sizeof(target)) ||
		    !v6_allowed(v, slot, mac, target))
			return false;
		return nd_options_ok(skb, at + 24, OPT_TARGET_LLA, mac);
	case ND_RA:
		return !unspecified && nd_options_ok(skb, at + 16, OPT_SOURCE_LLA, mac);
	default:
		return !unspecified;
	}
}

/* Multicast listener reports from ::, behind a hop-by-hop header of 8 bytes. */
static __always_inline bool is_mld(struct __sk_buff *skb)
{
	__u8 h[9];

	if (bpf_skb_load_bytes(skb, L3 + sizeof(struct ip6_head), h, sizeof(h)))
		return false;
	return h[0] == IPPROTO_ICMPV6 && h[1] == 0 &&
	       (h[8] == MLD_REPORT || h[8] == MLD_DONE || h[8] == MLD2_REPORT);
}

static __noinline bool v6_source_ok_slow(struct __sk_buff *skb, const struct vf *v, __u32 slot, const __u8 *mac)
{
	struct ip6_head ip;
	__u64 a[2];
	bool unspecified;

	if (!v || !mac || bpf_skb_load_bytes(skb, L3, &ip, sizeof(ip)))
		return false;
	__builtin_memcpy(a, ip.saddr, 16);
	unspecified = !a[0] && !a[1];
	if (unspecified) {
		if (ip.next == IPPROTO_HOPOPTS)
			return is_mld(skb);
		if (ip.next != IPPROTO_ICMPV6)
			return false;
	} else if (!v6_allowed(v, slot, mac, a)) {
		return false;
	}
	return ip.next != IPPROTO_ICMPV6 || nd_ok(skb, v, slot, mac, unspecified);
}

/* Whether the addresses that a frame claims are its sender's. The common case, the
 * VF's own MAC with one of its first addresses, costs two compares and no look-up. */
static __always_inline bool source_ok(struct __sk_buff *skb, const struct vf *v, __u32 slot, const __u8 *mac,
				      bool own, __be16 proto, void *data, void *end)
{
	if (proto == bpf_htons(ETH_P_IP)) {
		struct ip4_head *ip = data + L3;

		if (likely(own && (void *)(ip + 1) <= end)) {
			__be32 a = ip->saddr;

			if (likely(a && (a == v->ip4[0] || a == v->ip4[1])))
				return true;
		}
		return v4_source_ok_slow(skb, v, slot, mac);
	}
	if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ip6_head *ip = data + L3;

		if (likely(own && (void *)(ip + 1) <= end && ip->next != IPPROTO_ICMPV6)) {
			__u64 a[2];

			__builtin_memcpy(a, ip->saddr, 16);
			if (likely((a[0] | a[1]) && same_ip6(a, v->ip6)))
				return true;
		}
		return v6_source_ok_slow(skb, v, slot, mac);
	}
	if (proto == bpf_htons(ETH_P_ARP))
		return arp_source_ok(skb, v, slot);
	return proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD);
}

#endif
