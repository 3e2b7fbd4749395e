package neutron

import (
	"maps"
	"math/big"
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/ipam"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// NetworkAvailability is one row of /network-ip-availabilities.
type NetworkAvailability struct {
	Network *model.Network
	Subnets []SubnetAvailability
	Total   *big.Int // addresses in the allocation pools
	Used    int64    // addresses that ports have
}

// SubnetAvailability is one subnet of it.
type SubnetAvailability struct {
	Subnet *model.Subnet
	Total  *big.Int
	Used   int64
}

// IPAvailability counts the addresses of every network, in order of id. With ipVersion 4
// or 6 only subnets of that family count; 0 = both.
func (s *Service) IPAvailability(snap store.Snapshot, ipVersion int) []NetworkAvailability {
	var out []NetworkAvailability
	for n := range s.t.Networks.All(snap) {
		out = append(out, s.availability(snap, n, ipVersion))
	}
	return out
}

// NetworkIPAvailability is the row of one network.
func (s *Service) NetworkIPAvailability(snap store.Snapshot, networkID string) (NetworkAvailability, bool) {
	n, ok := s.t.Networks.Get(snap, networkID)
	if !ok {
		return NetworkAvailability{}, false
	}
	return s.availability(snap, n, 0), true
}

func (s *Service) availability(snap store.Snapshot, n *model.Network, ipVersion int) NetworkAvailability {
	row := NetworkAvailability{Network: n, Total: new(big.Int)}
	for sub := range s.t.Subnets.By(snap, ByNetwork, n.ID) {
		if ipVersion != 0 && sub.IPVersion != ipVersion {
			continue
		}
		a := SubnetAvailability{Subnet: sub, Total: ipam.Sizes(sub)}
		for p := range s.t.Ports.By(snap, BySubnet, sub.ID) {
			for _, f := range p.FixedIPs {
				if f.SubnetID == sub.ID {
					a.Used++
				}
			}
		}
		row.Subnets = append(row.Subnets, a)
		row.Total.Add(row.Total, a.Total)
		row.Used += a.Used
	}
	return row
}

// Zone is one availability zone.
type Zone struct {
	Name     string
	Resource string // "network" | "router"
	State    string // "available" | "unavailable"
}

// What agents of zones serve.
const (
	zoneOfNetworks = "network"
	zoneOfRouters  = "router"
)

// AvailabilityZones are the zones of the agents that serve networks and routers, by what
// they serve and name. A zone is available while one of its agents is administratively up.
func (s *Service) AvailabilityZones(snap store.Snapshot) []Zone {
	return slices.Concat(s.zones(snap, zoneOfNetworks, model.AgentDHCP), s.zones(snap, zoneOfRouters, model.AgentL3))
}

func (s *Service) zones(snap store.Snapshot, resource, agentType string) []Zone {
	state := make(map[string]string)
	for a := range s.t.Agents.All(snap) {
		if a.Type != agentType {
			continue
		}
		zone := s.zoneOf(a)
		if a.AdminStateUp {
			state[zone] = "available"
		} else if state[zone] == "" {
			state[zone] = "unavailable"
		}
	}
	zones := make([]Zone, 0, len(state))
	for _, name := range slices.SortedFunc(maps.Keys(state), strings.Compare) {
		zones = append(zones, Zone{Name: name, Resource: resource, State: state[name]})
	}
	return zones
}

func (s *Service) zoneOf(a *model.Agent) string {
	if a.AvailabilityZone != "" {
		return a.AvailabilityZone
	}
	return s.o.AvailabilityZone
}

// NetworkZones are the zones of the agents that serve a network (availability_zones).
func (s *Service) NetworkZones(snap store.Snapshot, networkID string) []string {
	b, ok := s.t.DHCPBindings.Get(snap, networkID)
	if !ok {
		return nil
	}
	var zones []string
	for _, id := range b.AgentIDs {
		if a, ok := s.t.Agents.Get(snap, id); ok {
			zones = appendNew(zones, s.zoneOf(a))
		}
	}
	slices.Sort(zones)
	return zones
}

// RouterZones are the zones of the agent that carries a router (availability_zones).
func (s *Service) RouterZones(snap store.Snapshot, routerID string) []string {
	if b, ok := s.t.RouterBindings.Get(snap, routerID); ok {
		if a, known := s.t.Agents.Get(snap, b.AgentID); known {
			return []string{s.zoneOf(a)}
		}
	}
	return nil
}

func (s *Service) checkZoneHints(a *attempt, hints []string, resource string) error {
	if len(hints) == 0 {
		return nil
	}
	zones := s.AvailabilityZones(a.snap)
	for _, hint := range hints {
		if !slices.ContainsFunc(zones, func(z Zone) bool { return z.Name == hint && z.Resource == resource }) {
			return fault.AvailabilityZoneNotFound(hint)
		}
	}
	return nil
}
