package eswitch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"neutrino/internal/model"
)

type attrState uint8

const (
	unset attrState = iota
	set
	unsupported
)

// Attr is a three-valued attribute. The zero Attr is Unset: nothing is known of it,
// or nothing is asked of it.
type Attr[T any] struct {
	v T
	s attrState
}

// Set returns an attribute with a value.
func Set[T any](v T) Attr[T] { return Attr[T]{v: v, s: set} }

// Unset returns an attribute without a value.
func Unset[T any]() Attr[T] { return Attr[T]{} }

// Unsupported returns the attribute of a driver that does not have it.
func Unsupported[T any]() Attr[T] { return Attr[T]{s: unsupported} }

// Get returns the value and whether there is one.
func (a Attr[T]) Get() (T, bool) { return a.v, a.s == set }

// IsSet reports whether the attribute has a value.
func (a Attr[T]) IsSet() bool { return a.s == set }

// IsUnsupported reports whether the driver does not have the attribute.
func (a Attr[T]) IsUnsupported() bool { return a.s == unsupported }

// String prints the value, "-" when unset, "unsupported" otherwise.
func (a Attr[T]) String() string {
	switch a.s {
	case set:
		return fmt.Sprint(a.v)
	case unsupported:
		return "unsupported"
	default:
		return "-"
	}
}

// Diff compares what is wanted with what was observed. It returns the attributes
// still to be changed (others Unset), and the names of those that are wanted but
// unsupported, sorted.
//
// A wanted value equal to the attribute's zero (no VLAN, no rate, link auto, no
// trust, no check) is satisfied by a driver that does not have the attribute.
func Diff(want, have Attrs) (todo Attrs, cannot []string) {
	diff1(&todo.MAC, want.MAC, have.MAC, "mac", &cannot)
	diff1(&todo.VLAN, want.VLAN, have.VLAN, "vlan", &cannot)
	diff1(&todo.SpoofCheck, want.SpoofCheck, have.SpoofCheck, "spoof_check", &cannot)
	diff1(&todo.Trust, want.Trust, have.Trust, "trust", &cannot)
	diff1(&todo.LinkState, want.LinkState, have.LinkState, "link_state", &cannot)
	diff1(&todo.MinTxRate, want.MinTxRate, have.MinTxRate, "min_tx_rate", &cannot)
	diff1(&todo.MaxTxRate, want.MaxTxRate, have.MaxTxRate, "max_tx_rate", &cannot)
	diff1(&todo.MTU, want.MTU, have.MTU, "mtu", &cannot)
	if w, ok := want.Allowed.Get(); ok {
		h, known := have.Allowed.Get()
		switch {
		case have.Allowed.IsUnsupported(): // NICs check the MAC only: not a fault of the port
		case !known || !slices.Equal(sortAllowed(w), sortAllowed(h)):
			todo.Allowed = want.Allowed
		}
	}
	return todo, cannot
}

// Empty reports whether nothing is asked.
func (a Attrs) Empty() bool {
	return !a.MAC.IsSet() && !a.VLAN.IsSet() && !a.SpoofCheck.IsSet() && !a.Trust.IsSet() &&
		!a.LinkState.IsSet() && !a.MinTxRate.IsSet() && !a.MaxTxRate.IsSet() && !a.MTU.IsSet() && !a.Allowed.IsSet()
}

func diff1[T comparable](todo *Attr[T], want, have Attr[T], name string, cannot *[]string) {
	if want.s != set {
		return
	}
	switch have.s {
	case unsupported:
		var zero T
		if want.v != zero {
			*cannot = append(*cannot, name)
		}
	case set:
		if want.v != have.v {
			*todo = want
		}
	default:
		*todo = want
	}
}

func sortAllowed(in []model.AllowedSource) []model.AllowedSource {
	out := slices.Clone(in)
	for i := range out {
		out[i].Prefix = out[i].Prefix.Masked() // the host part says nothing
	}
	slices.SortFunc(out, func(a, b model.AllowedSource) int {
		return cmp.Or(strings.Compare(a.MAC, b.MAC), a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	return slices.Compact(out)
}
