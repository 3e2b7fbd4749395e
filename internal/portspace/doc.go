// Package portspace is a network namespace that holds netdevs of the network's own ports:
// those of a router, or that of a network's DHCP server. It takes a netdev from the host and
// gives it back as it was.
//
// A netdev is a VF's, or an interface of an Open vSwitch bridge. What a namespace and a netdev
// are there for, and what the netdev was before, is written where it cannot outlive what it
// speaks of: in the kernel's alias of a link (IFLA_IFALIAS), the namespace's on its loopback. So
// a restarted process finds what it had, and keeps nothing in memory for that.
//
// The package never makes a netdev, never chooses one, and gives none an address: what is to
// be in a namespace is for its user to say.
package portspace
