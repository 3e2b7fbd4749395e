package dhcp

import (
	"errors"
	"fmt"

	"neutrino/internal/model"
	"neutrino/internal/portspace"
)

// startBeside keeps the network's Companion running in the namespace that is there now, and
// tells it what has changed.
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
		s.beside, s.besideOf, s.told = c, id, nil
	}
	if s.told != want || s.toldOn != s.ifindex {
		s.beside.Set(want)
		s.told, s.toldOn = want, s.ifindex
	}
}

func (s *served) stopBeside() error {
	if s.beside == nil {
		return nil
	}
	c := s.beside
	s.beside, s.told = nil, nil
	if err := c.Close(); err != nil {
		return fmt.Errorf("stop what runs beside DHCP: %w", err)
	}
	return nil
}

// stopAll stops everything of the network that this process runs.
func (s *served) stopAll() error {
	return errors.Join(s.stopBeside(), s.stop())
}
