package ipam

import (
	"net/netip"

	"neutrino/internal/model"
)

// Taken reports whether an address of a subnet is held by any port.
type Taken func(subnetID string, a netip.Addr) bool

// Request is what a port asks for.
type Request struct {
	NetworkID   string
	MAC         string          // of the port, for EUI-64 addresses
	DeviceOwner string          // decides service subnets, the lowest-free rule and router exceptions
	Fixed       []model.FixedIP // fixed_ips of the request; either field may be zero
	Given       bool            // fixed_ips was in the request (an empty list means no address)
	Current     []model.FixedIP // update: what the port has now, which counts as free for it
}
