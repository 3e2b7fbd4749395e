package router

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netns"

	"neutrino/internal/portspace"
)

// errPending: what is needed is not there yet; no fault, tried again.
var errPending = portspace.ErrPending

// spaces are the routers' namespaces.
var spaces = portspace.Kind{Head: "neutrino-router", Key: "router", PortHead: "neutrino-router-port", Noun: "router", Spare: "vfrouter"}

// seat is one router's namespace, opened for one round of work.
type seat struct{ *portspace.Space }

// held is a port's netdev in it.
type held = portspace.Held

// prepare is what a router's namespace is prepared with.
func prepare() error {
	_, err := ensureSysctls(namespaceSysctls())
	return err
}

// CleanUp removes every router of the host whose own namespace is home, and gives the
// netdevs in them back: for a host whose agent is gone for good. It must not be called
// while a Node works there. prefix "" = DefaultPrefix.
func CleanUp(home netns.NsHandle, prefix string) error {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	if err := spaces.CleanUp(home, prefix); err != nil {
		return fmt.Errorf("clean up routers: %w", err)
	}
	return nil
}

func isNotExist(err error) bool { return errors.Is(err, os.ErrNotExist) }
