package plug

import "context"

// Devices is what the engine does to the host's devices. Every call may be repeated: it
// succeeds where it finds its work done. A VF of a software NIC has a netdev and no PCI
// function; then Driver is "" with HasPCI false.
type Devices interface {
	// HasPCI reports whether the slot is a PCI function of this host.
	HasPCI(slot string) bool
	// Driver is the PCI driver of a VF; "" = none.
	Driver(slot string) (string, error)
	// Bind makes driver the VF's driver; "" leaves it without one.
	Bind(ctx context.Context, slot, driver string) error
	// BindNetwork gives the VF the network driver that the kernel has for it, and waits
	// for the netdev.
	BindNetwork(ctx context.Context, slot string) error
	// Reset does a function-level reset.
	Reset(ctx context.Context, slot string) error
	// GroupViable says whether the VF's IOMMU group can be handed to a guest.
	GroupViable(slot string) error
	// Netdev waits for the VF's netdev in the host's namespace to carry the MAC, and
	// returns its name.
	Netdev(ctx context.Context, v VIF) (string, error)
	// Prepare sets MTU and the netdev up; Restore sets it down.
	Prepare(ctx context.Context, netdev string, mtu int) error
	Restore(ctx context.Context, v VIF) error
	// MoveIn moves the netdev into the target's namespace under its name there.
	MoveIn(ctx context.Context, v VIF) error
	// MoveOut brings it back, wherever it went, also after the namespace has died.
	MoveOut(ctx context.Context, v VIF) error
	// In reports whether the netdev is in the target's namespace, as it is to be there.
	In(v VIF) (bool, error)
	// HasSpace reports whether the target's namespace is there.
	HasSpace(v VIF) (bool, error)
	// User says in words who uses the VF; "" = nobody.
	User(ctx context.Context, slot string) (string, error)
}

// Bridges is what the engine asks of Open vSwitch. Every call may be repeated.
type Bridges interface {
	// Add makes the VIF's interface in its bridge, with the port's VLAN, and waits for the
	// netdev in the host's namespace.
	Add(ctx context.Context, v VIF) error
	// Remove takes it away, and waits until the netdev has gone from the host's namespace.
	Remove(ctx context.Context, v VIF) error
	// Interface is the name of the interface of a port.
	Interface(portID string) string
}

// Domains is what the engine asks of libvirt.
type Domains interface {
	// Find returns the UUID of a domain.
	Find(ctx context.Context, domain string) (uuid string, err error)
	// Attach makes the VIF a part of the domain, of its configuration and, where it
	// runs, of the running one.
	Attach(ctx context.Context, v VIF) error
	// Detach takes it away and returns when the guest has let go. A domain that is gone
	// has none.
	Detach(ctx context.Context, v VIF) error
	// Has reports whether the domain exists and has the VIF, running or configured.
	Has(ctx context.Context, v VIF) (bool, error)
	// Watch calls changed whenever domains may have changed, until ctx ends. changed does
	// not block.
	Watch(ctx context.Context, changed func())
}
