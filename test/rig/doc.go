// Package rig boots a virtual machine with emulated SR-IOV NICs, in which tests find a
// real kernel with physical and virtual functions, an IOMMU and VFIO, on machines that
// have none of these.
//
// The machine runs under QEMU's software emulation (no /dev/kvm is needed) with a
// Debian kernel. Its NICs are igb (82576), which QEMU has since 8.1: seven VFs each, all
// on one wire. Its root is this machine's own file system, read-only, under an overlay
// that is thrown away; so every program and module installed here is there as well. One
// directory is shared read-write as /vm. Guests inside the machine run under KVM, on the
// SVM of its emulated CPU, and may be given its VFs; see [WriteGuest] and [GuestArgs].
//
// What is missing on this machine is said by [Check] in words, with the command that
// installs it. Nothing is left behind: QEMU ends with the process that started it.
//
// Machines whose NICs are ports of one bridge are a rack: what their VFs send is tagged
// there as it is on a wire. Keep the bridge in a network namespace, and [Machine.Run] on
// a goroutine whose thread is in it.
//
// The command test/rig/sriov runs the project's rig tests in one machine. A rig test is
// in a file named rig_test.go or *_rig_test.go, is called TestRig... (a benchmark
// BenchmarkRig...), and skips where NEUTRINO_SRIOV_PFS names no PF. Each package finds
// all VFs new; its tests find what those before them left.
package rig
