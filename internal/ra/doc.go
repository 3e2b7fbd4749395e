// Package ra advertises routers and prefixes to the hosts of a link (RFC 4861, 4862, 8106).
//
// [Of] says what is to be told of a network's subnets, [Compose] makes the message; both are
// pure. [Server] tells it on one interface: when it is asked, and now and then, within the
// RFC's limits. It works on Ethernet frames, so that it needs no address that the kernel has
// finished checking, and no table of the kernel's can send an answer elsewhere.
//
// Two use it: the router of a network, and, on a network without one, the DHCP node, which
// advertises prefixes and flags with a router lifetime of 0: hosts form their addresses and
// have no default route.
//
// The package changes nothing on the interface and never decides who may advertise.
package ra
