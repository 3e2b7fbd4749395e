package ipam

import (
	"net/netip"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

// Names of the request attributes that "given" maps speak of.
const (
	attrGateway = "gateway_ip"
	attrPools   = "allocation_pools"
	attrDHCP    = "enable_dhcp"
)

// CompleteSubnet validates a subnet that is to be created, masks its cidr, and fills
// in gateway_ip (unless given; given without a value means none) and the allocation
// pools (unless given and not empty). siblings are the other subnets of the network.
// The cidr must be known: one from a subnet pool has been cut before.
//
// Errors are Neutron's faults; s may be partly completed then.
func CompleteSubnet(s *model.Subnet, given map[string]bool, siblings []*model.Subnet) error {
	if !plain(s.CIDR.Addr()) || !s.CIDR.IsValid() {
		return fault.BadRequest("subnets", "a subnetpool must be specified in the absence of a cidr")
	}
	s.CIDR = s.CIDR.Masked()
	if err := checkFamily("cidr", s.CIDR.Addr(), s.CIDR.String(), s.IPVersion); err != nil {
		return err
	}
	if s.EnableDHCP {
		if err := checkDHCP(s.CIDR); err != nil {
			return err
		}
	}
	if err := checkAddresses(s, s.CIDR); err != nil {
		return err
	}
	if err := checkModes(s); err != nil {
		return err
	}
	if err := placeGatewayAndPools(s, given); err != nil {
		return err
	}
	return checkBeside(s, siblings)
}

func placeGatewayAndPools(s *model.Subnet, given map[string]bool) (err error) {
	if !s.GatewayIP.IsValid() && !given[attrGateway] {
		s.GatewayIP = s.CIDR.Addr()
		if s.IPVersion == 4 {
			s.GatewayIP = s.GatewayIP.Next() // none after 255.255.255.255
		}
	}
	if len(s.AllocationPools) == 0 {
		s.AllocationPools = DefaultPools(s.CIDR, s.GatewayIP)
	} else {
		if s.AllocationPools, err = checkPools(s.AllocationPools, s.CIDR); err != nil {
			return err
		}
		if err = checkGatewayOutside(s.GatewayIP, s.AllocationPools); err != nil {
			return err
		}
	}
	if gatewayInvalid(s.CIDR, s.GatewayIP) { // only a default one can be, on a /31
		return fault.IpamValueInvalid("Gateway IP %s cannot be allocated in CIDR %s", s.GatewayIP, s.CIDR)
	}
	return nil
}

// UpdateSubnet validates a changed subnet: changed is old with the request applied,
// given names the attributes of the request. Pools that were given replace the old
// ones (addresses already out stay out); none given leaves them. The cidr, ip_version
// and IPv6 modes cannot change; they are taken from old. siblings is there for
// symmetry with CompleteSubnet: without a new cidr nothing can collide with them.
func UpdateSubnet(old, changed *model.Subnet, given map[string]bool, _ []*model.Subnet) (err error) {
	changed.CIDR, changed.IPVersion = old.CIDR, old.IPVersion
	changed.IPv6RAMode, changed.IPv6AddressMode = old.IPv6RAMode, old.IPv6AddressMode
	if changed.EnableDHCP && !old.EnableDHCP {
		if err = checkDHCP(old.CIDR); err != nil {
			return err
		}
	}
	if err = checkAddresses(changed, old.CIDR); err != nil {
		return err
	}
	if given[attrDHCP] && !changed.EnableDHCP && (old.IPv6RAMode != "" || old.IPv6AddressMode != "") {
		return fault.InvalidInput("Cannot disable enable_dhcp with ipv6 attributes set")
	}
	if given[attrPools] {
		if changed.AllocationPools, err = checkPools(changed.AllocationPools, old.CIDR); err != nil {
			return err
		}
	}
	if given[attrPools] || changed.GatewayIP != old.GatewayIP {
		return checkGatewayOutside(changed.GatewayIP, changed.AllocationPools)
	}
	return nil
}

// CheckLimits checks max_dns_nameservers and max_subnet_host_routes (400).
func CheckLimits(s *model.Subnet, maxNameservers, maxHostRoutes int) error {
	if len(s.DNSNameservers) > maxNameservers {
		return fault.DNSNameServersExhausted(s.ID, maxNameservers)
	}
	if len(s.HostRoutes) > maxHostRoutes {
		return fault.HostRoutesExhausted(s.ID, maxHostRoutes)
	}
	return nil
}

func checkFamily(name string, a netip.Addr, text string, version int) error {
	if !plain(a) || familyOf(a) != version {
		return fault.InvalidInput("%s '%s' does not match the ip_version '%d'", name, text, version)
	}
	return nil
}

// checkDHCP refuses blocks that DHCP cannot serve.
func checkDHCP(cidr netip.Prefix) error {
	a := cidr.Addr()
	switch {
	case cidr.Bits() > a.BitLen()-2:
		return fault.InvalidInput("Subnet has a prefix length that is incompatible with DHCP service enabled")
	case a.IsMulticast():
		return fault.InvalidInput("Multicast IP subnet is not supported if enable_dhcp is True")
	case a.IsLoopback():
		return fault.InvalidInput("Loopback IP subnet is not supported if enable_dhcp is True")
	case a.Is4() && a.IsUnspecified():
		return fault.InvalidInput("First IP '0.0.0.0' of network is not supported if enable_dhcp is True.")
	}
	return nil
}

// checkAddresses checks what may be changed later too: gateway, name servers, routes,
// service types.
func checkAddresses(s *model.Subnet, cidr netip.Prefix) error {
	if s.GatewayIP.IsValid() {
		if err := checkFamily("gateway_ip", s.GatewayIP, s.GatewayIP.String(), s.IPVersion); err != nil {
			return err
		}
		if gatewayInvalid(cidr, s.GatewayIP) {
			return fault.InvalidInput("Gateway is not valid on subnet")
		}
	}
	for _, dns := range s.DNSNameservers {
		if err := checkFamily("dns_nameserver", dns, dns.String(), s.IPVersion); err != nil {
			return err
		}
	}
	for _, r := range s.HostRoutes {
		if err := checkFamily("nexthop", r.NextHop, r.NextHop.String(), s.IPVersion); err != nil {
			return err
		}
		if err := checkFamily("destination", r.Destination.Addr(), r.Destination.String(), s.IPVersion); err != nil {
			return err
		}
	}
	for _, t := range s.ServiceTypes {
		if !isDeviceOwner(t) {
			return fault.InvalidSubnetServiceType(t)
		}
	}
	return nil
}

// gatewayInvalid reports whether the gateway is the network or broadcast address of
// an IPv4 subnet. One outside the subnet is fine.
func gatewayInvalid(cidr netip.Prefix, gateway netip.Addr) bool {
	return gateway.Is4() && cidr.Contains(gateway) && (gateway == cidr.Addr() || gateway == lastOf(cidr))
}

func isDeviceOwner(t string) bool {
	for _, prefix := range []string{model.OwnerNetworkPrefix, model.OwnerComputePrefix, "baremetal:", "neutron:"} {
		if strings.HasPrefix(t, prefix) {
			return true
		}
	}
	return false
}

// checkModes checks ipv6_ra_mode and ipv6_address_mode of a new subnet.
func checkModes(s *model.Subnet) error {
	ra, address := s.IPv6RAMode, s.IPv6AddressMode
	switch {
	case s.IPVersion == 4 && ra != "":
		return fault.InvalidInput("ipv6_ra_mode is not valid when ip_version is 4")
	case s.IPVersion == 4 && address != "":
		return fault.InvalidInput("ipv6_address_mode is not valid when ip_version is 4")
	case ra == "" && address == "":
		return nil
	case !s.EnableDHCP:
		return fault.InvalidInput("ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False")
	case ra != "" && address != "" && ra != address:
		return fault.InvalidInput("ipv6_ra_mode set to '%s' with ipv6_address_mode set to '%s' is not valid. "+
			"If both attributes are set, they must be the same value", ra, address)
	case s.AutoAddress() && s.CIDR.Bits() != 64:
		return fault.InvalidInput("Invalid CIDR %s for IPv6 address mode. "+
			"OpenStack uses the EUI-64 address format, which requires the prefix to be /64", s.CIDR)
	}
	return nil
}

// checkBeside checks a subnet against the others of its network.
func checkBeside(s *model.Subnet, siblings []*model.Subnet) error {
	if s.CIDR.Bits() == 0 {
		return fault.InvalidInput("0 is not allowed as CIDR prefix length")
	}
	for _, other := range siblings {
		if other != s && other.CIDR.Overlaps(s.CIDR) {
			return fault.InvalidInput("Requested subnet with cidr: %s for network: %s overlaps with another subnet", s.CIDR, s.NetworkID)
		}
	}
	for _, other := range siblings {
		if other != s && other.IPVersion == s.IPVersion && other.SubnetPoolID != s.SubnetPoolID {
			return fault.SubnetPoolAffinity()
		}
	}
	return nil
}
