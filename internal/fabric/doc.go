// Package fabric is the controllers' side of the streams to the hosts.
//
// A host's agent joins ([fabricv1connect.FabricHandler], served by [Fabric]) and is told
// what its host has to carry: a snapshot, then deltas. The desired state is derived from
// the tables whenever they change and compared with what was sent, so that a burst of
// changes becomes one delta, a host that reads slowly is told the last state and not
// every one in between, and a lost message is never a lost port. Reports come back and
// are acknowledged once they are committed; when something else than a report changes a
// port's status, the host's last word on it is put forward again.
//
// A host is alive while its lease is kept. Each stream renews it with the agent's
// heartbeats; when agent or controller are gone, the liveness rows vanish with it.
//
// An agent reads and reports its own host only. Off the machine that means a client
// certificate that names the host.
//
// The package owns the streams and their memory. It decides nothing about ports: that is
// internal/neutron's, and it never speaks to a device.
package fabric
