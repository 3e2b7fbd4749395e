// Package dhcp serves DHCPv4 for networks whose leases are decided elsewhere: a
// port's fixed IP is its lease, and nobody else gets an answer.
//
// It has three layers, each usable without the next:
//
//   - [Handle] is pure: a request and a [View] of a network in, a reply (or the
//     reason for silence) out. RFC 2131 and the options live here.
//   - [Server] is a loop on one packet socket of one interface. It reads Ethernet
//     frames, so that clients without an address can be answered, and survives
//     whatever arrives.
//   - [Node] carries out the full set of networks a host is asked to serve: per
//     network a namespace "qdhcp-<first 8 of the network's id>" that holds the VF of
//     the network's DHCP port, with its MAC, MTU and addresses, and a Server in it.
//
// The package never allocates an address, never stores a lease, and never decides
// which VF belongs to a port: it asks through [Options.FindVF]. Namespaces outlive
// the process, so that a restarted agent adopts what it finds.
package dhcp
