// Package vfnltest is an rtnetlink in memory for tests: a kernel with SR-IOV PFs whose
// drivers behave, and misbehave, as the real ones do.
//
// It reads and writes messages with code of its own, after the kernel's
// (net/core/rtnetlink.c: rtnl_fill_vfinfo, do_setvfinfo), so that a mistake of vfnl's
// codec does not cancel itself out. What a driver does is data ([Driver]), with
// ready-made ones after the drivers of Linux 6.12.
package vfnltest
