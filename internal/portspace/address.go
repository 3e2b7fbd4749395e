package portspace

import (
	"errors"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddressLife is how long an address that is lent outlives whoever lends it: another host's
// process may have it by then, and two that answer for it are worse than none.
const AddressLife = 2 * time.Minute

// renewBelow is how much of its life an address has left when it is renewed.
const renewBelow = AddressLife - 10*time.Second

// Lend gives a device an address for AddressLife, or renews what have is of it; nil = it is
// not there. An address that would be renewed too often is left alone. want is of the kernel's
// prefixes and flags; its lifetimes are Lend's to say.
func Lend(nl *netlink.Handle, l netlink.Link, want, have *netlink.Addr, preferred bool) error {
	if have != nil && have.ValidLft <= int(AddressLife/time.Second) && have.ValidLft > int(renewBelow/time.Second) {
		return nil
	}
	a := *want
	a.ValidLft, a.PreferedLft = int(AddressLife/time.Second), 0
	if preferred {
		a.PreferedLft = a.ValidLft
	}
	if err := nl.AddrReplace(l, &a); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}
