package router

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"neutrino/internal/netspace"
)

// CleanUp removes every router of the host whose own namespace is home, and gives the
// netdevs in them back: for a host whose agent is gone for good. It must not be called
// while a Node works there. prefix "" = DefaultPrefix.
func CleanUp(home netns.NsHandle, prefix string) error {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	names, err := netspace.List(prefix)
	if err != nil {
		return err
	}
	nl, err := netlink.NewHandleAt(home, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("clean up routers: open netlink: %w", err)
	}
	defer nl.Close()
	var errs []error
	for _, name := range names {
		errs = append(errs, cleanUp(home, nl, name))
	}
	return errors.Join(errs...)
}

func cleanUp(home netns.NsHandle, nl *netlink.Handle, name string) error {
	s, err := openSeat(name)
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.close()
	if s.mark.host != namespaceID(home) {
		return nil
	}
	ports, err := s.ports()
	for _, h := range ports {
		err = errors.Join(err, s.giveBack(home, nl, h))
	}
	return errors.Join(err, netspace.Delete(name))
}
