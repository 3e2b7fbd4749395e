// Package lab runs the whole of neutrino on one machine: the real controller and the
// real agents as processes, hosts as network namespaces that each have a soft NIC,
// and instances as namespaces whose eth0 is a VF of it.
//
// It owns what it makes (namespaces, processes, a directory of state under
// /run/neutrino/lab/NAME), gives everything a name derived from the lab's, and can
// take all of it away again from those names alone, whatever became of the process
// that made it. It drives the system only as an operator or Nova would: through the
// Networking API and through the VF's netdev. It never reaches into the controller's
// store nor into the switch's maps, and it never touches what another lab made.
package lab
