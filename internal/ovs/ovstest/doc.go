// Package ovstest runs an Open vSwitch of a test's own: its database, its daemon and its
// network namespace are nobody else's. It has the userspace datapath, so that it needs no
// kernel module.
package ovstest
