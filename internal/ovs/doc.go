// Package ovs drives Open vSwitch over OVSDB (RFC 7047; ovs-vswitchd.conf.db(5)), and
// nothing else: no ovs-vsctl is started.
//
// It keeps the mapped bridges of a host with their uplinks, and makes ports of them carry
// the network's VLAN (Port tag) for the ports that are bound to the host. A port goes
// directly into the bridge of its physical network, whose uplink is a trunk.
//
// The package is a pure planner ([compute]) over what the database says, and a client
// that carries the difference out in one transaction. What the database says is what its
// monitor showed last, never what was asked for. [Switch.Set] is full state: asked twice
// for the same it changes nothing.
//
// Ownership, which decides what may be removed:
//
//   - Ports that this package made carry external_ids neutrino=PORT and are transient:
//     a reboot leaves none behind (other_config:transient, ovs-ctl(8)). One that is not
//     wanted any more is removed.
//   - Ports that somebody else made for a wanted port (Nova's os-vif, libvirt: their
//     interface has external_ids iface-id=PORT) get the tag and the mark neutrino-tag=PORT. When
//     they are not wanted any more they keep existing, cut off on the dead VLAN, until whoever made
//     them takes them away.
//   - Bridges and uplinks are made where they are missing, and never removed.
//   - Nothing else is touched.
package ovs
