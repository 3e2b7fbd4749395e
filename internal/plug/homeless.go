package plug

import "context"

// homeless lists interfaces of bridges whose namespace has gone, by a reboot for instance: they
// are to be unplugged.
func (e *Engine) homeless(ctx context.Context) (out outcome) {
	for _, v := range e.List() {
		if v.Bridge == "" || v.Kind != Netns || ctx.Err() != nil {
			continue
		}
		there, err := e.dev.HasSpace(v)
		switch {
		case err != nil:
			e.log.Warn("cannot see whether a namespace is there", "namespace", v.Target.Netns, "port", v.PortID, "error", err)
			out.again = true
		case !there:
			e.log.Info("namespace is gone: its interface is unplugged", "namespace", v.Target.Netns, "port", v.PortID)
			out.slots = append(out.slots, v.PCISlot)
		}
	}
	return out
}
