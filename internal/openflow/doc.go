// Package openflow says in OpenFlow what port security and security groups ask of the ports
// of an Open vSwitch bridge. It is pure: ports in, flows out ([Compile]). Package mgmt below it
// brings flows to a bridge.
//
// # Where the flows are
//
// Ports are access ports of the physical bridge, and NORMAL picks the way. NORMAL cannot be asked
// whom it would deliver to, so what is for a protected port never gets that far:
//
//	  0  Classify   from a protected port: Source; into a VLAN with protected ports: Forward; else as before
//	100  Source     is the sender who it says it is (MAC, ARP, IP, ND); no DHCP servers, no router advertisements
//	101  Gate       unicast goes through conntrack, a group's frame does not
//	102  Answered   answers pass; what conntrack finds invalid does not
//	103  Egress     rules
//	104  Forward    (VLAN, destination MAC) of a protected port: Ingress; a group: a copy to each; else NORMAL
//	105  Ingress    ARP, ND, router advertisements and DHCP answers pass; the rest as in Gate
//	106  Reply      as Answered
//	107  Allow      rules
//	108  Deliver    tell conntrack, and output to the port itself
//	109  Out
//	110  Neighbour  sources of neighbour discovery
//
// Registers: 0 and 1 are 1 where a stateful rule let the frame out of its port and into one;
// 2 is 1 where stateful rules count, that is not for answers; 3 is 1 where NORMAL delivers in
// the end; 4 is the port it goes to, 5 the one it came from, 6 the VLAN as a conntrack zone.
//
// # What NORMAL would do behind our back
//
// It floods. Protected ports are therefore set to no-flood (Program.NoFlood), and frames to
// groups are copied to each of them, if its rules allow. Frames to an unknown address never get to a
// protected port, as they do on a bridge without filters. With mcast_snooping_enable, NORMAL would
// forward groups to ports it knows as members, past the rules: it is not to be set on these bridges.
//
// It learns where a MAC is from what it forwards. What is delivered directly teaches it nothing, so
// Forward hands it a copy whose destination is the sender itself: it learns, and has nowhere to send it.
//
// # Conntrack
//
// There is one zone for each VLAN of each bridge (Bridge.Slot): addresses may be the same in
// another. A packet between two ports of one bridge is looked up once, and what both ends allowed is
// in the mark: bit 0, a stateful rule of the sender's port; bit 1, one of the receiver's. An answer
// passes at a port only if a stateful rule of that very port let the first packet through.
// Rules are looked at for every packet of the opening direction, not only for the first. A rule that is
// taken away cuts what it allowed, at once, and one that stays cuts nothing, since flows are
// changed in one step and connections are in the datapath's table. What takes its sending side
// away only from answers (a server that keeps sending to a client it does not hear any more) ends when
// conntrack forgets the connection.
//
// Frames to groups are judged by the rules alone, as if they were stateless: a connection to a group
// is nobody's, and would open the port of one member to the answers of another.
//
// Without conntrack in the datapath stateful rules are left out, and Compile says so for each port:
// [ErrConntrack].
//
// # Limits
//
//   - What is neither ARP nor IP does not pass a protected port; tagged frames of an instance do not either.
//   - Fragments after the first have no ports. Rules with ports let them through where conntrack put the
//     packet together, thus stateful unicast; else they are dropped.
//   - A MAC of an allowed address pair may be at several ports (VRRP). Where they are on one bridge
//     their rules have to be the same, or the later ones are refused: [ErrShared].
//   - DCCP and UDP-Lite have ports that OpenFlow cannot match: such rules are refused: [ErrMatch].
//   - Flows of somebody else count where they are in table 0 and above priority 45010.
//
// References: ovs-fields(7), ovs-actions(7), Open vSwitch's lib/ofp-actions.c for the wire
// forms, RFC 4861 (ND), RFC 5227 (ARP probes), Neutron's "Open vSwitch Firewall Driver" for what is
// allowed without a rule.
package openflow
