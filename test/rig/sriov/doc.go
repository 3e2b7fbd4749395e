// Package main runs the project's rig tests, those in files named *rig_test.go, on a
// real kernel with SR-IOV NICs: in the virtual machine of package rig. It is what
// `make test-sriov` and `make bench-sriov` start.
//
//	sriov [-bench] [-run REGEXP] [PACKAGE ...]
//	sriov -script FILE
//
// RIG_RUN and RIG_PKGS in the environment stand for -run and the packages. Where the
// machine cannot be booted it says SKIP, and why, and succeeds; with RIG_STRICT set that
// is a failure, and so is a test that was skipped.
//
// The tests find in their environment NEUTRINO_SRIOV_PFS, the comma-separated names of
// the PFs, each with seven VFs, and NEUTRINO_BIN, the neutrino binary. Each package's
// tests run in its source directory.
package main
