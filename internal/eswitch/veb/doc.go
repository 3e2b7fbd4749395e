// Package veb is a NIC with an embedded switch, in software: a Virtual Ethernet
// Bridge made of eBPF programs on veth ports. It is the lab's NIC and every test's
// NIC, and on machines without SR-IOV a working one.
//
// A NIC made by [Create] is an uplink netdev named like a physical function
// ("eth6"), and per virtual function a veth pair: the VF netdev ("eth6v0"), which
// whoever plugs it moves into an instance's namespace, and its representor
// ("eth6r0"), which stays. Programs on the ingress of the representors and of the
// uplink carry out what a NIC's switch does: access VLAN at the VF and 802.1Q on the
// uplink, forwarding by {VLAN, MAC}, flooding within the VLAN, spoof check of MAC,
// IPv4, ARP, IPv6 and neighbour discovery, trust, link state, rates, MTU, counters.
// No bridge, 8021q or openvswitch module is needed.
//
// Programs, maps and attachments are pinned on a bpffs, so traffic outlives the
// process; [Open] takes hold of a running NIC again and exchanges its programs for
// this binary's without losing a frame. [CreateTrunk] makes the top-of-rack switch
// that joins the uplinks of several NICs.
//
// # What a VF may do
//
//   - VLAN 1..4094: the VF sends and receives untagged; a tagged frame from it
//     (802.1Q, 802.1ad, any number of tags) is dropped and counted.
//   - VLAN 0: untagged on the uplink. Tagged frames are dropped, unless the VF is
//     trusted: then it is a trunk (guest VLAN tagging), as on a NIC.
//   - Spoof check: the source MAC is the VF's or one of its allowed MACs; with
//     allowed sources known, also the IPv4 source, the ARP sender, the IPv6 source
//     and the link-layer addresses inside neighbour discovery. DHCP from 0.0.0.0,
//     ARP probes, DAD from :: and the EUI-64 link-local address are allowed.
//     A VF without a MAC (00:00:00:00:00:00) sends nothing while the check is on.
//   - Trust: with the spoof check off, other MACs that the VF sends from are learned,
//     so that it is reachable by them; and in promiscuous mode it receives its VLAN's
//     unknown unicast.
//   - Unknown unicast of a VF goes to the uplink only; from the uplink to nobody
//     (but promiscuous trusted VFs).
//   - Broadcast goes to the whole VLAN. Multicast goes to the VFs of the VLAN whose
//     netdev asked for the group, as on a NIC: the program reads the netdev's receive
//     filter where the kernel keeps it. Before kernel 6.2 it cannot, and multicast
//     goes to the whole VLAN, and nobody is promiscuous; [Info] says which.
//   - 802.1D reserved multicast (01:80:c2:00:00:0X) of an untrusted VF is dropped.
//
// # Life of a netdev
//
// A VF netdev that dies with its instance's namespace takes its representor along.
// An open [Switch] notices and makes the pair again with the baseline attributes,
// under the same index and PCI slot.
//
// # The PF
//
// The uplink's netdev is a station of the untagged network on the wire: frames to its
// MAC, and untagged broadcast and multicast, reach the host as well. What the host
// sends on it goes to the wire, not to the NIC's own VFs.
//
// # Kernels
//
// 5.13 or newer, with BTF. Before 6.6 clsact takes the place of tcx. A tcx attachment
// costs 7 to 24 ms a port, so a NIC of 64 VFs takes about a second to make; nothing
// of that is on the way of a port that is programmed later. Rates need HTB.
// Tested on 6.18, both ways of attaching.
//
// Link state "auto", the making again of dead VFs and direct delivery after a move of
// a netdev need an open Switch; all else goes on without.
//
// # What it never does
//
// It never decides what a VF should carry, never reads the store or the controller,
// and never touches a device that it did not make, except an uplink it was given.
//
// Changes that another process makes to the NIC's devices raise an event
// ([Switch.Events]); changes to the pinned maps do not, and are seen by the next
// Observe.
package veb
