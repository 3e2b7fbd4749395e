// Package metadata answers instances that ask for their metadata at 169.254.169.254 and
// fe80::a9fe:a9fe.
//
// A [Service] belongs to a host; a [Proxy] to one network namespace in it, and knows the
// instances that can ask there. Who asks is decided by the connection's source alone: by its
// IP address, which is unique in a namespace, or for link-local IPv6 by the MAC that the
// kernel's neighbour table has for it. Nothing that an instance writes into its request says
// who it is.
//
// With [Options.Nova] a request is put to Nova's metadata service anew, with the headers that
// Neutron's metadata agent sets (X-Instance-ID, X-Tenant-ID, X-Instance-ID-Signature,
// X-Forwarded-For); nothing of the instance's own is passed on but the path, the query, the
// body and a few headers that are named. Nova is reached from the namespace in which [New] is called.
//
// Without it, [Document] answers: what cloud-init reads, in the style of EC2 and of OpenStack.
//
// The package decides nothing about namespaces or their devices; of addresses it adds its own
// two and no others. Connections are bounded, in number for each instance and in time.
package metadata
