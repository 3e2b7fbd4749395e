// Package pcitest builds the part of a machine's sysfs and proc that internal/pci and
// internal/hostprep read, from a short description of its cards, and reacts to writes
// as the kernel does: VFs come and go, drivers are bound, errors are the kernel's.
//
// What it does was read off Linux 6.12 (drivers/pci/iov.c, drivers/pci/pci-driver.c,
// drivers/base/bus.c) and compared with an igb under QEMU by the tests named TestRig.
//
// It owns the fixture trees. It is for tests only, and never writes outside its
// directory.
package pcitest
