package ml2

import (
	"fmt"

	"neutrino/internal/model"
)

// Rebinding is what a change of a port means for its binding.
type Rebinding int

// Kinds of Rebinding.
const (
	KeepBinding Rebinding = iota // nothing to do
	BindNow                      // a host is set and the port is not bound: try (again)
	BindAnew                     // forget the old binding (status DOWN) and bind
	Unbind                       // forget the old binding (status DOWN); there is no host
)

// String returns the kind in words.
func (r Rebinding) String() string {
	switch r {
	case KeepBinding:
		return "keep"
	case BindNow:
		return "bind"
	case BindAnew:
		return "bind anew"
	case Unbind:
		return "unbind"
	}
	return fmt.Sprintf("Rebinding(%d)", int(r))
}

// Rebind says what a change of a port (its host, vnic_type and binding:profile as
// asked; the rest of changed.Binding is not looked at) means for its binding, and
// why in words. Those three decide a binding, so a change of any forces a new one;
// every other change of a port with a host is the occasion to try again where
// binding failed. A new port is compared with old nil.
func (m *ML2) Rebind(old, changed *model.Port) (Rebinding, string) {
	host := changed.Binding.Host
	if old == nil {
		if host == "" {
			return KeepBinding, ""
		}
		return BindNow, "the port is new on host " + host
	}
	was, now := old.Binding, changed.Binding
	why := ""
	switch {
	case was.Host != now.Host && now.Host == "":
		return Unbind, fmt.Sprintf("it left host %s", was.Host)
	case was.Host == "" && now.Host != "":
		return BindNow, "it was given host " + now.Host
	case was.Host != now.Host:
		why = fmt.Sprintf("it moved from host %s to %s", was.Host, now.Host)
	case vnicOf(was) != vnicOf(now):
		why = fmt.Sprintf("vnic_type changed from %s to %s", vnicOf(was), vnicOf(now))
	case !sameProfile(was.Profile, now.Profile):
		why = "binding:profile changed"
	}
	switch {
	case host == "":
		return KeepBinding, ""
	case !was.Bound() && why == "":
		return BindNow, "it is not bound yet"
	case !was.Bound():
		return BindNow, why
	case why != "":
		return BindAnew, why
	}
	return KeepBinding, ""
}

func vnicOf(b model.Binding) string {
	if b.VnicType == "" {
		return model.VnicNormal
	}
	return b.VnicType
}
