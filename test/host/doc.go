// Package host is neutrino on a host as it comes: a Debian 12 disk with GRUB, systemd and
// udev, booted with SR-IOV NICs and an IOMMU, checked, prepared, interrupted, rebooted and
// put back. `make test-host` runs it.
//
// The disk is made with mmdebstrap and mke2fs, and GRUB is installed by Debian's own tools
// in a first boot; it is kept in the directory for temporary files, under a name that says
// what it was made of. The machine is the one of package rig. What is to be done in there is
// asked of a service on the disk, over a virtio port: kill -9 and power cuts come at a line
// of output, never at a time.
//
// Nothing here changes the product's state behind its back: the test runs commands, reads
// the kernel, and compares every file of the disk before and after.
package host
