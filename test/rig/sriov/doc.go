// Package main runs the project's rig tests, those in files named *rig_test.go, on a
// real kernel with SR-IOV NICs: in the virtual machine of package rig. It is what
// `make test-sriov` and `make bench-sriov` start.
//
//	sriov [-bench] [-run REGEXP] [PACKAGE ...]
//
// The tests find in their environment NEUTRINO_SRIOV_PFS, the comma-separated names of
// the PFs, each with seven VFs, and NEUTRINO_BIN, the neutrino binary. Each package's
// tests run in its source directory.
package main
