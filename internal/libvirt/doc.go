// Package libvirt makes VFs a part of libvirt's domains and takes them out again, and
// says which domains have which VFs. It speaks libvirt's RPC protocol over the daemon's
// unix socket: neither virsh nor libvirt's C library is needed.
//
// An [Interface] is a port's VF for VFIO passthrough (hostdev) or macvtap. A [Client]
// attaches and detaches it, lists [Client.Domains] with the host's devices that they
// have, and tells of changes ([Client.Events], [Client.Watch]).
//
// Rules:
//
//   - Attach and Detach may be repeated: what is found done is a success. An
//     interface is known by its alias, ua-neutrino-<port>, else by its MAC together with
//     its PCI slot or netdev.
//   - Detach returns nil only when neither the domain nor its configuration has the
//     interface. A guest may take its time, or refuse: that ends in [ErrStillAttached].
//   - Each call has a connection of its own, which ends with the call or with its
//     context. A call that ended with its context may still be carried out by libvirt:
//     look again, or repeat it.
//   - Events only say that something has changed; what is true is what Domains says.
//
// What libvirt does to a VF, hostdev or macvtap (seen with libvirt 9.0 and an igb NIC; the
// tests on the rig say it again): on attach it writes MAC and VLAN of the XML into the PF
// as the VF's own, with the VLAN's priority 0; without a VLAN in the XML it takes the VLAN
// off the VF. On detach, and when the domain ends, it writes back what the PF had before
// the attach, whatever it was changed to meanwhile, before it tells of the removal. So the
// VF has to carry the port's MAC and VLAN before, the XML has to name both, and the
// embedded switch has to be looked at again after attach, detach and the end of a domain.
// A macvtap's netdev that does not have the MAC yet loses its driver and gets it back on
// attach and again on detach, which may change its name.
//
// The package never chooses a VF, never binds a driver, and never touches the embedded
// switch itself.
package libvirt
