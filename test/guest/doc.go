// Package guest is `neutrino guest` on a real Debian tree, made by mmdebstrap: fixed, killed half-way,
// undone and compared file by file; and booted, before and after, as a guest with a Virtual Function.
// `make test-guest` runs it.
//
// The guest boots inside the machine of package rig, its own kernel and initial RAM disk under KVM, with
// a VF by VFIO. Another VF of the same VLAN has a DHCP server, busybox's, whose words are the
// evidence: nothing is put into the guest but what `neutrino guest fix` puts there.
//
// The tree is kept in the directory for temporary files, under a name that says what it was made of.
package guest
