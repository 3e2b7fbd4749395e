// Package ipam is the arithmetic of addresses: subnets with their gateways and
// allocation pools, the choice of a port's addresses, MAC addresses, subnet pools,
// and how many addresses there are. The rules and messages are Neutron's.
//
// It is pure: no I/O, no clock, no goroutines. Which addresses are taken and the
// randomness are passed in; functions change only the value they are told to
// complete. Nothing here is reserved by choosing it: the caller makes the claim in
// the same transaction, and chooses again when that fails.
//
// No function walks an address block: the cost of a choice is bounded by the number
// of taken addresses (at most a window of 1000 free ones), never by the prefix.
package ipam
