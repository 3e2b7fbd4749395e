package router

import (
	"errors"
	"fmt"

	"neutrino/internal/model"
	"neutrino/internal/netspace"
	"neutrino/internal/ra"
)

// advertise keeps router advertisements going on interfaces whose subnets ask for them.
func (n *Node) advertise(s *seat, want *model.RouterSpec, ports map[string]held, c *carried) error {
	kept := map[string]bool{}
	for i := range want.Interfaces {
		port := &want.Interfaces[i]
		h, ok := ports[port.PortID]
		config, asked := ra.Of(port.Subnets, ra.Settings{Lifetime: ra.DefaultLifetime, MTU: port.MTU})
		if !ok || !asked {
			continue
		}
		kept[port.PortID] = true
		if err := n.advertiseOn(s, port, h, config, c); err != nil {
			return fmt.Errorf("advertise the router on %s in %s: %w", h.Link.Attrs().Name, s.Name, err)
		}
	}
	var errs []error
	for id, a := range c.advertisers {
		if !kept[id] {
			delete(c.advertisers, id)
			errs = append(errs, a.Withdraw())
		}
	}
	return errors.Join(errs...)
}

func (n *Node) advertiseOn(s *seat, port *model.RouterPort, h held, config ra.Config, c *carried) error {
	link := h.Link.Attrs()
	if a := c.advertisers[port.PortID]; a != nil {
		if a.alive() && a.ifindex == link.Index && a.mac == port.MAC {
			a.Update(config)
			return nil
		}
		delete(c.advertisers, port.PortID)
		_ = a.Close() // its socket is of no use any more
	}
	return netspace.DoAt(s.NS, func() error {
		server, err := ra.NewServer(link.Name, config, n.log.With("router", s.Owner))
		if err == nil {
			c.advertisers[port.PortID] = &advertised{server, link.Index, port.MAC}
		}
		return err
	})
}

func (a *advertised) alive() bool {
	select {
	case <-a.Done():
		return false
	default:
		return true
	}
}
