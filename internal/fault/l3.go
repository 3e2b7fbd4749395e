package fault

import (
	"net/http"
	"net/netip"
	"strings"
)

// Faults of routers, their interfaces and gateways, and of floating IPs.

// RouterNotFound is the 404 of a router.
func RouterNotFound(id string) *Fault {
	return New("RouterNotFound", http.StatusNotFound, "Router %s could not be found", id)
}

// RouterInUse is the 409 for deleting a router that still has interfaces; ports are those.
func RouterInUse(id string, ports []string) *Fault {
	return conflict("RouterInUse", "Router %s has ports still attached: %s", id, strings.Join(ports, ", "))
}

// RouterInterfaceNotFound is the 404 for a port that is no interface of the router.
func RouterInterfaceNotFound(router, port string) *Fault {
	return New("RouterInterfaceNotFound", http.StatusNotFound, "Router %s does not have an interface with id %s", router, port)
}

// RouterInterfaceNotFoundForSubnet is the 404 for a subnet that the router is not on.
func RouterInterfaceNotFoundForSubnet(router, subnet string) *Fault {
	return New("RouterInterfaceNotFoundForSubnet", http.StatusNotFound, "Router %s has no interface on subnet %s", router, subnet)
}

// RouterInterfaceInUseByFloatingIP is the 409 for an interface that floating IPs need.
func RouterInterfaceInUseByFloatingIP(router, subnet string) *Fault {
	return conflict("RouterInterfaceInUseByFloatingIP",
		"Router interface for subnet %s on router %s cannot be deleted, as it is required by one or more floating IPs.", subnet, router)
}

// RouterInterfaceInUseByRoute is the 409 for an interface that routes need.
func RouterInterfaceInUseByRoute(router, subnet string) *Fault {
	return conflict("RouterInterfaceInUseByRoute",
		"Router interface for subnet %s on router %s cannot be deleted, as it is required by one or more routes.", subnet, router)
}

// RouterExternalGatewayInUseByFloatingIP is the 409 for a gateway that floating IPs need.
func RouterExternalGatewayInUseByFloatingIP(router, network string) *Fault {
	return conflict("RouterExternalGatewayInUseByFloatingIp",
		"Gateway cannot be updated for router %s, since a gateway to external network %s is required by one or more floating IPs.", router, network)
}

// SubnetMismatchForPort is the 400 for a port and a subnet that do not belong together.
func SubnetMismatchForPort(port, subnet string) *Fault {
	return badRequest("SubnetMismatchForPort", "Subnet on port %s does not match the requested subnet %s.", port, subnet)
}

// PortInUse is the 409 for a port that a device has already.
func PortInUse(network, port, device string) *Fault {
	return conflict("PortInUse",
		"Unable to complete operation on port %s for network %s. Port already has an attached device %s.", port, network, device)
}

// ServicePortInUse is the 409 for deleting a router's port, or a floating IP's, by itself.
func ServicePortInUse(port, owner string) *Fault {
	return conflict("ServicePortInUse", "Port %s cannot be deleted directly via the port API: has device owner %s.", port, owner)
}

// DeviceIDNotOwned is the 409 for a port that claims to be a router's without being one.
func DeviceIDNotOwned(device string) *Fault {
	return conflict("DeviceIDNotOwnedByTenant",
		"The following device_id %s is not owned by your tenant or matches another tenants router.", device)
}

// InvalidRoutes is the 400 for routes that a router cannot have. routes is how they are shown.
func InvalidRoutes(routes, reason string) *Fault {
	return badRequest("InvalidRoutes", "Invalid format for routes: %s, %s", routes, reason)
}

// RoutesExhausted is the 400 for more than quota routes of a router.
func RoutesExhausted(router string, quota int) *Fault {
	return badRequest("RoutesExhausted",
		"Unable to complete operation for %s. The number of routes exceeds the maximum %d.", router, quota)
}

// ExternalNetworkInUse is the 409 for making a network internal that is a way out.
func ExternalNetworkInUse(id string) *Fault {
	return conflict("ExternalNetworkInUse",
		"External network %s cannot be updated to be made non-external, since it has existing gateway ports.", id)
}

// ExternalIPAddressExhausted is the 400 for an external network without an IPv4 address to give.
func ExternalIPAddressExhausted(network string) *Fault {
	return badRequest("ExternalIpAddressExhausted", "Unable to find any IP address on external network %s.", network)
}

// FloatingIPNotFound is the 404 of a floating IP.
func FloatingIPNotFound(id string) *Fault {
	return New("FloatingIPNotFound", http.StatusNotFound, "Floating IP %s could not be found", id)
}

// FloatingIPPortAlreadyAssociated is the 409 for a fixed IP that has a floating IP of the
// external network.
func FloatingIPPortAlreadyAssociated(floating netip.Addr, id, port string, fixed netip.Addr, network string) *Fault {
	return conflict("FloatingIPPortAlreadyAssociated",
		"Cannot associate floating IP %s (%s) with port %s using fixed IP %s, as that fixed IP already has a floating IP on external network %s.",
		floating, id, port, fixed, network)
}

// ExternalGatewayForFloatingIPNotFound is the 404 for a subnet that no router leads to the
// external network. The two spaces are Neutron's.
func ExternalGatewayForFloatingIPNotFound(network, subnet, port string) *Fault {
	return New("ExternalGatewayForFloatingIPNotFound", http.StatusNotFound,
		"External network %s is not reachable from subnet %s.  Therefore, cannot associate Port %s with a Floating IP.", network, subnet, port)
}

// RouterHostedByL3Agent is the 409 for scheduling a router that another agent has.
func RouterHostedByL3Agent(router, agent string) *Fault {
	return conflict("RouterHostedByL3Agent", "The router %s has been already hosted by the L3 Agent %s.", router, agent)
}

// RouterNotHostedByL3Agent is the 409 for taking a router off an agent that does not have it.
func RouterNotHostedByL3Agent(router, agent string) *Fault {
	return conflict("RouterNotHostedByL3Agent", "The router %s is not hosted by L3 agent %s.", router, agent)
}

// InvalidL3Agent is the 409 for an agent that cannot have routers.
func InvalidL3Agent(id string) *Fault {
	return conflict("InvalidL3Agent", "Agent %s is not a L3 Agent or has been disabled", id)
}
