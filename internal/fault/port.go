package fault

import "net/http"

// PortNotFound is the 404 of a port.
func PortNotFound(id string) *Fault {
	return New("PortNotFound", http.StatusNotFound, "Port %s could not be found.", id)
}

// MACAddressInUse is the 409 for a MAC address twice on one network.
func MACAddressInUse(network, mac string) *Fault {
	return New("MacAddressInUse", http.StatusConflict,
		"Unable to complete operation for network %s. The mac address %s is in use.", network, mac)
}

// PortBound is the 409 for changing the MAC address of a bound port.
func PortBound(id, vifType, oldMAC, newMAC string) *Fault {
	return New("PortBound", http.StatusConflict,
		"Unable to complete operation on port %s, port is already bound, port type: %s, old_mac %s, new_mac %s.", id, vifType, oldMAC, newMAC)
}

// AddressPairLimit is the 400 for too many allowed address pairs.
func AddressPairLimit(limit int) *Fault {
	return New("AllowedAddressPairExhausted", http.StatusBadRequest,
		"The number of allowed address pair exceeds the maximum %d.", limit)
}

// AddressPairWithoutIP is the 400 for an allowed address pair without ip_address.
func AddressPairWithoutIP() *Fault {
	return New("AllowedAddressPairsMissingIP", http.StatusBadRequest, "AllowedAddressPair must contain ip_address")
}

// DuplicateAddressPair is the 400 for the same pair twice in one request.
func DuplicateAddressPair(mac, ip string) *Fault {
	return New("DuplicateAddressPairInRequest", http.StatusBadRequest,
		"Request contains duplicate address pair: mac_address %s ip_address %s.", mac, ip)
}

// AddressPairNeedsPortSecurity is the 409 for pairs on a port without port security.
func AddressPairNeedsPortSecurity() *Fault {
	return New("AddressPairAndPortSecurityRequired", http.StatusConflict,
		"Port Security must be enabled in order to have allowed address pairs on a port.")
}

// GroupsNeedPortSecurity is the 400 for security groups on a port that cannot have any.
func GroupsNeedPortSecurity() *Fault {
	return New("PortSecurityAndIPRequiredForSecurityGroups", http.StatusBadRequest,
		"Port security must be enabled and port must have an IP address in order to use security groups.")
}

// PortSecurityHasGroups is the 409 for turning port security off while groups are set.
func PortSecurityHasGroups() *Fault {
	return New("PortSecurityPortHasSecurityGroup", http.StatusConflict, "Port has security group associated. "+
		"Cannot disable port security or IP address until security group is removed.")
}
