// Package numa shows where a machine's NICs, their interrupts and its guests are, side by
// side: who is on which NUMA node, and what has to go to the far one.
//
// It reads sysfs and procfs below a settable root: of guests, the threads of QEMU's
// processes, where they may run and where their memory is. It never changes anything,
// and does not ask libvirt.
package numa
