package fault

import (
	"fmt"
	"net/http"
	"net/netip"
)

// Faults of subnets, allocation pools, addresses, MACs and subnet pools.

func conflict(typ, format string, args ...any) *Fault {
	return New(typ, http.StatusConflict, format, args...)
}

func badRequest(typ, format string, args ...any) *Fault {
	return New(typ, http.StatusBadRequest, format, args...)
}

// InvalidAllocationPool is the 400 for a pool that is no range of the subnet's family.
func InvalidAllocationPool(pool string) *Fault {
	return badRequest("InvalidAllocationPool", "The allocation pool %s is not valid.", pool)
}

// OutOfBoundsAllocationPool is the 400 for a pool outside the subnet's usable addresses.
func OutOfBoundsAllocationPool(pool string, cidr netip.Prefix) *Fault {
	return badRequest("OutOfBoundsAllocationPool", "The allocation pool %s spans beyond the subnet cidr %s.", pool, cidr)
}

// OverlappingAllocationPools is the 409 for two pools that share an address.
func OverlappingAllocationPools(one, two string, cidr netip.Prefix) *Fault {
	return conflict("OverlappingAllocationPools", "Found overlapping allocation pools: %s %s for subnet %s.", one, two, cidr)
}

// GatewayConflictWithAllocationPools is the 409 for a gateway inside a pool.
func GatewayConflictWithAllocationPools(gateway netip.Addr, pool string) *Fault {
	return conflict("GatewayConflictWithAllocationPools", "Gateway ip %s conflicts with allocation pool %s.", gateway, pool)
}

// IpamValueInvalid is IPAM's 409 for a value that it cannot place.
func IpamValueInvalid(format string, args ...any) *Fault {
	return conflict("IpamValueInvalid", "%s", fmt.Sprintf(format, args...))
}

// DNSNameServersExhausted is the 400 for more than quota name servers. An empty
// subnet id reads "new subnet".
func DNSNameServersExhausted(subnetID string, quota int) *Fault {
	return badRequest("DNSNameServersExhausted",
		"Unable to complete operation for %s. The number of DNS nameservers exceeds the limit %d.", orNewSubnet(subnetID), quota)
}

// HostRoutesExhausted is the 400 for more than quota host routes. An empty subnet
// id reads "new subnet".
func HostRoutesExhausted(subnetID string, quota int) *Fault {
	return badRequest("HostRoutesExhausted",
		"Unable to complete operation for %s. The number of host routes exceeds the limit %d.", orNewSubnet(subnetID), quota)
}

func orNewSubnet(id string) string {
	if id == "" {
		return "new subnet"
	}
	return id
}

// InvalidSubnetServiceType is the 400 for a service type that is no device owner.
func InvalidSubnetServiceType(serviceType string) *Fault {
	return badRequest("InvalidSubnetServiceType",
		"Subnet service type %s does not correspond to a valid device owner.", serviceType)
}

// InvalidIPForSubnet is the 400 for an address that the named subnet cannot give.
func InvalidIPForSubnet(ip netip.Addr) *Fault {
	return badRequest("InvalidIpForSubnet", "IP address %s is not a valid IP for the specified subnet.", ip)
}

// InvalidIPForNetwork is the 400 for an address that no subnet of the network can give.
func InvalidIPForNetwork(ip netip.Addr) *Fault {
	return badRequest("InvalidIpForNetwork",
		"IP address %s is not a valid IP for any of the subnets on the specified network.", ip)
}

// AllocationOnAutoAddressSubnet is the 400 for an address asked for on a subnet
// whose hosts form their own.
func AllocationOnAutoAddressSubnet(ip netip.Addr, subnetID string) *Fault {
	return badRequest("AllocationOnAutoAddressSubnet",
		"IPv6 address %s cannot be directly assigned to a port on subnet %s as the subnet is configured for automatic addresses",
		ip, subnetID)
}

// IPAddressAlreadyAllocated is the 409 for an address that another port has.
func IPAddressAlreadyAllocated(ip netip.Addr, subnetID string) *Fault {
	return conflict("IpAddressAlreadyAllocated", "IP address %s already allocated in subnet %s", ip, subnetID)
}

// IPAddressGenerationFailure is the 409 when the network's pools are empty.
func IPAddressGenerationFailure(networkID string) *Fault {
	return conflict("IpAddressGenerationFailure", "No more IP addresses available on network %s.", networkID)
}

// IPAddressGenerationFailureNoMatchingSubnet is the 409 when every subnet of the
// network is reserved for other service types.
func IPAddressGenerationFailureNoMatchingSubnet(networkID, deviceOwner string) *Fault {
	return conflict("IpAddressGenerationFailureNoMatchingSubnet",
		"No valid service subnet for the given device owner, network %s, service type %s.", networkID, deviceOwner)
}

// NetworkMACAddressGenerationFailure is the 503 when base_mac's space is used up.
func NetworkMACAddressGenerationFailure(networkID string) *Fault {
	return New("NetworkMacAddressGenerationFailure", http.StatusServiceUnavailable,
		"Unable to generate unique mac on network %s.", networkID)
}

// SubnetAllocationError is what a subnet pool says when it cannot give a prefix.
// Neutron answers 500; the pool being used up is no server error, so this is a 409.
func SubnetAllocationError(format string, args ...any) *Fault {
	return conflict("SubnetAllocationError", "Failed to allocate subnet: %s.", fmt.Sprintf(format, args...))
}

// MinPrefixSubnetAllocationError is the 400 for a subnet larger than the pool gives.
func MinPrefixSubnetAllocationError(prefixLen, minimum int) *Fault {
	return badRequest("MinPrefixSubnetAllocationError",
		"Unable to allocate subnet with prefix length %d, minimum allowed prefix is %d.", prefixLen, minimum)
}

// MaxPrefixSubnetAllocationError is the 400 for a subnet smaller than the pool gives.
func MaxPrefixSubnetAllocationError(prefixLen, maximum int) *Fault {
	return badRequest("MaxPrefixSubnetAllocationError",
		"Unable to allocate subnet with prefix length %d, maximum allowed prefix is %d.", prefixLen, maximum)
}

// EmptySubnetPoolPrefixList is the 400 for a pool without prefixes.
func EmptySubnetPoolPrefixList() *Fault {
	return badRequest("EmptySubnetPoolPrefixList", "Empty subnet pool prefix list.")
}

// PrefixVersionMismatch is the 400 for a pool of both families.
func PrefixVersionMismatch() *Fault {
	return badRequest("PrefixVersionMismatch", "Cannot mix IPv4 and IPv6 prefixes in a subnet pool.")
}

// IllegalSubnetPoolPrefixBounds is the 400 for prefix lengths that contradict each other.
func IllegalSubnetPoolPrefixBounds(name string, prefixLen int, baseName string, base int) *Fault {
	return badRequest("IllegalSubnetPoolPrefixBounds", "Illegal prefix bounds: %s=%d, %s=%d.", name, prefixLen, baseName, base)
}

// UnsupportedMinSubnetPoolPrefix is the 400 for a negative minimum.
func UnsupportedMinSubnetPoolPrefix(prefixLen, ipVersion int) *Fault {
	return badRequest("UnsupportedMinSubnetPoolPrefix", "Prefix '%d' not supported in IPv%d pool.", prefixLen, ipVersion)
}

// IllegalSubnetPoolPrefixUpdate is the 400 for taking prefixes out of a pool.
func IllegalSubnetPoolPrefixUpdate(format string, args ...any) *Fault {
	return badRequest("IllegalSubnetPoolPrefixUpdate", "Illegal update to prefixes: %s.", fmt.Sprintf(format, args...))
}
