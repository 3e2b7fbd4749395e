// Package libvirt speaks to libvirt over its RPC socket: it writes the interface of a
// port's VF, attaches it to domains and detaches it, and tells when domains change. It
// runs no virsh and needs no cgo.
//
// A [Client] opens a connection per call and closes it again: a daemon that was
// restarted is no event, and a call that hangs ends with its context. Events come over
// a connection of their own, on which nothing is asked.
//
// The package owns domain XML and the RPC. It never binds drivers nor touches the
// network attributes of a VF; libvirt itself sets the MAC and VLAN that the interface
// names, which are the ones that the agent has programmed.
package libvirt
