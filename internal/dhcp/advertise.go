package dhcp

import (
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"

	"neutrino/internal/model"
	"neutrino/internal/netspace"
	"neutrino/internal/ra"
)

// unrouted are the subnets that no router of ours advertises: we do, as no router.
func unrouted(n *model.DHCPNetwork) []*model.Subnet {
	return slices.DeleteFunc(slices.Clone(n.Subnets), func(s *model.Subnet) bool {
		return slices.Contains(n.RoutedSubnets, s.ID)
	})
}

// advertise tells hosts of subnets without a router of ours what they are and where addresses
// come from: with a router lifetime of 0 they take no default route from it.
func (n *Node) advertise(p *place, l netlink.Link, want *model.DHCPNetwork, s *served) error {
	set := ra.Settings{MTU: want.MTU, DNS: n.o.DNSServers}
	if n.o.DNSDomain != "" {
		set.Search = []string{n.o.DNSDomain}
	}
	c, ok := ra.Of(unrouted(want), set)
	if !ok {
		return s.stopAdverts()
	}
	if s.adverts != nil {
		select {
		case <-s.adverts.Done():
			_ = s.stopAdverts() // it has failed, and said why
		default:
			s.adverts.Update(c)
			return nil
		}
	}
	return netspace.DoAt(p.NS, func() (err error) {
		s.adverts, err = ra.NewServer(l.Attrs().Name, c, n.log.With("network", want.NetworkID))
		return err
	})
}

func (s *served) stopAdverts() error {
	if s.adverts == nil {
		return nil
	}
	a := s.adverts
	s.adverts = nil
	if err := a.Close(); err != nil {
		return fmt.Errorf("stop router advertisements: %w", err)
	}
	return nil
}
