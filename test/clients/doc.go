// Package clients drives a running neutrino with the clients that operators have:
// the openstack command of Debian and gophercloud's own acceptance tests. It holds
// tests only; what it starts is the real binary.
package clients
