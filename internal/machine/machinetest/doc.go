// Package machinetest writes whole machines into a directory, as internal/machine reads
// them: servers of two sockets with ConnectX-3, 5 and 6, and a virtual machine with
// QEMU's igb. They are modelled on the formats of real machines (kernel sources,
// /proc/interrupts as the drivers name their lines); none of them is a recording.
//
// NICs and what they do when they are written to come from internal/pci/pcitest. All
// machines are in good order: tests break what they are about.
//
// It owns the fixture trees. It is for tests only, and never writes outside its
// directory.
package machinetest
