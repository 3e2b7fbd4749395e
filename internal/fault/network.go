package fault

import (
	"net/http"
	"strings"
)

// NetworkNotFound is the 404 of a network.
func NetworkNotFound(id string) *Fault {
	return New("NetworkNotFound", http.StatusNotFound, "Network %s could not be found.", id)
}

// SubnetNotFound is the 404 of a subnet.
func SubnetNotFound(id string) *Fault {
	return New("SubnetNotFound", http.StatusNotFound, "Subnet %s could not be found.", id)
}

// SubnetPoolNotFound is the 404 of a subnet pool.
func SubnetPoolNotFound(id string) *Fault {
	return New("SubnetPoolNotFound", http.StatusNotFound, "Subnet pool %s could not be found.", id)
}

// NetworkInUse is the 409 for a network that still has ports; ids are those ports.
func NetworkInUse(id string, ports []string) *Fault {
	return New("NetworkInUse", http.StatusConflict, "Unable to complete operation on network %s. "+
		"There are one or more ports still in use on the network, id for these ports is: %s.", id, strings.Join(ports, ","))
}

// SubnetInUse is the 409 for a subnet that still has addresses in use.
func SubnetInUse(id string) *Fault {
	return New("SubnetInUse", http.StatusConflict,
		"Unable to complete operation on subnet %s: One or more ports have an IP allocation from this subnet.", id)
}

// InvalidSharedSetting is the 409 for un-sharing a network that other projects use.
func InvalidSharedSetting(id string) *Fault {
	return New("InvalidSharedSetting", http.StatusConflict,
		"Unable to reconfigure sharing settings for network %s. Multiple tenants are using it.", id)
}

// SegmentsWithProvider is the 400 for segments beside provider:* attributes.
func SegmentsWithProvider() *Fault {
	return New("SegmentsSetInConjunctionWithProviders", http.StatusBadRequest, "Segments and provider values cannot both be set.")
}

// DuplicateSegment is the 400 for the same segment twice in one request.
func DuplicateSegment() *Fault {
	return New("SegmentsContainDuplicateEntry", http.StatusBadRequest, "Duplicate segment entry in request.")
}

// DefaultExternalNetworkExists is the 409 for a second default external network.
func DefaultExternalNetworkExists(id string) *Fault {
	return New("DefaultExternalNetworkExists", http.StatusConflict, "A default external network already exists: %s.", id)
}

// GatewayIPInUse is the 409 for changing a gateway that a port holds.
func GatewayIPInUse(ip, port string) *Fault {
	return New("GatewayIpInUse", http.StatusConflict, "Current gateway ip %s already in use by port %s. Unable to update.", ip, port)
}

// SubnetPoolDeleteError is the 400 for deleting a pool that subnets were cut from.
func SubnetPoolDeleteError(reason string) *Fault {
	return New("SubnetPoolDeleteError", http.StatusBadRequest, "Unable to delete subnet pool: %s.", reason)
}

// SubnetPoolQuotaExceeded is the 409 for a project that used up its share of a pool.
func SubnetPoolQuotaExceeded() *Fault {
	return New("SubnetPoolQuotaExceeded", http.StatusConflict, "Per-tenant subnet pool prefix quota exceeded.")
}

// SubnetPoolAffinity is the 400 for subnets of one family from different pools.
func SubnetPoolAffinity() *Fault {
	return New("NetworkSubnetPoolAffinityError", http.StatusBadRequest,
		"Subnets hosted on the same network must be allocated from the same subnet pool.")
}

// RevisionMismatch is the 412 for an If-Match that does not hold.
func RevisionMismatch(want, have int64) *Fault {
	return New("RevisionNumberConstraintFailed", http.StatusPreconditionFailed,
		"Constrained to %d, but current revision is %d", want, have)
}

// TagNotFound is the 404 of a tag.
func TagNotFound(tag string) *Fault {
	return New("TagNotFound", http.StatusNotFound, "Tag %s could not be found.", tag)
}

// TagResourceNotFound is the 404 for tags of something that is not there.
func TagResourceNotFound(resource, id string) *Fault {
	return New("TagResourceNotFound", http.StatusNotFound, "Resource %s %s could not be found.", resource, id)
}

// AvailabilityZoneNotFound is the 404 for a hint that names no zone.
func AvailabilityZoneNotFound(zone string) *Fault {
	return New("AvailabilityZoneNotFound", http.StatusNotFound, "AvailabilityZone %s could not be found.", zone)
}
