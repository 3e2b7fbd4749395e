package tune

import (
	"slices"
	"strconv"

	"neutrino/internal/ethtool"
)

// deviceRules are settings of the NICs.
func deviceRules() []Rule {
	mlx4 := func(v values) map[string]values { return map[string]values{"mlx4_core": v} }
	return []Rule{
		{
			Name: "read-request", Title: "PCI Express MaxReadReq (bytes)", Source: "NVIDIA network operator: pciPerformanceOptimized; " + fromMellanox,
			Why:    "small read requests leave the slot idle while the NIC fetches what it sends",
			Values: values{Throughput: "512", Forwarding: "512"},
			Drivers: map[string]values{
				"mlx5_core": {Throughput: "4096", Forwarding: "4096"},
				"mlx4_core": {Throughput: "4096", Forwarding: "4096"},
			},
			wish: readRequest,
		},
		{
			Name: "vf-vectors", Title: "MSI-X vectors of VFs without a driver", Source: fromKernel + "ABI/testing/sysfs-bus-pci (sriov_vf_msix_count)",
			Why:    "a guest has no more queues than its VF has vectors",
			Values: values{Throughput: "32", Forwarding: "32"}, wish: vectors,
		},
		{
			Name: "channels", Title: "queues: as many as there are cores near the NIC", Source: fromMellanox,
			Why:    "one queue per near core; more than that only share CPUs or are far away",
			Values: values{Throughput: "cores", Forwarding: "cores"}, wish: device("channels combined", nil),
		},
		ring("rx-ring", "rings rx", "received packets that may wait in the NIC", "a burst that does not fit is dropped"),
		ring("tx-ring", "rings tx", "packets that may wait to be sent", "a sender that is faster than the ring waits"),
		{
			Name: "pause-autoneg", Title: "agree with the link partner on pause frames", Source: fromMellanox,
			Why: "while it is on, what is set for each way is only a proposal", Values: values{Forwarding: "off"}, wish: device("pause autoneg", nil),
		},
		{
			Name: "pause-rx", Title: "obey pause frames", Source: fromMellanox,
			Why: "one slow receiver would stop all that is forwarded", Values: values{Forwarding: "off"}, wish: device("pause rx", nil),
		},
		{
			Name: "pause-tx", Title: "send pause frames", Source: fromMellanox,
			Why: "one slow receiver would stop all that is forwarded", Values: values{Forwarding: "off"}, wish: device("pause tx", nil),
		},
		{
			Name: "adaptive-rx", Title: "interrupt moderation that follows the load", Source: fromMellanox,
			Why:     "few interrupts under load, at once when idle; never where every answer is waited for",
			Values:  values{Throughput: "on", Latency: "off", Forwarding: "on", Balanced: "on"},
			Drivers: mlx4(values{Throughput: "on", Latency: "off", Forwarding: "off", Balanced: "on"}),
			wish:    device("coalesce adaptive-rx", nil),
		},
		{
			Name: "adaptive-tx", Title: "moderation of sending that follows the load", Source: fromMellanox,
			Why: "completions are not waited for; where every answer is, they come at once", Values: values{Latency: "off", Forwarding: "off"},
			wish: device("coalesce adaptive-tx", nil),
		},
		{
			Name: "rx-usecs", Title: "how long a received packet waits for others (microseconds)", Source: fromMellanox + "; " + fromRedHat,
			Why: "each is told at once", Values: values{Latency: "0"}, Drivers: mlx4(values{Latency: "0", Forwarding: "0"}),
			wish: device("coalesce rx-usecs", nil),
		},
		{
			Name: "tx-usecs", Title: "how long a sent packet waits for others (microseconds)", Source: fromRedHat,
			Why: "buffers are free at once", Values: values{Latency: "0"},
			// igb has one moderation for both ways where its queues are pairs; mlx4's 0 would be no completion at all
			Drivers: map[string]values{"igb": {}, "mlx4_core": {}},
			wish:    device("coalesce tx-usecs", nil),
		},
		{
			Name: "tx-frames", Title: "sent packets that are told together", Source: fromMellanox,
			Why: "fewer completions", Values: values{}, Drivers: mlx4(values{Forwarding: "64"}), wish: device("coalesce tx-frames", nil),
		},
		{
			Name: "gro", Title: "received packets are joined in software (GRO)", Source: fromKernel + "networking/segmentation-offloads.rst",
			Why: "the stack is gone through once for many; what is forwarded is taken apart again", Values: values{Throughput: "on", Forwarding: "on"},
			wish: device("feature rx-gro", nil),
		},
		{
			Name: "lro", Title: "received packets are joined in the NIC (LRO)", Source: fromMellanox + "; " + fromKernel + "networking/netdevices",
			Why:    "less work per byte; but what was joined cannot be forwarded as it came",
			Values: values{Throughput: "on", Latency: "off", Forwarding: "off"}, wish: device("feature rx-lro", lro),
		},
		{
			Name: "tx-nocache-copy", Title: "copy what is sent around the cache", Source: fromMellanox,
			Why: "the NIC reads what is in the cache faster", Values: all("off"), wish: device("feature tx-nocache-copy", nil),
		},
	}
}

func ring(name string, key ethtool.Key, title, why string) Rule {
	return Rule{
		Name: name, Title: title, Source: fromMellanox, Why: why,
		Values: values{Throughput: "most 4096", Forwarding: "most 8192"}, wish: device(key, nil),
	}
}

// lro refuses LRO where packets are passed on: they would be too long for the next wire.
func lro(f *Facts, n *NIC, want uint32) string {
	switch {
	case want == 0:
		return ""
	case n.Bridge != "":
		return "packets go on to " + n.Bridge
	case f.Files[forwardFile] == "1":
		return "this machine forwards"
	}
	return ""
}

// readRequest never asks for less than there is. VFs have their PF's.
func readRequest(f *Facts, r *Rule, p Profile) []Wish {
	var out []Wish
	for _, n := range f.NICs {
		want, err := strconv.Atoi(r.value(p, n.Driver))
		if err != nil || n.ReadReq == 0 || n.VF || seen(out, n.Slot) {
			continue
		}
		t, now := Target{Kind: KindReadReq, Slot: n.Slot}, strconv.Itoa(n.ReadReq)
		out = append(out, Wish{Target: t, Now: now, Want: larger(f.before(t, now), strconv.Itoa(want))})
	}
	return out
}

func seen(wishes []Wish, slot string) bool {
	return slices.ContainsFunc(wishes, func(w Wish) bool { return w.Target.Slot == slot })
}

// vectors divides what the card has among its VFs, up to the profile's bound.
func vectors(f *Facts, r *Rule, p Profile) []Wish {
	bound, err := strconv.Atoi(r.Values[p])
	if err != nil {
		return nil
	}
	var out []Wish
	for _, n := range f.NICs {
		if n.VectorsTotal == 0 || len(n.VFs) == 0 {
			continue
		}
		want := min(bound, n.VectorsTotal/len(n.VFs))
		for _, v := range n.VFs {
			if v.Vectors == 0 || want == 0 || seen(out, v.Slot) {
				continue
			}
			t, now := Target{Kind: KindVectors, Slot: v.Slot}, strconv.Itoa(v.Vectors)
			w := Wish{Target: t, Now: now, Want: larger(f.before(t, now), strconv.Itoa(want))}
			if v.Driver != "" && w.Now != w.Want {
				w.Refused = "the VF has driver " + v.Driver + ": it is set only while it has none"
			}
			out = append(out, w)
		}
	}
	return out
}
