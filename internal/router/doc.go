// Package router carries out routers on a network node: per router a namespace
// "qrouter-<first 8 of the router's id>" that holds the netdevs of the router's ports, in
// which the kernel forwards and translates.
//
// It has two layers:
//
//   - The plan is pure: a model.RouterSpec in; addresses, routes, nftables rules and the
//     flows that may stay out.
//   - [Node] carries out the full set of routers a host is asked for, over rtnetlink,
//     nf_tables and conntrack, changing only what differs, and reports of each. A router
//     is up when a pass over the kernel's own tables finds nothing to change.
//
// Namespaces, rules and flows outlive the process: a restarted agent adopts what it finds and
// traffic does not notice. Whatever is in such a namespace and not asked for is removed.
//
// The package never decides where a router is, never allocates an address, and never
// decides which netdev carries a port: it asks through [Options.FindVF]. It speaks to no
// controller and serves no metadata: [Options.Beside] may.
package router
