package netspace

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// CreateMarked makes a namespace with loopback up that carries a mark, the alias of its lo: a name alone could be
// somebody else's.
func CreateMarked(name, mark string) error {
	return Create(name, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("find lo: %w", err)
		}
		if err := netlink.LinkSetAlias(lo, mark); err != nil {
			return fmt.Errorf("mark lo: %w", err)
		}
		return netlink.LinkSetUp(lo)
	})
}

// IsMarked says whether a namespace is there and carries the mark.
func IsMarked(name, mark string) bool {
	marked := false
	err := Do(name, func() error {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			marked = lo.Attrs().Alias == mark
		}
		return err
	})
	return err == nil && marked
}
