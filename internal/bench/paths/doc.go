// Package paths builds, in network namespaces of its own, the ways that packets go between two virtual machines, and has
// internal/bench/wire measure them in turn: a wire, VFs of the software NIC or of a real one, macvlan, a bridge, Open
// vSwitch, VXLAN.
//
// It owns what it makes: namespaces that carry its mark, the pins of its software NICs, the Open vSwitch processes that
// it starts on databases of their own. All of it goes with [Site.Close], and what a killed process left behind
// with the next [Open] or [Clean]; its processes die with their maker. It touches nothing else of the host, but for
// VFs that it is told to take, and gives back.
//
// What figures mean it leaves to internal/bench.
package paths
