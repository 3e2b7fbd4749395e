// Package machine says what a machine is, as far as networking with VFs cares: its
// operating system, kernel and command line, CPUs and NUMA nodes, memory, IOMMU, modules
// and their parameters, NICs with their PCI Express links and virtual functions,
// interrupts, boot loader and services.
//
// [Read] takes it from sys, proc, etc and boot below one root, so that a tree written by
// a test, a mounted disk and the running host are read by the same code. What is not
// there, or must not be read without root, is left out: the zero value of a field that
// can be unknown says so in its comment. Nothing of a broken tree is an error but that
// there is no tree.
//
// Lists of CPUs are exactly the kernel's ([ParseCPUList], [CPUList.String]).
//
// The package starts no program, opens no socket and changes nothing. It does not judge:
// internal/hostcheck does.
package machine
