package ml2

import (
	"net/url"
	"strconv"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

// Kinds of Claim.
const (
	ClaimVLAN = "vlan" // key "<physical network>/<id>"
	ClaimFlat = "flat" // key "<physical network>"
	ClaimVNI  = "vni"  // key "<id>"
)

// Claim is a name that only one network may hold. In keys a physical network's name
// is escaped as in a URL's path, so that it never contains a slash.
type Claim struct{ Kind, Key string }

// Taken reports whether a claim is held by any network.
type Taken func(Claim) bool

// SegmentClaims returns the claims that a network on the segment must hold: none for
// local.
func (m *ML2) SegmentClaims(s model.Segment) []Claim {
	switch s.NetworkType {
	case model.TypeVLAN:
		return []Claim{vlanClaim(s.PhysicalNetwork, s.SegmentationID)}
	case model.TypeFlat:
		return []Claim{{ClaimFlat, url.PathEscape(s.PhysicalNetwork)}}
	case model.TypeVXLAN:
		return []Claim{{ClaimVNI, strconv.Itoa(s.SegmentationID)}}
	}
	return nil
}

func vlanClaim(physnet string, id int) Claim {
	return Claim{ClaimVLAN, url.PathEscape(physnet) + "/" + strconv.Itoa(id)}
}

// InUse returns the fault (409) for a claim that another network holds.
func (m *ML2) InUse(c Claim) error {
	switch c.Kind {
	case ClaimVLAN:
		name, id, _ := strings.Cut(c.Key, "/")
		n, err := strconv.Atoi(id)
		if err == nil {
			return fault.VlanIDInUse(n, unescape(name))
		}
	case ClaimFlat:
		return fault.FlatNetworkInUse(unescape(c.Key))
	case ClaimVNI:
		if n, err := strconv.Atoi(c.Key); err == nil {
			return fault.TunnelIDInUse(n)
		}
	}
	return fault.New("Conflict", 409, "%s %s is in use.", c.Kind, c.Key)
}

func unescape(s string) string {
	name, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return name
}
