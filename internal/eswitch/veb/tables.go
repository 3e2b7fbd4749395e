package veb

import (
	"errors"
	"fmt"
	"maps"

	"github.com/cilium/ebpf"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

// each reads a whole map, in batches where the kernel can.
func each[K comparable, V any](m *ebpf.Map, fn func(K, V)) error {
	const most = 4096
	size := min(int(m.MaxEntries()), most)
	keys, values := make([]K, size), make([]V, size)
	var cur ebpf.MapBatchCursor
	for {
		got, err := m.BatchLookup(&cur, keys, values, nil)
		if errors.Is(err, ebpf.ErrNotSupported) {
			break
		}
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("read map %s: %w", m, err)
		}
		for i := range got {
			fn(keys[i], values[i])
		}
		if err != nil {
			return nil //nolint:nilerr // ErrKeyNotExist: the end was reached
		}
	}
	var k K
	var v V
	it := m.Iterate()
	for it.Next(&k, &v) {
		fn(k, v)
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read map %s: %w", m, err)
	}
	return nil
}

// sources reads what each VF is allowed, from the table that the check uses.
func (n *nic) sources() (map[int][]model.AllowedSource, error) {
	out := map[int][]model.AllowedSource{}
	err := each(n.o.Sources, func(k swSourceKey, _ uint32) {
		out[int(k.Slot)] = append(out[int(k.Slot)], sourceOf(k))
	})
	for i, s := range out {
		out[i] = eswitch.SortAllowed(s)
	}
	return out, err
}

// forwarding reads which VF each {MAC, VLAN} leads to.
func (n *nic) forwarding() (map[swFdbKey]int, error) {
	out := map[swFdbKey]int{}
	err := each(n.o.Fdb, func(k swFdbKey, slot uint32) { out[k] = int(slot) })
	return out, err
}

func fdbKey(v swVf) swFdbKey { return swFdbKey{Mac: v.Mac, Vlan: v.Vlan} }

var noMAC [6]uint8

func drop[K any](m *ebpf.Map, k K) error {
	if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	return nil
}

// leaveFDB takes a VF out of the forwarding table, if it is itself that is there.
func (n *nic) leaveFDB(i int, v swVf) error {
	if v.Mac == noMAC {
		return nil
	}
	var slot uint32
	err := n.o.Fdb.Lookup(fdbKey(v), &slot)
	if errors.Is(err, ebpf.ErrKeyNotExist) || err == nil && slot != uint32(i) {
		return nil
	}
	if err == nil {
		err = drop(n.o.Fdb, fdbKey(v))
	}
	if err != nil {
		return fmt.Errorf("forget %s in VLAN %d: %w", macString(v.Mac), v.Vlan, err)
	}
	return nil
}

func (n *nic) joinFDB(i int, v swVf) error {
	if v.Mac == noMAC {
		return nil
	}
	if err := n.o.Fdb.Put(fdbKey(v), uint32(i)); err != nil {
		return fmt.Errorf("forward %s in VLAN %d: %w", macString(v.Mac), v.Vlan, err)
	}
	return nil
}

// allowedKeys are the entries that a list makes for VF i.
func allowedKeys(i int, own [6]uint8, list []model.AllowedSource) (map[swSourceKey]bool, map[swMacKey]bool) {
	src, mac := map[swSourceKey]bool{}, map[swMacKey]bool{}
	for _, a := range list {
		m, err := parseMAC(a.MAC)
		if err != nil {
			continue
		}
		src[sourceKey(i, m, a.Prefix)] = true
		if m != own {
			mac[swMacKey{Slot: uint32(i), Mac: m}] = true
		}
	}
	return src, mac
}

// setSources makes VF i's entries those of want. New ones are there before old ones
// go.
func (n *nic) setSources(i int, own [6]uint8, want []model.AllowedSource) error {
	src, mac := allowedKeys(i, own, want)
	for k := range src {
		if err := n.o.Sources.Put(k, uint32(1)); err != nil {
			return fmt.Errorf("allow a source: %w", err)
		}
	}
	for k := range mac {
		if err := n.o.Macs.Put(k, uint32(1)); err != nil {
			return fmt.Errorf("allow MAC %s: %w", macString(k.Mac), err)
		}
	}
	return n.dropSources(func(k swSourceKey) bool { return int(k.Slot) == i && !src[k] },
		func(k swMacKey) bool { return int(k.Slot) == i && !mac[k] })
}

func (n *nic) dropSources(src func(swSourceKey) bool, mac func(swMacKey) bool) error {
	oldSrc, oldMAC := map[swSourceKey]bool{}, map[swMacKey]bool{}
	if err := each(n.o.Sources, func(k swSourceKey, _ uint32) { oldSrc[k] = src(k) }); err != nil {
		return err
	}
	if err := each(n.o.Macs, func(k swMacKey, _ uint32) { oldMAC[k] = mac(k) }); err != nil {
		return err
	}
	for k, stale := range oldSrc {
		if stale {
			if err := drop(n.o.Sources, k); err != nil {
				return fmt.Errorf("forbid a source: %w", err)
			}
		}
	}
	for k, stale := range oldMAC {
		if stale {
			if err := drop(n.o.Macs, k); err != nil {
				return fmt.Errorf("forbid MAC %s: %w", macString(k.Mac), err)
			}
		}
	}
	return nil
}

// putPort says that frames on the representor with this index are VF i's.
func (n *nic) putPort(index uint32, i int) error {
	if err := n.o.Ports.Put(index, uint32(i)); err != nil {
		return fmt.Errorf("write port of VF %d: %w", i, err)
	}
	if index >= n.o.NearPorts.MaxEntries() {
		return nil
	}
	if err := n.o.NearPorts.Put(index, uint32(i+1)); err != nil {
		return fmt.Errorf("write port of VF %d: %w", i, err)
	}
	return nil
}

func (n *nic) dropPort(index uint32) error {
	if err := drop(n.o.Ports, index); err != nil {
		return fmt.Errorf("forget port %d: %w", index, err)
	}
	if index >= n.o.NearPorts.MaxEntries() {
		return nil
	}
	if err := n.o.NearPorts.Put(index, uint32(0)); err != nil {
		return fmt.Errorf("forget port %d: %w", index, err)
	}
	return nil
}

// unlearn forgets the MACs that were learned of VF i.
func (n *nic) unlearn(i int) error {
	var stale []swFdbKey
	if err := each(n.o.Learned, func(k swFdbKey, slot uint32) {
		if int(slot) == i {
			stale = append(stale, k)
		}
	}); err != nil {
		return err
	}
	for _, k := range stale {
		if err := drop(n.o.Learned, k); err != nil {
			return fmt.Errorf("unlearn %s: %w", macString(k.Mac), err)
		}
	}
	return nil
}

// forget removes everything that tables hold of VF i.
func (n *nic) forget(i int) error {
	fwd, err := n.forwarding()
	if err != nil {
		return err
	}
	maps.DeleteFunc(fwd, func(_ swFdbKey, slot int) bool { return slot != i })
	for k := range fwd {
		if err = drop(n.o.Fdb, k); err != nil {
			return fmt.Errorf("forget %s: %w", macString(k.Mac), err)
		}
	}
	ports := map[uint32]uint32{}
	if err = each(n.o.Ports, func(k, slot uint32) { ports[k] = slot }); err != nil {
		return err
	}
	for k, slot := range ports {
		if int(slot) == i {
			if err = n.dropPort(k); err != nil {
				return err
			}
		}
	}
	if err = n.setSources(i, noMAC, nil); err != nil {
		return err
	}
	if err = n.unlearn(i); err != nil {
		return err
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count CPUs: %w", err)
	}
	if err := n.o.Stats.Put(uint32(i), make([]swCounters, cpus)); err != nil {
		return fmt.Errorf("reset counters: %w", err)
	}
	return nil
}

// counters reads those of all VFs.
func (n *nic) counters() ([]eswitch.Counters, error) {
	out := make([]eswitch.Counters, n.spec.VFs)
	if n.spec.VFs == 0 {
		return out, nil
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count CPUs: %w", err)
	}
	keys, values := make([]uint32, n.spec.VFs), make([]swCounters, n.spec.VFs*cpus)
	var cur ebpf.MapBatchCursor
	got, err := n.o.Stats.BatchLookup(&cur, keys, values, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, fmt.Errorf("read counters of %s: %w", n.spec.Name, err)
	}
	for j := range got {
		c := &out[keys[j]]
		for _, one := range values[j*cpus : (j+1)*cpus] {
			c.RxPackets += one.RxPackets
			c.RxBytes += one.RxBytes
			c.RxBroadcast += one.RxBroadcast
			c.RxMulticast += one.RxMulticast
			c.RxDropped += one.RxDropped
			c.TxPackets += one.TxPackets
			c.TxBytes += one.TxBytes
			c.TxBroadcast += one.TxBroadcast
			c.TxMulticast += one.TxMulticast
			c.TxDropped += one.TxDropped
			c.TxSpoofed += one.TxSpoofed
		}
	}
	return out, nil
}
