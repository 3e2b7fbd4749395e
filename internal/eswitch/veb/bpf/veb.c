// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* The embedded switch: what a VF sends, what comes back from the shaper, and what
 * comes in from the wire. */
#include "veb.h"
#include "rxfilter.h"
#include "sources.h"

char _license[] SEC("license") = "Dual MIT/GPL"; /* some helpers ask for it */

/* Kernels before 6.15 leave the packet type to the program when a frame is given to
 * a peer. */
const volatile bool set_packet_type = false;

#define MARK_MAGIC 0x76650000 /* "ve": the slot is in the lower half */
#define MARK_MASK 0xffff0000
#define CLASS_MAJOR 0x00010000 /* 1: */
#define CLASS_FIRST 0x10       /* minor of slot 0 */

/* What a frame counts for: as many packets as the wire would see. */
struct size {
	__u32 packets;
	__u32 bytes;
};

static __noinline void size_gso(struct __sk_buff *skb, struct size *z)
{
	__u32 l4 = L3, mss, head, payload;
	__u8 b, proto;

	if (!z || bpf_skb_load_bytes(skb, L3, &b, 1))
		return;
	if (b >> 4 == 4) {
		l4 += (b & 15) * 4;
		if (bpf_skb_load_bytes(skb, L3 + 9, &proto, 1))
			return;
	} else {
		l4 += 40;
		if (bpf_skb_load_bytes(skb, L3 + 6, &proto, 1))
			return;
	}
	head = l4 + 8;
	if (proto == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, l4 + 12, &b, 1))
			return;
		head = l4 + (b >> 4) * 4;
	}
	mss = skb->gso_size;
	if (!mss || skb->len <= head)
		return;
	payload = skb->len - head;
	z->packets = (payload + mss - 1) / mss;
	z->bytes = payload + z->packets * head;
}

static __always_inline struct size size_of(struct __sk_buff *skb)
{
	struct size z = {.packets = 1, .bytes = skb->len};

	if (unlikely(skb->gso_size))
		size_gso(skb, &z);
	return z;
}

static __always_inline void count_rx(__u32 slot, const struct size *z, const __u8 *dst)
{
	struct counters *c = bpf_map_lookup_elem(&stats, &slot);

	if (!c)
		return;
	c->rx_packets += z->packets;
	c->rx_bytes += z->bytes;
	if (unlikely(dst[0] & 1)) {
		if (dst[0] == 0xff)
			c->rx_broadcast += z->packets;
		else
			c->rx_multicast += z->packets;
	}
}

static __always_inline void count_tx(__u32 slot, const struct size *z, const __u8 *dst)
{
	struct counters *c = bpf_map_lookup_elem(&stats, &slot);

	if (!c)
		return;
	c->tx_packets += z->packets;
	c->tx_bytes += z->bytes;
	if (unlikely(dst[0] & 1)) {
		if (dst[0] == 0xff)
			c->tx_broadcast += z->packets;
		else
			c->tx_multicast += z->packets;
	}
}

#define count_drop(slot, field, n)                                              \
	({                                                                      \
		__u32 __s = (slot);                                             \
		struct counters *__c = bpf_map_lookup_elem(&stats, &__s);       \
		if (__c)                                                        \
			__c->field += (n);                                      \
		TC_ACT_SHOT;                                                    \
	})

static __always_inline int to_device(struct __sk_buff *skb, __u32 ifindex, bool peer)
{
	if (!peer)
		return bpf_redirect(ifindex, 0);
	if (set_packet_type)
		bpf_skb_change_type(skb, 0 /* PACKET_HOST */);
	return bpf_redirect_peer(ifindex, 0);
}

static __always_inline int to_vf(struct __sk_buff *skb, struct vf *d, __u32 slot, const __u8 *dst,
				 const struct size *z)
{
	if (unlikely(!(d->flags & VF_ACTIVE)))
		return count_drop(slot, rx_dropped, z->packets);
	count_rx(slot, z, dst);
	return to_device(skb, d->ifindex, d->flags & VF_PEER);
}

/* Flooding. */
enum {
	FLOOD_BROADCAST,
	FLOOD_MULTICAST,
	FLOOD_UNKNOWN, /* unicast: to those who listen to everything */
};

struct flood {
	struct __sk_buff *skb;
	__u64 net; /* of the switch */
	struct size size;
	__u32 from; /* slot of the sender, or ~0 */
	__u16 vlan;
	__u8 kind;
	bool trunks; /* the frame is tagged now: to trunk VFs, else to access VFs */
	__u8 dst[8];
};

static __always_inline bool wants(struct flood *f, struct vf *v)
{
	if (f->kind == FLOOD_BROADCAST)
		return true;
	if (f->kind == FLOOD_UNKNOWN)
		return (v->flags & VF_TRUST) && filter_takes(f->net, v->ifindex, NULL);
	return filter_takes(f->net, v->ifindex, f->dst);
}

static long flood_one(void *map, const void *key, void *value, void *ctx)
{
	struct flood *f = ctx;
	struct vf *v = value;
	__u32 slot = *(const __u32 *)key;
	struct __sk_buff *skb = f->skb;

	if (slot == f->from || !v->ifindex || !(v->flags & VF_ACTIVE))
		return 0;
	if (f->trunks ? !(v->flags & VF_TRUNK) : (v->vlan != f->vlan))
		return 0;
	if (!wants(f, v))
		return 0;
	count_rx(slot, &f->size, f->dst);
	bpf_clone_redirect(skb, v->ifindex, 0);
	return 0;
}

static __always_inline void flood_key(struct flood *f, const struct fdb_key *k)
{
	copy_mac(f->dst, k->mac);
	f->vlan = k->vlan;
	if (!(k->mac[0] & 1))
		f->kind = FLOOD_UNKNOWN;
	else
		f->kind = k->mac[0] == 0xff ? FLOOD_BROADCAST : FLOOD_MULTICAST;
}

/* Copies an untagged frame to the VFs of its VLAN, then leaves it tagged if it is
 * to be (tag), after copying it to the trunks. from: slot of the sender or ~0. */
static __always_inline int flood(struct __sk_buff *skb, struct nic *n, const struct fdb_key *k, __u32 from,
				 const struct size *z, bool tag)
{
	struct flood f = {.skb = skb, .net = net_of(skb), .size = *z, .from = from};

	flood_key(&f, k);
	bpf_for_each_map_elem(&vfs, flood_one, &f, 0);
	if (!k->vlan)
		return 0;
	if (!tag && !(n->flags & NIC_TRUNKS))
		return 0;
	if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), k->vlan))
		return -1;
	if (n->flags & NIC_TRUNKS) {
		f.trunks = true;
		bpf_for_each_map_elem(&vfs, flood_one, &f, 0);
	}
	return 0;
}

/* Looks for the VF that a frame is for. */
static __always_inline struct vf *find(struct nic *n, const struct fdb_key *k, __u32 *slot)
{
	__u32 *s = bpf_map_lookup_elem(&fdb, k);
	struct vf *d;

	if (!s && (n->flags & NIC_LEARN))
		s = bpf_map_lookup_elem(&learned, k);
	if (!s)
		return NULL;
	*slot = *s;
	d = bpf_map_lookup_elem(&vfs, slot);
	/* The VF's own record decides: a stale entry never crosses a VLAN. */
	if (!d || (d->vlan != k->vlan && !(d->flags & VF_TRUNK)))
		return NULL;
	return d;
}

static __always_inline int to_uplink(struct __sk_buff *skb, struct nic *n, const struct vf *v, __u32 slot)
{
	if (v->flags & VF_PRIO)
		skb->priority = CLASS_MAJOR | (CLASS_FIRST + slot);
	return to_device(skb, n->uplink, n->flags & NIC_PEER);
}

/* The way of a checked frame of a VF. k: its destination and VLAN; tagged: whether
 * it carries its tag (a trunk's). */
static __always_inline int forward(struct __sk_buff *skb, struct vf *v, __u32 slot, const struct fdb_key *k,
				   bool tagged)
{
	struct size z = size_of(skb);
	__u32 zero = 0, to = 0;
	struct nic *n = bpf_map_lookup_elem(&nics, &zero);
	struct vf *d;

	if (!n)
		return TC_ACT_SHOT;
	count_tx(slot, &z, k->mac);
	if (likely(!(k->mac[0] & 1))) {
		d = find(n, k, &to);
		if (d) {
			if (to == slot)
				return TC_ACT_SHOT;
			if (unlikely(tagged && !(d->flags & VF_TRUNK)))
				bpf_skb_vlan_pop(skb);
			else if (unlikely(!tagged && k->vlan && (d->flags & VF_TRUNK)))
				bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), k->vlan);
			return to_vf(skb, d, to, k->mac, &z);
		}
		if (likely(!(n->flags & NIC_TRUST))) {
			if (k->vlan && !tagged && bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), k->vlan))
				return TC_ACT_SHOT;
			return to_uplink(skb, n, v, slot);
		}
	}
	if (tagged && bpf_skb_vlan_pop(skb))
		return TC_ACT_SHOT;
	if (flood(skb, n, k, slot, &z, true))
		return TC_ACT_SHOT;
	return to_uplink(skb, n, v, slot);
}

/* Remembers a further MAC of a VF that may have some. */
static __always_inline void learn(__u32 slot, const __u8 *src, __u16 vlan)
{
	struct fdb_key k = {.vlan = vlan};
	__u32 *s;

	copy_mac(k.mac, src);
	s = bpf_map_lookup_elem(&learned, &k);
	if (!s || *s != slot)
		bpf_map_update_elem(&learned, &k, &slot, BPF_ANY);
}

static __always_inline bool reserved(const __u8 *dst)
{
	return dst[0] == 0x01 && dst[1] == 0x80 && dst[2] == 0xc2 && !dst[3] && !dst[4] && !(dst[5] & 0xf0);
}

/* VLAN of a frame of a VF, or -1 if it may not be sent. */
static __always_inline int vf_vlan(struct __sk_buff *skb, const struct vf *v, __be16 proto, bool *tagged)
{
	*tagged = false;
	if (likely(!skb->vlan_present)) {
		if (unlikely(proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD)))
			return -1;
		return v->vlan;
	}
	if (!(v->flags & VF_TRUNK) || skb->vlan_proto != bpf_htons(ETH_P_8021Q))
		return -1;
	*tagged = true;
	return skb->vlan_tci & VLAN_VID_MASK;
}

/* A frame sent by a VF. */
SEC("tc")
int veb_vf(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex, *sp, slot;
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	__u8 src[8] __attribute__((aligned(8)));
	struct fdb_key k;
	bool tagged, own;
	struct vf *v;
	int vlan;

	sp = bpf_map_lookup_elem(&near_ports, &ifindex);
	if (likely(sp && *sp)) {
		slot = *sp - 1;
	} else {
		sp = bpf_map_lookup_elem(&ports, &ifindex);
		if (!sp)
			return TC_ACT_SHOT;
		slot = *sp;
	}
	v = bpf_map_lookup_elem(&vfs, &slot);
	if (!v || v->ifindex != ifindex || (void *)(eth + 1) > end)
		return TC_ACT_SHOT;
	if (unlikely(!(v->flags & VF_ACTIVE)))
		return count_drop(slot, tx_dropped, 1);

	copy_mac(k.mac, eth->h_dest);
	copy_mac(src, eth->h_source);
	vlan = vf_vlan(skb, v, eth->h_proto, &tagged);
	if (unlikely(vlan < 0 || (src[0] & 1)))
		return count_drop(slot, tx_dropped, 1);
	k.vlan = vlan;

	own = same_mac(src, v->mac);
	if (v->flags & VF_SPOOF) {
		if (unlikely(!own && !mac_allowed(v, slot, src)))
			return count_drop(slot, tx_spoofed, 1);
		if ((v->flags & VF_IPCHECK) &&
		    unlikely(!source_ok(skb, v, slot, src, own, eth->h_proto, data, end)))
			return count_drop(slot, tx_spoofed, 1);
	}
	if (unlikely(skb->len > v->maxlen)) {
		__u32 mtu = 0;

		if (bpf_check_mtu(skb, 0, &mtu, 0, BPF_MTU_CHK_SEGS))
			return count_drop(slot, tx_dropped, 1);
	}
	if (unlikely((k.mac[0] & 1) && reserved(k.mac) && !(v->flags & VF_TRUST)))
		return count_drop(slot, tx_dropped, 1);
	if (unlikely((v->flags & VF_LEARN) && (!own || tagged)))
		learn(slot, src, k.vlan);

	if (unlikely(v->flags & VF_SHAPE)) {
		__u32 zero = 0;
		struct nic *n = bpf_map_lookup_elem(&nics, &zero);

		if (!n)
			return TC_ACT_SHOT;
		skb->mark = MARK_MAGIC | slot;
		skb->priority = CLASS_MAJOR | (CLASS_FIRST + slot);
		return bpf_redirect(n->shaper, 0);
	}
	return forward(skb, v, slot, &k, tagged);
}

/* A frame of a VF with a maximum rate, at its time. It was checked before. */
SEC("tc")
int veb_shaped(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	__u32 slot = skb->mark & ~MARK_MASK;
	struct fdb_key k;
	struct vf *v;
	bool tagged;
	int vlan;

	if ((skb->mark & MARK_MASK) != MARK_MAGIC || (void *)(eth + 1) > end)
		return TC_ACT_SHOT;
	v = bpf_map_lookup_elem(&vfs, &slot);
	if (!v || !(v->flags & VF_ACTIVE))
		return TC_ACT_SHOT;
	copy_mac(k.mac, eth->h_dest);
	vlan = vf_vlan(skb, v, eth->h_proto, &tagged);
	if (vlan < 0)
		return count_drop(slot, tx_dropped, 1);
	k.vlan = vlan;
	skb->mark = 0;
	return forward(skb, v, slot, &k, tagged);
}

/* A frame from the wire. */
SEC("tc")
int veb_uplink(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct fdb_key k = {}, s;
	__u32 zero = 0, to = 0;
	bool tagged = false;
	struct size z;
	struct nic *n;
	struct vf *d;

	n = bpf_map_lookup_elem(&nics, &zero);
	if (!n || (void *)(eth + 1) > end)
		return TC_ACT_SHOT;
	copy_mac(k.mac, eth->h_dest);
	copy_mac(s.mac, eth->h_source);
	if (skb->vlan_present) {
		if (skb->vlan_proto != bpf_htons(ETH_P_8021Q))
			return TC_ACT_SHOT;
		k.vlan = skb->vlan_tci & VLAN_VID_MASK;
		tagged = true;
	} else if (unlikely(eth->h_proto == bpf_htons(ETH_P_8021Q))) {
		__be16 *tci = data + sizeof(*eth);

		if ((void *)(tci + 1) > end)
			return TC_ACT_SHOT;
		k.vlan = bpf_ntohs(*tci) & VLAN_VID_MASK;
		tagged = true;
	} else if (unlikely(eth->h_proto == bpf_htons(ETH_P_8021AD))) {
		return TC_ACT_SHOT;
	}
	if (tagged && bpf_skb_vlan_pop(skb))
		return TC_ACT_SHOT;
	if (unlikely(n->flags & NIC_LEARN)) { /* a MAC that was here is elsewhere now */
		s.vlan = k.vlan;
		bpf_map_delete_elem(&learned, &s);
	}

	z = size_of(skb);
	if (likely(!(k.mac[0] & 1))) {
		d = find(n, &k, &to);
		if (d) {
			if (unlikely(k.vlan && (d->flags & VF_TRUNK)))
				bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), k.vlan);
			return to_vf(skb, d, to, k.mac, &z);
		}
		if (!k.vlan && same_mac(k.mac, n->mac))
			return TC_ACT_OK;
		if (likely(!(n->flags & NIC_TRUST)))
			return TC_ACT_SHOT;
	}
	flood(skb, n, &k, ~0U, &z, false);
	/* The PF is a station of the untagged network. */
	return (k.mac[0] & 1) && !k.vlan ? TC_ACT_OK : TC_ACT_SHOT;
}
