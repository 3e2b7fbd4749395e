package dhcp

import (
	"errors"
	"fmt"

	"neutrino/internal/model"
	"neutrino/internal/portspace"
)

// startBeside keeps the network's Companion running in the namespace that is there now, and
// tells it what the network is, on each pass: what it lends the namespace it has to renew.
func (n *Node) startBeside(p *place, want *model.DHCPNetwork, s *served) {
	if n.o.Beside == nil {
		return
	}
	before := s.status.Beside
	s.status.Beside = nil
	id := portspace.HostID(p.NS)
	if s.beside != nil && s.besideOf != id {
		s.status.Beside = s.stopBeside()
	}
	if s.beside == nil {
		c, err := n.o.Beside(p.Name, p.NS)
		if err != nil {
			s.status.Beside = errors.Join(s.status.Beside, err)
			if before == nil || before.Error() != s.status.Beside.Error() {
				n.log.Warn("DHCP is served, but not what belongs beside it", "network", want.NetworkID, "err", err)
			}
			return
		}
		s.beside, s.besideOf = c, id
	}
	s.beside.Set(want)
}

func (s *served) stopBeside() error {
	if s.beside == nil {
		return nil
	}
	c := s.beside
	s.beside = nil
	if err := c.Close(); err != nil {
		return fmt.Errorf("stop what runs beside DHCP: %w", err)
	}
	return nil
}

// stopAll stops everything of the network that this process runs.
func (s *served) stopAll() error {
	return errors.Join(s.stopBeside(), s.stop())
}
