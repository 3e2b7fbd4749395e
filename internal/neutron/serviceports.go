package neutron

import (
	"neutrino/internal/fault"
	"neutrino/internal/model"
)

// Ports of routers and floating IPs come and go with them: the port API leaves alone what
// they rest on.

// isService reports whether a port is a router's or a floating IP's that is there.
func (s *Service) isService(a *attempt, p *model.Port) bool {
	var ok bool
	switch {
	case p.DeviceID == "":
	case isRouterPort(p):
		_, ok = s.t.Routers.Require(a.Tx, p.DeviceID)
	case p.DeviceOwner == model.OwnerFloatingIP:
		_, ok = s.t.FloatingIPs.Require(a.Tx, p.DeviceID)
	}
	return ok
}

// checkOwner refuses a port that would be a router's without the router knowing.
func (s *Service) checkOwner(a *attempt, p *model.Port) error {
	if s.isService(a, p) {
		return fault.DeviceIDNotOwned(p.DeviceID)
	}
	return nil
}

// checkService keeps the port API from changing what a router or a floating IP rests on,
// and a port from becoming one of theirs.
func (s *Service) checkService(a *attempt, old, p *model.Port, given map[string]bool) error {
	moved := old.DeviceID != p.DeviceID || old.DeviceOwner != p.DeviceOwner
	if !s.isService(a, old) {
		if moved {
			return s.checkOwner(a, p)
		}
		return nil
	}
	if moved {
		return fault.PortInUse(old.NetworkID, old.ID, old.DeviceID)
	}
	if given["fixed_ips"] && !same(&model.Port{FixedIPs: old.FixedIPs}, &model.Port{FixedIPs: p.FixedIPs}) {
		return fault.BadRequest("port", "Fixed IPs of port %s cannot be updated: it has device owner %s", old.ID, old.DeviceOwner)
	}
	return nil
}
