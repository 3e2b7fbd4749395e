package plug

import (
	"context"

	"neutrino/internal/journal"
)

// mend looks after the interfaces of bridges that are in namespaces. One that Open vSwitch
// has made anew is in the host's namespace: the userspace datapath does so when ovs-vswitchd
// starts, and leaves a dead one in the namespace. It is moved to where that was. One whose namespace has gone, by a
// reboot for instance, is to be unplugged. Mending needs no journal: each look starts from
// what is there.
func (e *Engine) mend(ctx context.Context) (out outcome) {
	for _, v := range e.List() {
		if v.Bridge == "" || v.Kind != Netns || ctx.Err() != nil {
			continue
		}
		space, netdev, err := e.dev.Find(v)
		switch {
		case err != nil:
			e.log.Warn("cannot see whether a namespace still has its interface", "namespace", v.Target.Netns, "port", v.PortID, "error", err)
			out.again = true
		case !space:
			e.log.Info("namespace is gone: its interface is unplugged", "namespace", v.Target.Netns, "port", v.PortID)
			out.slots = append(out.slots, v.PCISlot)
		case !netdev:
			if _, bound := e.ports.Port(v.PortID); !bound {
				continue // not known yet, or about to be released
			}
			if err = e.replace(ctx, v); err != nil && ctx.Err() == nil {
				e.log.Warn("interface is not in its namespace and cannot be brought there yet", "port", v.PortID, "into", v.Target.String(), "error", err)
				out.again = true
			}
		}
	}
	return out
}

// replace brings an interface to its namespace again, unless a change of it is under way.
func (e *Engine) replace(ctx context.Context, v VIF) error {
	e.mu.Lock()
	_, busy := e.pending[v.PCISlot]
	if now, ok := e.vifs[v.PortID]; busy || !ok || now != v {
		e.mu.Unlock()
		return nil
	}
	e.pending[v.PCISlot] = v
	e.publish()
	e.mu.Unlock()
	defer e.settle(v.PCISlot, nil)
	ctx, cancel := context.WithTimeout(ctx, guestDeadline)
	defer cancel()
	for _, s := range []journal.Step{e.work.addInterface(v), e.work.discard(v), e.work.moveIn(v)} {
		if err := s.Do(ctx); err != nil {
			return err
		}
	}
	e.log.Info("interface was made anew and is in its namespace again", "port", v.PortID, "interface", v.Netdev, "into", v.Target.String())
	return nil
}
