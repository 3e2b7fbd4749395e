package fault

import "net/http"

// Faults of segment allocation (network types, VLAN ids, VNIs) and of binding.

// VlanIDInUse is the 409 for a VLAN that another network of the physical network has.
func VlanIDInUse(vlan int, physicalNetwork string) *Fault {
	return New("VlanIdInUse", http.StatusConflict,
		"Unable to create the network. The VLAN %d on physical network %s is in use.", vlan, physicalNetwork)
}

// TunnelIDInUse is the 409 for a VNI that another network has.
func TunnelIDInUse(id int) *Fault {
	return New("TunnelIdInUse", http.StatusConflict,
		"Unable to create the network. The tunnel ID %d is in use.", id)
}

// FlatNetworkInUse is the 409 for a second untagged network on a physical network.
func FlatNetworkInUse(physicalNetwork string) *Fault {
	return New("FlatNetworkInUse", http.StatusConflict,
		"Unable to create the flat network. Physical network %s is in use.", physicalNetwork)
}

// NoNetworkAvailable is the 503 when no segment is left to give out.
func NoNetworkAvailable() *Fault {
	return New("NoNetworkAvailable", http.StatusServiceUnavailable,
		"Unable to create the network. No tenant network is available for allocation.")
}
