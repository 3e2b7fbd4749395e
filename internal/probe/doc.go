// Package probe sends and hears the frames of a verification ([trunk.Run]) on this
// host's uplinks: the netdevs behind which the physical switches are.
//
// [Prober.Probe] opens a packet socket on each uplink, puts the uplink into promiscuous
// mode for as long as the socket is open (the kernel counts who asked, and takes it back
// when the socket closes, even by a crash), and listens until the run ends. A filter in
// the kernel lets nothing but probes and LLDP through, so that other traffic costs
// nothing. The VLAN that a frame came in is read from the packet's auxiliary data, where
// the kernel puts the tag that it or the NIC took off (PACKET_AUXDATA, packet(7)).
//
// Frames that are sent carry their tag in the frame, and go past every bridge, VLAN
// device and firewall of this host straight to the NIC. Of an Open vSwitch uplink it is
// the same: packet sockets hear before the switch takes a frame.
//
// Promiscuous mode is what makes a NIC hand over frames of every VLAN: the drivers of
// NICs with SR-IOV (igb, ixgbe, i40e, ice, mlx4, mlx5) open their VLAN filter with it. A
// card that does not, hears the VLANs only that its VFs or VLAN devices use.
//
// The package never changes an address, a route or a VLAN of the host.
package probe
