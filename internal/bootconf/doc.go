// Package bootconf edits the texts that say how a host boots: the kernel's command line in
// /etc/default/grub, in entries of the boot loader specification and in /etc/kernel/cmdline, and
// options of modules in modprobe.d.
//
// Everything is text in, text out. What is not asked for stays byte for byte: remarks, order, blanks,
// lines that are not understood. Doing the same twice changes nothing the second time.
//
// The package reads and writes no file, and does not know which words or options are good.
package bootconf
