// Package neutron is the operations of the Networking API on the store: it creates,
// changes and deletes networks, subnets, ports, subnet pools, security groups, address
// groups, routers, floating IPs, quotas and agents with Neutron's rules and Neutron's faults,
// derives from them what every host is to carry out, and keeps networks on live DHCP agents
// and routers on live L3 agents.
//
// It owns the order of checks, the claims that make VLANs, addresses and MACs unique, and
// the revision numbers. It never parses a request or decides who may call what (that is
// internal/api), never chooses a segment or an address itself (internal/ml2,
// internal/ipam), and never talks to a host (internal/fabric).
//
// # Concurrency
//
// Every operation is one transaction of internal/store (a few, where Neutron's own
// operation is a sequence, each leaving a valid state). Uniqueness rests on claims, not on
// locks, so any number of Services on any number of controllers may run over one store:
//
//	vlan, flat, vni   a segment's identity                       owner: network
//	mac               "<network>/<mac>"                          owner: port
//	ip                "<subnet>/<address>"                       owner: port
//	sg                "<group>/<port>"                           owner: port
//	default-sg        "<project>"                                owner: group
//	agent             "<type>/<host>"                            owner: agent
//	default-net       "external"                                 owner: network
//	default-pool      "<family>"                                 owner: subnet pool
//	external          "<network>/<router or floating IP>"        owner: the same
//	floating          "<port>/<fixed IP>/<external network>"     owner: floating IP
//	floating-via      "<router>/<subnet>/<floating IP>"          owner: floating IP
//
// Ports of one network are created without touching a common row, so they never conflict
// with each other; what they rest on (the network's existence, its subnets) is compared
// through the network's Layout row, which only changes with the subnets or the segments.
// A network, subnet or group is deleted only if the range of claims under it is empty in
// the same transaction, so that a port created at the same moment is never orphaned. In the
// same way a gateway, an interface or an address is given up only when no floating IP claims
// to rest on it. Whatever attaches a port to a router or detaches it writes the router's row,
// so that interfaces, gateway and routes of one router change one after the other.
package neutron
