package veb

import (
	"context"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

// picture is all that one look at a NIC reads.
type picture struct {
	card    swNic
	vfs     []swVf
	dev     devices
	uplink  device
	fwd     map[swFdbKey]int
	ports   map[uint32]int
	allowed map[int][]model.AllowedSource
	rates   rates
}

// look reads the NIC: one dump of links, one batch of each map, and classes if any.
func (n *nic) look(ctx context.Context) (p picture, err error) {
	if p.card, err = n.card(); err != nil {
		return p, err
	}
	if p.vfs, err = n.vfs(); err != nil {
		return p, err
	}
	if p.dev, err = n.links.dump(ctx); err != nil {
		return p, err
	}
	p.uplink = p.dev.byIndex[int(p.card.Uplink)]
	if p.fwd, err = n.forwarding(); err != nil {
		return p, err
	}
	p.ports = map[uint32]int{}
	if err = each(n.o.Ports, func(k, slot uint32) { p.ports[k] = int(slot) }); err != nil {
		return p, err
	}
	p.allowed = map[int][]model.AllowedSource{}
	for _, v := range p.vfs {
		if v.Flags&vfIPCheck != 0 {
			if p.allowed, err = n.sources(); err != nil {
				return p, err
			}
			break
		}
	}
	p.rates, err = n.rates(p.card, p.vfs)
	return p, err
}

// dead reports whether VF i has lost its devices.
func (p *picture) dead(i int) bool {
	rep, ok := p.dev.byIndex[int(p.vfs[i].Ifindex)]
	return !ok || p.ports[uint32(rep.index)] != i
}

// attrs of VF i as they are in force. What a table does not confirm is reported as
// what is in force instead, so that whoever compares puts it right.
func (p *picture) attrs(i int) eswitch.Attrs {
	v, rep := p.vfs[i], p.dev.byIndex[int(p.vfs[i].Ifindex)]
	mac := v.Mac
	if slot, ok := p.fwd[fdbKey(v)]; mac != noMAC && (!ok || slot != i) {
		mac = noMAC
	}
	return eswitch.Attrs{
		MAC:        eswitch.Set(macString(mac)),
		VLAN:       eswitch.Set(int(v.Vlan)),
		SpoofCheck: eswitch.Set(v.Flags&vfSpoof != 0),
		Trust:      eswitch.Set(v.Flags&vfTrust != 0),
		LinkState:  eswitch.Set(linkState(v, rep.up, p.uplink.carrier)),
		MinTxRate:  eswitch.Set(p.rates.min[i]),
		MaxTxRate:  eswitch.Set(p.rates.max[i]),
		MTU:        eswitch.Set(min(rep.mtu, int(v.Maxlen)-ethHeader)),
		Allowed:    eswitch.Set(p.allowedOf(i)),
	}
}

func (p *picture) allowedOf(i int) []model.AllowedSource {
	if p.vfs[i].Flags&vfIPCheck == 0 {
		return nil
	}
	return p.allowed[i]
}

// linkState is the one asked for, if the devices are as it says.
func linkState(v swVf, up, carrier bool) model.LinkState {
	have := up && v.Flags&vfActive != 0
	switch {
	case have == linkUp(v.Link, carrier):
		return model.LinkState(v.Link)
	case have:
		return model.LinkEnable
	default:
		return model.LinkDisable
	}
}

// observe reads the PF and its VFs.
func (n *nic) observe(ctx context.Context) (eswitch.PF, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p, err := n.look(ctx)
	if err != nil {
		return eswitch.PF{}, err
	}
	if n.stale(&p) {
		if p, err = n.settle(ctx); err != nil {
			return eswitch.PF{}, err
		}
	}
	count, err := n.counters()
	if err != nil {
		return eswitch.PF{}, err
	}
	out := eswitch.PF{
		Name: n.spec.Name, PCISlot: PFSlot(n.spec.PF), Driver: Driver, NUMANode: -1,
		MTU: p.uplink.mtu, Carrier: p.uplink.carrier, TotalVFs: n.spec.VFs, VFs: make([]eswitch.VF, n.spec.VFs),
	}
	for i := range p.vfs {
		out.VFs[i] = eswitch.VF{
			ID: eswitch.VFID{PF: n.spec.Name, Index: i}, PCISlot: VFSlot(n.spec.PF, i),
			Driver: VFDriver, Netdev: p.netdev(i), Attrs: p.attrs(i), Counters: count[i],
		}
	}
	return out, nil
}

// netdev is the name of the VF's netdev while it is in the NIC's namespace.
func (p *picture) netdev(i int) string {
	rep := p.dev.byIndex[int(p.vfs[i].Ifindex)]
	if rep.elsewhere {
		return ""
	}
	return p.dev.byIndex[rep.peer].name
}
