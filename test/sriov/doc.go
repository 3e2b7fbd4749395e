// Package sriov holds the tests of the whole product on real virtual functions: the
// real controller, agent and command line, libvirt and a nested guest, in the virtual
// machine of test/rig.
//
// They run by `make test-sriov`; elsewhere they skip. One controller and one agent serve
// all of them: the agent has both PFs on one physical network, and serves DHCP.
package sriov
