package metadata

import (
	"strconv"

	"neutrino/internal/model"
)

// The form of network_data.json is Nova's (doc/source/user/metadata.rst and its JSON schema).

type networkData struct {
	Links    []link    `json:"links"`
	Networks []network `json:"networks"`
	Services []service `json:"services"`
}

type link struct {
	ID    string `json:"id"`
	VIFID string `json:"vif_id"`
	Type  string `json:"type"`
	MAC   string `json:"ethernet_mac_address"`
}

type network struct {
	ID        string `json:"id"`
	NetworkID string `json:"network_id"`
	Link      string `json:"link"`
	Type      string `json:"type"`
}

type service struct {
	Type    string `json:"type"`
	Address string `json:"address"`
}

// newNetworkData says of the one port that the instance asks through: MTU, routes and name
// servers come with DHCP and router advertisements, which always say how things are now.
func newNetworkData(h *model.DHCPHost, subnets map[string]*model.Subnet) networkData {
	l := link{ID: "tap" + h.PortID[:min(len(h.PortID), 11)], VIFID: h.PortID, Type: "phy", MAC: h.MAC}
	d := networkData{Links: []link{l}, Networks: []network{}, Services: []service{}}
	seen := map[string]bool{}
	for _, a := range h.Addresses {
		n := network{Link: l.ID, Type: networkType(a, subnets[a.SubnetID])}
		if n.Type == "" || seen[n.Type] {
			continue
		}
		seen[n.Type] = true
		n.ID = "network" + strconv.Itoa(len(d.Networks))
		if s := subnets[a.SubnetID]; s != nil {
			n.NetworkID = s.NetworkID
		}
		d.Networks = append(d.Networks, n)
	}
	return d
}

// networkType is how the address is to be had; "" = that is not known.
func networkType(a model.FixedIP, s *model.Subnet) string {
	if a.IP.Is4() {
		return "ipv4_dhcp"
	}
	if s == nil {
		return ""
	}
	switch s.IPv6AddressMode {
	case model.ModeStateful:
		return "ipv6_dhcpv6-stateful"
	case model.ModeStateless:
		return "ipv6_dhcpv6-stateless"
	case model.ModeSLAAC:
		return "ipv6_slaac"
	}
	return ""
}
