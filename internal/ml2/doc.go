// Package ml2 decides which segment a network lives on and how a port is bound to a
// host: Neutron's type drivers (vlan, flat, local, vxlan) and mechanism drivers
// (openvswitch, mlnx, sriovnicswitch), with Neutron's configuration rules, messages
// and results.
//
// It is pure: no I/O, no clock, no goroutines. What is taken, who is alive and the
// randomness are passed in, so that the same input always gives the same output; an
// *ML2 is immutable after New and may be used from any number of goroutines.
//
// It never reads or writes the store. A segment's uniqueness is expressed as Claims
// which the caller makes in the same transaction as the network.
package ml2
