// Package pci reads and changes PCI functions through sysfs: physical functions and
// their virtual functions, drivers, IOMMU groups, netdevs, who uses a VF.
//
// Everything is below [Sys].Root, so that trees recorded from real machines serve as
// well as the running kernel. A virtual function is what a virtfnN link of its PF points
// at, never the result of arithmetic on addresses.
//
// Drivers are bound by driver_override, which is cleared afterwards, never by new_id.
// Writes to sysfs run the kernel's and the driver's code and may hang; each has a
// deadline, after which the caller goes on with [ErrTimeout] while the write is left to
// the kernel.
//
// The package owns these files and what they mean. It never decides which VF is whose,
// and never touches the network attributes of a function.
package pci
