// Package host assembles the agent process: it opens the host's NICs, and connects
// them, the DHCP server, the routers and the metrics listener to the agent's loop, all from the
// configuration files.
//
// It owns the wiring and nothing else: what the loop does is internal/agent, what a
// NIC does is under internal/eswitch.
package host
