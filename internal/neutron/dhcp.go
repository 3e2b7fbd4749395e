package neutron

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"

	"neutrino/internal/ml2"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// DHCPNetworks returns the networks that a DHCP agent serves, in the order of their ids,
// and a channel that closes when that may have changed (or when the Service is closed). A
// network appears once the agent's own port on it exists.
func (s *Service) DHCPNetworks(snap store.Snapshot, agentID string) ([]*model.DHCPNetwork, <-chan struct{}) {
	agent, ok, changed := s.t.Agents.WatchGet(snap, agentID)
	watches := []<-chan struct{}{changed}
	if !ok {
		return nil, s.merges.any(watches...)
	}
	bindings, changed := s.t.DHCPBindings.WatchBy(snap, ByAgent, agentID)
	watches = append(watches, changed)
	var out []*model.DHCPNetwork
	for b := range bindings {
		n, _, networkChanged := s.t.Networks.WatchGet(snap, b.NetworkID)
		ports, portsChanged := s.t.Ports.WatchBy(snap, ByNetwork, b.NetworkID)
		subnets, subnetsChanged := s.t.Subnets.WatchBy(snap, ByNetwork, b.NetworkID)
		watches = append(watches, networkChanged, portsChanged, subnetsChanged)
		var withDHCP []*model.Subnet
		for sub := range subnets {
			if sub.EnableDHCP {
				withDHCP = append(withDHCP, sub)
			}
		}
		if n == nil || !n.AdminStateUp || len(withDHCP) == 0 {
			continue
		}
		d := &model.DHCPNetwork{NetworkID: n.ID, MTU: n.MTU, Subnets: withDHCP}
		s.fillHosts(d, ports, dhcpDeviceID(agent.Host, n.ID))
		if d.PortID != "" {
			out = append(out, d)
		}
	}
	return out, s.merges.any(watches...)
}

// fillHosts sorts the network's ports into the agent's own and those that may have a lease.
func (s *Service) fillHosts(d *model.DHCPNetwork, ports func(func(*model.Port) bool), device string) {
	for p := range ports {
		if p.DeviceOwner == model.OwnerDHCP {
			if p.DeviceID == device {
				d.PortID, d.MAC, d.Addresses = p.ID, model.CanonicalMAC(p.MAC), onSubnets(p.FixedIPs, d.Subnets)
			}
			continue
		}
		addresses := onSubnets(p.FixedIPs, d.Subnets)
		if len(addresses) == 0 {
			continue
		}
		if p.DeviceOwner == model.OwnerRouterInterface {
			for _, a := range addresses {
				d.RoutedSubnets = append(d.RoutedSubnets, a.SubnetID)
			}
		}
		h := instanceOf(p, addresses)
		h.Options = p.ExtraDHCPOpts
		d.Hosts = append(d.Hosts, h)
	}
	slices.Sort(d.RoutedSubnets)
	d.RoutedSubnets = slices.Compact(d.RoutedSubnets)
}

// instanceOf is what a host is told of a port that may be an instance's, without DHCP
// options. There is at least one address.
func instanceOf(p *model.Port, addresses []model.FixedIP) model.DHCPHost {
	h := model.DHCPHost{
		PortID: p.ID, MAC: model.CanonicalMAC(p.MAC), Addresses: addresses, HostName: hostName(addresses[0].IP),
		Device: p.DeviceID, ProjectID: p.ProjectID,
	}
	// What is in the row was accepted when it was written; nothing better can be done here.
	h.Instance, _ = ml2.ReadInstance(p.Binding.Profile)
	return h
}

func onSubnets(fixed []model.FixedIP, subnets []*model.Subnet) []model.FixedIP {
	var out []model.FixedIP
	for _, f := range fixed {
		for _, sub := range subnets {
			if sub.ID == f.SubnetID {
				out = append(out, f)
			}
		}
	}
	return out
}

// hostName is Neutron's name for a host without one: host-10-0-0-77.
func hostName(addr netip.Addr) string {
	return "host-" + strings.NewReplacer(".", "-", ":", "-").Replace(addr.String())
}

// dhcpDeviceID is the device_id of an agent's port, as Neutron's agents form it.
func dhcpDeviceID(host, network string) string {
	short, _, _ := strings.Cut(host, ".")
	return "dhcp" + uuid.NewSHA1(uuid.NameSpaceDNS, []byte(short)).String() + "-" + network
}

// reservedDHCPPort is the device_id of a DHCP port between two agents.
const reservedDHCPPort = "reserved_dhcp_port"

// isAgentPort reports whether a port was made for a DHCP agent of the network.
func isAgentPort(p *model.Port) bool {
	return p.DeviceOwner == model.OwnerDHCP &&
		(p.DeviceID == reservedDHCPPort || (strings.HasPrefix(p.DeviceID, "dhcp") && strings.HasSuffix(p.DeviceID, "-"+p.NetworkID)))
}
