// Package rack is neutrino in a rack of machines with real kernels: a controller, two
// compute hosts with SR-IOV NICs and a network node with the openvswitch kernel module,
// their NICs on one trunk. `make test-rack` runs it.
//
// The machines are those of package rig, the trunk is a Linux bridge that passes frames with
// their tags as they are, and all of it is in a network namespace of its own, where the
// controller runs as well. Hosts reach it over a management network by TLS, each with its
// own certificate. Instances are namespaces of the compute hosts that hold a VF, or a port
// of Open vSwitch.
package rack
