package neutron

import (
	"bytes"
	"encoding/json"
	"reflect"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

// Draft is a resource that a client asks to be made. The API layer has validated and
// converted every attribute and put defaults in Value; Given has the API names of the
// attributes that were in the body ("provider:segmentation_id", "fixed_ips", ...).
//
// Where an attribute has no place in Value, Extra carries it under its API name:
//
//	subnets   "prefixlen" int, "use_default_subnetpool" bool
//	networks  "segments" []model.Segment (or Value.Segments with Given["segments"])
//
// The single provider:* attributes of a network are in Value.Segments[0].
// Value is never changed by an operation.
type Draft[T any] struct {
	Value *T
	Given map[string]bool
	Extra map[string]any
}

// Change is what a client asks to be changed. Apply writes the attributes of the body,
// and only those, into a clone of the present row; it may run several times.
//
// Extra: ports "extra_dhcp_opts" []DHCPOptChange when some are to be removed (without it
// every option in the applied value is set).
type Change[T any] struct {
	Apply   func(*T)
	Given   map[string]bool
	Extra   map[string]any
	IfMatch *int64 // revision_number the row must have, else 412
}

// DHCPOptChange sets one extra DHCP option of a port, or removes it (opt_value: null).
type DHCPOptChange struct {
	model.DHCPOpt
	Remove bool
}

// checkMatch is the If-Match of RFC 7232 in Neutron's dress.
func checkMatch(want *int64, have int64) error {
	if want != nil && *want != have {
		return fault.RevisionMismatch(*want, have)
	}
	return nil
}

// same reports whether an update changed nothing that is kept: nil for empty, or an int
// where the store gives a float, is no change.
func same[T any](a, b *T) bool {
	if reflect.DeepEqual(a, b) {
		return true
	}
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
