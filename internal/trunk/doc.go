// Package trunk is what has to be known to find out which VLANs, and frames of which
// size, the physical switches carry between hosts: the probe frame, the plan of a run,
// what a host heard, and the verdict over all of it.
//
// A [Run] sends, from each uplink of each host in turn, one frame per VLAN, size and
// round, the copies to different addresses, and every uplink listens meanwhile. Each frame says who sent
// it, in which VLAN and of which size, and is signed with the run's key, so that what is
// heard can be held against what was sent, whoever else talks on the wire.
//
// All of it is pure: no I/O, no clock, no goroutines. Values may be shared as long as
// nobody changes them; a [Tally] belongs to one goroutine. internal/probe does the
// sending and listening.
package trunk
