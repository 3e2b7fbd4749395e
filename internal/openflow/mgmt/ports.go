package mgmt

import (
	"context"
	"fmt"
)

// ports asks for the bridge's ports, in OpenFlow 1.0.
func (c *conn) ports(ctx context.Context) (map[uint32]portState, error) {
	xid := c.id()
	ask, err := message(c.version, type10StatsAsk, xid, []byte{0, statsPort10, 0, 0})
	if err != nil {
		return nil, err
	}
	out := map[uint32]portState{}
	err = c.exchange(ctx, ask, func(a answer) (bool, error) {
		if a.xid != xid {
			return false, nil
		}
		if a.kind == typeError {
			return false, parseError(a.body)
		}
		if a.kind != type10StatsReply {
			return false, fmt.Errorf("%w: message %d answers the question for ports", ErrProtocol, a.kind)
		}
		more, perr := parsePorts(a.body, func(p portState) { out[uint32(p.number)] = p })
		return !more, perr
	})
	if err != nil {
		return nil, fmt.Errorf("read ports: %w", err)
	}
	return out, nil
}

// setFlooding sets which of the ports are flooded to.
func (c *conn) setFlooding(ctx context.Context, mods map[portState]bool) error {
	var out []byte
	first := c.xid + 1
	for p, no := range mods {
		b, err := message(c.version, type10PortMod, c.id(), modPort(p, no))
		if err != nil {
			return err
		}
		out = append(out, b...)
	}
	last := c.id()
	b, err := message(c.version, type10BarrierAsk, last, nil)
	if err != nil {
		return err
	}
	return c.exchange(ctx, append(out, b...), func(a answer) (bool, error) {
		switch {
		case a.xid < first || a.xid > last:
			return false, nil
		case a.kind == typeError:
			return false, parseError(a.body)
		}
		return a.xid == last && a.kind == type10Barrier, nil
	})
}

// flooding sets whether ports are flooded to. One that is not there is an error only where floods are to be
// kept from it.
func (b *bridge) flooding(ctx context.Context, ports []uint32, no bool) error {
	if len(ports) == 0 {
		return nil
	}
	have, err := b.old.ports(ctx)
	if err != nil {
		return err
	}
	mods := map[portState]bool{}
	for _, n := range ports {
		p, ok := have[n]
		if !ok && no {
			return fmt.Errorf("keep floods from OpenFlow port %d: there is no such port", n)
		}
		if ok && p.noFlood != no {
			mods[p] = no
		}
	}
	if len(mods) == 0 {
		return nil
	}
	if err = b.old.setFlooding(ctx, mods); err != nil {
		return fmt.Errorf("set what ports are flooded to: %w", err)
	}
	return nil
}
