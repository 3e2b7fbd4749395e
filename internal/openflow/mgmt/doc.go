// Package mgmt brings flows to Open vSwitch over a bridge's management socket
// (unix:/run/openvswitch/BRIDGE.mgmt), on which every bridge answers OpenFlow without being
// configured for it.
//
// It speaks OpenFlow 1.4 (ONF TS-012), which has bundles, and for one thing OpenFlow 1.0: only that
// has the port option "no flood". It knows the dozen messages that this takes, with
// Nicira's extensions as in Open vSwitch's include/openflow and lib/ofp-actions.c. They are written
// from values and read with bounds; no program (ovs-ofctl) is started.
//
// [Switch.Set] is full state. It asks the bridge what it has of ours (by cookie), and sends the
// difference as one bundle: either all of it is in force, or nothing, and no packet sees half of it.
// Then it asks again. Flows of others are neither read nor changed.
//
// A Switch keeps a connection to each bridge that it was asked to set. When one ends, which is how
// a restart of ovs-vswitchd shows, Events says so, and the next Set programs what was lost.
package mgmt
